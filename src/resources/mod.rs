//! The custom resources: types, schema, printer columns, validation rules, and the views that watches keep of them.

pub mod conditions;
mod decode;
mod digest;
mod dora_deployment;
mod dora_incident;
mod guarded;
mod key;
mod object_name;
mod references;
#[cfg(test)]
mod rules;
mod schema;
mod status;
mod unsupported_time;
mod views;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use decode::{REVISION, REVISION_HISTORY, is_restored, own_entries, own_key, slim_metadata, supported_time};
pub use digest::{digest, digest_bytes};
pub use dora_deployment::{DoraDeployment, DoraDeploymentSpec, DoraDeploymentStatus};
pub use dora_incident::{
    Certainty, DeletionPolicy, DoraIncident, DoraIncidentSpec, DoraIncidentStatus, IncidentCause, IncidentStatus,
};
pub use guarded::{Guarded, Undecodable};
pub use key::ResourceKey;
pub use object_name::{MAX_NAME_LENGTH, is_object_name};
pub use references::{AffectedWorkload, NamedWorkload, RevisionReference, WorkloadReference};
pub use status::DeliveredEntity;
pub use unsupported_time::{UnsupportedTime, supported};
pub use views::{
    DeliveryState, EntityState, IdentifierClaim, SlimDoraDeployment, SlimDoraIncident, SlimIncidentSpec, SlimSpec,
};

/// The API group of both custom resources, and the prefix of the annotations and labels that the controller reads.
pub const GROUP: &str = rollout::KEY_PREFIX;

/// The label of what the controller creates, with the value [`FIELD_MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The name of the controller: as field manager of what it writes, and in the label [`MANAGED_BY`].
pub const FIELD_MANAGER: &str = "port-dora-controller";

/// Annotation of an incident: identifier of its entity in Port. A backup contains it, but not the UID or the status.
pub const ENTITY: &str = "dora.port.io/entity";

/// The finalizer on an incident whose entity the controller deletes together with the incident.
pub const FINALIZER: &str = "dora.port.io/entity";

/// The CustomResourceDefinitions of both custom resources, each with the name of its file.
#[must_use]
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 2] {
    [("doradeployments.yaml", DoraDeployment::crd()), ("doraincidents.yaml", DoraIncident::crd())]
}
