//! References from the custom resources to workloads and their revisions.

use rollout::WorkloadKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The workload of a rollout, in the namespace of the record.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadReference {
    /// API group and version of the workload, such as `apps/v1`.
    #[schemars(length(min = 1, max = 253))]
    pub api_version: String,
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// UID of the workload. A workload that is deleted and created again under
    /// the same name has another UID.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[0-9A-Za-z._-]+$"))]
    pub uid: String,
}

/// A revision of a workload.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionReference {
    /// Number of the revision. For a Deployment, this is the annotation
    /// `deployment.kubernetes.io/revision`.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// Name of the object with the pod template of the revision. For a
    /// Deployment, this is the ReplicaSet.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// UID of the object with the pod template of the revision.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[0-9A-Za-z._-]+$"))]
    pub uid: String,
}

/// The workload that an incident affects, in the namespace of the incident.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AffectedWorkload {
    /// Kind of the workload. Defaults to `Deployment`.
    #[serde(default)]
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// Number of the revision that caused the incident. Defaults to the revision
    /// that was in effect when the incident began.
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
