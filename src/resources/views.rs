//! Slim views of the custom resources: the fields that the watches keep.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::{ObjectMeta, Preconditions};
use rollout::{ChangeKind, Outcome};
use serde::Deserialize;

use super::conditions::{DRY_RUN, HELD_REASONS, NOT_PUBLISHED, REFUSED_REASONS, SYNCED, UNDECODABLE};
use super::{
    AffectedWorkload, DoraDeployment, DoraIncident, ENTITY, IncidentStatus, RevisionReference, Undecodable,
    WorkloadReference, decode,
};

/// A `DoraDeployment` with only the fields that the records and the publisher's queue need.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = DoraDeployment)]
pub struct SlimDoraDeployment {
    #[serde(deserialize_with = "decode::slim_metadata")]
    metadata: ObjectMeta,
    /// The spec.
    pub spec: SlimSpec,
    #[serde(default, deserialize_with = "decode::null_as_default")]
    status: SlimStatus,
}

/// The spec of a [`SlimDoraDeployment`]. For the fields, see [`super::DoraDeploymentSpec`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlimSpec {
    /// Identifier of the entity in Port, if the spec says so.
    pub identifier: Option<String>,
    /// The workload that was rolled out.
    pub workload: Option<WorkloadReference>,
    /// The revision of the workload.
    pub revision: Option<RevisionReference>,
    /// How the deployment ended.
    pub outcome: Outcome,
    /// What the rollout changed.
    pub change: Option<ChangeKind>,
    /// Environment of the deployment.
    pub environment: Option<String>,
    /// Number of the revision that rolled this one back.
    pub rolled_back_by: Option<i64>,
    /// When the deployment began.
    #[serde(default, deserialize_with = "decode::supported_time")]
    pub started_at: Option<Time>,
    /// When the deployment ended.
    #[serde(default, deserialize_with = "decode::supported_time")]
    pub finished_at: Option<Time>,
    /// When the current pause of the rollout began.
    #[serde(default, deserialize_with = "decode::supported_time")]
    pub paused_at: Option<Time>,
    /// Time for which the rollout was paused before `paused_at`, in seconds.
    pub paused_seconds: Option<i64>,
}

/// A `DoraIncident` with only the fields that the index of incidents and the publisher's queue need.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = DoraIncident)]
pub struct SlimDoraIncident {
    #[serde(deserialize_with = "decode::slim_metadata")]
    metadata: ObjectMeta,
    /// The spec.
    #[serde(default)]
    pub spec: SlimIncidentSpec,
    #[serde(default, deserialize_with = "decode::null_as_default")]
    status: SlimStatus,
}

/// The spec of a [`SlimDoraIncident`]. For the fields, see [`super::DoraIncidentSpec`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimIncidentSpec {
    /// Identifier of the entity in Port, if the spec says so.
    pub identifier: Option<String>,
    /// The affected workload.
    pub workload_ref: Option<AffectedWorkload>,
    /// Whether the incident is open or resolved.
    pub status: IncidentStatus,
    /// When the incident began, if the spec says so.
    #[serde(deserialize_with = "decode::readable_time")]
    pub created_at: Option<Time>,
    /// When the incident was resolved, if the spec says so.
    #[serde(deserialize_with = "decode::supported_time")]
    pub resolved_at: Option<Time>,
}

/// The fields that the statuses of both custom resources have, and some that only one of them has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SlimStatus {
    /// Only incidents have this field.
    #[serde(deserialize_with = "decode::supported_time")]
    resolved_at: Option<Time>,
    observed_generation: Option<i64>,
    observed_settings: Option<String>,
    /// Only incidents have this field.
    observed_cause: Option<String>,
    /// Only records have this field.
    incident: Option<String>,
    /// Only records have this field.
    #[serde(deserialize_with = "decode::readable_time")]
    reported_loss: Option<Time>,
    conditions: Vec<SlimCondition>,
    entity: Option<SlimEntity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SlimEntity {
    identifier: String,
    #[serde(deserialize_with = "decode::supported_time")]
    delivered_at: Option<Time>,
}

#[derive(Clone, Debug, Deserialize)]
struct SlimCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: String,
}

/// The identifier in Port that a resource asks for with `spec.identifier`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IdentifierClaim<'a> {
    /// The identifier.
    pub identifier: &'a str,
    /// Whether the controller has sent the resource with this identifier, or is about to: the status names it.
    pub is_established: bool,
}

impl<'a> IdentifierClaim<'a> {
    /// The claim to `identifier` of a resource whose status names the entity `sent`.
    #[must_use]
    pub fn new(identifier: &'a str, sent: Option<&str>) -> Self {
        Self { identifier, is_established: sent == Some(identifier) }
    }
}

/// How far the delivery of a resource to Port has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryState {
    /// The controller has not processed this generation of the resource.
    New,
    /// The delivery failed. The queue of the leader schedules the retry.
    Failed,
    /// Nothing is left to do now, but the cause of the incident may still change. The leader looks it up again later.
    Undecided,
    /// Nothing was left to do with the settings with which the status was written. They were others than now.
    Outdated,
    /// The controller refused the resource, whose identifier belongs to another one.
    Refused,
    /// Nothing is left to do.
    Settled,
}

/// Whether Port has the entity of a record.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum EntityState {
    /// Port doesn't have it yet.
    #[default]
    Awaited,
    /// Port has it.
    Delivered,
    /// The settings exclude the record from Port.
    Withheld,
}

impl SlimStatus {
    /// The state of the resource with this `generation`, for settings with this digest. `dry_run` is whether nothing is sent to Port.
    fn delivery_state(&self, generation: Option<i64>, settings: &str, dry_run: bool) -> DeliveryState {
        match self.synced(generation) {
            None => DeliveryState::New,
            // The dry run is over.
            Some(synced) if synced.reason == DRY_RUN && !dry_run => DeliveryState::New,
            Some(synced) if REFUSED_REASONS.contains(&synced.reason.as_str()) => DeliveryState::Refused,
            Some(synced) if synced.status != "True" && !HELD_REASONS.contains(&synced.reason.as_str()) => {
                DeliveryState::Failed
            }
            Some(_) if self.observed_settings.as_deref() != Some(settings) => DeliveryState::Outdated,
            Some(_) => DeliveryState::Settled,
        }
    }

    fn claim<'a>(&self, identifier: Option<&'a str>) -> Option<IdentifierClaim<'a>> {
        let sent = self.entity.as_ref().map(|entity| entity.identifier.as_str());
        Some(IdentifierClaim::new(identifier?, sent))
    }

    /// The condition `Synced`, if it describes this generation.
    fn synced(&self, generation: Option<i64>) -> Option<&SlimCondition> {
        let is_current = self.observed_generation == generation;
        self.conditions.iter().find(|condition| is_current && condition.type_ == SYNCED)
    }
}

impl Undecodable {
    /// How far the delivery of this resource has come. Settled once its status says that it can't be decoded: then nothing is left to do until
    /// it changes.
    #[must_use]
    pub fn delivery_state(&self) -> DeliveryState {
        let status = self.part::<SlimStatus>("status");
        let is_reported = status.synced(self.metadata.generation).is_some_and(|synced| synced.reason == UNDECODABLE);
        if is_reported { DeliveryState::Settled } else { DeliveryState::New }
    }
}

impl SlimDoraDeployment {
    /// How far its delivery has come, for settings with this digest. `dry_run` is whether nothing is sent to Port.
    #[must_use]
    pub fn delivery_state(&self, settings: &str, dry_run: bool) -> DeliveryState {
        self.status.delivery_state(self.metadata.generation, settings, dry_run)
    }

    /// Whether Port has its entity. `dry_run` is whether nothing is sent to Port.
    #[must_use]
    pub fn entity_state(&self, dry_run: bool) -> EntityState {
        let synced = self.status.synced(self.metadata.generation);
        let is_withheld = |synced: &SlimCondition| {
            let reason = synced.reason.as_str();
            reason == NOT_PUBLISHED || reason == DRY_RUN && dry_run || REFUSED_REASONS.contains(&reason)
        };
        if self.entity().is_some() {
            EntityState::Delivered
        } else if synced.is_some_and(is_withheld) {
            EntityState::Withheld
        } else {
            EntityState::Awaited
        }
    }

    /// The identifier that it asks for, if any.
    #[must_use]
    pub fn claim(&self) -> Option<IdentifierClaim<'_>> {
        self.status.claim(self.spec.identifier.as_deref())
    }

    /// Name of the incident of the deployment, if it has had one.
    #[must_use]
    pub fn incident(&self) -> Option<&str> {
        self.status.incident.as_deref()
    }

    /// Start of the last loss of availability that has had an incident.
    #[must_use]
    pub fn reported_loss(&self) -> Option<Timestamp> {
        self.status.reported_loss.as_ref().map(|time| time.0)
    }

    /// Identifier of its entity, if Port has accepted one.
    #[must_use]
    pub fn entity(&self) -> Option<&str> {
        let entity = self.status.entity.as_ref().filter(|entity| entity.delivered_at.is_some())?;
        Some(&entity.identifier)
    }

    /// Preconditions for its deletion: the API server deletes it only in the version of this view.
    #[must_use]
    pub fn preconditions(&self) -> Preconditions {
        Preconditions { uid: self.metadata.uid.clone(), resource_version: self.metadata.resource_version.clone() }
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// `metadata.generation`.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }

    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}

impl SlimDoraIncident {
    /// How far its delivery has come, for settings with this digest. Not settled while its cause may still change, and without the
    /// annotations that keep its identity in a backup, which earlier versions did not write. `dry_run` is whether nothing is sent to Port.
    #[must_use]
    pub fn delivery_state(&self, settings: &str, dry_run: bool) -> DeliveryState {
        let has_annotation = self.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(ENTITY));
        match self.status.delivery_state(self.metadata.generation, settings, dry_run) {
            DeliveryState::Settled | DeliveryState::Outdated if !has_annotation && !dry_run => DeliveryState::New,
            DeliveryState::Settled | DeliveryState::Outdated if self.status.observed_cause.is_none() => {
                DeliveryState::Undecided
            }
            state => state,
        }
    }

    /// The identifier that it asks for, if any.
    #[must_use]
    pub fn claim(&self) -> Option<IdentifierClaim<'_>> {
        self.status.claim(self.spec.identifier.as_deref())
    }

    /// When it began.
    #[must_use]
    pub fn opened_at(&self) -> Option<Timestamp> {
        let opened_at = self.spec.created_at.as_ref().or(self.metadata.creation_timestamp.as_ref());
        opened_at.map(|time| time.0)
    }

    /// When it was resolved. `None` while it is open, and until the controller has determined the time.
    #[must_use]
    pub fn resolved_at(&self) -> Option<Timestamp> {
        let resolved_at = self.spec.resolved_at.as_ref().or(self.status.resolved_at.as_ref());
        resolved_at.filter(|_| self.spec.status == IncidentStatus::Resolved).map(|time| time.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(generation: i64, status: &str, reason: &str, settings: &str, cause: Option<&str>) -> SlimStatus {
        serde_json::from_value(json!({
            "observedGeneration": generation,
            "observedSettings": settings,
            "observedCause": cause,
            "conditions": [{"type": "Synced", "status": status, "reason": reason}],
        }))
        .unwrap()
    }

    fn incident_state(reason: &str, cause: Option<&str>, annotations: &Value) -> DeliveryState {
        let annotations = serde_json::from_value(annotations.clone()).unwrap();
        let metadata = ObjectMeta { generation: Some(2), annotations, ..ObjectMeta::default() };
        let synced = if reason == "Delivered" { "True" } else { "False" };
        let status = status(2, synced, reason, "digest", cause);
        SlimDoraIncident { metadata, spec: SlimIncidentSpec::default(), status }.delivery_state("digest", false)
    }

    #[test]
    fn state_follows_generation_reason_and_settings() {
        let state = |generation, synced, reason, settings| {
            status(2, synced, reason, settings, None).delivery_state(Some(generation), "digest", false)
        };
        assert_eq!(state(2, "True", "Delivered", "digest"), DeliveryState::Settled);
        assert_eq!(state(2, "False", "InProgress", "digest"), DeliveryState::Settled);
        assert_eq!(state(2, "False", "NotPublished", "digest"), DeliveryState::Settled);
        assert_eq!(state(2, "False", "Unreachable", "digest"), DeliveryState::Failed);
        assert_eq!(state(2, "False", "Unreachable", "others"), DeliveryState::Failed);
        assert_eq!(state(2, "False", "IdentifierTaken", "digest"), DeliveryState::Refused);
        assert_eq!(state(3, "True", "Delivered", "digest"), DeliveryState::New);
        assert_eq!(state(3, "True", "Delivered", "others"), DeliveryState::New);
        assert_eq!(state(2, "True", "Delivered", "others"), DeliveryState::Outdated);
        assert_eq!(state(2, "False", "NotPublished", "others"), DeliveryState::Outdated);
        assert_eq!(SlimStatus::default().delivery_state(Some(1), "digest", false), DeliveryState::New);
    }

    #[test]
    fn end_of_a_dry_run_makes_its_resources_new() {
        let state =
            |settings, dry_run| status(2, "False", "DryRun", settings, None).delivery_state(Some(2), "digest", dry_run);
        assert_eq!((state("digest", true), state("others", true)), (DeliveryState::Settled, DeliveryState::Outdated));
        assert_eq!((state("digest", false), state("others", false)), (DeliveryState::New, DeliveryState::New));
        let delivered = status(2, "True", "Delivered", "digest", None).delivery_state(Some(2), "digest", true);
        assert_eq!(delivered, DeliveryState::Settled, "a dry run has nothing to do for what Port has");
    }

    #[test]
    fn entity_is_awaited_until_port_has_it() {
        let state = |status: serde_json::Value| {
            let record = json!({
                "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment", "metadata": {"generation": 2},
                "spec": {"outcome": "Succeeded"}, "status": status,
            });
            serde_json::from_value::<SlimDoraDeployment>(record).unwrap().entity_state(false)
        };
        let held = |reason: &str| {
            json!({
                "observedGeneration": 2, "observedSettings": "digest",
                "conditions": [{"type": "Synced", "status": "False", "reason": reason}],
            })
        };
        assert_eq!(state(json!({})), EntityState::Awaited);
        assert_eq!(state(held("InProgress")), EntityState::Awaited);
        assert_eq!(state(held("NotPublished")), EntityState::Withheld);
        assert_eq!(state(json!({"entity": {"identifier": "a"}})), EntityState::Awaited, "it is about to be sent");
        let delivered = json!({"entity": {"identifier": "a", "deliveredAt": "2026-01-31T10:00:00Z"}});
        assert_eq!(state(delivered), EntityState::Delivered);
    }

    #[test]
    fn unreadable_time_leaves_the_rest_readable() {
        let incident = json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {"name": "down", "creationTimestamp": "2026-01-31T10:00:00Z"},
            "spec": {"createdAt": "9999-12-31T23:59:59Z"},
        });
        let incident: SlimDoraIncident = serde_json::from_value(incident).unwrap();
        assert_eq!(incident.opened_at(), "2026-01-31T10:00:00Z".parse().ok());
    }

    #[test]
    fn incident_is_unsettled_until_its_cause_is_certain() {
        let (annotation, none) = (json!({ ENTITY: "prod:shop:down" }), json!({}));
        assert_eq!(incident_state("Delivered", None, &annotation), DeliveryState::Undecided);
        assert_eq!(incident_state("Delivered", Some("answer"), &annotation), DeliveryState::Settled);
        assert_eq!(incident_state("Delivered", Some("answer"), &none), DeliveryState::New, "of an earlier version");
    }
}
