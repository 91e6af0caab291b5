//! Revisions that nobody watched: which of them are news, and what is left of them.

use super::{Evaluation, History, NumberedRevision, stated_end};
use crate::{Outcome, Revision, Source, TimeWithAccuracy, UnixSeconds, Workload};

impl<'a> Evaluation<'a, '_> {
    /// Whether the Deployment took over the ReplicaSet of its first revision from a former Deployment.
    pub(super) fn is_adopted(&self, revision: NumberedRevision<'_>) -> bool {
        let NumberedRevision { number, replica_set } = revision;
        let is_first = !self.records.iter().any(|record| record.revision < number);
        is_first && self.timeline.is_adopted(number, replica_set)
    }

    /// Whether an unrecorded revision came since the last record, or since the installation.
    pub(super) fn is_news(&self, revision: NumberedRevision<'_>) -> bool {
        let NumberedRevision { number, replica_set } = revision;
        if self.is_adopted(revision) {
            return false;
        }
        match self.newest {
            Some(newest) if number > newest => true,
            None if self.policy.history == History::All => true,
            _ => {
                self.first_since.is_some_and(|first| number >= first)
                    && self.newest.is_none_or(|newest| {
                        // Below a recorded number, it is either a record that was deleted, or the numbers began anew.
                        replica_set.first_revision() == Some(number) && self.is_younger_than(replica_set, newest)
                    })
            }
        }
    }

    pub(super) fn is_younger_than(&self, replica_set: &Revision, newest: i64) -> bool {
        let made = replica_set.created.and_then(UnixSeconds::of);
        let newest =
            self.records.iter().filter(|record| record.revision == newest).filter_map(|record| record.started).max();
        newest.is_none() || made > newest
    }

    /// Records the revisions that came and went while nobody watched, as far as ReplicaSets remember them.
    pub(super) fn find_missed(&mut self, row: &Workload, present: NumberedRevision<'a>) {
        let missed: Vec<_> = self.timeline.before(present.number).collect();
        for (number, replica_set) in missed {
            let revision = NumberedRevision { number, replica_set };
            let is_recorded = self.records.iter().any(|record| record.revision == number);
            if is_recorded
                || self.newest.is_some_and(|newest| number <= newest)
                || !self.is_news(revision)
                || !(self.is_wanted)(row, replica_set)
            {
                continue;
            }
            let is_first = replica_set.first_revision() == Some(number);
            let started = replica_set.created.filter(|_| is_first).map(|made| {
                if row.recreates { TimeWithAccuracy::observed(made) } else { TimeWithAccuracy::exact(made) }
            });
            let is_only = is_first && replica_set.revision == Some(number);
            let since = self.conditions_since(revision, Source::List);
            let end = is_only.then(|| stated_end(row, replica_set, since)).flatten();
            let (outcome, finished) = end.map_or((Outcome::Unobserved, None), |(outcome, at)| (outcome, Some(at)));
            let change = self.timeline.change(number, replica_set, None);
            self.begin(revision, change, started, outcome, finished, self.unseen_before(number));
            self.finish_rollback(revision);
        }
    }

    /// Whether each former revision that was seen has its ReplicaSet: the watch on these may have been interrupted meanwhile.
    pub(super) fn knows_former(&self) -> bool {
        let former = self.scene.former.iter().filter_map(|former| former.observation.row.revision);
        former.into_iter().all(|revision| self.timeline.at(revision).is_some())
    }

    /// How many revisions before `number` left nothing.
    pub(super) fn unseen_before(&self, number: i64) -> Option<i64> {
        let recorded = self.records.iter().map(|record| record.revision).filter(|recorded| *recorded < number).max();
        let remembered = self.timeline.before(number).next_back().map(|(remembered, _)| remembered);
        let row = self.scene.deployment.or_else(|| self.scene.former.last().map(|former| &former.observation));
        let made_since =
            row.and_then(|observation| observation.row.created).is_some_and(|created| created >= self.policy.installed);
        let before = match (recorded, remembered) {
            (None, None) if self.newest.is_none() && made_since => 0,
            (None, Some(remembered)) if self.first_since.is_none_or(|first| remembered < first) => return None,
            (recorded, remembered) => recorded.max(remembered)?,
        };
        Some(number - before - 1)
    }
}
