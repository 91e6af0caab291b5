//! What the index keeps of one workload.

mod number;

use jiff::Timestamp;
use rollout::{Observation, PastObservation, Revision, Source, Workload, WorkloadKind};

use self::number::RefusedNumber;
use crate::runtime::ListMark;

/// Past observations of one workload that are kept until they are recorded.
pub const MAX_PAST_OBSERVATIONS: usize = 16;

/// A value in the index, and the list that brought it last.
#[derive(Debug)]
pub struct Listed<T> {
    /// The value.
    pub value: T,
    /// Kind of the workload. Each kind has lists of its own, and a mark is comparable only with those of the same kind.
    pub kind: WorkloadKind,
    /// The list.
    pub mark: ListMark,
}

/// What the index keeps of one workload. It is small, because a good part of the memory of a hash map is unused.
#[derive(Debug, Default)]
pub struct Entry {
    /// The workload as it was last observed. Absent before the first observation and after the deletion.
    pub observation: Option<Box<Listed<Observation>>>,
    unrecorded: Option<Box<Unrecorded>>,
    /// The revisions that the workload owns.
    #[expect(
        clippy::vec_box,
        reason = "a Vec starts with a capacity of four, which would be 800 bytes for nearly every workload"
    )]
    pub revisions: Vec<Box<Listed<Revision>>>,
}

/// What was observed before the present revision and is not recorded yet.
#[derive(Debug, Default)]
struct Unrecorded {
    /// The last observation at each revision, oldest first.
    observations: Vec<PastObservation>,
    /// How many past observations there were in total, including those that are recorded.
    total: u64,
    /// How many observations were dropped because there were more than [`MAX_PAST_OBSERVATIONS`], and are not reported yet.
    dropped: u64,
    /// Deleted revisions that the watch on workloads may not have left yet, because one watch can be behind the other.
    deleted_revisions: Vec<Revision>,
    /// The number in the last state of the workload, if it is not believed.
    refused: Option<RefusedNumber>,
    /// Whether there may have been a revision since the present one was observed first. The next one is observed as after an absence.
    has_gap: bool,
}

impl Entry {
    /// Whether nothing is left of the workload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.observation.is_none() && self.revisions.is_empty() && self.unrecorded.is_none()
    }

    /// Applies a state of the workload. Returns whether it changes what is known of the workload.
    pub fn apply(&mut self, workload: Workload, mark: ListMark, source: Source, now: Timestamp) -> bool {
        let Some(listed) = &mut self.observation else {
            let kind = workload.kind;
            let value = Observation::new(workload, source, now);
            self.observation = Some(Box::new(Listed { value, kind, mark }));
            return true;
        };
        listed.mark = mark;
        self.observe(workload, source, now)
    }

    /// Applies the deletion of the workload. `last` is its last state, if it is known.
    pub fn delete(&mut self, last: Option<Workload>, source: Source, now: Timestamp) {
        if let Some(last) = last.filter(|_| self.observation.is_some()) {
            self.observe(last, source, now);
        }
        let Some(listed) = self.observation.take() else {
            return;
        };
        self.take_gap();
        self.refuse(None);
        self.push_past(listed.value, source, now);
        self.drop_unneeded_revisions();
    }

    /// Applies a state of a revision. Returns whether it differs from the state before.
    pub fn apply_revision(&mut self, revision: Revision, kind: WorkloadKind, mark: ListMark) -> bool {
        for past in self.unrecorded.iter_mut().flat_map(|unrecorded| &mut unrecorded.observations) {
            if past.revision.is_none() && ran(&revision, past.observation.workload.revision) {
                past.revision = Some(revision.clone());
            }
        }
        let is_changed = if let Some(listed) = self.revisions.iter_mut().find(|listed| listed.value.uid == revision.uid)
        {
            (listed.kind, listed.mark) = (kind, mark);
            std::mem::replace(&mut listed.value, revision.clone()) != revision
        } else {
            self.revisions.push(Box::new(Listed { value: revision, kind, mark }));
            true
        };
        self.drop_disproved();
        self.check_refused();
        is_changed
    }

    /// Applies that the workload no longer owns the revision with this UID.
    pub fn delete_revision(&mut self, uid: &str) {
        let Some(position) = self.revisions.iter().position(|listed| &*listed.value.uid == uid) else {
            return;
        };
        let revision = self.revisions.swap_remove(position).value;
        let present = self.observation.as_ref().map(|listed| listed.value.workload.revision.unwrap_or_default());
        if present.is_some_and(|present| revision.revision >= Some(present)) {
            self.unrecorded.get_or_insert_default().deleted_revisions.push(revision);
        }
        self.check_refused();
    }

    /// The past observations that are not recorded yet, and how many there were in total.
    #[must_use]
    pub fn past_observations(&self) -> (&[PastObservation], u64) {
        self.unrecorded.as_ref().map_or((&[], 0), |unrecorded| (&unrecorded.observations, unrecorded.total))
    }

    /// Drops the first `total` of all past observations: they are recorded.
    pub fn drop_recorded(&mut self, total: u64) {
        if let Some(unrecorded) = &mut self.unrecorded {
            let newer = usize::try_from(unrecorded.total.saturating_sub(total)).unwrap_or(usize::MAX);
            unrecorded.observations.drain(..unrecorded.observations.len().saturating_sub(newer));
            unrecorded.dropped = 0;
        }
        self.drop_empty();
    }

    /// How many past observations were dropped since the last call, because too many of them were not recorded.
    pub fn take_dropped(&mut self) -> u64 {
        self.unrecorded.as_deref_mut().map_or(0, |unrecorded| std::mem::take(&mut unrecorded.dropped))
    }

    /// Keeps the last observation at a past revision until it is recorded.
    fn push_past(&mut self, observation: Observation, next_source: Source, until: Timestamp) {
        let unrecorded = self.unrecorded.get_or_insert_default();
        let owned = self.revisions.iter().map(|listed| &listed.value);
        let revision = owned
            .chain(&unrecorded.deleted_revisions)
            .find(|revision| ran(revision, observation.workload.revision))
            .cloned();
        unrecorded.push(PastObservation { observation, revision, next_source, until });
    }

    /// Drops the deleted revisions that the watch on workloads has left.
    fn drop_unneeded_revisions(&mut self) {
        let present = self.observation.as_ref().map(|listed| listed.value.workload.revision);
        if let Some(unrecorded) = &mut self.unrecorded {
            unrecorded.deleted_revisions.retain(|revision| present.is_some_and(|present| revision.revision >= present));
        }
        self.drop_empty();
    }

    fn drop_empty(&mut self) {
        if self.unrecorded.as_ref().is_some_and(|unrecorded| unrecorded.is_empty()) {
            self.unrecorded = None;
        }
    }
}

impl Unrecorded {
    fn is_empty(&self) -> bool {
        self.observations.is_empty() && self.deleted_revisions.is_empty() && self.refused.is_none() && !self.has_gap
    }

    fn push(&mut self, past: PastObservation) {
        self.total = self.total.saturating_add(1);
        self.observations.push(past);
        if self.observations.len() > MAX_PAST_OBSERVATIONS {
            self.observations.remove(0);
            self.dropped = self.dropped.saturating_add(1);
            if let Some(oldest) = self.observations.first_mut() {
                oldest.observation.forget_previous();
            }
        }
    }

    /// Takes back the newest past observation.
    fn pop(&mut self) -> Option<PastObservation> {
        let past = self.observations.pop()?;
        self.total = self.total.saturating_sub(1);
        Some(past)
    }
}

fn ran(revision: &Revision, number: Option<i64>) -> bool {
    number.is_some_and(|number| revision.ran(number))
}
