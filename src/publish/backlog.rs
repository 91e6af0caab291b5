//! Which resources have to be looked at: those that changed since their status was written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, Preconditions};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource};
use serde::Deserialize;
use tracing::warn;

use super::condition::SYNCED;
use super::record::HELD_REASONS;
use super::{Context, Key, Publisher};
use crate::cluster::{self, Synced, watch_each};
use crate::resources::{
    ChangeKind, DeploymentRef, DeploymentReference, DoraDeployment, DoraIncident, IncidentStatus, Outcome,
};

/// A `DoraDeployment` with only what the ledger and the backlog read of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = DoraDeployment)]
pub struct SlimDoraDeployment {
    #[serde(deserialize_with = "cluster::slim_metadata")]
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
    /// The rollout that it records.
    pub deployment: Option<DeploymentReference>,
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
    #[serde(deserialize_with = "cluster::slim_metadata")]
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
    /// The Deployment that it concerns.
    pub deployment_ref: Option<DeploymentRef>,
    /// Whether it still lasts.
    pub status: IncidentStatus,
    /// When it was over.
    pub resolved_at: Option<Time>,
}

impl SlimDoraIncident {
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
}

#[derive(Clone, Debug, Deserialize)]
struct SlimCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
}

impl SlimStatus {
    /// What is left to do for the resource in this state.
    fn standing(&self, generation: Option<i64>, context: &Context) -> Standing {
        let current =
            self.observed_generation == generation && self.observed_settings.as_deref() == Some(context.digest());
        let synced = self.conditions.iter().find(|condition| condition.kind == SYNCED);
        match synced {
            Some(synced) if current => {
                let held = HELD_REASONS.contains(&synced.reason.as_str());
                if synced.status == "True" || held { Standing::Settled } else { Standing::Failed }
            }
            _ => Standing::New,
        }
    }

    /// The same of an incident, whose cause may still become another.
    fn standing_of_incident(&self, generation: Option<i64>, context: &Context) -> Standing {
        match self.standing(generation, context) {
            Standing::Settled if self.observed_cause.is_none() => Standing::Failed,
            standing => standing,
        }
    }

    /// The reason of the condition `Synced`, if it speaks of the resource and the settings as they are.
    pub(super) fn reason(&self, generation: Option<i64>, context: &Context) -> Option<&str> {
        let current =
            self.observed_generation == generation && self.observed_settings.as_deref() == Some(context.digest());
        let synced = self.conditions.iter().find(|condition| condition.kind == SYNCED);
        synced.filter(|_| current).map(|synced| synced.reason.as_str())
    }
}

/// What is left to do for a resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// Nobody has looked at this state of it.
    New,
    /// It could not be delivered, or its cause is not certain; the queue of the one who tried knows when to try again.
    Failed,
    /// Nothing.
    Settled,
}

fn key(metadata: &ObjectMeta) -> Option<Key> {
    Some(Key { namespace: metadata.namespace.as_deref()?.into(), name: metadata.name.as_deref()?.into() })
}

/// `listed`: it comes from a list, and what this process knew of it may be lost or was never known.
fn offer<R: super::Record>(publisher: &Publisher<R>, metadata: &ObjectMeta, standing: Standing, listed: bool) {
    let Some(key) = key(metadata) else {
        return;
    };
    match standing {
        Standing::Settled => publisher.queue().withdraw(&key),
        // Its own status write must not cut short the wait before the next attempt.
        Standing::Failed if !listed => {}
        Standing::Failed | Standing::New => publisher.queue().add(key),
    }
}

impl SlimDoraDeployment {
    /// Has the publisher look at it, unless nothing is left to do. `listed`: it comes from a list, not from a change.
    pub fn offer(&self, publisher: &Publisher<DoraDeployment>, listed: bool) {
        let standing = self.status.standing(self.metadata.generation, publisher.context());
        offer(publisher, &self.metadata, standing, listed);
    }

    /// Whether Port has it as it is, or is not to have it.
    #[must_use]
    pub fn is_settled(&self, context: &Context) -> bool {
        !context.dry_run && self.status.standing(self.metadata.generation, context) == Standing::Settled
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

/// Has the publisher look at each incident that is not settled, for ever.
///
/// `seen` is told of each as it is now, and `gone` of each that is deleted.
pub async fn watch_incidents(
    client: Client,
    publisher: &Publisher<DoraIncident>,
    seen: impl Fn(&SlimDoraIncident),
    gone: impl Fn(&SlimDoraIncident),
    synced: Synced,
) {
    let offer_incident = |incident: DeserializeGuard<SlimDoraIncident>, listed| {
        let metadata = incident.meta();
        let is_leaving = metadata.deletion_timestamp.is_some();
        if is_leaving {
            // Whatever else it says, and whether or not it can be read: it must not wait for us longer than it has to.
            offer(publisher, metadata, Standing::New, listed);
        }
        if let Some(incident) = readable(incident) {
            if !is_leaving {
                let standing = incident.status.standing_of_incident(incident.metadata.generation, publisher.context());
                offer(publisher, &incident.metadata, standing, listed);
            }
            seen(&incident);
        }
    };
    watch_each(Api::<DeserializeGuard<SlimDoraIncident>>::all(client), synced, |event| match event {
        Event::Apply(incident) => offer_incident(incident, false),
        Event::InitApply(incident) => offer_incident(incident, true),
        Event::Delete(incident) => {
            if let Some(incident) = readable(incident) {
                gone(&incident);
            }
        }
        Event::Init | Event::InitDone => {}
    })
    .await;
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
    use crate::settings::FileSettings;

    #[test]
    fn a_resource_is_settled_only_in_the_state_and_with_the_settings_that_its_status_speaks_of() {
        let context = Context::new("prod".to_owned(), FileSettings::default(), false);
        let standing = |generation: i64, status: &str, reason: &str, settings: &str| {
            let status: SlimStatus = serde_json::from_value(json!({
                "observedGeneration": 2,
                "observedSettings": settings,
                "conditions": [{"type": "Synced", "status": status, "reason": reason}],
            }))
            .unwrap();
            status.standing(Some(generation), &context)
        };
        let settings = context.digest();
        assert_eq!(standing(2, "True", "Delivered", settings), Standing::Settled);
        assert_eq!(standing(2, "False", "InProgress", settings), Standing::Settled);
        assert_eq!(standing(2, "False", "NotPublished", settings), Standing::Settled);
        assert_eq!(standing(2, "False", "Unreachable", settings), Standing::Failed);
        assert_eq!(standing(3, "True", "Delivered", settings), Standing::New);
        assert_eq!(standing(2, "True", "Delivered", "others"), Standing::New);
        assert_eq!(SlimStatus::default().standing(Some(1), &context), Standing::New);
    }

    #[test]
    fn an_incident_is_looked_at_by_whoever_takes_over_until_its_cause_is_certain() {
        let context = Context::new("prod".to_owned(), FileSettings::default(), false);
        let standing = |cause: Option<&str>| {
            let status: SlimStatus = serde_json::from_value(json!({
                "observedGeneration": 2,
                "observedSettings": context.digest(),
                "observedCause": cause,
                "conditions": [{"type": "Synced", "status": "True", "reason": "Delivered"}],
            }))
            .unwrap();
            status.standing_of_incident(Some(2), &context)
        };
        assert_eq!((standing(None), standing(Some("digest"))), (Standing::Failed, Standing::Settled));
    }
}
