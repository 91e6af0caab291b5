//! What a rollback took back.

use super::{Evaluation, NumberedRevision};
use crate::{Action, ChangeKind, Outcome, RecordedRevision, RevisionId, UnixSeconds};

impl Evaluation<'_, '_> {
    /// Marks what `revision` took back, if it is a rollback.
    pub(super) fn finish_rollback(&mut self, revision: NumberedRevision<'_>) {
        if let Some(position) = self.position(revision)
            && let RecordedRevision { revision, replica_set, started, change: Some(ChangeKind::Rollback), .. } =
                self.records[position]
        {
            self.roll_back_before(revision, replica_set, started);
        }
    }

    /// Marks what recorded rollbacks took back: the process may have ended between the two writes.
    pub(super) fn finish_rollbacks(&mut self) {
        for position in self.positions(|record| record.change == Some(ChangeKind::Rollback)) {
            let RecordedRevision { revision, replica_set, started, .. } = self.records[position];
            self.roll_back_before(revision, replica_set, started);
        }
    }

    /// Marks what was in effect before the rollback `number` by `replica_set` as taken back. A restart brings nothing of its own: what it restarted is
    /// taken back with it.
    pub(super) fn roll_back_before(&mut self, number: i64, replica_set: RevisionId, began: Option<UnixSeconds>) {
        // Where the numbers began anew, a lower one may be younger.
        let is_younger = |record: &RecordedRevision| began.is_some() && record.started > began;
        let mut older = self.positions(|record| record.revision < number && !is_younger(record));
        older.sort_by_key(|position| {
            let record = &self.records[*position];
            std::cmp::Reverse((record.revision, record.started))
        });
        for position in older {
            let record = &self.records[position];
            let is_restart = record.change == Some(ChangeKind::Restart);
            match record.outcome {
                // These never were in effect.
                Outcome::Failed | Outcome::Superseded | Outcome::Abandoned => {}
                Outcome::Succeeded | Outcome::Recovered if record.replica_set.uid != replica_set.uid => {
                    let changed = RecordedRevision { outcome: Outcome::RolledBack, ..record.clone() };
                    let by = Some(number);
                    self.write(position, Action::RollBack, changed, None, |change| change.rolled_back_by = by);
                    if !is_restart {
                        return;
                    }
                }
                Outcome::RolledBack if is_restart => {}
                _ => return,
            }
        }
    }
}
