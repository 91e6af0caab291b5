//! Changes of records, as the evaluation makes them.

use super::evaluation::{Evaluation, Rollout};
use crate::{
    Action, Change, ChangeKind, Outcome, RecordedRevision, Revision, RevisionId, TimeWithAccuracy, UnixSeconds,
};

/// The state in which a record starts.
pub(super) struct NewRecord {
    pub(super) change: Option<ChangeKind>,
    pub(super) started: Option<TimeWithAccuracy>,
    pub(super) outcome: Outcome,
    /// When the rollout ended, if it has.
    pub(super) finished: Option<TimeWithAccuracy>,
    /// Number of revisions before this one that left no trace.
    pub(super) unseen: Option<i64>,
}

impl<'a> Evaluation<'a, '_> {
    /// Starts the record of `rollout`.
    pub(super) fn start(&mut self, rollout: Rollout<'a>, new: &NewRecord) {
        let Rollout { number, revision } = rollout;
        let NewRecord { change, started, outcome, finished, unseen } = *new;
        let record = RecordedRevision {
            revision: number,
            id: RevisionId::of(revision),
            repeated: self.records.iter().any(|record| record.revision == number),
            outcome,
            change,
            started: started.and_then(|started| UnixSeconds::of(started.at)),
            finished: None,
            paused_at: None,
            paused_seconds: 0,
        };
        self.decision.changes.push(Change {
            action: Action::Start,
            record: record.clone(),
            revision: Some(revision),
            is_described: revision.revision == Some(number),
            started,
            finished: None,
            unseen: unseen.filter(|unseen| *unseen > 0),
            rolled_back_by: None,
        });
        self.records.push(record);
        if finished.is_some() {
            self.finish(self.records.len() - 1, outcome, finished, None);
        }
    }

    /// Ends the rollout of the record at `position`. `revision` is present if it is the current one.
    pub(super) fn finish(
        &mut self,
        position: usize,
        outcome: Outcome,
        finished: Option<TimeWithAccuracy>,
        revision: Option<&'a Revision>,
    ) {
        let record = &self.records[position];
        let revision = revision.or_else(|| self.replacement.filter(|_| self.is_replacement(record)));
        let finished = finished.map(|finished| finished.not_before(record.started.map(UnixSeconds::time)));
        let changed = RecordedRevision {
            outcome,
            finished: finished.and_then(|finished| UnixSeconds::of(finished.at)),
            paused_seconds: finished.map_or(record.paused_seconds, |finished| record.paused_seconds_until(finished.at)),
            paused_at: record.paused_at.filter(|_| outcome.is_open()),
            ..record.clone()
        };
        self.change(position, Action::Finish, changed, revision, |change| change.finished = finished);
    }

    /// Whether `record` continues with the revision that replaced one which somebody deleted.
    pub(super) fn is_replacement(&self, record: &RecordedRevision) -> bool {
        self.replacement.is_some_and(|revision| record.is_of(record.revision, revision))
    }

    /// Changes the record at `position` to `record`. If the record starts in the same decision, the change becomes a part of its start.
    pub(super) fn change(
        &mut self,
        position: usize,
        action: Action,
        record: RecordedRevision,
        revision: Option<&'a Revision>,
        set: impl FnOnce(&mut Change<'a>),
    ) {
        let before = std::mem::replace(&mut self.records[position], record.clone());
        let is_start = |change: &&mut Change<'a>| {
            change.action == Action::Start && change.record.revision == before.revision && change.record.id == before.id
        };
        if let Some(start) = self.decision.changes.iter_mut().find(is_start) {
            start.record = record;
            set(start);
            return;
        }
        let mut change = Change {
            action,
            record,
            revision,
            is_described: revision.is_some_and(|revision| revision.revision == Some(before.revision)),
            started: None,
            finished: None,
            unseen: None,
            rolled_back_by: None,
        };
        set(&mut change);
        self.decision.changes.push(change);
    }
}
