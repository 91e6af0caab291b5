//! `DoraDeployment`: the record of one rollout, or of a deployment outside Kubernetes.

#![allow(clippy::duplicated_attributes, reason = "columns may have the same type")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use rollout::{Accuracy, ChangeKind, Outcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DeliveredEntity, RevisionReference, WorkloadReference, decode, schema};

/// The deployment that is recorded.
///
/// The controller writes one record for each revision of a workload. Apply
/// one yourself to report a deployment outside Kubernetes, such as a Lambda
/// function or a mainframe, and omit `workload` and `revision`.
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
    doc = "DoraDeployment is the record of one deployment. The controller sends it to Port as an entity.",
    printcolumn(
        name = "Workload",
        type_ = "string",
        json_path = ".spec.workload.name",
        description = "Name of the workload"
    ),
    printcolumn(
        name = "Revision",
        type_ = "integer",
        json_path = ".spec.revision.number",
        description = "Number of the revision"
    ),
    printcolumn(
        name = "Environment",
        type_ = "string",
        json_path = ".spec.environment",
        description = "Environment of the deployment"
    ),
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
        description = "How the deployment ended"
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
        description = "Time since the deployment ended"
    ),
    printcolumn(
        name = "Synced",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Synced")].status"#,
        description = "Whether the entity in Port is up to date"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Synced")].reason"#,
        description = "Reason of the condition Synced"
    ),
    printcolumn(
        name = "Kind",
        type_ = "string",
        json_path = ".spec.workload.kind",
        description = "Kind of the workload",
        priority = "1"
    ),
    printcolumn(
        name = "Group",
        type_ = "string",
        json_path = ".spec.group",
        description = "Group in Port that owns the deployment",
        priority = "1"
    ),
    printcolumn(
        name = "Commit",
        type_ = "string",
        json_path = ".spec.commitSha",
        description = "SHA of the deployed commit",
        priority = "1"
    ),
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
        description = "Message of the condition Synced",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.identifier) || (self.identifier.matches('^[\\\\p{L}0-9@_.+:\\\\\\\\/=-]+$') && !(self.identifier in ['.', '..']))")
        .message("spec.identifier may only contain letters, digits and the characters @ _ . + : \\ / = -, and must not be . or .. (Port rejects other identifiers)"),
    validation = Rule::new("self.outcome in ['InProgress', 'Unobserved'] || has(self.finishedAt)")
        .message("spec.finishedAt is required, because the deployment has ended. Set it to the time of the end, such as 2026-01-31T12:00:00Z, or set spec.outcome to InProgress"),
    validation = Rule::new("!has(self.startedAt) || !has(self.finishedAt) || self.startedAt <= self.finishedAt")
        .message("spec.startedAt must not be later than spec.finishedAt"),
    validation = Rule::new("has(self.workload) == has(self.revision)")
        .message("spec.workload and spec.revision belong together. Set both, or omit both for a deployment outside Kubernetes"),
    validation = Rule::new("has(self.workload) == has(oldSelf.workload) && (!has(self.workload) || self.workload == oldSelf.workload)")
        .message("spec.workload is immutable, because the record is about this workload. Undo the change, or create another record"),
    validation = Rule::new("!has(self.revision) || !has(oldSelf.revision) || self.revision.number == oldSelf.revision.number")
        .message("spec.revision.number is immutable, because the record is about this revision. Undo the change, or create another record"),
    validation = Rule::new("has(self.identifier) == has(oldSelf.identifier) && (!has(self.identifier) || self.identifier == oldSelf.identifier)")
        .message("spec.identifier is immutable, because Port would keep the entity with the old identifier. Undo the change, or create another record")
)]
pub struct DoraDeploymentSpec {
    /// Title of the entity in Port. Defaults to namespace, name and revision,
    /// such as `shop/web revision 7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub title: Option<String>,

    /// Identifier of the entity in Port. Defaults to an identifier that consists
    /// of cluster, namespace, name, revision and UID. The first resource with an
    /// identifier keeps it, and it must not begin with the cluster and another
    /// namespace. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub identifier: Option<String>,

    /// The workload that was rolled out. Absent for a deployment outside
    /// Kubernetes. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadReference>,

    /// The revision of the workload that was rolled out. Absent for a deployment
    /// outside Kubernetes. Its number is immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionReference>,

    /// How the deployment ended:
    /// - `InProgress`: it has not ended.
    /// - `Succeeded`: it became complete.
    /// - `Failed`: it made no progress within its deadline.
    /// - `Recovered`: it failed and became complete later.
    /// - `Superseded`: a newer revision began before it was complete.
    /// - `RolledBack`: it was complete, and a rollback took it back later.
    /// - `Abandoned`: the workload was deleted before it was complete.
    /// - `Unobserved`: it ended while the controller was away, and the cluster
    ///   can't tell how.
    pub outcome: Outcome,

    /// What the rollout changed, compared with the previous revision. Absent if
    /// that revision is unknown, and for a deployment outside Kubernetes.
    /// - `Initial`: nothing; this is the first revision.
    /// - `Release`: the image of a container.
    /// - `Config`: another part of the pod template.
    /// - `Rollback`: it went back to an older revision.
    /// - `Restart`: nothing; the pod template is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_enum::<ChangeKind>")]
    pub change: Option<ChangeKind>,

    /// When the deployment began, in RFC 3339 format. Absent if unknown.
    #[serde(default, deserialize_with = "decode::time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub started_at: Option<Time>,

    /// Source of `startedAt`:
    /// - `Exact`: the cluster states the time.
    /// - `Observed`: the controller saw the start at this time. The actual start
    ///   may be a little earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_enum::<Accuracy>")]
    pub started_at_accuracy: Option<Accuracy>,

    /// When the deployment ended, in RFC 3339 format. This is `deployment_time`
    /// in Port. Required unless `outcome` is `InProgress` or `Unobserved`.
    #[serde(default, deserialize_with = "decode::time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub finished_at: Option<Time>,

    /// Source of `finishedAt`:
    /// - `Exact`: the cluster states the time.
    /// - `Observed`: the controller saw the end at this time. The actual end may
    ///   be a little earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_enum::<Accuracy>")]
    pub finished_at_accuracy: Option<Accuracy>,

    /// Duration of the rollout from `startedAt` to `finishedAt`, in seconds. The
    /// time for which the rollout was paused doesn't count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub duration_seconds: Option<i64>,

    /// When the current pause of the rollout began, in RFC 3339 format. Absent
    /// while the rollout is not paused.
    #[serde(default, deserialize_with = "decode::time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub paused_at: Option<Time>,

    /// Time for which the rollout was paused before `pausedAt`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub paused_seconds: Option<i64>,

    /// Number of desired replicas. A rollout at 0 replicas runs nothing, and by
    /// default the controller doesn't send it to Port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,

    /// Human-readable reason why the rollout failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub failure: Option<String>,

    /// Number of the revision that rolled this one back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rolled_back_by: Option<i64>,

    /// Number of revisions between the previous record and this one that came
    /// and went while the controller was away, and that have no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub unseen_revisions: Option<i64>,

    /// Environment of the deployment, such as `production`. Defaults to the
    /// setting `defaults.environment` of the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub environment: Option<String>,

    /// Identifier of the group (team) in Port that owns the deployment. Defaults
    /// to the setting `defaults.group` of the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub group: Option<String>,

    /// Identifier of the deployed service in Port, for the relation `service`.
    /// Omitted if the blueprint doesn't define this relation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub service: Option<String>,

    /// Tool or pipeline that deployed: `deployment_type` in Port. Defaults to
    /// the setting `defaults.deploymentType` of the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub deployment_type: Option<String>,

    /// Time of the deployed commit, in RFC 3339 format. The lead time is the time
    /// from `commitTime` to `finishedAt`.
    #[serde(default, deserialize_with = "decode::time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub commit_time: Option<Time>,

    /// SHA of the deployed commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub commit_sha: Option<String>,

    /// Repository of the deployed commit, such as
    /// `https://github.com/example/web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub repository: Option<String>,

    /// Additional relations of the entity, by their names in the blueprint. A
    /// value is an identifier, a list of identifiers, or a search query of Port.
    /// They take precedence over the relations that the controller derives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::free_form_map")]
    pub relations: BTreeMap<String, Value>,

    /// Additional properties of the entity, by their names in the blueprint. They
    /// take precedence over the properties that the controller derives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::free_form_map")]
    pub properties: BTreeMap<String, Value>,

    /// Annotations and labels of the rollout that the controller could not use,
    /// and what to write instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub warnings: Vec<String>,
}

/// The state of the record in Port, written by the controller.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoraDeploymentStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Hash of the controller's settings with which this status was written.
    /// When the settings change, the controller builds the entity again, and
    /// writes the status only if the entity or a condition is different.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_settings: Option<String>,
    /// Conditions of the record:
    /// - `Synced`: whether the entity in Port is up to date.
    /// - `Valid`: present and False if the controller could not use a part of the
    ///   record, or refused it. The message says why, and what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The entity in Port, as the controller sent it last or is about to send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<DeliveredEntity>,
    /// Time from `spec.commitTime` to `spec.finishedAt`, such as `2h 5m`. Absent
    /// if unknown, and for a rollback or a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_time: Option<String>,
    /// `spec.durationSeconds` in a readable form, such as `1m 12s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Name of the DoraIncident about the failure or the rollback of this
    /// rollout. The controller opens no other incident for it, even if this one
    /// is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// When the last loss of availability of this revision began that has an
    /// incident, in RFC 3339 format. The controller opens no other incident for
    /// the same loss.
    #[serde(default, deserialize_with = "decode::supported_time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub reported_loss: Option<Time>,
}
