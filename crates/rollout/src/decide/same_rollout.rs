//! When another number, ReplicaSet or condition still speaks of the same rollout, and when it does not.

use jiff::SignedDuration;

use super::{Evaluation, NumberedRevision};
use crate::{
    CLOCK_MARGIN, Observation, ProgressReason, RecordedRevision, Revision, RevisionId, Since, Source, UnixSeconds,
};

impl<'a> Evaluation<'a, '_> {
    /// Which conditions that name the ReplicaSet of `revision` speak of this revision of it, if it was seen by `source`.
    pub(super) fn conditions_since(&self, revision: NumberedRevision<'_>, source: Source) -> Since {
        let NumberedRevision { number, replica_set } = revision;
        let made = |row: &Revision| row.created.and_then(|made| made.checked_sub(CLOCK_MARGIN).ok());
        let Some(earlier) = replica_set.earlier_revisions.iter().copied().filter(|earlier| *earlier < number).max()
        else {
            return made(replica_set).map_or(Since::Any, Since::Time);
        };
        let uid = RevisionId::of(replica_set).uid;
        let same = |record: &&RecordedRevision| record.replica_set.uid == uid && record.revision != number;
        if let Some(finished) = self.records.iter().filter(same).filter_map(|record| record.finished).max() {
            let started = self.position(revision).and_then(|position| self.records[position].started);
            let after = finished.time().checked_add(SignedDuration::from_secs(1)).ok();
            let began = started.map(UnixSeconds::time).filter(|_| source == Source::List);
            return after.max(began).map_or(Since::Never, Since::Time);
        }
        if source == Source::Watch {
            return Since::Any;
        }
        // When it was seen to begin, nobody knows of a condition from before that it speaks of it.
        if let Some(started) = self.position(revision).and_then(|position| self.records[position].started) {
            return Since::Time(started.time());
        }
        // What was made between its two revisions is older than the second one.
        let between = self
            .timeline
            .before(number)
            .filter(|(other, row)| *other > earlier && row.first_revision() == Some(*other));
        between.filter_map(|(_, row)| made(row)).max().map_or(Since::Never, Since::Time)
    }

    /// The revision under which the present one is recorded, if nothing but its number has changed.
    ///
    /// The Deployment controller numbers its ReplicaSet anew when it adopts a stray one with a higher number (`SetNewReplicaSetAnnotations`
    /// in `deployment_util.go`), and with each undo while the Deployment is paused; nothing is rolled out then.
    pub(super) fn renumbered(
        &self,
        seen: NumberedRevision<'a>,
        observation: &Observation,
    ) -> Option<NumberedRevision<'a>> {
        let NumberedRevision { number, replica_set } = seen;
        let record =
            self.records.iter().filter(|record| record.revision < number).max_by_key(|record| record.revision)?;
        if record.replica_set.uid != RevisionId::of(replica_set).uid || !replica_set.ran(record.revision) {
            return None;
        }
        let nothing_ran_between = observation.has_followed(record.revision)
            && observation.path.iter().filter(|ran| **ran > record.revision).all(|ran| replica_set.ran(*ran));
        let stands_as_recorded = observation.row.progressing.as_ref().is_some_and(|condition| {
            condition.reason == ProgressReason::Complete
                && condition.replica_set.as_deref() == Some(&*replica_set.name)
                && condition.updated.and_then(UnixSeconds::of) <= record.finished
        });
        // Only a rollback gives a ReplicaSet a number that is not its first; a stray one keeps that.
        let mut between = self.timeline.before(number).filter(|(other, _)| *other > record.revision);
        let was_undone = between.any(|(other, row)| row.uid != replica_set.uid && row.first_revision() != Some(other));
        (nothing_ran_between || (stands_as_recorded && !was_undone))
            .then_some(NumberedRevision { number: record.revision, replica_set })
    }

    /// A rollout goes on when its ReplicaSet is deleted by hand and made again, under the same name and number.
    pub(super) fn replace_replica_set(&mut self, revision: NumberedRevision<'a>) {
        let mark = RevisionId::of(revision.replica_set);
        let is_replaced = |record: &&mut RecordedRevision| {
            record.revision == revision.number
                && record.outcome.is_open()
                && !record.repeated
                && record.replica_set.name == mark.name
        };
        if let Some(record) = self.records.iter_mut().find(is_replaced).filter(|record| record.replica_set != mark) {
            record.replica_set = mark;
            self.replacement = Some(revision.replica_set);
        }
    }
}
