//! `DoraDeployment`: one rollout, or one deployment that happened outside of Kubernetes.

#![allow(clippy::duplicated_attributes, reason = "columns may have the same type")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use rollout::{Accuracy, ChangeKind, Outcome};

use super::{DeliveredEntity, RevisionReference, WorkloadReference, schema};

/// One deployment and how it ended.
///
/// The controller writes one for each revision of a Deployment. A deployment that Kubernetes cannot see (a Lambda, a
/// mainframe) is reported by applying one by hand; `spec.workload` and `spec.revision` are then absent.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "dora.port.io",
    version = "v1alpha1",
    kind = "DoraDeployment",
    plural = "doradeployments",
    shortname = "ddep",
    category = "dora",
    namespaced,
    status = "DoraDeploymentStatus",
    derive = "PartialEq",
    doc = "One deployment and how it ended, reported to Port as an entity. The controller writes one for each revision of a Deployment; apply one by hand for a deployment that Kubernetes cannot see.",
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload.name"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".spec.revision.number"),
    printcolumn(name = "Environment", type_ = "string", json_path = ".spec.environment"),
    printcolumn(
        name = "Change",
        type_ = "string",
        json_path = ".spec.change",
        description = "What the rollout changed"
    ),
    printcolumn(
        name = "Outcome",
        type_ = "string",
        json_path = ".spec.outcome",
        description = "How the rollout ended"
    ),
    printcolumn(
        name = "Lead-Time",
        type_ = "string",
        json_path = ".status.leadTime",
        description = "Time from the commit to the end of the deployment"
    ),
    printcolumn(
        name = "Finished",
        type_ = "date",
        json_path = ".spec.finishedAt",
        description = "Time since the rollout ended"
    ),
    printcolumn(
        name = "Synced",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Synced")].status"#,
        description = "Whether the entity in Port is up to date"
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Synced")].reason"#),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.workload.kind", priority = "1"),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.group", priority = "1"),
    printcolumn(name = "Commit", type_ = "string", json_path = ".spec.commitSha", priority = "1"),
    printcolumn(
        name = "Duration",
        type_ = "string",
        json_path = ".status.duration",
        description = "Time from the start to the end of the rollout, without pauses",
        priority = "1"
    ),
    printcolumn(
        name = "Failure",
        type_ = "string",
        json_path = ".spec.failure",
        description = "Why the rollout failed",
        priority = "1"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Synced")].message"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.identifier) || (self.identifier.matches('^[\\\\p{L}0-9@_.+:\\\\\\\\/=-]+$') && !(self.identifier in ['.', '..']))")
        .message("spec.identifier may only have letters, digits and the characters @ _ . + : \\ / = - and must not be . or .. (a rule of Port)"),
    validation = Rule::new("self.outcome in ['InProgress', 'Unobserved'] || has(self.finishedAt)")
        .message("set spec.finishedAt, the time at which the deployment ended (RFC 3339, such as 2026-01-31T12:00:00Z), or spec.outcome: InProgress"),
    validation = Rule::new("!has(self.startedAt) || !has(self.finishedAt) || self.startedAt <= self.finishedAt")
        .message("spec.startedAt must not be later than spec.finishedAt"),
    validation = Rule::new("has(self.workload) == has(self.revision)")
        .message("set both spec.workload and spec.revision, or neither of them for a deployment outside Kubernetes")
)]
pub struct DoraDeploymentSpec {
    /// Title of the entity in Port. Default: namespace, name and revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub title: Option<String>,

    /// Identifier of the entity in Port, instead of the one that is made from cluster, namespace, name, revision and UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub identifier: Option<String>,

    /// The workload that was rolled out. Absent for a deployment outside Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadReference>,

    /// The revision of the workload that was rolled out. Absent for a deployment outside Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionReference>,

    /// How it ended, or `InProgress`.
    pub outcome: Outcome,

    /// What the rollout changed. Absent if it is not known, and for a deployment outside of Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeKind>,

    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// Where `startedAt` comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_accuracy: Option<Accuracy>,

    /// When it ended: `deployment_time` in Port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,

    /// Where `finishedAt` comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at_accuracy: Option<Accuracy>,

    /// Seconds from `startedAt` to `finishedAt`, without those in which the rollout was paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub duration_seconds: Option<i64>,

    /// Since when the rollout is paused. Absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Time>,

    /// Seconds for which the rollout was paused before `pausedAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub paused_seconds: Option<i64>,

    /// Replicas that the Deployment asked for: a rollout at 0 replicas ran nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,

    /// Why it failed, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub failure: Option<String>,

    /// The revision that took this one back: it re-used an older ReplicaSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rolled_back_by: Option<i64>,

    /// Revisions between this one and the one recorded before that came and went while nobody watched, and left nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub unseen_revisions: Option<i64>,

    /// Where it was deployed to. Default: the controller's setting `defaults.environment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub environment: Option<String>,

    /// Identifier of the group (team) in Port that it belongs to. Default: the controller's setting `defaults.group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub group: Option<String>,

    /// Identifier of the service in Port that was deployed: the relation `service`, if the
    /// blueprint has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub service: Option<String>,

    /// What deployed it: `deployment_type` in Port. Default: the controller's setting `defaults.deploymentType`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub deployment_type: Option<String>,

    /// When the deployed commit was made. The time from it to `finishedAt` is the lead time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_time: Option<Time>,

    /// The deployed commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub commit_sha: Option<String>,

    /// The repository of the deployed commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub repository: Option<String>,

    /// Further relations of the entity: identifier, list of identifiers, or search query of Port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::free_form_map")]
    pub relations: BTreeMap<String, Value>,

    /// Further properties of the entity. They win over those that the controller derives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::free_form_map")]
    pub properties: BTreeMap<String, Value>,

    /// What the controller found in the metadata of the rollout and could not use, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub warnings: Vec<String>,
}

/// What the controller says of a deployment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoraDeploymentStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Digest of the settings that this status was made with: the entity is made anew when they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_settings: Option<String>,
    /// `Synced`: whether Port has it. `Valid`: present and False when a part of it could not be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The entity as Port has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<DeliveredEntity>,
    /// Time from `spec.commitTime` to `spec.finishedAt`, such as `2h 5m`. Absent if it is unknown, and for a rollback or a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_time: Option<String>,
    /// `spec.durationSeconds` in a form such as `1m 12s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Name of the `DoraIncident` of this rollout's failure or rollback: the controller opens no other, even if that one is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// Since when the Deployment was unavailable at its last loss of availability that has had an incident while this was its present
    /// revision: the controller opens no other for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_loss: Option<Time>,
}
