//! Which conditions describe a rollout, and how they state that it ended.

use jiff::SignedDuration;

use super::evaluation::{Evaluation, Rollout};
use crate::state::{CLOCK_MARGIN, ValidConditions};
use crate::{
    Outcome, ProgressReason, Progressing, RecordedRevision, Revision, RevisionId, Source, TimeWithAccuracy,
    UnixSeconds, Workload,
};

impl Evaluation<'_, '_> {
    /// Which of the conditions that name the revision describe `rollout`, and not an earlier rollout of the same revision. `source` is how
    /// the rollout was first observed.
    pub(super) fn valid_conditions(&self, rollout: Rollout<'_>, source: Source) -> ValidConditions {
        let Rollout { number, revision } = rollout;
        let created = |revision: &Revision| revision.created.and_then(|created| created.checked_sub(CLOCK_MARGIN).ok());
        let Some(earlier) = revision.earlier_revisions.iter().copied().filter(|earlier| *earlier < number).max() else {
            return created(revision).map_or(ValidConditions::All, ValidConditions::Since);
        };
        let started = self.position(rollout).and_then(|position| self.records[position].started);
        let uid = RevisionId::of(revision).uid;
        let is_other_rollout = |record: &&RecordedRevision| record.id.uid == uid && record.revision != number;
        if let Some(finished) = self.records.iter().filter(is_other_rollout).filter_map(|record| record.finished).max()
        {
            let after = finished.time().checked_add(SignedDuration::from_secs(1)).ok();
            let started = started.map(UnixSeconds::time).filter(|_| source == Source::List);
            return after.max(started).map_or(ValidConditions::None, ValidConditions::Since);
        }
        if source == Source::Watch {
            return ValidConditions::All;
        }
        // The start was observed. A condition from before the start may describe an earlier rollout.
        if let Some(started) = started {
            return ValidConditions::Since(started.time());
        }
        // Another revision that was created between two rollouts of this one is older than the second rollout.
        let between = self
            .history
            .before(number)
            .filter(|(other, revision)| *other > earlier && revision.first_revision() == Some(*other));
        between
            .filter_map(|(_, revision)| created(revision))
            .max()
            .map_or(ValidConditions::None, ValidConditions::Since)
    }
}

/// How the rollout of `revision` ended, if the condition of `workload` still states it.
pub(super) fn stated_outcome(
    workload: &Workload,
    revision: &Revision,
    valid: ValidConditions,
) -> Option<(Outcome, TimeWithAccuracy)> {
    let Progressing { reason, replica_set, updated } = workload.conditions.progressing.as_ref()?;
    if replica_set.as_deref() != Some(&*revision.name) || !valid.include(*updated) {
        return None;
    }
    let outcome = match reason {
        ProgressReason::Complete => Outcome::Succeeded,
        ProgressReason::DeadlineExceeded => Outcome::Failed,
        ProgressReason::Found | ProgressReason::Paused | ProgressReason::Resumed | ProgressReason::Other => {
            return None;
        }
    };
    Some((outcome, TimeWithAccuracy::exact((*updated)?)))
}
