//! What the pipeline needs to know of a kind of resource.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::PublishedKind;
use super::blueprints::Wanted;
use super::build::{BuildInput, Drafted, Hold};
use crate::incidents::{CauseContext, Lookup};
use crate::resources::{DeletionPolicy, DeliveredEntity};
use crate::settings::FileSettings;

/// Annotations that keep in a backup what an entity is built from, with `None` for those that the resource should not have.
pub type BackupAnnotations = Vec<(&'static str, Option<String>)>;

/// A custom resource that is published to Port as an entity.
pub trait Publishable:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// The kind of the resource.
    const KIND: PublishedKind;

    /// The type of its `status`.
    type Status: Serialize + Clone + PartialEq + Send + Sync;

    /// The blueprint that the entities belong to, with the names and values that the settings give its fields.
    fn blueprint(settings: &FileSettings) -> Wanted<'_>;

    /// The identifier that the resource asks for: `spec.identifier`. Without one, the controller gives it one of its own namespace.
    fn claimed_identifier(&self) -> Option<&str>;

    /// The annotations that the resource should have in the cluster of this name. Pure.
    fn backup_annotations(&self, _cluster: &str, _now: Timestamp) -> BackupAnnotations {
        Vec::new()
    }

    /// Those of these annotations that can't be used, a text for each. Pure.
    fn invalid_annotations(&self) -> Vec<String> {
        Vec::new()
    }

    /// Looks up what the resource refers to, and puts the answer into its `status`.
    fn resolve(self, _around: &CauseContext<'_>) -> impl Future<Output = Lookup<Self>> + Send {
        std::future::ready(Lookup::unchanged(self))
    }

    /// Why the resource is not sent to Port, if it is not. Pure, and cheaper than [`Publishable::draft`].
    fn hold(&self, _settings: &FileSettings) -> Option<Hold> {
        None
    }

    /// The entity under the names of Port's DORA blueprints. Pure.
    fn draft(&self, input: &BuildInput<'_>) -> Drafted;

    /// What happens to the entity when the resource is deleted.
    fn deletion_policy(&self) -> DeletionPolicy {
        DeletionPolicy::Retain
    }

    /// Whether a later version of the resource may have fewer fields than this one. The publisher then writes the fields into `status`
    /// before it sends them, so that it can clear them in Port later.
    fn may_lose_fields(&self) -> bool;

    /// The status as it is in the resource.
    fn status(&self) -> Option<&Self::Status>;

    /// The fields of the status that both kinds share.
    fn common_status(&self) -> CommonStatus;

    /// The status with these fields. The resource determines all others.
    fn with_common_status(&self, common: CommonStatus, now: Timestamp) -> Self::Status;
}

/// The fields of `status` that both kinds share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommonStatus {
    /// The generation of the resource that the status was written for.
    pub observed_generation: Option<i64>,
    /// Digest of the settings that the status was written with.
    pub observed_settings: Option<String>,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// The entity as Port has it, or may have it.
    pub entity: Option<DeliveredEntity>,
}
