//! Cases in which a rollout continues although its number or its revision has changed.

use super::evaluation::{Evaluation, Rollout};
use crate::{Observation, ProgressReason, RecordedRevision, RevisionId, UnixSeconds};

impl<'a> Evaluation<'a, '_> {
    /// The rollout under its recorded number, if only the number of its revision has changed.
    ///
    /// The Deployment controller gives its ReplicaSet a new number, and rolls out nothing, in two cases: when it adopts another ReplicaSet
    /// with a higher number (`SetNewReplicaSetAnnotations` in `deployment_util.go`), and after each undo of a paused Deployment.
    pub(super) fn renumbered(&self, observed: Rollout<'a>, observation: &Observation) -> Option<Rollout<'a>> {
        let Rollout { number, revision } = observed;
        let older = self.records.iter().filter(|record| record.revision < number);
        let record = older.max_by_key(|record| record.revision)?;
        if record.id.uid != RevisionId::of(revision).uid || !revision.ran(record.revision) {
            return None;
        }
        let nothing_ran_between = observation.has_followed(record.revision)
            && observation.followed.iter().filter(|ran| **ran > record.revision).all(|ran| revision.ran(*ran));
        let is_state_recorded = observation.workload.conditions.progressing.as_ref().is_some_and(|condition| {
            condition.reason == ProgressReason::Complete
                && condition.replica_set.as_deref() == Some(&*revision.name)
                && condition.updated.and_then(UnixSeconds::of) <= record.finished
        });
        // Only a rollback gives a ReplicaSet another number than its first one. An adopted ReplicaSet keeps its number.
        let mut between = self.history.before(number).filter(|(other, _)| *other > record.revision);
        let was_undone =
            between.any(|(other, between)| between.uid != revision.uid && between.first_revision() != Some(other));
        (nothing_ran_between || (is_state_recorded && !was_undone))
            .then_some(Rollout { number: record.revision, revision })
    }

    /// Continues an open record if somebody deleted its revision, and Kubernetes created it again under the same name and number.
    pub(super) fn replace_revision(&mut self, rollout: Rollout<'a>) {
        let id = RevisionId::of(rollout.revision);
        let is_continued = |record: &&mut RecordedRevision| {
            record.revision == rollout.number
                && record.outcome.is_open()
                && !record.repeated
                && record.id.name == id.name
        };
        if let Some(record) = self.records.iter_mut().find(is_continued).filter(|record| record.id != id) {
            self.replaced = Some(std::mem::replace(&mut record.id, id));
            self.replacement = Some(rollout.revision);
        }
    }
}
