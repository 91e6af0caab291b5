//! Which resources have to be looked at: those that changed since their status was written.

use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource};
use serde::Deserialize;
use tracing::warn;

use super::condition::SYNCED;
use super::record::HELD_REASONS;
use super::{Context, Key, Publisher};
use crate::cluster::{self, Synced, watch_each};
use crate::resources::{DeploymentReference, DoraDeployment, DoraIncident, Outcome};

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
pub struct SlimSpec {
    /// The rollout that it records.
    pub deployment: Option<DeploymentReference>,
    /// How it ended.
    pub outcome: Outcome,
}

/// A `DoraIncident` with only what the backlog reads of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = DoraIncident)]
pub struct SlimDoraIncident {
    #[serde(deserialize_with = "cluster::slim_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    status: SlimStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SlimStatus {
    observed_generation: Option<i64>,
    observed_settings: Option<String>,
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
    /// Whether nothing is left to do for the resource in this state.
    fn is_settled(&self, generation: Option<i64>, context: &Context) -> bool {
        let synced = self.conditions.iter().find(|condition| condition.kind == SYNCED);
        self.observed_generation == generation
            && self.observed_settings.as_deref() == Some(context.digest())
            && synced.is_some_and(|synced| synced.status == "True" || HELD_REASONS.contains(&synced.reason.as_str()))
    }
}

fn key(metadata: &ObjectMeta) -> Option<Key> {
    Some(Key { namespace: metadata.namespace.as_deref()?.into(), name: metadata.name.as_deref()?.into() })
}

fn offer<R: super::Record>(publisher: &Publisher<R>, metadata: &ObjectMeta, status: &SlimStatus) {
    if status.is_settled(metadata.generation, publisher.context()) {
        return;
    }
    if let Some(key) = key(metadata) {
        publisher.queue().add(key);
    }
}

impl SlimDoraDeployment {
    /// Has the publisher look at it, unless it is settled.
    pub fn offer(&self, publisher: &Publisher<DoraDeployment>) {
        offer(publisher, &self.metadata, &self.status);
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
pub async fn watch_incidents(client: Client, publisher: &Publisher<DoraIncident>, synced: Synced) {
    watch_each(Api::<DeserializeGuard<SlimDoraIncident>>::all(client), synced, |event| match event {
        Event::Apply(incident) | Event::InitApply(incident) => {
            if let Some(incident) = readable(incident) {
                offer(publisher, &incident.metadata, &incident.status);
            }
        }
        Event::Delete(_) | Event::Init | Event::InitDone => {}
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
