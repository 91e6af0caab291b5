//! The records and the entities against what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use port_dora_controller::resources::{DoraDeployment, DoraDeploymentSpec};
use port_sim::Entity;
use rollout::{Accuracy, ChangeKind, Outcome};

use super::course::{Rollout, numbered_while_paused, rollouts};
use super::observer::{RecordCourse, Seen};
use crate::fixture::{CLUSTER, text};
use crate::objects::rollout_of;

/// The longest time after which the controller looks again at a Deployment that stands still.
const NEXT_LOOK: Duration = Duration::from_secs(1);

/// A time in which no controller watched.
#[derive(Clone, Debug)]
pub struct Absence {
    pub killed: Instant,
    /// When the next one had listed everything.
    pub ready: Instant,
    /// The records at its beginning.
    pub records: BTreeSet<String>,
}

/// How long the controllers were away, and when they listed everything anew.
#[derive(Debug, Default)]
pub struct Attendance {
    pub absences: Vec<Absence>,
    /// From the start of each to when it was ready.
    pub lists: Vec<(Instant, Instant)>,
}

/// All that disagrees, a line each.
pub fn disagreements(seen: &Seen, entities: &[Entity], namespace: &str, attendance: &Attendance) -> Vec<String> {
    let Attendance { absences, lists } = attendance;
    let since = |absence: &Absence| seen.marks.recorded_until(absence.killed);
    let missed = absences.iter().map(|absence| Missed { since: since(absence), absence }).collect();
    let mut comparison = Comparison { seen, missed, lists, found: Vec::new() };
    if !seen.is_gapless() {
        comparison.say(&"the observer's own watches were interrupted: this run proves nothing");
    }
    for (name, record) in &seen.records {
        comparison.check_history(name, record);
    }
    comparison.check_records();
    comparison.check_rollbacks();
    comparison.check_entities(entities, namespace);
    comparison.found
}

/// A time of which nobody may have seen and recorded what happened.
struct Missed<'a> {
    /// `None`: from the beginning.
    since: Option<Instant>,
    absence: &'a Absence,
}

impl Missed<'_> {
    fn contains(&self, at: Instant) -> bool {
        self.has_begun(at) && at <= self.absence.ready
    }

    /// Whether it had begun by then.
    fn has_begun(&self, at: Instant) -> bool {
        self.since.is_none_or(|since| since <= at)
    }
}

struct Comparison<'a> {
    seen: &'a Seen,
    missed: Vec<Missed<'a>>,
    lists: &'a [(Instant, Instant)],
    found: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn say(&mut self, what: &dyn std::fmt::Display) {
        self.found.push(what.to_string());
    }

    /// Whether nobody may have seen what happened then.
    fn is_missed(&self, at: Instant) -> bool {
        self.missed.iter().any(|missed| missed.contains(at))
    }

    /// The records as they are, by Deployment and revision.
    fn records(&self) -> BTreeMap<(&'a str, i64), &'a DoraDeployment> {
        let last = self.seen.records.values().filter_map(RecordCourse::last);
        last.filter_map(|record| {
            let (workload, revision) = rollout_of(record)?;
            Some(((workload.uid.as_str(), revision.number), record))
        })
        .collect()
    }

    /// A record never moves backwards, keeps what it is of, and stays.
    fn check_history(&mut self, name: &str, course: &RecordCourse) {
        if course.is_deleted {
            self.say(&format!("the record {name} was deleted"));
        }
        for pair in course.states.windows(2) {
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
                self.say(&format!("the record {name} went from {before:?} to {after:?}"));
            }
        }
    }

    /// Each rollout has one record, which says how it went.
    fn check_records(&mut self) {
        let records = self.records();
        if records.len() != self.seen.records.len() {
            self.say(&format!("{} records of {} revisions", self.seen.records.len(), records.len()));
        }
        let rollouts = rollouts(self.seen);
        let ran: BTreeSet<_> = rollouts.iter().map(|rollout| (rollout.uid, rollout.revision)).collect();
        let numbered = numbered_while_paused(self.seen);
        for (key, record) in &records {
            let since = numbered.get(key);
            let is_unknowable = since.is_some_and(|at| self.missed.iter().any(|missed| *at <= missed.absence.ready));
            if !ran.contains(key) && !is_unknowable {
                self.say(&format!("the record of a rollout that never was: {:?}", record.spec));
            }
        }
        for rollout in &rollouts {
            match records.get(&(rollout.uid, rollout.revision)) {
                Some(record) => self.check_record(rollout, &record.spec),
                None if self.may_be_unknown(rollout) => {}
                // The watch can't tell it from one that was only a number.
                None if rollout.was_numbered && rollout.outcome() == Outcome::Superseded => {}
                None => self.say(&format!("no record of {rollout:?}")),
            }
        }
    }

    /// It began and was deleted with its Deployment while nobody watched.
    fn may_be_unknown(&self, rollout: &Rollout<'_>) -> bool {
        let uid: String = rollout.uid.chars().take(8).collect();
        let name = format!("{}-{}-{uid}", rollout.name, rollout.revision);
        let deleted = self.seen.deployments[rollout.uid].deleted;
        deleted.is_some_and(|deleted| {
            self.missed.iter().any(|missed| {
                missed.has_begun(rollout.began) && missed.contains(deleted) && !missed.absence.records.contains(&name)
            })
        })
    }

    fn check_record(&mut self, rollout: &Rollout<'_>, record: &DoraDeploymentSpec) {
        let mut problems = Vec::new();
        if !self.is_right(rollout, before_rollback(rollout, record)) {
            problems.push(format!("{:?} instead of {:?}", record.outcome, rollout.outcome()));
        }
        let numbered = numbered_while_paused(self.seen).get(&(rollout.uid, rollout.revision - 1)).copied();
        let knows_what_ran = numbered.is_none_or(|at| self.lists.iter().all(|(_, ready)| *ready < at));
        let is_by_number = !knows_what_ran && record.change == Some(rollout.change_by_number);
        let is_unknowable = record.change.is_none() && self.was_recorded_after_deletion(rollout);
        if record.change != Some(rollout.change) && !is_by_number && !is_unknowable {
            problems.push(format!("the change is {:?}", rollout.change));
        }
        let reference = record.revision.as_ref();
        if reference.is_none_or(|reference| reference.uid != rollout.replica_set.uid) {
            problems.push("another ReplicaSet".to_owned());
        }
        let started = record.started_at.as_ref().map(|time| time.0);
        if record.started_at_accuracy == Some(Accuracy::Exact) && started != rollout.replica_set.created {
            problems.push("not that start".to_owned());
        }
        let is_success = matches!(before_rollback(rollout, record), Outcome::Succeeded | Outcome::Recovered);
        if let Some(finished) = &record.finished_at
            && is_success
            && record.finished_at_accuracy == Some(Accuracy::Exact)
        {
            let is_first = rollout.completions.first() == Some(&finished.0);
            let is_later = rollout.completions.contains(&finished.0);
            let knows_first = !rollout.completed.is_some_and(|at| self.is_missed(at)) && !self.is_unclear(rollout);
            if !is_later || (knows_first && !is_first) {
                problems.push(format!("the end is one of {:?}", rollout.completions));
            }
        }
        if !problems.is_empty() {
            self.say(&format!("{}: {record:?} of {rollout:?}", problems.join(", ")));
        }
    }

    /// Whether its record was begun when its Deployment, and with it the other ReplicaSets, were gone: no controller led by then.
    fn was_recorded_after_deletion(&self, rollout: &Rollout<'_>) -> bool {
        let of_it = |course: &&RecordCourse| {
            let reference = course.last().and_then(rollout_of);
            reference.is_some_and(|(workload, revision)| {
                (workload.uid.as_str(), revision.number) == (rollout.uid, rollout.revision)
            })
        };
        let begun = self.seen.records.values().find(of_it).and_then(|course| course.states.first()).map(|(at, _)| *at);
        self.seen.deployments[rollout.uid].deleted.is_some_and(|deleted| begun.is_some_and(|begun| deleted < begun))
    }

    /// Whether a record may say `outcome`, apart from a rollback later on.
    fn is_right(&self, rollout: &Rollout<'_>, outcome: Outcome) -> bool {
        let missed = |at: Option<Instant>| at.is_some_and(|at| self.is_missed(at));
        let expected = rollout.outcome();
        // Where the Deployment controller keeps no deadline, the controller counts from when it saw the last step.
        // Both saw the same steps, though not at the same time.
        let slack = self.seen.marks.slack(rollout.began, rollout.left.unwrap_or_else(Instant::now));
        let standstills = rollout.untracked_standstills.iter();
        let may_have_failed =
            standstills.clone().any(|(from, to)| to.saturating_duration_since(*from) + slack > rollout.deadline);
        let must_have_failed = standstills
            .clone()
            .flat_map(|(from, to)| self.watched(*from, *to))
            .any(|watched| watched > rollout.deadline + slack + NEXT_LOOK)
            && !missed(Some(rollout.began))
            && !missed(rollout.left);
        match (expected, outcome) {
            // It is over in a moment, unless it is paused: then it stands.
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
            // Scaling takes the condition away that said so.
            (Outcome::Recovered, Outcome::Succeeded) | (Outcome::Failed, Outcome::Superseded | Outcome::Abandoned) => {
                missed(rollout.failed)
            }
            (Outcome::Recovered, Outcome::Failed) => missed(rollout.completed) && missed(rollout.left),
            (Outcome::InProgress | Outcome::Superseded | Outcome::Abandoned | Outcome::Succeeded, _) => {
                matches!(outcome, Outcome::Succeeded | Outcome::Unobserved) && self.is_unclear(rollout)
            }
            _ => false,
        }
    }

    /// The parts of a time in each of which one and the same controller watched.
    fn watched(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let absences = self.missed.iter().map(|missed| (missed.since.unwrap_or(from), missed.absence.ready));
        let mut gaps: Vec<_> = absences.chain(self.lists.iter().copied()).collect();
        gaps.sort();
        let (mut parts, mut at) = (Vec::new(), from);
        for (began, ended) in gaps.into_iter().filter(|(began, ended)| *began <= to && from <= *ended) {
            parts.push(began.saturating_duration_since(at));
            at = at.max(ended);
        }
        parts.push(to.saturating_duration_since(at));
        parts
    }

    /// Whether a controller began to watch at a time at which nothing told how the rollout stood.
    fn is_unclear(&self, rollout: &Rollout<'_>) -> bool {
        let overlaps = |(began, ended): &(Instant, Instant)| {
            self.lists.iter().any(|(started, ready)| began <= ready && started <= ended)
        };
        rollout.unclear.iter().any(overlaps)
    }

    fn is_paused(&self, rollout: &Rollout<'_>) -> bool {
        self.seen.deployments[rollout.uid].states.last().is_some_and(|state| state.paused)
    }

    /// A rollback takes back what was in effect, as far as the records know, and with a restart what it restarted.
    fn check_rollbacks(&mut self) {
        let records = self.records();
        let mut taken_back: BTreeMap<(&str, i64), i64> = BTreeMap::new();
        for ((uid, revision), record) in &records {
            if record.spec.change != Some(ChangeKind::Rollback) {
                continue;
            }
            for (key, former) in records.range((*uid, 0)..(*uid, *revision)).rev() {
                let uid_of =
                    |record: &DoraDeployment| record.spec.revision.as_ref().map(|revision| revision.uid.clone());
                match former.spec.outcome {
                    Outcome::Failed | Outcome::Superseded | Outcome::Abandoned => continue,
                    Outcome::Unobserved | Outcome::InProgress => break,
                    Outcome::Succeeded | Outcome::Recovered | Outcome::RolledBack => {}
                }
                if !taken_back.contains_key(key) {
                    if uid_of(former) == uid_of(record) {
                        break;
                    }
                    taken_back.insert(*key, *revision);
                }
                if former.spec.change != Some(ChangeKind::Restart) {
                    break;
                }
            }
        }
        for (key, record) in &records {
            let by = taken_back.get(key).copied();
            let is_marked = record.spec.outcome == Outcome::RolledBack;
            if record.spec.rolled_back_by != by || is_marked != by.is_some() {
                self.say(&format!("rolled back by {by:?}: {:?}", record.spec));
            }
        }
    }

    /// Each record that is to be published has one entity, and nothing else has.
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
            self.say(&"an identifier is there twice");
        }
        for (identifier, entity) in &expected {
            if found.get(identifier) != Some(entity) {
                self.say(&format!("the entity {identifier} is {:?} and should be {entity:?}", found.get(identifier)));
            }
        }
        for (identifier, entity) in found.iter().filter(|(identifier, _)| !expected.contains_key(*identifier)) {
            self.say(&format!("the entity {identifier} {entity:?} should not be there"));
        }
    }
}

/// The outcome before a rollback took it back.
fn before_rollback(rollout: &Rollout<'_>, record: &DoraDeploymentSpec) -> Outcome {
    match (record.outcome, rollout.outcome()) {
        (Outcome::RolledBack, Outcome::Recovered) => Outcome::Recovered,
        (Outcome::RolledBack, _) => Outcome::Succeeded,
        (outcome, _) => outcome,
    }
}

mod tests {
    use serde_json::json;

    use super::*;

    /// A record of a revision whose ReplicaSet has this UID, taken back by another one or in effect.
    fn record(revision: i64, replica_set: &str, change: &str, by: Option<i64>) -> DoraDeployment {
        let outcome = if by.is_some() { "RolledBack" } else { "Succeeded" };
        let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "uid"});
        let revision_of = json!({"number": revision, "name": replica_set, "uid": replica_set});
        let spec = json!({"workload": workload, "revision": revision_of, "outcome": outcome, "change": change, "rolledBackBy": by});
        DoraDeployment::new(&format!("web-{revision}"), serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn what_was_restarted_is_taken_back_with_the_restart() {
        let found = |taken_back: Option<i64>| {
            let mut seen = Seen::default();
            for record in [
                record(1, "one", "Initial", None),
                record(2, "two", "Release", taken_back),
                record(3, "three", "Restart", Some(5)),
                record(4, "two", "Restart", Some(5)),
                record(5, "one", "Rollback", None),
            ] {
                let course = RecordCourse { states: vec![(Instant::now(), record.clone())], is_deleted: false };
                seen.records.insert(record.metadata.name.unwrap(), course);
            }
            let mut comparison = Comparison { seen: &seen, missed: Vec::new(), lists: &[], found: Vec::new() };
            comparison.check_rollbacks();
            comparison.found.len()
        };
        assert_eq!(found(Some(5)), 0);
        assert_eq!(found(None), 1);
        assert_eq!(found(Some(3)), 1);
    }

    #[test]
    fn a_standstill_is_watched_between_the_starts_of_controllers() {
        let start = Instant::now() + Duration::from_mins(1);
        let at = |seconds| start + Duration::from_secs(seconds);
        let absence = Absence { killed: at(12), ready: at(20), records: BTreeSet::new() };
        let seen = Seen::default();
        let watched = |from, to| {
            let missed = vec![Missed { since: Some(at(10)), absence: &absence }];
            let lists = [(at(15), at(20)), (at(30), at(31))];
            let parts = Comparison { seen: &seen, missed, lists: &lists, found: Vec::new() }.watched(at(from), at(to));
            parts.into_iter().map(|part| part.as_secs()).filter(|seconds| *seconds > 0).collect::<Vec<_>>()
        };
        assert_eq!(watched(1, 9), [8]);
        assert_eq!(watched(1, 12), [9], "the last of it may not have been recorded");
        assert_eq!(watched(1, 40), [9, 10, 9]);
        assert_eq!(watched(11, 25), [5]);
        assert_eq!(watched(12, 18), [0; 0]);
        assert_eq!(watched(21, 30), [9], "a standby lists at its end");
    }
}
