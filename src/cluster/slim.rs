//! Kubernetes objects with only the fields that the controller reads, and the rows made from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;

use super::decode::{self, KeptEntries, REVISION, REVISION_HISTORY, own_entries};
use crate::rollout::{DeploymentRow, Metadata, ProgressReason, Progressing, ReplicaSetRow, Uid};

/// A Deployment with only what is read of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Deployment)]
pub struct SlimDeployment {
    #[serde(deserialize_with = "decode::metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: DeploymentSpec,
    #[serde(default)]
    status: DeploymentStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct DeploymentSpec {
    replicas: Option<i32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeploymentStatus {
    observed_generation: i64,
    replicas: i32,
    updated_replicas: i32,
    available_replicas: i32,
    conditions: Vec<DeploymentCondition>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeploymentCondition {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
    message: Option<String>,
    last_update_time: Option<Time>,
}

impl SlimDeployment {
    /// The row of this Deployment; `None` without a name, namespace or UID, which the API server always gives.
    #[must_use]
    pub fn row(&self) -> Option<DeploymentRow> {
        let Self { metadata, spec, status } = self;
        Some(DeploymentRow {
            uid: metadata.uid.as_deref()?.into(),
            namespace: metadata.namespace.as_deref()?.into(),
            name: metadata.name.as_deref()?.into(),
            generation: metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation,
            revision: revision(metadata.annotations.as_ref()),
            // The API server defaults it to 1.
            replicas: spec.replicas.unwrap_or(1),
            current_replicas: status.replicas,
            updated_replicas: status.updated_replicas,
            available_replicas: status.available_replicas,
            progressing: status.conditions.iter().find(|condition| condition.kind == "Progressing").map(progressing),
            labels: own_entries(metadata.labels.as_ref()),
        })
    }
}

fn progressing(condition: &DeploymentCondition) -> Progressing {
    Progressing {
        reason: match condition.reason.as_deref() {
            Some("NewReplicaSetAvailable") => ProgressReason::Complete,
            Some("ProgressDeadlineExceeded") => ProgressReason::DeadlineExceeded,
            _ => ProgressReason::Other,
        },
        replica_set: condition.message.as_deref().and_then(named_replica_set).map(Into::into),
        updated: condition.last_update_time.as_ref().map(|time| time.0),
    }
}

/// The ReplicaSet in a message such as `ReplicaSet "web-7679c567ff" has successfully progressed.`
fn named_replica_set(message: &str) -> Option<&str> {
    let (before, quoted) = message.split_once('"')?;
    let (name, _) = quoted.split_once('"')?;
    before.to_ascii_lowercase().replace(' ', "").ends_with("replicaset").then_some(name)
}

/// A ReplicaSet with only what is read of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = ReplicaSet)]
pub struct SlimReplicaSet {
    #[serde(deserialize_with = "decode::metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ReplicaSetSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ReplicaSetSpec {
    template: PodTemplate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodTemplate {
    metadata: PodTemplateMetadata,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodTemplateMetadata {
    annotations: KeptEntries,
    labels: KeptEntries,
}

impl SlimReplicaSet {
    /// The UID of this ReplicaSet.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        self.metadata.uid.as_deref()
    }

    /// The UID of the Deployment that owns it, and its row; `None` if no Deployment does.
    #[must_use]
    pub fn row(&self) -> Option<(Uid, ReplicaSetRow)> {
        let Self { metadata, spec } = self;
        let owner = metadata.owner_references.as_deref()?.iter().find(|owner| is_deployment(owner))?;
        let template = &spec.template.metadata;
        let row = ReplicaSetRow {
            uid: metadata.uid.as_deref()?.into(),
            name: metadata.name.as_deref()?.into(),
            revision: revision(metadata.annotations.as_ref()),
            reused: metadata.annotations.as_ref().is_some_and(|kept| kept.contains_key(REVISION_HISTORY)),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            annotations: own_entries(metadata.annotations.as_ref()),
            template_annotations: own_entries(template.annotations.0.as_ref()),
            template_labels: own_entries(template.labels.0.as_ref()),
        };
        Some((owner.uid.as_str().into(), row))
    }
}

fn is_deployment(owner: &OwnerReference) -> bool {
    owner.controller == Some(true) && owner.kind == "Deployment" && owner.api_version.starts_with("apps/")
}

fn revision(annotations: Option<&BTreeMap<String, String>>) -> Option<i64> {
    annotations?.get(REVISION)?.parse().ok()
}

/// A Namespace with only what is read of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Namespace)]
pub struct SlimNamespace {
    #[serde(deserialize_with = "decode::metadata")]
    metadata: ObjectMeta,
}

impl SlimNamespace {
    /// Its name, and its annotations and labels.
    #[must_use]
    pub fn row(&self) -> Option<(Arc<str>, Metadata, Metadata)> {
        let Self { metadata } = self;
        let (annotations, labels) = (metadata.annotations.as_ref(), metadata.labels.as_ref());
        Some((metadata.name.as_deref()?.into(), own_entries(annotations), own_entries(labels)))
    }
}
