//! The record of the current rollout: it starts, is paused and resumed, and ends.

use jiff::Timestamp;

use super::History;
use super::changes::NewRecord;
use super::evaluation::{Evaluation, Rollout};
use crate::state::RolloutState;
use crate::{
    Accuracy, Action, ChangeKind, Observation, Outcome, ProgressReason, RecordedRevision, RevisionId, Source,
    TimeWithAccuracy, UnixSeconds, Workload, is_complete,
};

impl<'a> Evaluation<'a, '_> {
    /// Starts the record of the current rollout, unless it isn't a rollout, isn't wanted, or ended before the installation.
    pub(super) fn start_current(
        &mut self,
        observation: &Observation,
        rollout: Rollout<'a>,
        started: Option<TimeWithAccuracy>,
        state: RolloutState,
    ) {
        let workload = &observation.workload;
        if self.is_adopted(rollout) && !self.is_rolled_out(observation, rollout, state) {
            return;
        }
        if !(self.is_wanted)(workload, rollout.revision) {
            return;
        }
        let (outcome, finished) = match state {
            RolloutState::InProgress { fails_at } => {
                self.decision.requeue_at = fails_at;
                (Outcome::InProgress, None)
            }
            RolloutState::Complete { at, after_failure: false } => (Outcome::Succeeded, Some(at)),
            RolloutState::Complete { at, after_failure: true } => (Outcome::Recovered, Some(at)),
            RolloutState::Failed(at) => (Outcome::Failed, Some(at)),
        };
        if !self.is_recorded(observation, rollout, finished) {
            return;
        }
        let change = self.change_kind(observation, rollout);
        // The watch has missed nothing: the numbers in between never ran.
        let has_no_gap = observation.source == Source::Watch && self.has_past_revisions();
        let unseen = if has_no_gap { None } else { self.unseen_before(rollout.number) };
        self.start(rollout, &NewRecord { change, started, outcome, finished, unseen });
        if let Some(position) = self.position(rollout) {
            self.note_pause(position, workload, observation.last_progress);
        }
    }

    /// Whether a record of the current rollout starts: always, unless the rollout ended before the installation.
    fn is_recorded(&self, observation: &Observation, rollout: Rollout<'_>, finished: Option<TimeWithAccuracy>) -> bool {
        // A revision from before the installation may be used again after it. Only such a revision has earlier numbers: if a complete
        // Deployment is paused and resumed, Kubernetes updates the time of its condition too.
        let is_reused_since_installation = || {
            let stated = finished.filter(|at| at.accuracy == Accuracy::Exact);
            self.newest_recorded.is_none()
                && !rollout.revision.earlier_revisions.is_empty()
                && stated.is_some_and(|at| at.at >= self.policy.installed)
        };
        finished.is_none()
            || self.is_new(rollout)
            || is_reused_since_installation()
            || observation.source == Source::Watch
            || (self.newest_recorded.is_none() && self.policy.history != History::None)
    }

    /// Whether a workload with an adopted revision rolls out that revision after all: it was at another one before, or it replaces the pods of
    /// another one. After a restore, the pods of the adopted revision become ready as in a rollout, but there are no others.
    fn is_rolled_out(&self, observation: &Observation, rollout: Rollout<'_>, state: RolloutState) -> bool {
        let workload = &observation.workload;
        let condition = workload.conditions.progressing.as_ref();
        let has_progress = condition.is_some_and(|condition| condition.reason == ProgressReason::Other);
        let replaces_pods = matches!(state, RolloutState::InProgress { .. })
            && has_progress
            && workload.observed_generation >= workload.generation
            && workload.counts.total > workload.counts.updated;
        let is_other = |ran: &i64| self.history.get(*ran).is_some_and(|other| other.uid != rollout.revision.uid);
        replaces_pods || observation.followed.iter().any(is_other)
    }

    /// What the current rollout changed.
    fn change_kind(&self, observation: &Observation, rollout: Rollout<'_>) -> Option<ChangeKind> {
        let Rollout { number, revision } = rollout;
        let latest = self.records.iter().max_by_key(|record| (record.started, record.revision));
        // Kubernetes derives the name from the pod template: somebody deleted the revision, and Kubernetes created it again.
        let id = RevisionId::of(revision);
        let is_recreated = |latest: &RecordedRevision| latest.id.name == id.name && latest.id.uid != id.uid;
        if latest.is_some_and(is_recreated) {
            return Some(ChangeKind::Restart);
        }
        let change = self.history.change_kind(number, revision, observation.followed.last().copied());
        change.filter(|change| *change != ChangeKind::Initial || latest.is_none())
    }

    /// Continues the record of the current rollout.
    pub(super) fn continue_current(
        &mut self,
        position: usize,
        observation: &Observation,
        rollout: Rollout<'a>,
        state: RolloutState,
    ) {
        let workload = &observation.workload;
        let revision = Some(rollout.revision);
        match (self.records[position].outcome, state) {
            (Outcome::InProgress, RolloutState::InProgress { fails_at }) => self.decision.requeue_at = fails_at,
            (Outcome::InProgress, RolloutState::Failed(at)) => {
                self.finish(position, Outcome::Failed, Some(at), revision);
            }
            (Outcome::InProgress, RolloutState::Complete { at, after_failure: false }) => {
                self.finish(position, Outcome::Succeeded, Some(at), revision);
            }
            (Outcome::InProgress, RolloutState::Complete { at, after_failure: true }) => {
                self.finish(position, Outcome::Recovered, Some(at), revision);
            }
            // Kubernetes calls a failed rollout complete when it is scaled to 0, and also when it is scaled up again. If the failure and what
            // followed were observed, that condition is known to be stale.
            (Outcome::Failed, RolloutState::Complete { at, after_failure })
                if after_failure || (workload.counts.desired > 0 && is_complete(workload)) =>
            {
                let is_exact = at.accuracy == Accuracy::Exact;
                let at = if is_exact { at } else { at.not_before(Some(observation.last_progress)) };
                self.finish(position, Outcome::Recovered, Some(at), revision);
            }
            _ => {}
        }
        self.note_pause(position, workload, observation.last_progress);
    }

    /// Records that the rollout was paused or resumed.
    ///
    /// The time comes from the condition, so this waits until the Deployment controller has observed the pause. If it doesn't state the
    /// pause, because there is no progress deadline or because the condition states a failure, the time is `observed`.
    fn note_pause(&mut self, position: usize, workload: &Workload, observed: Timestamp) {
        let record = &self.records[position];
        if !record.outcome.is_open() || workload.paused == record.paused_at.is_some() {
            return;
        }
        let reason = if workload.paused { ProgressReason::Paused } else { ProgressReason::Resumed };
        let stated = workload.conditions.progressing.as_ref().filter(|condition| condition.reason == reason);
        let will_be_stated = workload.progress_deadline.is_some() && record.outcome != Outcome::Failed;
        if stated.is_none() && will_be_stated && workload.observed_generation < workload.generation {
            return;
        }
        let at = stated.and_then(|condition| condition.updated).unwrap_or(observed);
        let changed = RecordedRevision {
            paused_at: UnixSeconds::of(at).filter(|_| workload.paused),
            paused_seconds: record.paused_seconds_until(at),
            // The patch doesn't change the revision in the record.
            id: self.replaced.filter(|_| self.is_replacement(record)).unwrap_or(record.id),
            ..record.clone()
        };
        self.change(position, Action::Pause, changed, None, |_| {});
    }
}
