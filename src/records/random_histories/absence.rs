//! What is recorded where nobody was there all the time: it may be less than what happened, but nothing else.

use std::collections::BTreeSet;

use super::comparison::{expected_line, is_of, recorded_line, reference, workload_uid};
use super::model::{Cluster, What};
use super::observer::Observer;
use super::truth::{Moment, Rollout};
use crate::resources::{DoraDeployment, DoraDeploymentSpec, RevisionReference};
use rollout::{Accuracy, ChangeKind, Outcome};

/// What is recorded is true as far as anybody could know, no rollout is recorded twice, and what is missing is told of.
pub fn check_what_was_seen(cluster: &Cluster, observer: &Observer<'_>) -> Result<(), String> {
    let records = observer.recorded();
    let check = Check { cluster, rollouts: &cluster.truth.rollouts, records: &records };
    check.all().map_err(|problem| {
        let lines: Vec<String> = records.iter().map(|record| recorded_line(&record.spec, true)).collect();
        format!("{problem}\nof all that is recorded:\n  {}", lines.join("\n  "))
    })
}

struct Check<'a> {
    cluster: &'a Cluster,
    rollouts: &'a [Rollout],
    records: &'a [DoraDeployment],
}

impl Check<'_> {
    fn all(&self) -> Result<(), String> {
        let mut told = BTreeSet::new();
        for record in self.records {
            let spec = &record.spec;
            let line = recorded_line(spec, true);
            let Some(position) = self.rollouts.iter().position(|rollout| is_of(rollout, spec)) else {
                if spec.outcome == Outcome::Unobserved && self.was_given(reference(spec)) {
                    continue;
                }
                return Err(format!("no rollout: {line}"));
            };
            let rollout = &self.rollouts[position];
            if !told.insert(position) {
                // Numbered anew, when another ReplicaSet had the number in between: nothing tells that this one never ran.
                if reference(spec).number != rollout.number {
                    continue;
                }
                return Err(format!("recorded already: {line}"));
            }
            if rollout.is_taken_over {
                return Err(format!("only taken over: {line}"));
            }
            if spec.outcome == Outcome::InProgress && !self.is_present(position) {
                return Err(format!("still in progress, though long over: {line}"));
            }
            if !self.may_say(rollout, spec) {
                return Err(format!("wrong: {line}; truly {}", expected_line(rollout, true)));
            }
            if !has_true_end(rollout, spec) {
                return Err(format!("ends at another time: {line}; truly {}", expected_line(rollout, true)));
            }
            self.check_unseen(spec)?;
        }
        let mut missing = (0..self.rollouts.len()).filter(|position| !told.contains(position));
        missing.try_for_each(|position| self.check_missing(position))
    }

    /// Whether it is the last rollout of a Deployment that is still there.
    fn is_present(&self, position: usize) -> bool {
        position + 1 == self.rollouts.len() && !self.rollouts[position].is_deleted
    }

    /// A ReplicaSet may get a number that is changed again before anything is rolled out: its annotations don't tell.
    fn was_given(&self, reference: &RevisionReference) -> bool {
        self.cluster.log.iter().any(|event| match &event.what {
            What::ReplicaSet { row, .. } => *row.uid == *reference.uid && row.revision == Some(reference.number),
            _ => false,
        })
    }

    /// Whether the record has the true outcome, none, or one that nobody who was away could know to be wrong.
    fn may_say(&self, rollout: &Rollout, spec: &DoraDeploymentSpec) -> bool {
        let said = spec.outcome;
        // A failure may have come and gone.
        let outcomes = |rollout: &Rollout| [rollout.outcome(), rollout.without_failure().outcome()];
        said == Outcome::Unobserved
            || outcomes(rollout).contains(&said)
            || (self.may_lack_its_mark(rollout) && outcomes(&rollout.without_mark()).contains(&said))
            || self.is_marked_by_mistake(rollout, spec)
            || is_unknowable(rollout, spec)
    }

    /// Whether what took the rollout back was not observed, or it is not known what was in effect before that.
    fn may_lack_its_mark(&self, rollout: &Rollout) -> bool {
        let Some(by) = rollout.rolled_back_by else { return false };
        let is_since = |spec: &DoraDeploymentSpec| (rollout.number + 1..=by).contains(&reference(spec).number);
        let mut of_this =
            self.records.iter().map(|record| &record.spec).filter(|spec| *workload_uid(spec) == *rollout.deployment);
        let is_recorded = of_this.clone().any(|spec| reference(spec).number == by);
        !is_recorded || of_this.any(|spec| is_since(spec) && spec.outcome == Outcome::Unobserved)
    }

    /// Whether what seems to have taken the rollout back was no rollout, or took back a restart whose ReplicaSet is gone.
    fn is_marked_by_mistake(&self, rollout: &Rollout, spec: &DoraDeploymentSpec) -> bool {
        let is_rollback =
            |other: &&Rollout| other.deployment == rollout.deployment && other.kind == ChangeKind::Rollback;
        spec.rolled_back_by
            .is_some_and(|by| !self.rollouts.iter().filter(is_rollback).any(|other| other.numbers.contains(&by)))
    }

    /// The revisions that are said to have left nothing have no record.
    fn check_unseen(&self, spec: &DoraDeploymentSpec) -> Result<(), String> {
        let revision = reference(spec).number;
        let unseen = revision - spec.unseen_revisions.unwrap_or(0)..revision;
        let is_unseen = |other: &DoraDeployment| {
            workload_uid(&other.spec) == workload_uid(spec) && unseen.contains(&reference(&other.spec).number)
        };
        if self.records.iter().any(is_unseen) {
            return Err(format!("unseen, though recorded: {}", recorded_line(spec, true)));
        }
        Ok(())
    }

    /// A rollout that has no record left nothing, and a later record says so.
    fn check_missing(&self, position: usize) -> Result<(), String> {
        let rollout = &self.rollouts[position];
        // At 0 replicas, one that was numbered anew and one that was rolled out again look the same.
        if rollout.is_taken_over || rollout.is_complete_at_nothing {
            return Ok(());
        }
        let of_this =
            self.records.iter().map(|record| &record.spec).filter(|spec| *workload_uid(spec) == *rollout.deployment);
        let later: Vec<_> = of_this
            .map(|spec| (reference(spec).number, spec.unseen_revisions.unwrap_or(0)))
            .filter(|(revision, _)| rollout.numbers.iter().all(|number| number < revision))
            .collect();
        let is_told =
            later.iter().any(|(revision, unseen)| rollout.numbers.iter().any(|number| *number >= revision - unseen));
        if self.is_present(position) || (!later.is_empty() && !is_told) {
            return Err(format!("missing and not told of: {}", expected_line(rollout, true)));
        }
        Ok(())
    }
}

/// Whether a list can't tell what happened.
fn is_unknowable(rollout: &Rollout, spec: &DoraDeploymentSpec) -> bool {
    let is_counted = rollout.completed.is_some_and(|completed| !completed.is_exact);
    let is_reused = rollout.kind == ChangeKind::Rollback || spec.started_at.is_none();
    let has_failed = rollout.failed.is_some();
    match spec.outcome {
        // What the counts called complete before it was scaled up looks like one that is under way, and stands still like one.
        Outcome::InProgress => is_counted,
        // A first list can't tell a recovery from a failed one that was scaled to nothing and up again.
        Outcome::Failed => has_failed || (is_counted && spec.finished_at_accuracy == Some(Accuracy::Observed)),
        // No condition is known to speak of this revision.
        Outcome::Superseded => is_counted || is_reused,
        // Its ReplicaSet was gone before the end was seen.
        Outcome::Abandoned => rollout.ended.is_some(),
        // Scaled to nothing, a failed one is complete.
        Outcome::Succeeded => has_failed && spec.replicas == Some(0),
        Outcome::RolledBack => has_failed,
        Outcome::Recovered | Outcome::Unobserved => false,
    }
}

/// Whether the end, if the record states it exactly, is that of the rollout.
fn has_true_end(rollout: &Rollout, spec: &DoraDeploymentSpec) -> bool {
    let said = spec.finished_at.as_ref().map(|time| time.0.as_second());
    let Some(said) = said.filter(|_| spec.finished_at_accuracy == Some(Accuracy::Exact)) else { return true };
    let is_end = |moment: Option<Moment>| moment.is_some_and(|moment| moment.at == said);
    // Scaling a failed one gives its failure a later time; a pause and resume do that with a success.
    let is_later = rollout.failed.is_some_and(|failed| said >= failed.at) || rollout.is_restated;
    is_end(rollout.completed) || is_end(rollout.finished()) || is_later || is_unknowable(rollout, spec)
}
