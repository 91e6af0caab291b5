//! Checks the records of a controller that was away at times. They may say less than what happened, but nothing wrong.

use std::collections::BTreeSet;

use port_dora_controller::resources::{DoraDeployment, DoraDeploymentSpec, RevisionReference};
use rollout::{Accuracy, ChangeKind, Outcome};

use super::Mismatch;
use super::comparison::{expected_line, is_about, recorded_line, revision, workload_uid};
use super::model::SimulatedCluster;
use super::objects::EventKind;
use super::observer::Observer;
use super::truth::{Moment, Rollout};

/// Each record is true as far as the controller can know, no rollout has two records, and later records count those
/// that are missing.
pub fn check_records_after_absence(cluster: &SimulatedCluster, observer: &Observer<'_>) -> Result<(), Mismatch> {
    let records = observer.recorded();
    let check = Check { cluster, rollouts: &cluster.truth.rollouts, records: &records };
    check.all().map_err(|Mismatch(problem)| {
        let lines: Vec<String> = records.iter().map(|record| recorded_line(&record.spec, true)).collect();
        Mismatch(format!("{problem}\nall records:\n  {}", lines.join("\n  ")))
    })
}

struct Check<'a> {
    cluster: &'a SimulatedCluster,
    rollouts: &'a [Rollout],
    records: &'a [DoraDeployment],
}

impl Check<'_> {
    fn all(&self) -> Result<(), Mismatch> {
        let mut recorded = BTreeSet::new();
        for record in self.records {
            let spec = &record.spec;
            let line = || recorded_line(spec, true);
            let Some(position) = self.rollouts.iter().position(|rollout| is_about(spec, rollout)) else {
                if spec.outcome == Outcome::Unobserved && self.had_number(revision(spec)) {
                    continue;
                }
                return Err(Mismatch(format!("record without a rollout: {}", line())));
            };
            if !recorded.insert(position) {
                // The ReplicaSet got another number after another one had it. Nothing tells that it never ran under
                // that number.
                if revision(spec).number != self.rollouts[position].number {
                    continue;
                }
                return Err(Mismatch(format!("second record of a rollout: {}", line())));
            }
            if let Some(problem) = self.problem(position, spec) {
                let expected = expected_line(&self.rollouts[position], true);
                return Err(Mismatch(format!("{problem}: {}; expected {expected}", line())));
            }
            self.check_unseen(spec)?;
        }
        let mut missing = (0..self.rollouts.len()).filter(|position| !recorded.contains(position));
        missing.try_for_each(|position| self.check_missing(position))
    }

    /// What is wrong with `spec` as the record of the rollout at `position`.
    fn problem(&self, position: usize, spec: &DoraDeploymentSpec) -> Option<&'static str> {
        let rollout = &self.rollouts[position];
        if rollout.is_adopted {
            return Some("record of a rollout that was only adopted");
        }
        if spec.outcome == Outcome::InProgress && !self.is_present(position) {
            return Some("in progress, but ended long ago");
        }
        if !self.may_have_outcome(rollout, spec) {
            return Some("wrong outcome");
        }
        (!has_true_end(rollout, spec)).then_some("wrong time of the end")
    }

    /// Whether this is the last rollout of a Deployment that still exists.
    fn is_present(&self, position: usize) -> bool {
        position + 1 == self.rollouts.len() && !self.rollouts[position].progress.is_deleted
    }

    /// Whether the ReplicaSet had this number. It may get another one before anything is rolled out, and its
    /// annotations don't tell.
    fn had_number(&self, reference: &RevisionReference) -> bool {
        self.cluster.log.iter().any(|event| match &event.kind {
            EventKind::ReplicaSetApplied { object, .. } => {
                *object.uid == *reference.uid && object.revision == Some(reference.number)
            }
            _ => false,
        })
    }

    /// Whether the record has the true outcome, none, or one that the controller can't know to be wrong after an
    /// absence.
    fn may_have_outcome(&self, rollout: &Rollout, spec: &DoraDeploymentSpec) -> bool {
        let recorded = spec.outcome;
        // The controller may have missed a failure that passed.
        let outcomes = |rollout: &Rollout| [rollout.outcome(), rollout.without_failure().outcome()];
        recorded == Outcome::Unobserved
            || outcomes(rollout).contains(&recorded)
            || (self.may_miss_rollback(rollout) && outcomes(&rollout.without_rollback()).contains(&recorded))
            || self.is_rolled_back_by_mistake(rollout, spec)
            || is_unknowable(rollout, spec)
    }

    /// Whether the rollback of the rollout was not observed, or it is unknown which revision was in effect before.
    fn may_miss_rollback(&self, rollout: &Rollout) -> bool {
        let Some(by) = rollout.rolled_back_by else { return false };
        let is_since = |spec: &DoraDeploymentSpec| (rollout.number + 1..=by).contains(&revision(spec).number);
        let is_recorded = self.records_of(rollout).any(|spec| revision(spec).number == by);
        !is_recorded || self.records_of(rollout).any(|spec| is_since(spec) && spec.outcome == Outcome::Unobserved)
    }

    /// Whether the apparent rollback was not a rollout, or rolled back a restart whose ReplicaSet no longer exists.
    fn is_rolled_back_by_mistake(&self, rollout: &Rollout, spec: &DoraDeploymentSpec) -> bool {
        let is_rollback =
            |other: &&Rollout| other.deployment == rollout.deployment && other.kind == ChangeKind::Rollback;
        spec.rolled_back_by
            .is_some_and(|by| !self.rollouts.iter().filter(is_rollback).any(|other| other.numbers.contains(&by)))
    }

    fn records_of(&self, rollout: &Rollout) -> impl Iterator<Item = &DoraDeploymentSpec> {
        self.records.iter().map(|record| &record.spec).filter(|spec| *workload_uid(spec) == *rollout.deployment)
    }

    /// The revisions that a record counts as unseen have no record.
    fn check_unseen(&self, spec: &DoraDeploymentSpec) -> Result<(), Mismatch> {
        let number = revision(spec).number;
        let unseen = number - spec.unseen_revisions.unwrap_or(0)..number;
        let is_unseen = |other: &DoraDeployment| {
            workload_uid(&other.spec) == workload_uid(spec) && unseen.contains(&revision(&other.spec).number)
        };
        if self.records.iter().any(is_unseen) {
            let line = recorded_line(spec, true);
            return Err(Mismatch(format!("counts a recorded revision as unseen: {line}")));
        }
        Ok(())
    }

    /// A rollout without a record left nothing, and a later record counts it as unseen.
    fn check_missing(&self, position: usize) -> Result<(), Mismatch> {
        let rollout = &self.rollouts[position];
        // At zero replicas, a ReplicaSet that only got another number looks like one that was rolled out again.
        if rollout.is_adopted || rollout.progress.is_complete_at_zero {
            return Ok(());
        }
        let later: Vec<_> = self
            .records_of(rollout)
            .map(|spec| (revision(spec).number, spec.unseen_revisions.unwrap_or(0)))
            .filter(|(recorded, _)| rollout.numbers.iter().all(|number| number < recorded))
            .collect();
        let is_counted =
            later.iter().any(|(recorded, unseen)| rollout.numbers.iter().any(|number| *number >= recorded - unseen));
        if self.is_present(position) || (!later.is_empty() && !is_counted) {
            let expected = expected_line(rollout, true);
            return Err(Mismatch(format!("missing, and no later record counts it: {expected}")));
        }
        Ok(())
    }
}

/// Whether a list can't tell what happened.
fn is_unknowable(rollout: &Rollout, spec: &DoraDeploymentSpec) -> bool {
    let progress = &rollout.progress;
    if rollout.was_hidden {
        return true;
    }
    let is_counted = progress.completed.is_some_and(|completed| !completed.is_exact);
    let is_reused = rollout.kind == ChangeKind::Rollback || spec.started_at.is_none();
    let has_failed = progress.failed.is_some();
    match spec.outcome {
        // The counts called it complete before it was scaled up. Then it looks like a rollout in progress, which may
        // make none.
        Outcome::InProgress => is_counted,
        // A first list can't tell a recovery from a failed rollout that was scaled to zero and up again.
        Outcome::Failed => has_failed || (is_counted && spec.finished_at_accuracy == Some(Accuracy::Observed)),
        // No condition is known to be about this revision.
        Outcome::Superseded => is_counted || is_reused,
        // Its ReplicaSet was deleted before the controller saw the end.
        Outcome::Abandoned => progress.replaced.is_some(),
        // A failed rollout becomes complete when it is scaled to zero.
        Outcome::Succeeded => has_failed && spec.replicas == Some(0),
        Outcome::RolledBack => has_failed,
        Outcome::Recovered | Outcome::Unobserved => false,
    }
}

/// Whether the end, if the record states it exactly, is that of the rollout.
fn has_true_end(rollout: &Rollout, spec: &DoraDeploymentSpec) -> bool {
    let progress = &rollout.progress;
    let finished = spec.finished_at.as_ref().map(|time| time.0.as_second());
    let Some(at) = finished.filter(|_| spec.finished_at_accuracy == Some(Accuracy::Exact)) else { return true };
    let is_end = |moment: Option<Moment>| moment.is_some_and(|moment| moment.at == at);
    // Scaling a failed rollout gives its failure a later time; a pause and a resume do that with a success.
    let is_later = progress.failed.is_some_and(|failed| at >= failed.at) || progress.is_restated;
    is_end(progress.completed) || is_end(progress.finished()) || is_later || is_unknowable(rollout, spec)
}
