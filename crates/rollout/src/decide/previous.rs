//! The records of previous rollouts end when another revision becomes the current one.

use super::conditions::stated_outcome;
use super::evaluation::{Evaluation, Rollout};
use crate::{Observation, Outcome, RecordedRevision, Revision, RevisionId, Source, TimeWithAccuracy, UnixSeconds};

impl Evaluation<'_, '_> {
    /// Ends the rollouts before `current`, which started at `started`. The condition may still state how they ended.
    pub(super) fn finish_previous(
        &mut self,
        observation: &Observation,
        current: Rollout<'_>,
        started: Option<TimeWithAccuracy>,
    ) {
        for position in self.open_before(current) {
            let record = &self.records[position];
            match (record.outcome, self.stated_outcome_of(record, observation)) {
                (Outcome::InProgress, Some((outcome, at))) => self.finish(position, outcome, Some(at), None),
                // From a watch, the recovery would have been observed. At 0 replicas, a failed rollout only looks complete.
                (Outcome::Failed, Some((Outcome::Succeeded, at)))
                    if observation.source == Source::List && observation.workload.counts.desired > 0 =>
                {
                    self.finish(position, Outcome::Recovered, Some(at), None);
                }
                (Outcome::InProgress, None) if observation.has_followed(record.revision) => {
                    let at = started.unwrap_or_else(|| TimeWithAccuracy::observed(observation.since));
                    self.finish(position, Outcome::Superseded, Some(at), None);
                }
                (Outcome::InProgress, None) => self.finish(position, Outcome::Unobserved, None, None),
                _ => {}
            }
        }
    }

    /// The positions of the records that are open and older than `current`.
    fn open_before(&self, current: Rollout<'_>) -> Vec<usize> {
        let Rollout { number, revision } = current;
        let created = revision.created.and_then(UnixSeconds::of);
        let uid = RevisionId::of(revision).uid;
        self.positions(|record| {
            // If the numbers have started again, an older record may have a higher number.
            let is_younger = record.started.is_none_or(|started| created.is_none_or(|created| created <= started));
            let is_older = record.revision < number || (record.id.uid != uid && !is_younger);
            record.outcome.is_open() && is_older && !record.is_of(number, revision)
        })
    }

    /// How the rollout of `record` ended, if the condition of the current state still states it.
    fn stated_outcome_of(
        &self,
        record: &RecordedRevision,
        observation: &Observation,
    ) -> Option<(Outcome, TimeWithAccuracy)> {
        // If a revision has been used again, a condition that names it describes its latest rollout.
        let is_latest = |revision: &&Revision| {
            record.is_of(record.revision, revision) && revision.revision == Some(record.revision)
        };
        let revision = self.history.get(record.revision).filter(is_latest)?;
        let rollout = Rollout { number: record.revision, revision };
        stated_outcome(&observation.workload, revision, self.valid_conditions(rollout, Source::List))
    }
}
