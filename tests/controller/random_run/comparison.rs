//! Compares records and entities with the observed states.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use port_dora_controller::resources::{DoraDeployment, DoraDeploymentSpec};
use port_sim::Entity;
use rollout::{Accuracy, ChangeKind, Outcome};

use super::expected_rollouts::{ExpectedRollout, expected_rollouts, numbered_while_paused};
use super::observer::{Observations, RecordHistory};
use crate::fixture::{CLUSTER, text};
use crate::objects::rollout_of;

/// The longest time until the controller checks a stalled rollout again.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A time without a controller.
#[derive(Clone, Debug)]
pub struct Downtime {
    pub killed: Instant,
    /// When the next controller had listed all resources.
    pub ready: Instant,
    /// The names of the records at the beginning.
    pub records: BTreeSet<String>,
}

/// The downtimes of the controller, and the initial lists of each process.
#[derive(Debug, Default)]
pub struct ControllerRuns {
    pub downtimes: Vec<Downtime>,
    /// For each process, its start and the time when it was ready.
    pub lists: Vec<(Instant, Instant)>,
}

/// All differences, one line each.
pub fn differences(
    observed: &Observations,
    entities: &[Entity],
    namespace: &str,
    runs: &ControllerRuns,
) -> Vec<String> {
    let ControllerRuns { downtimes, lists } = runs;
    let since = |downtime: &Downtime| observed.heartbeats.recorded_until(downtime.killed);
    let missed = downtimes.iter().map(|downtime| Missed { since: since(downtime), downtime }).collect();
    let mut comparison = Comparison { observed, missed, lists, found: Vec::new() };
    if !observed.is_complete() {
        comparison.add(&"the watches of the observer were interrupted, so this run shows nothing");
    }
    for (name, record) in &observed.records {
        comparison.check_history(name, record);
    }
    comparison.check_records();
    comparison.check_rollbacks();
    comparison.check_entities(entities, namespace);
    comparison.found
}

/// A time whose changes may be missing in the records.
struct Missed<'a> {
    /// `None` means from the beginning.
    since: Option<Instant>,
    downtime: &'a Downtime,
}

impl Missed<'_> {
    fn contains(&self, at: Instant) -> bool {
        self.has_started(at) && at <= self.downtime.ready
    }

    /// Whether it had started by then.
    fn has_started(&self, at: Instant) -> bool {
        self.since.is_none_or(|since| since <= at)
    }
}

struct Comparison<'a> {
    observed: &'a Observations,
    missed: Vec<Missed<'a>>,
    lists: &'a [(Instant, Instant)],
    found: Vec<String>,
}

impl<'a> Comparison<'a> {
    /// Adds a difference.
    fn add(&mut self, what: &dyn std::fmt::Display) {
        self.found.push(what.to_string());
    }

    /// Whether a change at this time may be missing in the records.
    fn is_missed(&self, at: Instant) -> bool {
        self.missed.iter().any(|missed| missed.contains(at))
    }

    /// The current records, by UID of the Deployment and revision.
    fn records(&self) -> BTreeMap<(&'a str, i64), &'a DoraDeployment> {
        let last = self.observed.records.values().filter_map(RecordHistory::last);
        last.filter_map(|record| {
            let (workload, revision) = rollout_of(record)?;
            Some(((workload.uid.as_str(), revision.number), record))
        })
        .collect()
    }

    /// Checks that the outcome of a record changes only in the allowed order, that its identity doesn't change, and
    /// that it is not deleted.
    fn check_history(&mut self, name: &str, history: &RecordHistory) {
        if history.is_deleted {
            self.add(&format!("the record {name} was deleted"));
        }
        for pair in history.states.windows(2) {
            let (before, after) = (&pair[0].1.spec, &pair[1].1.spec);
            let is_forward = match (before.outcome, after.outcome) {
                (one, other) if one == other => before.finished_at == after.finished_at,
                (Outcome::InProgress, _)
                | (Outcome::Failed, Outcome::Recovered)
                | (Outcome::Succeeded | Outcome::Recovered, Outcome::RolledBack) => true,
                _ => false,
            };
            let is_same = (&before.workload, &before.revision) == (&after.workload, &after.revision)
                && (before.change, &before.started_at) == (after.change, &after.started_at);
            if !is_forward || !is_same {
                self.add(&format!("the record {name} changed from {before:?} to {after:?}"));
            }
        }
    }

    /// Checks that each rollout has one record with the right outcome.
    fn check_records(&mut self) {
        let records = self.records();
        if records.len() != self.observed.records.len() {
            self.add(&format!("{} records for {} revisions", self.observed.records.len(), records.len()));
        }
        let rollouts = expected_rollouts(self.observed);
        let ran: BTreeSet<_> = rollouts.iter().map(|rollout| (rollout.uid, rollout.revision)).collect();
        let numbered = numbered_while_paused(self.observed);
        for (key, record) in &records {
            let since = numbered.get(key);
            let is_unknowable = since.is_some_and(|at| self.missed.iter().any(|missed| *at <= missed.downtime.ready));
            if !ran.contains(key) && !is_unknowable {
                self.add(&format!("a record without a rollout: {:?}", record.spec));
            }
        }
        for rollout in &rollouts {
            match records.get(&(rollout.uid, rollout.revision)) {
                Some(record) => self.check_record(rollout, &record.spec),
                None if self.may_be_unknown(rollout) => {}
                // The watch can't distinguish it from a revision that was only numbered while paused.
                None if numbered.contains_key(&(rollout.uid, rollout.revision))
                    && rollout.outcome() == Outcome::Superseded => {}
                None => self.add(&format!("no record of {rollout:?}")),
            }
        }
    }

    /// Whether the rollout started and was deleted with its Deployment during a downtime.
    fn may_be_unknown(&self, rollout: &ExpectedRollout<'_>) -> bool {
        let uid: String = rollout.uid.chars().take(8).collect();
        let name = format!("{}-{}-{uid}", rollout.name, rollout.revision);
        let deleted = self.observed.deployments[rollout.uid].deleted;
        deleted.is_some_and(|deleted| {
            self.missed.iter().any(|missed| {
                missed.has_started(rollout.started)
                    && missed.contains(deleted)
                    && !missed.downtime.records.contains(&name)
            })
        })
    }

    fn check_record(&mut self, rollout: &ExpectedRollout<'_>, record: &DoraDeploymentSpec) {
        let mut problems = Vec::new();
        if !self.is_right(rollout, before_rollback(rollout, record)) {
            problems.push(format!("{:?} instead of {:?}", record.outcome, rollout.outcome()));
        }
        let numbered = numbered_while_paused(self.observed).get(&(rollout.uid, rollout.revision - 1)).copied();
        let knows_what_ran = numbered.is_none_or(|at| self.lists.iter().all(|(_, ready)| *ready < at));
        let is_by_number = !knows_what_ran && record.change == Some(rollout.change_by_number);
        let is_unknowable = record.change.is_none() && self.was_recorded_after_deletion(rollout);
        if record.change != Some(rollout.change) && !is_by_number && !is_unknowable {
            problems.push(format!("the change is {:?}", rollout.change));
        }
        let reference = record.revision.as_ref();
        if reference.is_none_or(|reference| reference.uid != rollout.replica_set.uid) {
            problems.push("the record names another ReplicaSet".to_owned());
        }
        let started = record.started_at.as_ref().map(|time| time.0);
        if record.started_at_accuracy == Some(Accuracy::Exact) && started != rollout.replica_set.created {
            problems.push("the start is wrong".to_owned());
        }
        let is_success = matches!(before_rollback(rollout, record), Outcome::Succeeded | Outcome::Recovered);
        if let Some(finished) = &record.finished_at
            && is_success
            && record.finished_at_accuracy == Some(Accuracy::Exact)
        {
            let is_first = rollout.completions.first() == Some(&finished.0);
            let is_later = rollout.completions.contains(&finished.0);
            let knows_first =
                !rollout.completed.is_some_and(|at| self.is_missed(at)) && !self.began_to_watch_in(&rollout.unclear);
            if !is_later || (knows_first && !is_first) {
                problems.push(format!("the end is one of {:?}", rollout.completions));
            }
        }
        if !problems.is_empty() {
            self.add(&format!("{}: {record:?} of {rollout:?}", problems.join(", ")));
        }
    }

    /// Whether the record was created after the Deployment and its ReplicaSets were deleted, since no controller was
    /// leading before.
    fn was_recorded_after_deletion(&self, rollout: &ExpectedRollout<'_>) -> bool {
        let is_record = |history: &&RecordHistory| {
            let reference = history.last().and_then(rollout_of);
            reference.is_some_and(|(workload, revision)| {
                (workload.uid.as_str(), revision.number) == (rollout.uid, rollout.revision)
            })
        };
        let created = self
            .observed
            .records
            .values()
            .find(is_record)
            .and_then(|history| history.states.first())
            .map(|(at, _)| *at);
        self.observed.deployments[rollout.uid]
            .deleted
            .is_some_and(|deleted| created.is_some_and(|created| deleted < created))
    }

    /// Whether a record may have `outcome`, before a later rollback.
    fn is_right(&self, rollout: &ExpectedRollout<'_>, outcome: Outcome) -> bool {
        let missed = |at: Option<Instant>| at.is_some_and(|at| self.is_missed(at));
        let expected = rollout.outcome();
        // If the Deployment controller measures no deadline, the controller counts from the last progress that it saw.
        // It saw the same progress as the observer, but not at the same time.
        let tolerance = self.observed.heartbeats.tolerance(rollout.started, rollout.left.unwrap_or_else(Instant::now));
        let stalls = rollout.untracked_stalls.iter();
        let may_have_failed =
            stalls.clone().any(|(from, to)| to.saturating_duration_since(*from) + tolerance > rollout.deadline);
        let must_have_failed = stalls
            .clone()
            .flat_map(|(from, to)| self.watched(*from, *to))
            .any(|watched| watched > rollout.deadline + tolerance + CHECK_INTERVAL)
            && !missed(Some(rollout.started))
            && !missed(rollout.left);
        match (expected, outcome) {
            // It ends soon, unless it is paused.
            (Outcome::InProgress, Outcome::InProgress) => {
                self.is_paused(rollout) || !must_have_failed && may_have_failed
            }
            (Outcome::InProgress | Outcome::Superseded | Outcome::Abandoned, Outcome::Failed) => may_have_failed,
            (Outcome::Superseded | Outcome::Abandoned, same) if same == expected => !must_have_failed,
            (one, same) if one == same => true,
            (_, Outcome::Unobserved) if missed(rollout.ended()) && missed(rollout.left) => true,
            (Outcome::Succeeded, Outcome::Recovered) => may_have_failed,
            (Outcome::Succeeded, Outcome::Failed) => {
                may_have_failed && missed(rollout.completed) && missed(rollout.left)
            }
            // Scaling replaces the condition that showed the failure.
            (Outcome::Recovered, Outcome::Succeeded) | (Outcome::Failed, Outcome::Superseded | Outcome::Abandoned) => {
                missed(rollout.failed)
            }
            // The condition of a paused Deployment hides the completion from those that watched all the time.
            (Outcome::Failed, Outcome::Recovered) => self.began_to_watch_in(&rollout.complete_while_unclear),
            (Outcome::Recovered, Outcome::Failed) => missed(rollout.completed) && missed(rollout.left),
            (Outcome::InProgress | Outcome::Superseded | Outcome::Abandoned | Outcome::Succeeded, _) => {
                matches!(outcome, Outcome::Succeeded | Outcome::Unobserved) && self.began_to_watch_in(&rollout.unclear)
            }
            _ => false,
        }
    }

    /// The parts of a time during which one controller was watching without interruption.
    fn watched(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let downtimes = self.missed.iter().map(|missed| (missed.since.unwrap_or(from), missed.downtime.ready));
        let mut gaps: Vec<_> = downtimes.chain(self.lists.iter().copied()).collect();
        gaps.sort();
        let (mut parts, mut at) = (Vec::new(), from);
        for (start, end) in gaps.into_iter().filter(|(start, end)| *start <= to && from <= *end) {
            parts.push(start.saturating_duration_since(at));
            at = at.max(end);
        }
        parts.push(to.saturating_duration_since(at));
        parts
    }

    /// Whether a controller started to watch in one of these times.
    fn began_to_watch_in(&self, times: &[(Instant, Instant)]) -> bool {
        let overlaps = |(start, end): &(Instant, Instant)| {
            self.lists.iter().any(|(started, ready)| start <= ready && started <= end)
        };
        times.iter().any(overlaps)
    }

    fn is_paused(&self, rollout: &ExpectedRollout<'_>) -> bool {
        self.observed.deployments[rollout.uid].states.last().is_some_and(|state| state.paused)
    }

    /// Checks that a rollback reverts the record that was in effect. If that is a restart, the restarted revision is
    /// reverted as well.
    fn check_rollbacks(&mut self) {
        let records = self.records();
        let mut reverted: BTreeMap<(&str, i64), i64> = BTreeMap::new();
        for ((uid, revision), record) in &records {
            if record.spec.change != Some(ChangeKind::Rollback) {
                continue;
            }
            for (key, past) in records.range((*uid, 0)..(*uid, *revision)).rev() {
                let uid_of =
                    |record: &DoraDeployment| record.spec.revision.as_ref().map(|revision| revision.uid.clone());
                match past.spec.outcome {
                    Outcome::Failed | Outcome::Superseded | Outcome::Abandoned => continue,
                    Outcome::Unobserved | Outcome::InProgress => break,
                    Outcome::Succeeded | Outcome::Recovered | Outcome::RolledBack => {}
                }
                if !reverted.contains_key(key) {
                    if uid_of(past) == uid_of(record) {
                        break;
                    }
                    reverted.insert(*key, *revision);
                }
                if past.spec.change != Some(ChangeKind::Restart) {
                    break;
                }
            }
        }
        for (key, record) in &records {
            let by = reverted.get(key).copied();
            let is_marked = record.spec.outcome == Outcome::RolledBack;
            if record.spec.rolled_back_by != by || is_marked != by.is_some() {
                self.add(&format!("rolled back by {by:?}: {:?}", record.spec));
            }
        }
    }

    /// Checks that each published record has one entity, and that there are no others.
    fn check_entities(&mut self, entities: &[Entity], namespace: &str) {
        let mut expected = BTreeMap::new();
        for record in self.records().into_values() {
            let DoraDeploymentSpec { outcome, change, replicas, started_at, finished_at, .. } = &record.spec;
            let status = match outcome {
                Outcome::InProgress | Outcome::Abandoned => continue,
                Outcome::Succeeded | Outcome::Recovered => "success",
                Outcome::Failed => "failed",
                Outcome::Superseded => "cancelled",
                Outcome::RolledBack => "rolled_back",
                Outcome::Unobserved => "unknown",
            };
            let (Some((workload, revision)), Some(time)) =
                (rollout_of(record), finished_at.as_ref().or(started_at.as_ref()))
            else {
                continue;
            };
            if *change == Some(ChangeKind::Restart) || *replicas == Some(0) {
                continue;
            }
            let uid: String = workload.uid.chars().take(8).collect();
            let identifier = format!("{CLUSTER}:{namespace}:{}:{}:{uid}", workload.name, revision.number);
            expected.insert(identifier, (status.to_owned(), format!("{:.3}", time.0)));
        }
        let found: BTreeMap<_, _> = entities
            .iter()
            .map(|entity| (entity.identifier.clone(), (text(entity, "status"), text(entity, "deployment_time"))))
            .collect();
        if found.len() != entities.len() {
            self.add(&"an identifier exists twice");
        }
        for (identifier, entity) in &expected {
            if found.get(identifier) != Some(entity) {
                self.add(&format!("the entity {identifier} is {:?}, expected {entity:?}", found.get(identifier)));
            }
        }
        for (identifier, entity) in found.iter().filter(|(identifier, _)| !expected.contains_key(*identifier)) {
            self.add(&format!("the entity {identifier} {entity:?} is not expected"));
        }
    }
}

/// The outcome before a rollback reverted it.
fn before_rollback(rollout: &ExpectedRollout<'_>, record: &DoraDeploymentSpec) -> Outcome {
    match (record.outcome, rollout.outcome()) {
        (Outcome::RolledBack, Outcome::Recovered) => Outcome::Recovered,
        (Outcome::RolledBack, _) => Outcome::Succeeded,
        (outcome, _) => outcome,
    }
}

mod tests {
    use serde_json::json;

    use super::*;

    /// A record of a revision whose ReplicaSet has this UID. `by` is the revision that rolled it back, if any.
    fn record(revision: i64, replica_set: &str, change: &str, by: Option<i64>) -> DoraDeployment {
        let outcome = if by.is_some() { "RolledBack" } else { "Succeeded" };
        let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "uid"});
        let revision_of = json!({"number": revision, "name": replica_set, "uid": replica_set});
        let spec = json!({"workload": workload, "revision": revision_of, "outcome": outcome, "change": change, "rolledBackBy": by});
        DoraDeployment::new(&format!("web-{revision}"), serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn restarted_revision_is_reverted_with_its_restart() {
        let found = |reverted_by: Option<i64>| {
            let mut observed = Observations::default();
            for record in [
                record(1, "one", "Initial", None),
                record(2, "two", "Release", reverted_by),
                record(3, "three", "Restart", Some(5)),
                record(4, "two", "Restart", Some(5)),
                record(5, "one", "Rollback", None),
            ] {
                let history = RecordHistory { states: vec![(Instant::now(), record.clone())], is_deleted: false };
                observed.records.insert(record.metadata.name.unwrap(), history);
            }
            let mut comparison = Comparison { observed: &observed, missed: Vec::new(), lists: &[], found: Vec::new() };
            comparison.check_rollbacks();
            comparison.found.len()
        };
        assert_eq!(found(Some(5)), 0);
        assert_eq!(found(None), 1);
        assert_eq!(found(Some(3)), 1);
    }

    #[test]
    fn stall_is_watched_between_controller_starts() {
        let start = Instant::now() + Duration::from_mins(1);
        let at = |seconds| start + Duration::from_secs(seconds);
        let downtime = Downtime { killed: at(12), ready: at(20), records: BTreeSet::new() };
        let observed = Observations::default();
        let watched = |from, to| {
            let missed = vec![Missed { since: Some(at(10)), downtime: &downtime }];
            let lists = [(at(15), at(20)), (at(30), at(31))];
            let parts =
                Comparison { observed: &observed, missed, lists: &lists, found: Vec::new() }.watched(at(from), at(to));
            parts.into_iter().map(|part| part.as_secs()).filter(|seconds| *seconds > 0).collect::<Vec<_>>()
        };
        assert_eq!(watched(1, 9), [8]);
        assert_eq!(watched(1, 12), [9], "the end may not have been recorded");
        assert_eq!(watched(1, 40), [9, 10, 9]);
        assert_eq!(watched(11, 25), [5]);
        assert_eq!(watched(12, 18), [0; 0]);
        assert_eq!(watched(21, 30), [9], "a standby lists at the end");
    }
}
