//! The controller without a cluster: the real index, decisions, manifests and records, and an API server in memory that
//! stores them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use port_dora_controller::records::manifest::{finish_manifest, pause_manifest, rollback_manifest, start_manifest};
use port_dora_controller::records::{RecordState, Records, labels, record_name};
use port_dora_controller::resources::{DoraDeployment, SlimDoraDeployment};
use port_dora_controller::runtime::WorkQueue;
use port_dora_controller::settings::Defaults;
use port_dora_controller::workloads::{Index, Snapshot};
use rollout::{
    Action, Change, Decision, DecisionInput, History, Outcome, Policy, RecordedRevision, Source, Uid, WorkloadKey,
    WorkloadKind, decide,
};
use serde_json::{Value, json};

use super::Mismatch;
use super::objects::{Event, EventKind, START, time};

/// One of the watches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Watch {
    Deployments,
    ReplicaSets,
}

/// The controller.
pub struct Observer<'a> {
    log: &'a [Event],
    policy: Policy,
    queue: Arc<WorkQueue<Uid>>,
    index: Index,
    records: Records,
    /// The records that the API server stores, by name.
    stored: BTreeMap<String, Value>,
    /// Deployments to reconcile.
    pending: BTreeSet<Uid>,
    /// Deployments to reconcile at a Unix time.
    requeued: BTreeMap<Uid, i64>,
    /// Events of the log that the watch on Deployments has delivered.
    deployments: usize,
    /// Events of the log that the watch on ReplicaSets has delivered.
    replica_sets: usize,
    /// A line for each write, for the message of a failed test.
    pub writes: Vec<String>,
}

impl<'a> Observer<'a> {
    /// A controller that was installed at the Unix time `installed`, over the events in `log`.
    pub fn new(log: &'a [Event], fail_after: i64, installed: i64) -> Self {
        let queue = Arc::new(WorkQueue::default());
        let mut observer = Self {
            log,
            policy: Policy {
                installed: time(installed),
                history: History::None,
                fail_after: SignedDuration::from_secs(fail_after),
            },
            index: Index::new(Arc::clone(&queue)),
            queue,
            records: Records::default(),
            stored: BTreeMap::new(),
            pending: BTreeSet::new(),
            requeued: BTreeMap::new(),
            deployments: 0,
            replica_sets: 0,
            writes: Vec::new(),
        };
        // Nothing exists yet.
        observer.relist(Watch::Deployments, 0);
        observer.relist(Watch::ReplicaSets, 0);
        observer
    }

    /// The clock of the controller goes with the watch on Deployments. A watch that is late by minutes is not
    /// simulated.
    fn now(&self) -> i64 {
        self.log[..self.deployments].last().or(self.log.first()).map_or(0, |event| event.at)
    }

    /// Events that this watch has delivered.
    pub fn position(&self, watch: Watch) -> usize {
        match watch {
            Watch::Deployments => self.deployments,
            Watch::ReplicaSets => self.replica_sets,
        }
    }

    /// Whether both watches have delivered all events.
    pub fn is_at_end(&self) -> bool {
        self.deployments.min(self.replica_sets) == self.log.len()
    }

    /// All records.
    pub fn recorded(&self) -> Vec<DoraDeployment> {
        self.stored.values().map(decoded).collect()
    }
}

/// The watches.
impl Observer<'_> {
    /// Delivers the next event. The watches are apart by less than the life of a Deployment.
    pub fn deliver(&mut self, watch: Watch) {
        let position = self.position(watch);
        let Some(event) = self.log.get(position) else { return };
        if watch == Watch::Deployments && matches!(event.kind, EventKind::DeploymentDeleted(_)) {
            while self.replica_sets < position {
                self.deliver(Watch::ReplicaSets);
            }
        }
        if watch == Watch::ReplicaSets && matches!(event.kind, EventKind::ReplicaSetDeleted(_)) {
            let is_creation = |event: &Event| match &event.kind {
                EventKind::DeploymentApplied(object) => object.observed_generation == 0,
                _ => false,
            };
            let creation = self.log[..position].iter().rposition(is_creation).unwrap_or(0);
            while self.deployments <= creation {
                self.deliver(Watch::Deployments);
            }
        }
        *match watch {
            Watch::Deployments => &mut self.deployments,
            Watch::ReplicaSets => &mut self.replica_sets,
        } += 1;
        self.take_in(watch, event);
    }

    /// Delivers the last event of the watch again.
    pub fn redeliver(&mut self, watch: Watch) {
        let is_of_watch = |event: &&Event| match event.kind {
            EventKind::DeploymentApplied(_) | EventKind::DeploymentDeleted(_) => watch == Watch::Deployments,
            EventKind::ReplicaSetApplied { .. } | EventKind::ReplicaSetDeleted(_) => watch == Watch::ReplicaSets,
            EventKind::SecondPassed => false,
        };
        if let Some(event) = self.log[..self.position(watch)].iter().rfind(is_of_watch) {
            self.take_in(watch, event);
        }
    }

    fn take_in(&self, watch: Watch, event: &Event) {
        let now = time(self.now());
        match (watch, &event.kind) {
            (Watch::Deployments, EventKind::DeploymentApplied(object)) => {
                self.index.workload_applied(object.clone(), Source::Watch, now);
            }
            (Watch::Deployments, EventKind::DeploymentDeleted(object)) => {
                self.index.workload_deleted(&object.uid, Some(object.clone()), Source::Watch, now);
            }
            (Watch::ReplicaSets, EventKind::ReplicaSetApplied { owner: Some(owner), object }) => {
                self.index.revision_applied(WorkloadKind::Deployment, owner.clone(), object.clone());
            }
            (Watch::ReplicaSets, EventKind::ReplicaSetApplied { owner: None, object }) => {
                self.index.revision_deleted(&object.uid);
            }
            (Watch::ReplicaSets, EventKind::ReplicaSetDeleted(uid)) => self.index.revision_deleted(uid),
            _ => {}
        }
    }

    /// The watch is interrupted, misses the next `missed` events, and lists all objects.
    pub fn relist(&mut self, watch: Watch, missed: usize) {
        let position = (self.position(watch) + missed).min(self.log.len());
        match watch {
            Watch::Deployments => self.relist_deployments(position),
            Watch::ReplicaSets => self.relist_replica_sets(position),
        }
    }

    fn relist_deployments(&mut self, position: usize) {
        self.deployments = position;
        let mut objects = BTreeMap::new();
        for event in &self.log[..position] {
            match &event.kind {
                EventKind::DeploymentApplied(object) => objects.insert(object.uid.clone(), object.clone()),
                EventKind::DeploymentDeleted(object) => objects.remove(&object.uid),
                _ => None,
            };
        }
        let now = time(self.now());
        self.index.workload_list_started(WorkloadKind::Deployment);
        for object in objects.into_values() {
            self.index.workload_applied(object, Source::List, now);
        }
        self.index.workload_list_completed(WorkloadKind::Deployment, now);
    }

    fn relist_replica_sets(&mut self, position: usize) {
        self.replica_sets = position;
        let mut objects = BTreeMap::new();
        for event in &self.log[..position] {
            match &event.kind {
                EventKind::ReplicaSetApplied { owner: Some(owner), object } => {
                    objects.insert(object.uid.clone(), (owner.clone(), object.clone()))
                }
                EventKind::ReplicaSetApplied { owner: None, object } => objects.remove(&object.uid),
                EventKind::ReplicaSetDeleted(uid) => objects.remove(uid),
                _ => None,
            };
        }
        self.index.revision_list_started(WorkloadKind::Deployment);
        for (owner, object) in objects.into_values() {
            self.index.revision_applied(WorkloadKind::Deployment, owner, object);
        }
        self.index.revision_list_completed(WorkloadKind::Deployment);
    }

    /// The process ends. The next one lists Deployments `missed` events later, and ReplicaSets `between` events after
    /// that.
    pub fn crash(&mut self, missed: usize, between: usize) {
        self.queue = Arc::new(WorkQueue::default());
        self.index = Index::new(Arc::clone(&self.queue));
        self.pending.clear();
        self.requeued.clear();
        self.records = Records::default();
        for record in self.stored.values() {
            self.records.apply(&slim(record), state(record));
        }
        let furthest = self.deployments.max(self.replica_sets);
        (self.deployments, self.replica_sets) = (furthest, furthest);
        self.relist(Watch::Deployments, missed);
        self.relist(Watch::ReplicaSets, missed + between);
        self.pending.extend(self.records.workloads());
    }
}

/// The recorder.
impl Observer<'_> {
    /// Reconciles each Deployment that has changed or whose time has come. Stops after this many `max_writes`.
    ///
    /// Unless `is_acknowledged`, the index doesn't learn that everything is recorded.
    pub fn reconcile(&mut self, max_writes: Option<usize>, is_acknowledged: bool) -> Result<(), Mismatch> {
        let now = self.now();
        self.pending.extend(self.queue.drain());
        let due: Vec<Uid> = self.requeued.iter().filter(|(_, at)| **at <= now).map(|(uid, _)| uid.clone()).collect();
        for uid in due {
            self.requeued.remove(&uid);
            self.pending.insert(uid);
        }
        let mut writes_left = max_writes.unwrap_or(usize::MAX);
        for uid in std::mem::take(&mut self.pending) {
            let snapshot = self.index.snapshot(&uid);
            let decision = self.decide(&uid, &snapshot);
            match decision.requeue_at {
                Some(at) => self.requeued.insert(uid.clone(), at.as_second()),
                None => self.requeued.remove(&uid),
            };
            if decision.is_behind {
                continue;
            }
            for change in &decision.changes {
                self.write(&uid, &snapshot, change)?;
                writes_left -= 1;
                if writes_left == 0 {
                    return Ok(());
                }
            }
            let again = self.decide(&uid, &snapshot).changes;
            if !again.is_empty() {
                return Err(Mismatch(format!("a second reconciliation of the same state changes more: {again:#?}")));
            }
            if is_acknowledged {
                self.index.mark_recorded(&uid, &snapshot);
            }
        }
        Ok(())
    }

    fn decide<'s>(&self, uid: &Uid, snapshot: &'s Snapshot) -> Decision<'s> {
        let input = DecisionInput {
            current: snapshot.observation.as_ref(),
            past: &snapshot.past_observations,
            revisions: &snapshot.revisions,
        };
        decide(&input, &self.records.revisions(&web(), uid), &self.policy, &|_, _| true, time(self.now()))
    }

    /// Sends a change to the API server, and checks what it stores then.
    fn write(&mut self, uid: &Uid, snapshot: &Snapshot, change: &Change<'_>) -> Result<(), Mismatch> {
        let name = record_name(WorkloadKind::Deployment, "web", uid, &change.record);
        let before = self.stored.get(&name).map(|record| decoded(record).spec.outcome);
        let RecordedRevision { outcome: after, change: kind, .. } = &change.record;
        self.writes.push(format!(
            "{}: {:?} {name} ({kind:?}), {before:?} to {after:?}",
            self.now() - START,
            change.action
        ));
        let record = self.changed_record(&name, snapshot, change)?;
        let written = decoded(&record);
        check_rules(&written)?;
        check_transition(&name, before, written.spec.outcome, change)?;
        check_read_back(&record, &change.record)?;
        self.records.set(uid, &web(), change.record.clone(), state(&record));
        self.stored.insert(name, record);
        Ok(())
    }

    /// The record of this name as the API server stores it after `change`.
    fn changed_record(&self, name: &str, snapshot: &Snapshot, change: &Change<'_>) -> Result<Value, Mismatch> {
        let defaults = Defaults::default();
        let failure = (change.record.outcome == Outcome::Failed).then(|| "it failed".to_owned());
        let stored = self.stored.get(name);
        let patch = match change.action {
            Action::Start => {
                if stored.is_some() {
                    return Err(Mismatch(format!("{name} is created again: {change:#?}")));
                }
                let record = start_manifest("test", snapshot, &defaults, change, failure);
                let record = record.ok_or_else(|| Mismatch(format!("{name} has no manifest: {change:#?}")))?;
                return Ok(with_next_generation(json!(record)));
            }
            Action::Finish => finish_manifest(snapshot, &defaults, change, failure),
            Action::Pause => pause_manifest(&change.record),
            Action::RollBack => rollback_manifest(change),
        };
        let mut record =
            stored.cloned().ok_or_else(|| Mismatch(format!("{name} is patched, but doesn't exist: {change:#?}")))?;
        json_patch::merge(&mut record, &json!(patch));
        Ok(with_next_generation(record))
    }
}

fn slim(record: &Value) -> SlimDoraDeployment {
    serde_json::from_value(record.clone()).unwrap()
}

fn decoded(record: &Value) -> DoraDeployment {
    serde_json::from_value(record.clone()).unwrap()
}

fn generation(record: &Value) -> i64 {
    record["metadata"]["generation"].as_i64().unwrap_or(0)
}

fn with_next_generation(mut record: Value) -> Value {
    record["metadata"]["generation"] = json!(generation(&record) + 1);
    record
}

/// The state of a record that is delivered.
fn state(record: &Value) -> RecordState {
    RecordState { generation: u16::try_from(generation(record)).unwrap(), is_settled: true, ..RecordState::default() }
}

/// Checks the rules of the custom resource definition, and that the labels are those of the spec.
fn check_rules(record: &DoraDeployment) -> Result<(), Mismatch> {
    let spec = &record.spec;
    let may_have_no_end = matches!(spec.outcome, Outcome::InProgress | Outcome::Unobserved);
    if spec.finished_at.is_none() && !may_have_no_end {
        return Err(Mismatch(format!("ended without a time: {spec:#?}")));
    }
    if let (Some(started), Some(finished)) = (&spec.started_at, &spec.finished_at)
        && started.0 > finished.0
    {
        return Err(Mismatch(format!("ends before it starts: {spec:#?}")));
    }
    let labels = record.metadata.labels.clone().unwrap_or_default();
    if labels != labels::of(spec) {
        return Err(Mismatch(format!("labels {labels:?} differ from the spec: {spec:#?}")));
    }
    Ok(())
}

/// Checks that a change leads from one outcome to another that is possible after it.
fn check_transition(name: &str, before: Option<Outcome>, after: Outcome, change: &Change<'_>) -> Result<(), Mismatch> {
    let Some(before) = before else { return Ok(()) };
    if before == after && change.action != Action::Pause {
        return Err(Mismatch(format!("{name} stays {after:?}, but is written: {change:#?}")));
    }
    if before != after && !before.may_become(after) {
        return Err(Mismatch(format!("{name} goes from {before:?} to {after:?}")));
    }
    Ok(())
}

/// The key of every simulated Deployment.
fn web() -> WorkloadKey {
    WorkloadKey { namespace: "shop".into(), kind: WorkloadKind::Deployment, name: "web".into() }
}

/// Checks that another process reads the record as this process keeps it.
fn check_read_back(record: &Value, revision: &RecordedRevision) -> Result<(), Mismatch> {
    let records = Records::default();
    let applied = records.apply(&slim(record), state(record));
    let read = applied.map(|(key, uid)| records.revisions(&key, &uid)).unwrap_or_default();
    if read != [revision.clone()] {
        return Err(Mismatch(format!("kept as {revision:#?}, but read as {read:#?}")));
    }
    Ok(())
}
