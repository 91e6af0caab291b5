//! How our resources refer to workloads and their revisions.

use rollout::WorkloadKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The workload that a rollout belongs to, in the namespace of the resource.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadReference {
    /// API group and version of the workload, such as `apps/v1`.
    #[schemars(length(min = 1, max = 253))]
    pub api_version: String,
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// UID of the workload. A workload that is deleted and created again under the same name has another UID.
    #[schemars(length(min = 1, max = 253))]
    pub uid: String,
}

/// One revision of a workload.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionReference {
    /// Number of the revision, such as the annotation `deployment.kubernetes.io/revision` of a Deployment.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// Name of the object that holds the pod template of the revision, such as the ReplicaSet of a Deployment.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// UID of that object.
    #[schemars(length(min = 1, max = 253))]
    pub uid: String,
}

/// A workload that an incident concerns, in the namespace of the incident.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// Kind of the workload.
    #[serde(default)]
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The revision that caused the incident, if it is known. Default: the revision in effect when the incident began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub revision: Option<i64>,
}

/// A workload by kind and name, in the namespace of the resource.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedWorkload {
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    pub name: String,
}
