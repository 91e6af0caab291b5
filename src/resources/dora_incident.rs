//! `DoraIncident`: one incident, applied by a person, a pipeline or another controller.

#![allow(clippy::duplicated_attributes, reason = "columns may have the same type")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AffectedWorkload, DeliveredEntity, NamedWorkload, schema};

/// One incident: apply it when it begins, set `spec.status: resolved` when it is over.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "dora.port.io",
    version = "v1alpha1",
    kind = "DoraIncident",
    plural = "doraincidents",
    shortname = "dinc",
    category = "dora",
    namespaced,
    status = "DoraIncidentStatus",
    derive = "PartialEq",
    doc = "One incident, reported to Port as an entity: apply it when it begins, set spec.status to resolved when it is over.",
    printcolumn(name = "Title", type_ = "string", json_path = ".spec.title"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workloadRef.name"),
    printcolumn(name = "Status", type_ = "string", json_path = ".spec.status"),
    printcolumn(name = "Priority", type_ = "string", json_path = ".spec.priority"),
    printcolumn(
        name = "Opened",
        type_ = "date",
        json_path = ".status.openedAt",
        description = "Time since the incident began"
    ),
    printcolumn(
        name = "Time-To-Resolve",
        type_ = "string",
        json_path = ".status.timeToResolve",
        description = "Time from the start of the incident to its end"
    ),
    printcolumn(
        name = "Synced",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Synced")].status"#,
        description = "Whether the entity in Port is up to date"
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Synced")].reason"#),
    printcolumn(
        name = "Cause",
        type_ = "string",
        json_path = ".status.cause.record",
        description = "Record of the deployment that caused the incident",
        priority = "1"
    ),
    printcolumn(
        name = "Certainty",
        type_ = "string",
        json_path = ".status.cause.certainty",
        description = "Whether the cause is stated or only suspected",
        priority = "1"
    ),
    printcolumn(
        name = "Opened-By",
        type_ = "string",
        json_path = r".metadata.labels['dora\.port\.io/opened-by']",
        description = "Why the controller opened the incident",
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
    validation = Rule::new("!has(self.url) || (isURL(self.url) && self.url.matches('^https?://'))")
        .message("spec.url must be a whole address, such as https://example.com/incidents/42"),
    validation = Rule::new("!has(self.identifier) || (self.identifier.matches('^[\\\\p{L}0-9@_.+:\\\\\\\\/=-]+$') && !(self.identifier in ['.', '..']))")
        .message("spec.identifier may only have letters, digits and the characters @ _ . + : \\ / = - and must not be . or .. (a rule of Port)"),
    validation = Rule::new("!has(self.resolvedAt) || self.status == 'resolved'")
        .message("spec.resolvedAt is only for an incident that is over: set spec.status: resolved as well, or remove spec.resolvedAt"),
    validation = Rule::new("!has(self.createdAt) || !has(self.resolvedAt) || self.createdAt <= self.resolvedAt")
        .message("spec.resolvedAt must not be earlier than spec.createdAt"),
    validation = Rule::new("has(self.identifier) == has(oldSelf.identifier) && (!has(self.identifier) || self.identifier == oldSelf.identifier)")
        .message("spec.identifier can't be set, changed or removed later, since Port would keep the entity of the former one: make a new incident with it"),
    validation = Rule::new("!has(oldSelf.createdAt) || (has(self.createdAt) && self.createdAt == oldSelf.createdAt)")
        .message("spec.createdAt can be set once, and not be changed or removed after that: keep it as it was, or make a new incident")
)]
pub struct DoraIncidentSpec {
    /// Title of the entity in Port. Default: the name of this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub title: Option<String>,

    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub description: Option<String>,

    /// Kind of incident: `incident_type` in Port. Default: the controller's setting `defaults.incidentType`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub incident_type: Option<String>,

    /// `open` while it lasts, `resolved` when it is over.
    #[serde(default)]
    pub status: IncidentStatus,

    /// Where to read more: `incident_url` in Port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub url: Option<String>,

    /// How important it is, in the words of the blueprint in Port (such as `low` or `high`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority: Option<String>,

    /// How urgent it is, in the words of the blueprint in Port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub urgency: Option<String>,

    /// When it began. Default: when this resource was created. It can be set later, but only once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,

    /// When it was over. Default: when `spec.status` became `resolved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Time>,

    /// The workload that it concerns. The revision in effect when the incident began is named as its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_ref: Option<AffectedWorkload>,

    /// Identifier of the group (team) in Port that it belongs to. Default: the controller's setting `defaults.group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub group: Option<String>,

    /// Identifier of the entity in Port, instead of the one that is made from cluster, namespace and name. It can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub identifier: Option<String>,

    /// Further relations of the entity: identifier, list of identifiers, or search query of Port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::free_form_map")]
    pub relations: BTreeMap<String, Value>,

    /// Further properties of the entity. They win over those that the controller derives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::free_form_map")]
    pub properties: BTreeMap<String, Value>,

    /// What becomes of the entity in Port when this resource is deleted: it stays (`Retain`), or is deleted too (`Delete`).
    #[serde(default, skip_serializing_if = "DeletionPolicy::is_default")]
    pub deletion_policy: DeletionPolicy,
}

/// What becomes of the entity in Port when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DeletionPolicy {
    /// It stays, as the past that it is.
    #[default]
    Retain,
    /// It is deleted too.
    Delete,
}

impl DeletionPolicy {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether an incident still lasts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStatus {
    /// It still lasts.
    #[default]
    Open,
    /// It is over.
    Resolved,
}

impl IncidentStatus {
    /// The word for it in the resource and in Port.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }
}

/// What the controller says of an incident.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoraIncidentStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the incident began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Time>,
    /// When it was over. Absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Time>,
    /// From `openedAt` to `resolvedAt`, such as `1h 12m 5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_resolve: Option<String>,
    /// The deployment that caused it, or is suspected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<IncidentCause>,
    /// Digest of what the cause was looked up for. Absent while the answer may still become another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_cause: Option<String>,
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
}

/// The deployment behind an incident.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentCause {
    /// How it is known.
    pub certainty: Certainty,
    /// The workload that was deployed.
    pub workload: NamedWorkload,
    /// Number of its revision.
    pub revision: i64,
    /// Name of the `DoraDeployment` that records the revision.
    pub record: String,
    /// Identifier of that record's entity in Port. Absent as long as Port has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
}

/// How the cause of an incident is known.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Certainty {
    /// `spec.workloadRef` names the workload.
    Stated,
    /// It was the only workload of the namespace that finished a rollout shortly before. Port is not told.
    Suspected,
}
