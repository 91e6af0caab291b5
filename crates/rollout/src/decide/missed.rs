//! Rollouts that happened while the controller was away.

use super::History;
use super::changes::NewRecord;
use super::conditions::stated_outcome;
use super::evaluation::{Evaluation, Rollout, created};
use crate::{Outcome, Revision, Source, UnixSeconds, Workload};

impl<'a> Evaluation<'a, '_> {
    /// Whether this is the first rollout of the workload, and the workload adopted its revision.
    pub(super) fn is_adopted(&self, rollout: Rollout<'_>) -> bool {
        let is_first = !self.records.iter().any(|record| record.revision < rollout.number);
        is_first && self.history.is_adopted(rollout.number, rollout.revision)
    }

    /// Whether a rollout without a record started after the last recorded one, or after the installation.
    pub(super) fn is_new(&self, rollout: Rollout<'_>) -> bool {
        let Rollout { number, revision } = rollout;
        if self.is_adopted(rollout) {
            return false;
        }
        match self.newest_recorded {
            Some(newest) if number > newest => true,
            None if self.policy.history == History::All => true,
            _ => {
                self.first_since_installation.is_some_and(|first| number >= first)
                    && self.newest_recorded.is_none_or(|newest| {
                        // With a lower number than a recorded one, either its record was deleted, or the numbers have started again.
                        revision.first_revision() == Some(number) && self.is_younger_than(revision, newest)
                    })
            }
        }
    }

    /// Whether `revision` was created after the recorded rollout with the number `newest` started.
    fn is_younger_than(&self, revision: &Revision, newest: i64) -> bool {
        let created = revision.created.and_then(UnixSeconds::of);
        let started =
            self.records.iter().filter(|record| record.revision == newest).filter_map(|record| record.started).max();
        started.is_none() || created > started
    }

    /// Records the rollouts before `current` that happened while the controller was away, as far as their revisions still exist.
    pub(super) fn record_missed(&mut self, workload: &Workload, current: Rollout<'a>) {
        let before: Vec<_> = self.history.before(current.number).collect();
        for (number, revision) in before {
            let rollout = Rollout { number, revision };
            let is_recorded = self.records.iter().any(|record| record.revision == number)
                || self.newest_recorded.is_some_and(|newest| number <= newest);
            if is_recorded || !self.is_new(rollout) || !(self.is_wanted)(workload, revision) {
                continue;
            }
            let new = self.missed_record(workload, rollout);
            self.start(rollout, &new);
            self.mark_rolled_back_by(rollout);
        }
    }

    fn missed_record(&self, workload: &Workload, rollout: Rollout<'_>) -> NewRecord {
        let Rollout { number, revision } = rollout;
        let is_first = revision.first_revision() == Some(number);
        let is_only = is_first && revision.revision == Some(number);
        let valid = self.valid_conditions(rollout, Source::List);
        let stated = if is_only { stated_outcome(workload, revision, valid) } else { None };
        let (outcome, finished) = stated.map_or((Outcome::Unobserved, None), |(outcome, at)| (outcome, Some(at)));
        NewRecord {
            change: self.history.change_kind(number, revision, None),
            started: if is_first { created(workload, revision) } else { None },
            outcome,
            finished,
            unseen: self.unseen_before(number),
        }
    }

    /// Whether the revision of each past observation is known. If one is missing, the watch on revisions may have had a gap.
    pub(super) fn has_past_revisions(&self) -> bool {
        let mut numbers = self.input.past.iter().filter_map(|past| past.observation.workload.revision);
        numbers.all(|number| self.history.get(number).is_some())
    }

    /// How many revisions before `number` left no trace. `None` if that is unknown.
    pub(super) fn unseen_before(&self, number: i64) -> Option<i64> {
        let recorded = self.records.iter().map(|record| record.revision).filter(|recorded| *recorded < number).max();
        let existing = self.history.before(number).next_back().map(|(existing, _)| existing);
        let is_created_since_installation = self
            .input
            .latest()
            .and_then(|observation| observation.workload.created)
            .is_some_and(|created| created >= self.policy.installed);
        let before = match (recorded, existing) {
            (None, None) if self.newest_recorded.is_none() && is_created_since_installation => 0,
            (None, Some(existing)) if self.first_since_installation.is_none_or(|first| existing < first) => {
                return None;
            }
            (recorded, existing) => recorded.max(existing)?,
        };
        Some(number - before - 1)
    }
}
