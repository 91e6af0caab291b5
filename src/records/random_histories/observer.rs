//! The controller without a cluster: the real index, decisions and records, over a log of writes, and a ledger in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::model::{Event, START, What, time};
use crate::resources::{DoraDeployment, SlimDoraDeployment};
use crate::runtime::WorkQueue;
use crate::settings::Defaults;
use crate::workloads::{Index, Snapshot};
use rollout::{
    Action, Change, Decision, DecisionInput, History, Outcome, Policy, RecordedRevision, Source, Uid, WorkloadKind,
    decide,
};

use super::super::manifest::{finish_manifest, paused, record_name, rolled_back, start_manifest};
use super::super::store::{RecordState, Records};

/// Which watch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Watch {
    Deployments,
    ReplicaSets,
}

/// The controller.
pub struct Observer<'a> {
    log: &'a [Event],
    policy: Policy,
    changed: Arc<WorkQueue<Uid>>,
    index: Index,
    records: Records,
    /// The records as the API server has them, by name.
    pub ledger: BTreeMap<String, Value>,
    /// Deployments to look at.
    pending: BTreeSet<Uid>,
    /// Deployments to look at at a second.
    due: BTreeMap<Uid, i64>,
    /// How many events of the log each watch has been through.
    deployments: usize,
    replica_sets: usize,
    /// What goes wrong is told with this.
    pub told: Vec<String>,
}

impl<'a> Observer<'a> {
    pub fn new(log: &'a [Event], fail_after: i64, installed: i64) -> Self {
        let changed = Arc::new(WorkQueue::default());
        Self {
            log,
            policy: Policy {
                installed: time(installed),
                history: History::None,
                fail_after: SignedDuration::from_secs(fail_after),
            },
            index: Index::new(Arc::clone(&changed)),
            changed,
            records: Records::default(),
            ledger: BTreeMap::new(),
            pending: BTreeSet::new(),
            due: BTreeMap::new(),
            deployments: 0,
            replica_sets: 0,
            told: Vec::new(),
        }
    }

    /// The controller's clock goes with the watch on Deployments: one that is late by minutes is not looked at here.
    fn now(&self) -> i64 {
        self.log[..self.deployments].last().or(self.log.first()).map_or(0, |event| event.at)
    }

    pub fn position(&self, watch: Watch) -> usize {
        match watch {
            Watch::Deployments => self.deployments,
            Watch::ReplicaSets => self.replica_sets,
        }
    }

    pub fn is_at_end(&self) -> bool {
        self.deployments.min(self.replica_sets) == self.log.len()
    }

    /// The watch goes on by an event. The two are apart by less than the life of a Deployment.
    pub fn deliver(&mut self, watch: Watch) {
        let position = self.position(watch);
        let Some(event) = self.log.get(position) else { return };
        if watch == Watch::Deployments && matches!(event.what, What::DeploymentGone(_)) {
            while self.replica_sets < position {
                self.deliver(Watch::ReplicaSets);
            }
        }
        if watch == Watch::ReplicaSets && matches!(event.what, What::ReplicaSetGone(_)) {
            let is_first = |event: &Event| matches!(&event.what, What::Deployment(row) if row.observed_generation == 0);
            let first = self.log[..position].iter().rposition(is_first).unwrap_or(0);
            while self.deployments <= first {
                self.deliver(Watch::Deployments);
            }
        }
        *match watch {
            Watch::Deployments => &mut self.deployments,
            Watch::ReplicaSets => &mut self.replica_sets,
        } += 1;
        self.take_in(watch, event);
    }

    /// The last event of the watch comes again.
    pub fn repeat(&mut self, watch: Watch) {
        let is_of = |event: &&Event| match event.what {
            What::Deployment(_) | What::DeploymentGone(_) => watch == Watch::Deployments,
            What::ReplicaSet { .. } | What::ReplicaSetGone(_) => watch == Watch::ReplicaSets,
            What::Nothing => false,
        };
        if let Some(event) = self.log[..self.position(watch)].iter().rfind(is_of) {
            self.take_in(watch, event);
        }
    }

    fn take_in(&self, watch: Watch, event: &Event) {
        let now = time(self.now());
        match (watch, &event.what) {
            (Watch::Deployments, What::Deployment(row)) => {
                self.index.workload_applied(row.clone(), Source::Watch, now);
            }
            (Watch::Deployments, What::DeploymentGone(row)) => {
                self.index.workload_deleted(&row.uid, Some(row.clone()), Source::Watch, now);
            }
            (Watch::ReplicaSets, What::ReplicaSet { owner: Some(owner), row }) => {
                self.index.revision_applied(WorkloadKind::Deployment, owner.clone(), row.clone());
            }
            (Watch::ReplicaSets, What::ReplicaSet { owner: None, row }) => self.index.revision_deleted(&row.uid),
            (Watch::ReplicaSets, What::ReplicaSetGone(uid)) => self.index.revision_deleted(uid),
            _ => {}
        }
    }

    /// The watch was interrupted, missed the next `missed` events, and lists everything.
    pub fn list(&mut self, watch: Watch, missed: usize) {
        let position = (self.position(watch) + missed).min(self.log.len());
        let past = &self.log[..position];
        match watch {
            Watch::Deployments => {
                self.deployments = position;
                self.index.workload_list_started(WorkloadKind::Deployment);
                let mut rows = BTreeMap::new();
                for event in past {
                    match &event.what {
                        What::Deployment(row) => rows.insert(row.uid.clone(), row.clone()),
                        What::DeploymentGone(row) => rows.remove(&row.uid),
                        _ => None,
                    };
                }
                let now = time(self.now());
                for row in rows.into_values() {
                    self.index.workload_applied(row, Source::List, now);
                }
                self.index.workload_list_completed(WorkloadKind::Deployment, now);
            }
            Watch::ReplicaSets => {
                self.replica_sets = position;
                self.index.revision_list_started(WorkloadKind::Deployment);
                let mut rows = BTreeMap::new();
                for event in past {
                    match &event.what {
                        What::ReplicaSet { owner: Some(owner), row } => {
                            rows.insert(row.uid.clone(), (owner.clone(), row.clone()));
                        }
                        What::ReplicaSet { owner: None, row } => drop(rows.remove(&row.uid)),
                        What::ReplicaSetGone(uid) => drop(rows.remove(uid)),
                        _ => {}
                    }
                }
                for (owner, row) in rows.into_values() {
                    self.index.revision_applied(WorkloadKind::Deployment, owner, row);
                }
                self.index.revision_list_completed(WorkloadKind::Deployment);
            }
        }
    }

    /// The process dies, and one that begins lists everything `missed` events later, ReplicaSets `between` events after Deployments.
    pub fn crash(&mut self, missed: usize, between: usize) {
        self.changed = Arc::new(WorkQueue::default());
        self.index = Index::new(Arc::clone(&self.changed));
        self.pending.clear();
        self.due.clear();
        self.records = Records::default();
        for record in self.ledger.values() {
            self.records.seen(&slim(record), settled(record));
        }
        let furthest = self.deployments.max(self.replica_sets);
        (self.deployments, self.replica_sets) = (furthest, furthest);
        self.list(Watch::Deployments, missed);
        self.list(Watch::ReplicaSets, missed + between);
        self.pending.extend(self.records.deployments());
    }

    /// The keeper looks at every Deployment that has changed, or whose time has come. It dies after `writes` of them, if it makes so many.
    /// Unless `is_acknowledged`, it does not tell the index so.
    pub fn look(&mut self, writes: Option<usize>, is_acknowledged: bool) -> Result<(), String> {
        let now = self.now();
        self.pending.extend(self.changed.drain());
        let due: Vec<Uid> = self.due.iter().filter(|(_, at)| **at <= now).map(|(uid, _)| uid.clone()).collect();
        for uid in due {
            self.due.remove(&uid);
            self.pending.insert(uid);
        }
        let mut left = writes.unwrap_or(usize::MAX);
        for uid in std::mem::take(&mut self.pending) {
            let snapshot = self.index.snapshot(&uid);
            let decision = self.decided(&uid, &snapshot);
            match decision.look_again {
                Some(at) => self.due.insert(uid.clone(), at.as_second()),
                None => self.due.remove(&uid),
            };
            if decision.is_behind {
                continue;
            }
            for change in &decision.changes {
                self.write(&uid, &snapshot, change)?;
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
            }
            let again = self.decided(&uid, &snapshot).changes;
            if !again.is_empty() {
                return Err(format!("a second look at the same changes more: {again:#?}"));
            }
            if is_acknowledged {
                self.index.mark_recorded(&uid, &snapshot);
            }
        }
        Ok(())
    }

    fn known(&self, uid: &Uid) -> Vec<RecordedRevision> {
        self.records.of(uid).map(|recorded| recorded.known).unwrap_or_default()
    }

    fn decided<'s>(&self, uid: &Uid, snapshot: &'s Snapshot) -> Decision<'s> {
        let scene = DecisionInput {
            deployment: snapshot.observation.as_ref(),
            former: &snapshot.past_observations,
            owned: &snapshot.revisions,
        };
        decide(&scene, &self.known(uid), &self.policy, &|_, _| true, time(self.now()))
    }

    /// What the API server makes of a change.
    fn write(&mut self, uid: &Uid, snapshot: &Snapshot, change: &Change<'_>) -> Result<(), String> {
        let name = record_name(WorkloadKind::Deployment, "web", uid, &change.record);
        let known = self.known(uid);
        let defaults = Defaults::default();
        let failure = (change.record.outcome == Outcome::Failed).then(|| "it failed".to_owned());
        let before = self.ledger.get(&name).map(outcome);
        let RecordedRevision { outcome: after, change: kind, .. } = &change.record;
        self.told.push(format!(
            "{}: {:?} {name} ({kind:?}), {before:?} to {after:?}",
            self.now() - START,
            change.action
        ));
        let patch = match change.action {
            Action::Begin => {
                if before.is_some() {
                    return Err(format!("{name} is begun again: {change:#?}"));
                }
                let row = snapshot.workload().ok_or("a record without a Deployment")?;
                let record = start_manifest("test", snapshot, row, &defaults, change, failure).ok_or("no record")?;
                let record = serde_json::to_value(record).map_err(|error| error.to_string())?;
                self.ledger.insert(name.clone(), record);
                json!({})
            }
            Action::End => finish_manifest(snapshot, &defaults, change, failure.as_deref()),
            Action::Pause => paused(&change.record),
            Action::RollBack => rolled_back(change),
        };
        let record =
            self.ledger.get_mut(&name).ok_or_else(|| format!("{name} was never start_manifest: {change:#?}"))?;
        merge(record, &patch);
        let written = full(record);
        record["metadata"]["generation"] = json!(record["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        check(&written)?;
        let after = written.spec.outcome;
        if let Some(before) = before
            && before != after
            && !before.may_become(after)
        {
            return Err(format!("{name} goes from {before:?} to {after:?}"));
        }
        if before == Some(after) && change.action != Action::Pause {
            return Err(format!("{name} stays {after:?}, and is written: {change:#?}"));
        }
        self.records.set(uid, "shop", WorkloadKind::Deployment, "web", change.record.clone(), settled(record));
        // What another process would read.
        let others = Records::default();
        others.seen(&slim(record), settled(record));
        let read = others.of(uid).map(|recorded| recorded.known).unwrap_or_default();
        if read != [change.record.clone()] {
            return Err(format!("known as {:#?}, but read as {read:#?}; before: {known:#?}", change.record));
        }
        Ok(())
    }

    /// All records.
    pub fn recorded(&self) -> Vec<DoraDeployment> {
        self.ledger.values().map(full).collect()
    }
}

fn slim(record: &Value) -> SlimDoraDeployment {
    serde_json::from_value(record.clone()).unwrap()
}

fn full(record: &Value) -> DoraDeployment {
    serde_json::from_value(record.clone()).unwrap()
}

fn outcome(record: &Value) -> Outcome {
    full(record).spec.outcome
}

/// The rules of the custom resource definition that the API server checks.
fn check(record: &DoraDeployment) -> Result<(), String> {
    let spec = &record.spec;
    let may_lack_its_end = matches!(spec.outcome, Outcome::InProgress | Outcome::Unobserved);
    if spec.finished_at.is_none() && !may_lack_its_end {
        return Err(format!("has ended without a time: {spec:#?}"));
    }
    if let (Some(started), Some(finished)) = (&spec.started_at, &spec.finished_at)
        && started.0 > finished.0
    {
        return Err(format!("ends before it begins: {spec:#?}"));
    }
    Ok(())
}

/// A JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// The state of a record that nothing is left to do for.
fn settled(record: &Value) -> RecordState {
    let generation = u32::try_from(record["metadata"]["generation"].as_i64().unwrap_or(0)).unwrap();
    RecordState { generation, is_settled: true }
}
