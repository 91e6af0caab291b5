//! The states of a Deployment and its ReplicaSets as a watch delivers them, in a form that tests can compare.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// A condition of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub status: String,
    pub reason: String,
    pub message: String,
    /// `lastUpdateTime`, in whole seconds.
    pub updated: Timestamp,
    /// `lastTransitionTime`, in whole seconds.
    pub transitioned: Timestamp,
}

impl Condition {
    /// The ReplicaSet that the message names, if any.
    pub fn names(&self) -> Option<&str> {
        if self.message.starts_with("Deployment") {
            return None;
        }
        self.message.split('"').nth(1)
    }
}

/// How far the deletion of a Deployment has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is not being deleted.
    None,
    /// It has a deletion timestamp, and waits for its dependents.
    Pending,
    /// It is gone.
    Done,
}

/// One state of the Deployment, from one event of the watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentState {
    pub uid: String,
    pub resource_version: u64,
    pub deletion: Deletion,
    pub generation: i64,
    pub observed_generation: Option<i64>,
    pub revision: Option<i64>,
    pub annotations: BTreeMap<String, String>,
    pub paused: bool,
    pub wanted: i32,
    pub replicas: i32,
    pub updated: i32,
    pub available: i32,
    pub progressing: Option<Condition>,
    pub available_condition: Option<Condition>,
    pub replica_failure: Option<Condition>,
}

impl DeploymentState {
    /// The reason of the condition Progressing.
    pub fn reason(&self) -> Option<&str> {
        self.progressing.as_ref().map(|condition| condition.reason.as_str())
    }

    /// The condition Progressing, or an error if it is missing.
    pub fn progress(&self) -> Result<&Condition> {
        self.progressing.as_ref().with_context(|| format!("no condition Progressing: {self:?}"))
    }

    /// Whether this is the last state, after the deletion.
    pub fn is_deleted(&self) -> bool {
        self.deletion == Deletion::Done
    }

    /// Whether the controller has observed the newest generation.
    pub fn is_observed(&self) -> bool {
        self.observed_generation == Some(self.generation)
    }

    /// Whether the rollout is complete according to the counts, by the rule of `kubectl rollout status` and the
    /// controller.
    pub fn is_complete_by_counts(&self) -> bool {
        self.is_observed() && [self.replicas, self.updated, self.available] == [self.wanted; 3]
    }

    fn new(deployment: &Deployment, deleted: bool) -> Self {
        let metadata = &deployment.metadata;
        let spec = deployment.spec.as_ref();
        let status = deployment.status.as_ref();
        let condition = |kind: &str| {
            let conditions = status?.conditions.as_ref()?;
            conditions.iter().find(|condition| condition.type_ == kind).map(Condition::from)
        };
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: resource_version(metadata),
            deletion: match metadata.deletion_timestamp {
                _ if deleted => Deletion::Done,
                Some(_) => Deletion::Pending,
                None => Deletion::None,
            },
            generation: metadata.generation.unwrap_or_default(),
            observed_generation: status.and_then(|status| status.observed_generation),
            revision: revision(metadata),
            annotations: metadata.annotations.clone().unwrap_or_default(),
            paused: spec.and_then(|spec| spec.paused).unwrap_or_default(),
            wanted: spec.and_then(|spec| spec.replicas).unwrap_or_default(),
            replicas: status.and_then(|status| status.replicas).unwrap_or_default(),
            updated: status.and_then(|status| status.updated_replicas).unwrap_or_default(),
            available: status.and_then(|status| status.available_replicas).unwrap_or_default(),
            progressing: condition("Progressing"),
            available_condition: condition("Available"),
            replica_failure: condition("ReplicaFailure"),
        }
    }
}

impl From<&DeploymentCondition> for Condition {
    fn from(condition: &DeploymentCondition) -> Self {
        let time = |time: &Option<Time>| time.as_ref().map(|time| time.0).unwrap_or_default();
        Self {
            status: condition.status.clone(),
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
            updated: time(&condition.last_update_time),
            transitioned: time(&condition.last_transition_time),
        }
    }
}

/// One state of a ReplicaSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSetState {
    pub name: String,
    pub uid: String,
    pub resource_version: u64,
    pub deleted: bool,
    pub created: Timestamp,
    /// The UID of the Deployment that owns it, if one does.
    pub owner: Option<String>,
    pub revision: Option<i64>,
    /// The annotation with the former revisions, if any.
    pub history: Option<String>,
    pub annotations: BTreeMap<String, String>,
    /// The image of the first container, by which tests distinguish ReplicaSets.
    pub image: String,
    pub wanted: i32,
    pub replicas: i32,
    pub available: i32,
}

impl ReplicaSetState {
    pub fn new(replica_set: &ReplicaSet, deleted: bool) -> Self {
        let metadata = &replica_set.metadata;
        let spec = replica_set.spec.as_ref();
        let pod = spec.and_then(|spec| spec.template.as_ref()).and_then(|template| template.spec.as_ref());
        let controller = |owner: &&OwnerReference| owner.controller == Some(true);
        let owner = metadata.owner_references.iter().flatten().find(controller);
        let annotations = metadata.annotations.clone().unwrap_or_default();
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: resource_version(metadata),
            deleted,
            created: metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
            owner: owner.map(|owner| owner.uid.clone()),
            revision: revision(metadata),
            history: annotations.get(REVISION_HISTORY).cloned(),
            annotations,
            image: pod
                .and_then(|pod| pod.containers.first())
                .and_then(|container| container.image.clone())
                .unwrap_or_default(),
            wanted: spec.and_then(|spec| spec.replicas).unwrap_or_default(),
            replicas: replica_set.status.as_ref().map(|status| status.replicas).unwrap_or_default(),
            available: replica_set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default(),
        }
    }
}

fn resource_version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

fn revision(metadata: &ObjectMeta) -> Option<i64> {
    metadata.annotations.as_ref()?.get(REVISION)?.parse().ok()
}

/// The reasons of the condition Progressing in order, without repetitions in a row.
pub fn reasons(states: &[DeploymentState]) -> Vec<&str> {
    let mut reasons: Vec<&str> = states.iter().filter_map(DeploymentState::reason).collect();
    reasons.dedup();
    reasons
}

/// The revisions of the Deployment in order, without repetitions in a row.
pub fn revisions(states: &[DeploymentState]) -> Vec<Option<i64>> {
    let mut revisions: Vec<_> = states.iter().map(|state| state.revision).collect();
    revisions.dedup();
    revisions
}

/// A resource that can be watched in a task of its own.
trait Watchable: ResourceExt + Clone + Debug + DeserializeOwned + Send + 'static {}

impl<K: ResourceExt + Clone + Debug + DeserializeOwned + Send + 'static> Watchable for K {}

/// All states that the watches of a namespace have delivered since it was created.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    deployment: Vec<DeploymentState>,
    replica_sets: Vec<ReplicaSetState>,
    /// Why a watch has ended, if one has. Then nothing more is recorded.
    ended: Option<String>,
}

impl Recording {
    /// Watches an empty namespace until the runtime of the test ends.
    pub async fn start(client: kube::Client, namespace: &str) -> Result<Self> {
        let recording = Self::default();
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let replica_sets: Api<ReplicaSet> = Api::namespaced(client, namespace);
        let version = deployments.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();

        tokio::spawn(recording.clone().record(deployments, version.clone(), |recorded, deployment, deleted| {
            recorded.deployment.push(DeploymentState::new(deployment, deleted));
        }));
        tokio::spawn(recording.clone().record(replica_sets, version, |recorded, replica_set, deleted| {
            recorded.replica_sets.push(ReplicaSetState::new(replica_set, deleted));
        }));
        Ok(recording)
    }

    async fn record<K: Watchable>(self, api: Api<K>, version: String, add: impl Fn(&mut Recorded, &K, bool)) {
        let Err(reason) = self.follow(api, version, add).await;
        self.0.lock().ended = Some(reason.to_string());
    }

    /// Records all changes after this version. The API server ends each watch after some minutes, and the next watch
    /// continues from there.
    async fn follow<K: Watchable>(
        &self,
        api: Api<K>,
        mut version: String,
        add: impl Fn(&mut Recorded, &K, bool),
    ) -> Result<Infallible> {
        loop {
            let events = api.watch(&WatchParams::default(), &version).await?;
            pin_mut!(events);
            while let Some(event) = events.next().await {
                match event? {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        version = object.resource_version().unwrap_or_default();
                        add(&mut self.0.lock(), &object, false);
                    }
                    WatchEvent::Deleted(object) => {
                        version = object.resource_version().unwrap_or_default();
                        add(&mut self.0.lock(), &object, true);
                    }
                    WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                    WatchEvent::Error(status) => anyhow::bail!("{status:?}"),
                }
            }
        }
    }

    /// The states of the Deployment, starting at the index `from`.
    pub fn deployment(&self, from: usize) -> Result<Vec<DeploymentState>> {
        let recorded = self.0.lock();
        recorded.check()?;
        Ok(recorded.deployment.get(from..).unwrap_or_default().to_vec())
    }

    /// The number of states of the Deployment.
    pub fn length(&self) -> usize {
        self.0.lock().deployment.len()
    }

    /// All states of all ReplicaSets.
    pub fn replica_sets(&self) -> Result<Vec<ReplicaSetState>> {
        let recorded = self.0.lock();
        recorded.check()?;
        Ok(recorded.replica_sets.clone())
    }
}

impl Recorded {
    fn check(&self) -> Result<()> {
        match &self.ended {
            Some(reason) => anyhow::bail!("the watch of this test has ended: {reason}"),
            None => Ok(()),
        }
    }
}
