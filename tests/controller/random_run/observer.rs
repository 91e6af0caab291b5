//! What the API server's own watch shows of Deployments, ReplicaSets and records, each state with its time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cluster::{LocalCluster, wait_for};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use port_dora_controller::resources::DoraDeployment;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinSet;

use super::marks::{INTERVAL, MARKER, Marks, manifest};
use crate::fixture::DEADLINE;

type Error = Box<dyn std::error::Error + Send + Sync>;

const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// Watches one namespace until it is dropped.
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    tasks: JoinSet<()>,
}

/// All that was seen. The marker is not among the Deployments and records.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub marks: Marks,
    /// By UID.
    pub deployments: BTreeMap<String, Course>,
    /// By UID.
    pub replica_sets: BTreeMap<String, SeenReplicaSet>,
    /// By name.
    pub records: BTreeMap<String, RecordCourse>,
    /// Complete lists: one for each watch, unless one was interrupted, and then states may be missing.
    lists: usize,
}

/// The states of one Deployment.
#[derive(Clone, Debug, Default)]
pub struct Course {
    pub name: String,
    pub states: Vec<State>,
    pub deleted: Option<Instant>,
}

/// A Deployment at one moment.
#[derive(Clone, Debug)]
pub struct State {
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
    /// The ReplicaSet that the message names; empty if it names none.
    pub replica_set: String,
    pub updated: Option<Timestamp>,
}

/// A ReplicaSet, with all the revisions that it ever had.
#[derive(Clone, Debug)]
pub struct SeenReplicaSet {
    pub uid: String,
    pub name: String,
    pub owner: String,
    pub created: Option<Timestamp>,
    pub revisions: BTreeSet<i64>,
    pub images: Vec<String>,
    /// Without what only tells one rollout from another of the same.
    pub template: Value,
}

/// The states of one record.
#[derive(Clone, Debug, Default)]
pub struct RecordCourse {
    pub states: Vec<(Instant, DoraDeployment)>,
    pub is_deleted: bool,
}

impl RecordCourse {
    /// As it is.
    pub fn last(&self) -> Option<&DoraDeployment> {
        self.states.last().map(|(_, record)| record)
    }
}

impl Seen {
    /// The ReplicaSet that ran a revision of a Deployment.
    pub fn replica_set(&self, deployment: &str, revision: i64) -> Option<&SeenReplicaSet> {
        self.replica_sets.values().find(|seen| seen.owner == deployment && seen.revisions.contains(&revision))
    }

    /// Whether no state can be missing.
    pub fn is_gapless(&self) -> bool {
        self.lists == 3
    }

    fn note_deployment(&mut self, deployment: &Deployment, is_deleted: bool) {
        if self.marks.note_deployment(deployment) {
            return;
        }
        let course = self.deployments.entry(deployment.uid().unwrap_or_default()).or_default();
        course.name = deployment.name_any();
        course.states.push(State::of(deployment));
        if is_deleted {
            course.deleted = Some(Instant::now());
        }
    }

    fn note_replica_set(&mut self, replica_set: &ReplicaSet) {
        let uid = replica_set.uid().unwrap_or_default();
        // Garbage collection and a deletion by hand may take the owner away at last: the first one counts.
        let Some(owner) = replica_set.owner_references().first().map(|owner| owner.uid.clone()) else { return };
        let seen = self.replica_sets.entry(uid.clone()).or_insert_with(|| SeenReplicaSet::of(replica_set, uid, owner));
        let annotations = replica_set.annotations();
        let numbers = [REVISION, REVISION_HISTORY].into_iter().filter_map(|key| annotations.get(key));
        seen.revisions
            .extend(numbers.flat_map(|numbers| numbers.split(',')).filter_map(|number| number.parse::<i64>().ok()));
    }

    fn note_record(&mut self, record: DoraDeployment, is_deleted: bool) {
        if self.marks.note_record(&record) {
            return;
        }
        let course = self.records.entry(record.name_any()).or_default();
        course.states.push((Instant::now(), record));
        course.is_deleted |= is_deleted;
    }
}

impl State {
    fn of(deployment: &Deployment) -> Self {
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

impl SeenReplicaSet {
    fn of(replica_set: &ReplicaSet, uid: String, owner: String) -> Self {
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
    /// Starts to watch, and returns once nothing can be missed any more.
    pub async fn start(cluster: &LocalCluster, namespace: &str) -> Result<Self, Error> {
        let client = cluster.client().await?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        let of = |client: &Client| (client.clone(), namespace.to_owned(), Arc::clone(&seen));
        let deployment =
            |seen: &mut Seen, deployment: Deployment, is_deleted| seen.note_deployment(&deployment, is_deleted);
        let replica_set = |seen: &mut Seen, replica_set: ReplicaSet, _| seen.note_replica_set(&replica_set);
        tasks.spawn(watch(of(&client), deployment));
        tasks.spawn(watch(of(&client), replica_set));
        tasks.spawn(watch(of(&client), Seen::note_record));
        wait_for("the observer's watches", DEADLINE, async || Ok(lock(&seen).is_gapless().then_some(()))).await?;
        Ok(Self { seen, tasks })
    }

    /// Starts to change the marker, and returns once the first change is recorded.
    pub async fn mark(&mut self, cluster: &LocalCluster, namespace: &str) -> Result<(), Error> {
        let api: Api<Deployment> = Api::namespaced(cluster.client().await?, namespace);
        let seen = Arc::clone(&self.seen);
        self.tasks.spawn(async move {
            let parameters = PatchParams::apply("marker").force();
            loop {
                let number = lock(&seen).marks.send();
                // One that fails is a change that nobody sees.
                let _ = api.patch(MARKER, &parameters, &Patch::Apply(manifest(number))).await;
                tokio::time::sleep(INTERVAL).await;
            }
        });
        wait_for("a record of the marker", DEADLINE, async || {
            Ok(lock(&self.seen).marks.is_any_recorded().then_some(()))
        })
        .await?;
        Ok(())
    }

    /// All that was seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

/// A poisoned lock still guards whole states.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch<K>((client, namespace, seen): (Client, String, Arc<Mutex<Seen>>), note: impl Fn(&mut Seen, K, bool))
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let mut events = Box::pin(watcher(Api::<K>::namespaced(client, &namespace), watcher::Config::default()));
    while let Some(event) = events.next().await {
        let mut seen = lock(&seen);
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => note(&mut seen, object, false),
            Ok(Event::Delete(object)) => note(&mut seen, object, true),
            Ok(Event::InitDone) => seen.lists += 1,
            // An interrupted watch is taken up where it stopped, else with another list, which counts.
            Ok(Event::Init) | Err(_) => {}
        }
    }
}
