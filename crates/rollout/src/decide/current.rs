//! The present revision: its record begins, goes on, pauses and ends.

use jiff::Timestamp;

use super::{Evaluation, History, NumberedRevision};
use crate::{
    Accuracy, Action, ChangeKind, Ending, Observation, Outcome, ProgressReason, RecordedRevision, RevisionId, Source,
    TimeWithAccuracy, UnixSeconds, Workload, is_complete,
};

impl<'a> Evaluation<'a, '_> {
    pub(super) fn begin_present(
        &mut self,
        observation: &Observation,
        revision: NumberedRevision<'a>,
        started: Option<TimeWithAccuracy>,
        standing: Ending,
    ) {
        if self.is_adopted(revision) && !is_rolled_out(&observation.row, standing) {
            return;
        }
        if !(self.is_wanted)(&observation.row, revision.replica_set) {
            return;
        }
        let (outcome, finished) = match standing {
            Ending::Open { fails } => {
                self.decision.look_again = fails;
                (Outcome::InProgress, None)
            }
            Ending::Complete { at, after_failure: false } => (Outcome::Succeeded, Some(at)),
            Ending::Complete { at, after_failure: true } => (Outcome::Recovered, Some(at)),
            Ending::Failed(at) => (Outcome::Failed, Some(at)),
        };
        // A ReplicaSet from before the installation may have been re-used since. Pause and resume of a complete Deployment
        // renew the time of its condition too, so that the time alone does not tell.
        let is_reused_since = || {
            let exact = finished.filter(|at| at.accuracy == Accuracy::Exact);
            self.newest.is_none()
                && !revision.replica_set.earlier_revisions.is_empty()
                && exact.is_some_and(|at| at.at >= self.policy.installed)
        };
        let is_reported = finished.is_none()
            || self.is_news(revision)
            || is_reused_since()
            || observation.source == Source::Watch
            || (self.newest.is_none() && self.policy.history != History::None);
        if is_reported {
            let change = self.change_of(observation, revision);
            // A watch misses nothing: a number that it did not see was given to nothing that ran.
            let is_gapless = observation.source == Source::Watch && self.knows_former();
            let unseen = if is_gapless { None } else { self.unseen_before(revision.number) };
            self.begin(revision, change, started, outcome, finished, unseen);
            if let Some(position) = self.position(revision) {
                self.note_pause(position, &observation.row, observation.progressed);
            }
        }
    }

    /// What the present revision changed.
    pub(super) fn change_of(&self, observation: &Observation, revision: NumberedRevision<'_>) -> Option<ChangeKind> {
        let NumberedRevision { number, replica_set } = revision;
        let latest = self.records.iter().max_by_key(|record| (record.started, record.revision));
        // The name is made from the pod template: this one was deleted by hand and made again.
        let mark = RevisionId::of(replica_set);
        let is_made_again =
            |latest: &RecordedRevision| latest.replica_set.name == mark.name && latest.replica_set.uid != mark.uid;
        if latest.is_some_and(is_made_again) {
            return Some(ChangeKind::Restart);
        }
        let change = self.timeline.change(number, replica_set, observation.path.last().copied());
        change.filter(|change| *change != ChangeKind::Initial || latest.is_none())
    }

    /// Goes on with the record of the present revision.
    pub(super) fn go_on(
        &mut self,
        position: usize,
        observation: &Observation,
        revision: NumberedRevision<'a>,
        standing: Ending,
    ) {
        let replica_set = Some(revision.replica_set);
        match (self.records[position].outcome, standing) {
            (Outcome::InProgress, Ending::Open { fails }) => self.decision.look_again = fails,
            (Outcome::InProgress, Ending::Failed(at)) => self.end(position, Outcome::Failed, Some(at), replica_set),
            (Outcome::InProgress, Ending::Complete { at, after_failure: false }) => {
                self.end(position, Outcome::Succeeded, Some(at), replica_set);
            }
            (Outcome::InProgress, Ending::Complete { at, after_failure: true }) => {
                self.end(position, Outcome::Recovered, Some(at), replica_set);
            }
            // Scaled to nothing, a failed rollout is complete to Kubernetes, and stays so when it is scaled up again. Where the
            // failure was seen as well as what came after it, that condition is known to be void.
            (Outcome::Failed, Ending::Complete { at, after_failure })
                if after_failure || (observation.row.replicas > 0 && is_complete(&observation.row)) =>
            {
                let at = if at.accuracy == Accuracy::Exact { at } else { at.not_before(Some(observation.progressed)) };
                self.end(position, Outcome::Recovered, Some(at), replica_set);
            }
            _ => {}
        }
        self.note_pause(position, &observation.row, observation.progressed);
    }

    /// Notes a pause or its end once Kubernetes has taken it in, so that the time is that of its condition. Where it will state none
    /// (without a progress deadline, or while a failure stands), it is noted at once, for the moment at which it was `seen`.
    pub(super) fn note_pause(&mut self, position: usize, row: &Workload, seen: Timestamp) {
        let record = &self.records[position];
        if !record.outcome.is_open() || row.paused == record.paused_at.is_some() {
            return;
        }
        let reason = if row.paused { ProgressReason::Paused } else { ProgressReason::Resumed };
        let stated = row.progressing.as_ref().filter(|condition| condition.reason == reason);
        let will_state = row.progress_deadline.is_some() && record.outcome != Outcome::Failed;
        if stated.is_none() && will_state && row.observed_generation < row.generation {
            return;
        }
        let at = stated.and_then(|condition| condition.updated).unwrap_or(seen);
        let paused_seconds = record.paused_until(at);
        let changed = RecordedRevision {
            paused_at: UnixSeconds::of(at).filter(|_| row.paused),
            paused_seconds,
            ..record.clone()
        };
        self.write(position, Action::Pause, changed, None, |_| {});
    }
}

/// Whether a Deployment that took over its ReplicaSet has more to do than that.
fn is_rolled_out(row: &Workload, standing: Ending) -> bool {
    let is_on_its_way = row.progressing.as_ref().is_some_and(|condition| condition.reason == ProgressReason::Other);
    matches!(standing, Ending::Open { .. }) && is_on_its_way && row.observed_generation >= row.generation
}
