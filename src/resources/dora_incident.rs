//! `DoraIncident`: one incident, opened by a person, a pipeline or the controller.

#![allow(clippy::duplicated_attributes, reason = "columns may have the same type")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AffectedWorkload, DeliveredEntity, NamedWorkload, decode, schema};

/// The incident. Set `status` to `resolved` when the incident is over.
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
    doc = "DoraIncident is one incident. The controller sends it to Port as an entity. Apply it when the incident begins, and set spec.status to resolved when it is over.",
    printcolumn(name = "Title", type_ = "string", json_path = ".spec.title", description = "Title of the incident"),
    printcolumn(
        name = "Workload",
        type_ = "string",
        json_path = ".spec.workloadRef.name",
        description = "Name of the affected workload"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".spec.status",
        description = "Whether the incident is open or resolved"
    ),
    printcolumn(
        name = "Priority",
        type_ = "string",
        json_path = ".spec.priority",
        description = "Priority of the incident"
    ),
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
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Synced")].reason"#,
        description = "Reason of the condition Synced"
    ),
    printcolumn(
        name = "Cause",
        type_ = "string",
        json_path = ".status.cause.record",
        description = "DoraDeployment that caused the incident",
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
        description = "Message of the condition Synced",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.url) || (isURL(self.url) && self.url.matches('^https?://'))")
        .message("spec.url must be a complete http or https URL, such as https://example.com/incidents/42"),
    validation = Rule::new("!has(self.identifier) || (self.identifier.matches('^[\\\\p{L}0-9@_.+:\\\\\\\\/=-]+$') && !(self.identifier in ['.', '..']))")
        .message("spec.identifier may only contain letters, digits and the characters @ _ . + : \\ / = -, and must not be . or .. (Port rejects other identifiers)"),
    validation = Rule::new("!has(self.resolvedAt) || self.status == 'resolved'")
        .message("spec.resolvedAt is only allowed for a resolved incident. Set spec.status to resolved, or remove spec.resolvedAt"),
    validation = Rule::new("!has(self.createdAt) || !has(self.resolvedAt) || self.createdAt <= self.resolvedAt")
        .message("spec.resolvedAt must not be earlier than spec.createdAt"),
    validation = Rule::new("has(self.identifier) == has(oldSelf.identifier) && (!has(self.identifier) || self.identifier == oldSelf.identifier)")
        .message("spec.identifier is immutable, because Port would keep the entity with the old identifier. Undo the change, or create another incident"),
    validation = Rule::new("!has(oldSelf.createdAt) || (has(self.createdAt) && self.createdAt == oldSelf.createdAt)")
        .message("spec.createdAt is immutable once it is set. Undo the change, or create another incident")
)]
pub struct DoraIncidentSpec {
    /// Title of the entity in Port. Defaults to the name of this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub title: Option<String>,

    /// Human-readable description of the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub description: Option<String>,

    /// Type of the incident: `incident_type` in Port. Defaults to the setting
    /// `defaults.incidentType` of the controller.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub incident_type: Option<String>,

    /// `open` while the incident lasts, `resolved` when it is over. Defaults to
    /// `open`. A resolved incident can be opened again.
    #[serde(default)]
    pub status: IncidentStatus,

    /// URL of a page about the incident, with the scheme http or https:
    /// `incident_url` in Port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub url: Option<String>,

    /// Priority of the incident, as the blueprint in Port defines it, such as
    /// `low` or `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority: Option<String>,

    /// Urgency of the incident, as the blueprint in Port defines it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub urgency: Option<String>,

    /// When the incident began, in RFC 3339 format. Defaults to the creation of
    /// this resource. It can be set later, but only once.
    #[serde(default, deserialize_with = "decode::time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub created_at: Option<Time>,

    /// When the incident was resolved, in RFC 3339 format. Defaults to the time
    /// at which `status` became `resolved`. Not allowed while the incident is
    /// open.
    #[serde(default, deserialize_with = "decode::time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub resolved_at: Option<Time>,

    /// The affected workload. Its revision that was in effect when the incident
    /// began becomes the cause of the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_ref: Option<AffectedWorkload>,

    /// Identifier of the group (team) in Port that owns the incident. Defaults to
    /// the setting `defaults.group` of the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub group: Option<String>,

    /// Identifier of the entity in Port. Defaults to an identifier that consists
    /// of cluster, namespace, name and UID. The first resource with an identifier
    /// keeps it, and it must not begin with the cluster and another namespace.
    /// Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub identifier: Option<String>,

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

    /// What happens to the entity in Port when this resource is deleted. Defaults
    /// to `Retain`.
    /// - `Retain`: the entity stays.
    /// - `Delete`: the controller deletes the entity, too.
    #[serde(default, skip_serializing_if = "DeletionPolicy::is_default")]
    pub deletion_policy: DeletionPolicy,
}

/// What happens to the entity in Port when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DeletionPolicy {
    /// The entity stays, because the incident happened.
    #[default]
    Retain,
    /// The controller deletes the entity, too.
    Delete,
}

impl DeletionPolicy {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde requires a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether an incident is open or resolved.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStatus {
    /// The incident lasts.
    #[default]
    Open,
    /// The incident is over.
    Resolved,
}

impl IncidentStatus {
    /// The value in the custom resource and in Port.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }
}

/// The state of the incident and of its entity in Port, written by the
/// controller.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoraIncidentStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the incident began, in RFC 3339 format.
    #[serde(default, deserialize_with = "decode::supported_time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub opened_at: Option<Time>,
    /// When the incident was resolved, in RFC 3339 format. Absent while the
    /// incident is open.
    #[serde(default, deserialize_with = "decode::supported_time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub resolved_at: Option<Time>,
    /// Time from `openedAt` to `resolvedAt`, such as `1h 12m 5s`. Absent while
    /// the incident is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_resolve: Option<String>,
    /// The deployment that caused the incident, or that is suspected to. Absent
    /// if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<IncidentCause>,
    /// Hash of the fields from which the controller determined the cause. Absent
    /// while the cause may still change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_cause: Option<String>,
    /// Hash of the controller's settings with which this status was written.
    /// When the settings change, the controller builds the entity again, and
    /// writes the status only if the entity or a condition is different.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_settings: Option<String>,
    /// Conditions of the incident:
    /// - `Synced`: whether the entity in Port is up to date.
    /// - `Valid`: present and False if the controller could not use a part of the
    ///   incident, or refused it. The message says why, and what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The entity in Port, as the controller sent it last or is about to send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<DeliveredEntity>,
}

/// The deployment that caused an incident.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentCause {
    /// How the controller knows the cause:
    /// - `Stated`: `spec.workloadRef` names the workload.
    /// - `Suspected`: only one workload of the namespace finished a rollout
    ///   shortly before the incident. The controller doesn't send it to Port.
    pub certainty: Certainty,
    /// The workload that was deployed.
    pub workload: NamedWorkload,
    /// Number of the deployed revision.
    pub revision: i64,
    /// Name of the DoraDeployment that records the revision.
    pub record: String,
    /// Identifier of the entity of that record in Port. Absent while Port doesn't
    /// have the entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
}

/// How the controller knows the cause of an incident.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Certainty {
    /// `spec.workloadRef` names the workload.
    Stated,
    /// Only one workload of the namespace finished a rollout shortly before the incident. Port doesn't get it.
    Suspected,
}
