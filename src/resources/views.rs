//! Slim views of the custom resources: the fields that the watches keep.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::{ObjectMeta, Preconditions};
use rollout::{ChangeKind, Outcome};
use serde::Deserialize;

use super::conditions::{DRY_RUN, HELD_REASONS, NOT_PUBLISHED, REFUSED_REASONS, SYNCED};
use super::{
    AffectedWorkload, DoraDeployment, DoraIncident, ENTITY, IncidentStatus, RevisionReference, WorkloadReference,
    decode,
};

/// A `DoraDeployment` with only the fields that the records and the publisher's queue need.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = DoraDeployment)]
pub struct SlimDoraDeployment {
    #[serde(deserialize_with = "decode::slim_metadata")]
    metadata: ObjectMeta,
    /// The spec.
    pub spec: SlimSpec,
    #[serde(default)]
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
    /// When the deployment began.
    pub started_at: Option<Time>,
    /// When the deployment ended.
    pub finished_at: Option<Time>,
    /// When the current pause of the rollout began.
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
    #[serde(default)]
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
    /// When the incident was resolved, if the spec says so.
    pub resolved_at: Option<Time>,
}

/// The fields that the statuses of both custom resources have, and some that only incidents have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SlimStatus {
    /// Only incidents have this field.
    resolved_at: Option<Time>,
    observed_generation: Option<i64>,
    observed_settings: Option<String>,
    /// Only incidents have this field.
    observed_cause: Option<String>,
    conditions: Vec<SlimCondition>,
    entity: Option<SlimEntity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SlimEntity {
    identifier: String,
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
    /// The controller has not processed this generation of the resource with the current settings.
    New,
    /// The delivery failed, or the cause of the incident may still change. The queue of the leader schedules the retry.
    Failed,
    /// The controller refused the resource, whose identifier belongs to another one.
    Refused,
    /// Nothing is left to do.
    Settled,
}

impl SlimStatus {
    /// The state of the resource with this `generation`, for settings with this digest.
    fn delivery_state(&self, generation: Option<i64>, settings: &str) -> DeliveryState {
        match self.synced(generation, settings) {
            Some(synced) if synced.status == "True" || HELD_REASONS.contains(&synced.reason.as_str()) => {
                DeliveryState::Settled
            }
            Some(synced) if REFUSED_REASONS.contains(&synced.reason.as_str()) => DeliveryState::Refused,
            Some(_) => DeliveryState::Failed,
            None => DeliveryState::New,
        }
    }

    fn claim<'a>(&self, identifier: Option<&'a str>) -> Option<IdentifierClaim<'a>> {
        let sent = self.entity.as_ref().map(|entity| entity.identifier.as_str());
        Some(IdentifierClaim::new(identifier?, sent))
    }

    /// The condition `Synced`, if it describes this generation and these settings.
    fn synced(&self, generation: Option<i64>, settings: &str) -> Option<&SlimCondition> {
        let is_current = self.observed_generation == generation && self.observed_settings.as_deref() == Some(settings);
        self.conditions.iter().find(|condition| is_current && condition.type_ == SYNCED)
    }
}

impl SlimDoraDeployment {
    /// How far its delivery has come, for settings with this digest.
    #[must_use]
    pub fn delivery_state(&self, settings: &str) -> DeliveryState {
        self.status.delivery_state(self.metadata.generation, settings)
    }

    /// Whether the controller doesn't send the record with these settings, because they exclude it or because it is refused.
    #[must_use]
    pub fn is_withheld(&self, settings: &str) -> bool {
        let reasons = [&[DRY_RUN, NOT_PUBLISHED], &REFUSED_REASONS[..]].concat();
        let synced = self.status.synced(self.metadata.generation, settings);
        synced.is_some_and(|synced| reasons.contains(&synced.reason.as_str()))
    }

    /// The identifier that it asks for, if any.
    #[must_use]
    pub fn claim(&self) -> Option<IdentifierClaim<'_>> {
        self.status.claim(self.spec.identifier.as_deref())
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
    /// annotations that keep its identity in a backup, which earlier versions did not write.
    #[must_use]
    pub fn delivery_state(&self, settings: &str) -> DeliveryState {
        let generation = self.metadata.generation;
        let state = self.status.delivery_state(generation, settings);
        let is_dry_run = || self.status.synced(generation, settings).is_some_and(|synced| synced.reason == DRY_RUN);
        let has_annotation = self.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(ENTITY));
        match state {
            DeliveryState::Settled if !has_annotation && !is_dry_run() => DeliveryState::New,
            DeliveryState::Settled if self.status.observed_cause.is_none() => DeliveryState::Failed,
            state => state,
        }
    }

    /// The identifier that it asks for, if any.
    #[must_use]
    pub fn claim(&self) -> Option<IdentifierClaim<'_>> {
        self.status.claim(self.spec.identifier.as_deref())
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
        SlimDoraIncident { metadata, spec: SlimIncidentSpec::default(), status }.delivery_state("digest")
    }

    #[test]
    fn resource_with_a_stale_status_is_new() {
        let state = |generation, synced, reason, settings| {
            status(2, synced, reason, settings, None).delivery_state(Some(generation), "digest")
        };
        assert_eq!(state(2, "True", "Delivered", "digest"), DeliveryState::Settled);
        assert_eq!(state(2, "False", "InProgress", "digest"), DeliveryState::Settled);
        assert_eq!(state(2, "False", "NotPublished", "digest"), DeliveryState::Settled);
        assert_eq!(state(2, "False", "Unreachable", "digest"), DeliveryState::Failed);
        assert_eq!(state(2, "False", "IdentifierTaken", "digest"), DeliveryState::Refused);
        assert_eq!(state(3, "True", "Delivered", "digest"), DeliveryState::New);
        assert_eq!(state(2, "True", "Delivered", "others"), DeliveryState::New);
        assert_eq!(SlimStatus::default().delivery_state(Some(1), "digest"), DeliveryState::New);
    }

    #[test]
    fn incident_is_unsettled_until_its_cause_is_certain() {
        let (annotation, none) = (json!({ ENTITY: "prod:shop:down" }), json!({}));
        assert_eq!(incident_state("Delivered", None, &annotation), DeliveryState::Failed);
        assert_eq!(incident_state("Delivered", Some("answer"), &annotation), DeliveryState::Settled);
        assert_eq!(incident_state("Delivered", Some("answer"), &none), DeliveryState::New, "of an earlier version");
        assert_eq!(incident_state("DryRun", Some("answer"), &none), DeliveryState::Settled);
    }
}
