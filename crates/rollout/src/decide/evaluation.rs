//! The evaluation of the states of a workload, one revision after another.

use jiff::Timestamp;

use super::{Decision, DecisionInput, Policy};
use crate::revision_history::RevisionHistory;
use crate::state::rollout_state;
use crate::{Observation, Outcome, RecordedRevision, Revision, RevisionId, Source, TimeWithAccuracy, Workload};

/// A decision in the making.
pub(super) struct Evaluation<'a, 'p> {
    pub(super) input: DecisionInput<'a>,
    pub(super) history: RevisionHistory<'a>,
    pub(super) policy: &'p Policy,
    pub(super) is_wanted: &'p dyn Fn(&Workload, &Revision) -> bool,
    /// The first number that was certainly assigned after the installation.
    pub(super) first_since_installation: Option<i64>,
    /// The highest number that was recorded before this decision.
    pub(super) newest_recorded: Option<i64>,
    /// The records, with the changes of this decision.
    pub(super) records: Vec<RecordedRevision>,
    /// The revision that replaced one which somebody deleted, if its record continues.
    pub(super) replacement: Option<&'a Revision>,
    /// The revision that `replacement` replaced.
    pub(super) replaced: Option<RevisionId>,
    pub(super) decision: Decision<'a>,
}

/// The rollout of a revision under one of its numbers. A revision that is used again has several numbers.
#[derive(Clone, Copy)]
pub(super) struct Rollout<'a> {
    pub(super) number: i64,
    pub(super) revision: &'a Revision,
}

impl<'a, 'p> Evaluation<'a, 'p> {
    pub(super) fn new(
        input: DecisionInput<'a>,
        history: RevisionHistory<'a>,
        recorded: &[RecordedRevision],
        policy: &'p Policy,
        is_wanted: &'p dyn Fn(&Workload, &Revision) -> bool,
    ) -> Self {
        Self {
            input,
            first_since_installation: history.first_since(policy.installed),
            newest_recorded: recorded.iter().map(|record| record.revision).max(),
            history,
            policy,
            is_wanted,
            records: recorded.to_vec(),
            replacement: None,
            replaced: None,
            decision: Decision::default(),
        }
    }

    /// Evaluates the last state at one revision, as it was at the time `now`.
    pub(super) fn evaluate(&mut self, observation: &Observation, revision: Option<&'a Revision>, now: Timestamp) {
        let Some(number) = observation.workload.revision else {
            return;
        };
        // `kubectl apply` of a manifest with a revision number gives the Deployment that number for a moment. No ReplicaSet has it.
        let Some(revision) = revision.or_else(|| self.history.get(number)) else {
            return;
        };
        let observed = Rollout { number, revision };
        let rollout = self.renumbered(observed, observation).unwrap_or(observed);
        self.replace_revision(rollout);
        // An undo of a paused Deployment isn't a rollout before the Deployment is resumed.
        let is_waiting = !observation.has_run && self.position(rollout).is_none();
        if is_waiting && observation.source == Source::Watch {
            return;
        }
        if rollout.number == number && observation.source == Source::List {
            self.record_missed(&observation.workload, rollout);
        }
        let started = started(observation, rollout);
        self.finish_previous(observation, rollout, started);
        if is_waiting {
            return;
        }
        let valid = self.valid_conditions(rollout, observation.source);
        let state = rollout_state(observation, revision, valid, self.policy.fail_after, now);
        match self.position(rollout) {
            None => self.start_current(observation, rollout, started, state),
            Some(position) => self.continue_current(position, observation, rollout, state),
        }
        self.mark_rolled_back_by(rollout);
    }

    /// Ends the rollouts of a deleted workload.
    pub(super) fn finish_deleted(&mut self) {
        let last = self.input.past.last().filter(|last| last.next_source == Source::Watch && !last.observation.has_gap);
        for position in self.positions(|record| record.outcome == Outcome::InProgress) {
            let number = self.records[position].revision;
            let last_of_rollout = last.filter(|last| last.observation.workload.revision.is_some_and(|it| it >= number));
            match last_of_rollout {
                Some(last) => {
                    self.finish(position, Outcome::Abandoned, Some(TimeWithAccuracy::observed(last.until)), None);
                }
                None => self.finish(position, Outcome::Unobserved, None, None),
            }
        }
    }

    /// The position of the record of `rollout`.
    pub(super) fn position(&self, rollout: Rollout<'_>) -> Option<usize> {
        self.records.iter().position(|record| record.is_of(rollout.number, rollout.revision))
    }

    /// The positions of the records that `matches` accepts.
    pub(super) fn positions(&self, matches: impl Fn(&RecordedRevision) -> bool) -> Vec<usize> {
        self.records.iter().enumerate().filter(|(_, record)| matches(record)).map(|(position, _)| position).collect()
    }
}

/// When the rollout started, if that is known.
fn started(observation: &Observation, rollout: Rollout<'_>) -> Option<TimeWithAccuracy> {
    let Rollout { number, revision } = rollout;
    if revision.first_revision() == Some(number) {
        return created(&observation.workload, revision);
    }
    (observation.source == Source::Watch).then_some(TimeWithAccuracy::observed(observation.since))
}

/// When `revision` was created, as the start of its first rollout.
pub(super) fn created(workload: &Workload, revision: &Revision) -> Option<TimeWithAccuracy> {
    // With the strategy `Recreate`, the old pods are deleted before the ReplicaSet is created.
    let with_accuracy = if workload.recreates { TimeWithAccuracy::observed } else { TimeWithAccuracy::exact };
    revision.created.map(with_accuracy)
}
