//! Observes Deployments, ReplicaSets and records through watches, each state with its time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use cluster::{DEADLINE, LocalCluster, wait_for};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use port_dora_controller::resources::DoraDeployment;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinSet;

use super::heartbeats::{HEARTBEAT, Heartbeats, INTERVAL, manifest};
use crate::Error;

const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// Watches one namespace until it is dropped.
pub struct Observer {
    observations: Arc<Mutex<Observations>>,
    tasks: JoinSet<()>,
}

/// All observed states. The Deployments and records don't include the heartbeat.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    pub heartbeats: Heartbeats,
    /// By UID.
    pub deployments: BTreeMap<String, DeploymentHistory>,
    /// By UID.
    pub replica_sets: BTreeMap<String, ObservedReplicaSet>,
    /// By name.
    pub records: BTreeMap<String, RecordHistory>,
    /// Number of complete lists: one for each watch. If there are more, a watch was interrupted and states may be
    /// missing.
    lists: usize,
}

/// The states of one Deployment.
#[derive(Clone, Debug, Default)]
pub struct DeploymentHistory {
    pub name: String,
    pub states: Vec<DeploymentState>,
    pub deleted: Option<Instant>,
}

/// The state of a Deployment at one time.
#[derive(Clone, Debug)]
pub struct DeploymentState {
    pub at: Instant,
    pub revision: Option<i64>,
    pub is_observed: bool,
    pub replicas: i32,
    pub current: i32,
    pub updated: i32,
    pub available: i32,
    pub paused: bool,
    pub deadline_seconds: i32,
    pub progressing: Option<Progressing>,
}

/// The condition `Progressing`.
#[derive(Clone, Debug, PartialEq)]
pub struct Progressing {
    pub reason: String,
    /// The ReplicaSet that the message names, or empty.
    pub replica_set: String,
    pub updated: Option<Timestamp>,
}

/// A ReplicaSet, with all revisions that it has had.
#[derive(Clone, Debug)]
pub struct ObservedReplicaSet {
    pub uid: String,
    pub name: String,
    pub owner: String,
    pub created: Option<Timestamp>,
    pub revisions: BTreeSet<i64>,
    pub images: Vec<String>,
    /// The pod template, without the fields that change with a restart.
    pub template: Value,
}

/// The states of one record.
#[derive(Clone, Debug, Default)]
pub struct RecordHistory {
    pub states: Vec<(Instant, DoraDeployment)>,
    pub is_deleted: bool,
}

impl RecordHistory {
    /// The newest state.
    pub fn last(&self) -> Option<&DoraDeployment> {
        self.states.last().map(|(_, record)| record)
    }
}

impl Observations {
    /// The ReplicaSet that ran a revision of a Deployment.
    pub fn replica_set(&self, deployment: &str, revision: i64) -> Option<&ObservedReplicaSet> {
        self.replica_sets.values().find(|set| set.owner == deployment && set.revisions.contains(&revision))
    }

    /// Whether no state can be missing.
    pub fn is_complete(&self) -> bool {
        self.lists == 3
    }

    fn add_deployment(&mut self, deployment: &Deployment, is_deleted: bool) {
        if self.heartbeats.apply_deployment(deployment) {
            return;
        }
        let history = self.deployments.entry(deployment.uid().unwrap_or_default()).or_default();
        history.name = deployment.name_any();
        history.states.push(DeploymentState::new(deployment));
        if is_deleted {
            history.deleted = Some(Instant::now());
        }
    }

    fn add_replica_set(&mut self, replica_set: &ReplicaSet) {
        let uid = replica_set.uid().unwrap_or_default();
        // Only the first owner counts, since a deletion may remove it.
        let Some(owner) = replica_set.owner_references().first().map(|owner| owner.uid.clone()) else { return };
        let observed =
            self.replica_sets.entry(uid.clone()).or_insert_with(|| ObservedReplicaSet::new(replica_set, uid, owner));
        let annotations = replica_set.annotations();
        let numbers = [REVISION, REVISION_HISTORY].into_iter().filter_map(|key| annotations.get(key));
        observed
            .revisions
            .extend(numbers.flat_map(|numbers| numbers.split(',')).filter_map(|number| number.parse::<i64>().ok()));
    }

    fn add_record(&mut self, record: DoraDeployment, is_deleted: bool) {
        if self.heartbeats.apply_record(&record) {
            return;
        }
        let history = self.records.entry(record.name_any()).or_default();
        history.states.push((Instant::now(), record));
        history.is_deleted |= is_deleted;
    }
}

impl DeploymentState {
    fn new(deployment: &Deployment) -> Self {
        let spec = deployment.spec.clone().unwrap_or_default();
        let status = deployment.status.clone().unwrap_or_default();
        let progressing =
            status.conditions.unwrap_or_default().into_iter().find(|condition| condition.type_ == "Progressing");
        Self {
            at: Instant::now(),
            revision: deployment.annotations().get(REVISION).and_then(|revision| revision.parse().ok()),
            is_observed: status.observed_generation >= deployment.metadata.generation,
            replicas: spec.replicas.unwrap_or(1),
            current: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            paused: spec.paused.unwrap_or_default(),
            deadline_seconds: spec.progress_deadline_seconds.unwrap_or(600),
            progressing: progressing.map(|condition| Progressing {
                reason: condition.reason.unwrap_or_default(),
                // ReplicaSet "web-7679c567ff" has successfully progressed.
                replica_set: condition.message.unwrap_or_default().split('"').nth(1).unwrap_or_default().to_owned(),
                updated: condition.last_update_time.map(|time| time.0),
            }),
        }
    }
}

impl ObservedReplicaSet {
    fn new(replica_set: &ReplicaSet, uid: String, owner: String) -> Self {
        let template = replica_set.spec.clone().unwrap_or_default().template.unwrap_or_default();
        let containers = template.spec.as_ref().map(|spec| spec.containers.clone()).unwrap_or_default();
        let mut template = serde_json::to_value(template).unwrap_or_default();
        for (map, key) in [("annotations", "kubectl.kubernetes.io/restartedAt"), ("labels", "pod-template-hash")] {
            if let Some(map) = template["metadata"][map].as_object_mut() {
                map.remove(key);
            }
        }
        if template["metadata"]["annotations"].as_object().is_none_or(serde_json::Map::is_empty) {
            template["metadata"]["annotations"] = Value::Null;
        }
        Self {
            uid,
            owner,
            name: replica_set.name_any(),
            created: replica_set.creation_timestamp().map(|time| time.0),
            revisions: BTreeSet::new(),
            images: containers.into_iter().filter_map(|container| container.image).collect(),
            template,
        }
    }
}

impl Observer {
    /// Starts the watches, and returns when no further state can be missed.
    pub async fn start(cluster: &LocalCluster, namespace: &str) -> Result<Self, Error> {
        let client = cluster.client().await?;
        let observations = Arc::new(Mutex::new(Observations::default()));
        let mut tasks = JoinSet::new();
        let target = |client: &Client| (client.clone(), namespace.to_owned(), Arc::clone(&observations));
        let add_deployment = |all: &mut Observations, deployment: Deployment, is_deleted| {
            all.add_deployment(&deployment, is_deleted);
        };
        let add_replica_set = |all: &mut Observations, replica_set: ReplicaSet, _| all.add_replica_set(&replica_set);
        tasks.spawn(watch(target(&client), add_deployment));
        tasks.spawn(watch(target(&client), add_replica_set));
        tasks.spawn(watch(target(&client), Observations::add_record));
        wait_for("the watches of the observer", DEADLINE, async || Ok(observations.lock().is_complete().then_some(())))
            .await?;
        Ok(Self { observations, tasks })
    }

    /// Starts to send heartbeats, and returns when the first one is recorded.
    pub async fn send_heartbeats(&mut self, cluster: &LocalCluster, namespace: &str) -> Result<(), Error> {
        let api: Api<Deployment> = Api::namespaced(cluster.client().await?, namespace);
        let observations = Arc::clone(&self.observations);
        self.tasks.spawn(async move {
            let parameters = PatchParams::apply("heartbeat").force();
            loop {
                let number = observations.lock().heartbeats.send();
                // A failed request is a heartbeat that is never seen.
                let _ = api.patch(HEARTBEAT, &parameters, &Patch::Apply(manifest(number))).await;
                tokio::time::sleep(INTERVAL).await;
            }
        });
        wait_for("a record of the heartbeat", DEADLINE, async || {
            Ok(self.observations.lock().heartbeats.is_any_recorded().then_some(()))
        })
        .await?;
        Ok(())
    }

    /// All observations so far.
    pub fn observations(&self) -> Observations {
        self.observations.lock().clone()
    }
}

/// Watches a kind of resource in a namespace, and adds each state to the observations.
async fn watch<K>(
    (client, namespace, observations): (Client, String, Arc<Mutex<Observations>>),
    add: impl Fn(&mut Observations, K, bool),
) where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let mut events = Box::pin(watcher(Api::<K>::namespaced(client, &namespace), watcher::Config::default()));
    while let Some(event) = events.next().await {
        let mut observations = observations.lock();
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => add(&mut observations, object, false),
            Ok(Event::Delete(object)) => add(&mut observations, object, true),
            Ok(Event::InitDone) => observations.lists += 1,
            // An interrupted watch continues where it stopped, or with another list, which is counted.
            Ok(Event::Init) | Err(_) => {}
        }
    }
}
