//! Slim views of our own resources: what the watches keep of them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::{ObjectMeta, Preconditions};
use kube::core::DeserializeGuard;
use rollout::{ChangeKind, Outcome};
use serde::Deserialize;
use tracing::warn;

use super::conditions::{DRY_RUN, HELD_REASONS, NOT_PUBLISHED, SYNCED};
use super::{DoraDeployment, DoraIncident, IncidentStatus, RevisionReference, WorkloadRef, WorkloadReference, decode};

/// A `DoraDeployment` with only what the ledger and the backlog read of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = DoraDeployment)]
pub struct SlimDoraDeployment {
    #[serde(deserialize_with = "decode::metadata")]
    metadata: ObjectMeta,
    /// Of its spec.
    pub spec: SlimSpec,
    #[serde(default)]
    status: SlimStatus,
}

/// Of the spec of a `DoraDeployment`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlimSpec {
    /// The workload that was rolled out.
    pub workload: Option<WorkloadReference>,
    /// Its revision.
    pub revision: Option<RevisionReference>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it changed.
    pub change: Option<ChangeKind>,
    /// When it began.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// Since when it is paused.
    pub paused_at: Option<Time>,
    /// Seconds for which it was paused before that.
    pub paused_seconds: Option<i64>,
}

/// A `DoraIncident` with only what the backlog reads of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = DoraIncident)]
pub struct SlimDoraIncident {
    #[serde(deserialize_with = "decode::metadata")]
    metadata: ObjectMeta,
    /// Of its spec.
    #[serde(default)]
    pub spec: SlimIncidentSpec,
    #[serde(default)]
    status: SlimStatus,
}

/// Of the spec of a `DoraIncident`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlimIncidentSpec {
    /// The workload that it concerns.
    pub workload_ref: Option<WorkloadRef>,
    /// Whether it still lasts.
    pub status: IncidentStatus,
    /// When it was over.
    pub resolved_at: Option<Time>,
}

impl SlimDoraIncident {
    /// What is left to do for it with the settings of this digest. Its cause may still become another.
    #[must_use]
    pub fn delivery_state(&self, settings: &str) -> DeliveryState {
        match self.status.delivery_state(self.metadata.generation, settings) {
            DeliveryState::Settled if self.status.observed_cause.is_none() => DeliveryState::Failed,
            state => state,
        }
    }

    /// When it was over; `None` while it lasts, and as long as nobody has said when.
    #[must_use]
    pub fn resolved_at(&self) -> Option<Timestamp> {
        let said = self.spec.resolved_at.as_ref().or(self.status.resolved_at.as_ref());
        said.filter(|_| self.spec.status == IncidentStatus::Resolved).map(|time| time.0)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SlimStatus {
    /// Of incidents only.
    resolved_at: Option<Time>,
    observed_generation: Option<i64>,
    observed_settings: Option<String>,
    /// Of incidents only.
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
    kind: String,
    status: String,
    reason: String,
}

impl SlimStatus {
    /// What is left to do for the resource at `generation` with the settings of this digest.
    fn delivery_state(&self, generation: Option<i64>, settings: &str) -> DeliveryState {
        match self.synced(generation, settings) {
            Some(synced) if synced.status == "True" || HELD_REASONS.contains(&synced.reason.as_str()) => {
                DeliveryState::Settled
            }
            Some(_) => DeliveryState::Failed,
            None => DeliveryState::New,
        }
    }

    /// The condition `Synced`, if it speaks of this generation and these settings.
    fn synced(&self, generation: Option<i64>, settings: &str) -> Option<&SlimCondition> {
        let is_current = self.observed_generation == generation && self.observed_settings.as_deref() == Some(settings);
        self.conditions.iter().find(|condition| is_current && condition.kind == SYNCED)
    }
}

/// What is left to do for a resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryState {
    /// Nobody has looked at this state of it.
    New,
    /// It could not be delivered, or its cause is not certain; the queue of the one who tried knows when to try again.
    Failed,
    /// Nothing.
    Settled,
}

impl SlimDoraDeployment {
    /// What is left to do for it with the settings of this digest.
    #[must_use]
    pub fn delivery_state(&self, settings: &str) -> DeliveryState {
        self.status.delivery_state(self.metadata.generation, settings)
    }

    /// Whether the settings of this digest keep it from Port as it is.
    #[must_use]
    pub fn is_withheld(&self, settings: &str) -> bool {
        let synced = self.status.synced(self.metadata.generation, settings);
        synced.is_some_and(|synced| [DRY_RUN, NOT_PUBLISHED].contains(&synced.reason.as_str()))
    }

    /// Identifier of its entity, if Port has accepted one.
    #[must_use]
    pub fn entity(&self) -> Option<&str> {
        let entity = self.status.entity.as_ref().filter(|entity| entity.delivered_at.is_some())?;
        Some(&entity.identifier)
    }

    /// What a deletion has to find unchanged.
    #[must_use]
    pub fn preconditions(&self) -> Preconditions {
        Preconditions { uid: self.metadata.uid.clone(), resource_version: self.metadata.resource_version.clone() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its generation.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}

/// What was decoded. A resource of another version of its definition, which can't be, must not keep the watch from the others.
pub fn readable<K: Resource<DynamicType = ()>>(guarded: DeserializeGuard<K>) -> Option<K> {
    guarded
        .0
        .inspect_err(|invalid| {
            let ObjectMeta { namespace, name, .. } = &invalid.metadata;
            warn!(
                kind = %K::kind(&()), namespace, name, error = invalid.error,
                "the resource can't be read and is left alone: apply the custom resource definitions of this version",
            );
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    #[test]
    fn only_a_current_status_settles_a_resource() {
        let state = |generation, synced, reason, settings| {
            status(2, synced, reason, settings, None).delivery_state(Some(generation), "digest")
        };
        assert_eq!(state(2, "True", "Delivered", "digest"), DeliveryState::Settled);
        assert_eq!(state(2, "False", "InProgress", "digest"), DeliveryState::Settled);
        assert_eq!(state(2, "False", "NotPublished", "digest"), DeliveryState::Settled);
        assert_eq!(state(2, "False", "Unreachable", "digest"), DeliveryState::Failed);
        assert_eq!(state(3, "True", "Delivered", "digest"), DeliveryState::New);
        assert_eq!(state(2, "True", "Delivered", "others"), DeliveryState::New);
        assert_eq!(SlimStatus::default().delivery_state(Some(1), "digest"), DeliveryState::New);
    }

    #[test]
    fn incident_is_unsettled_until_its_cause_is_certain() {
        let state = |cause| {
            let metadata = ObjectMeta { generation: Some(2), ..ObjectMeta::default() };
            let status = status(2, "True", "Delivered", "digest", cause);
            SlimDoraIncident { metadata, spec: SlimIncidentSpec::default(), status }.delivery_state("digest")
        };
        assert_eq!((state(None), state(Some("answer"))), (DeliveryState::Failed, DeliveryState::Settled));
    }
}
