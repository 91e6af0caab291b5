//! The records of rollouts that were in effect before a rollback.

use std::cmp::Reverse;

use super::evaluation::{Evaluation, Rollout};
use crate::{Action, ChangeKind, Outcome, RecordedRevision, RevisionId, UnixSeconds};

impl Evaluation<'_, '_> {
    /// Marks what `rollout` rolled back, if it is a rollback.
    pub(super) fn mark_rolled_back_by(&mut self, rollout: Rollout<'_>) {
        if let Some(position) = self.position(rollout)
            && self.records[position].change == Some(ChangeKind::Rollback)
        {
            self.roll_back_before(position);
        }
    }

    /// Marks what recorded rollbacks rolled back. The process may have ended after it recorded a rollback and before it marked anything.
    pub(super) fn finish_rollbacks(&mut self) {
        for position in self.positions(|record| record.change == Some(ChangeKind::Rollback)) {
            self.roll_back_before(position);
        }
    }

    /// Marks the rollout that was in effect before the rollback at `position` as rolled back. Restarts of the same template are rolled back
    /// with it.
    fn roll_back_before(&mut self, position: usize) {
        let RecordedRevision { revision: number, id, started, .. } = self.records[position];
        for position in self.older_positions(number, started) {
            let record = &self.records[position];
            let is_restart = record.change == Some(ChangeKind::Restart);
            match record.outcome {
                // These rollouts were never in effect.
                Outcome::Failed | Outcome::Superseded | Outcome::Abandoned => {}
                Outcome::Succeeded | Outcome::Recovered if !is_same_revision(record, id) => {
                    let changed = RecordedRevision { outcome: Outcome::RolledBack, ..record.clone() };
                    self.change(position, Action::RollBack, changed, None, |change| {
                        change.rolled_back_by = Some(number);
                    });
                    if !is_restart {
                        return;
                    }
                }
                Outcome::RolledBack if is_restart => {}
                _ => return,
            }
        }
    }

    /// The positions of the records before the rollback `number`, newest first.
    fn older_positions(&self, number: i64, started: Option<UnixSeconds>) -> Vec<usize> {
        // If the numbers have started again, a younger record may have a lower number.
        let is_younger = |record: &RecordedRevision| started.is_some() && record.started > started;
        let mut positions = self.positions(|record| record.revision < number && !is_younger(record));
        positions.sort_by_key(|position| Reverse((self.records[*position].revision, self.records[*position].started)));
        positions
    }
}

fn is_same_revision(record: &RecordedRevision, id: RevisionId) -> bool {
    record.id.uid == id.uid
}
