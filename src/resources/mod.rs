//! The two custom resources: types, schema, columns and validation rules. No behaviour.

pub mod conditions;
mod decode;
mod digest;
mod dora_deployment;
mod dora_incident;
mod key;
mod references;
#[cfg(test)]
mod rules;
mod schema;
mod status;
mod views;

pub use decode::{REVISION, REVISION_HISTORY, metadata as slim_metadata, own_entries, own_key};
pub use digest::{digest, digest_bytes};
pub use dora_deployment::{DoraDeployment, DoraDeploymentSpec, DoraDeploymentStatus};
pub use dora_incident::{
    Certainty, DeletionPolicy, DoraIncident, DoraIncidentSpec, DoraIncidentStatus, IncidentCause, IncidentStatus,
};
pub use key::ResourceKey;
pub use references::{NamedWorkload, RevisionReference, WorkloadRef, WorkloadReference};
pub use status::DeliveredEntity;
pub use views::{DeliveryState, SlimDoraDeployment, SlimDoraIncident, SlimIncidentSpec, SlimSpec, readable};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of both resources; also the prefix of every annotation and label that the controller reads.
pub const GROUP: &str = rollout::PREFIX;

/// The name under which the controller owns fields (server-side apply) and publishes Events.
pub const FIELD_MANAGER: &str = "port-dora-controller";

/// The finalizer on an incident whose entity is to be deleted with it.
pub const FINALIZER: &str = "dora.port.io/entity";

/// The definitions of both custom resources, with the name of the file that each is kept in.
#[must_use]
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 2] {
    [("doradeployments.yaml", DoraDeployment::crd()), ("doraincidents.yaml", DoraIncident::crd())]
}
