//! What the index keeps of one workload.

use jiff::Timestamp;
use rollout::{Observation, PastObservation, Revision, Source, Workload, WorkloadKind, highest_number};

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

/// A revision number that is not believed until a revision proves it.
#[derive(Clone, Copy, Debug)]
struct RefusedNumber {
    number: i64,
    /// How and when the state with this number arrived.
    source: Source,
    at: Timestamp,
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

    /// Checks the first number of the workload, once all of its revisions are known ([`Observation::believes`]).
    pub fn check_first_number(&mut self) {
        let highest = self.highest_number();
        let Some(listed) = &mut self.observation else { return };
        let (source, at) = listed.value.first_observed();
        if let Some(number) = listed.value.workload.revision.filter(|number| highest != Some(*number)) {
            listed.value = listed.value.clone().without_number();
            self.refuse(Some(RefusedNumber { number, source, at }));
        }
    }

    /// Applies the next state of a workload that was observed before. Returns whether it changes what is known of the workload.
    fn observe(&mut self, mut workload: Workload, source: Source, now: Timestamp) -> bool {
        let refused = self.refused();
        self.refuse(None);
        let mut is_changed = false;
        if let Some(number) = workload.revision {
            if self.believes(number, refused) {
                is_changed = self.withdraw_unproven(number);
            } else {
                workload.revision = None;
                self.refuse(Some(RefusedNumber { number, source, at: now }));
            }
        }
        let Some(listed) = &mut self.observation else { return false };
        workload.revision = workload.revision.or(listed.value.workload.revision);
        if listed.value.workload == workload {
            return is_changed;
        }
        let source =
            if listed.value.workload.revision != workload.revision && self.take_gap() { Source::List } else { source };
        let Some(listed) = &mut self.observation else { return false };
        if let Some(past) = listed.value.update(workload, source, now) {
            self.push_past(past, source, now);
            self.drop_disproved();
            self.drop_unneeded_revisions();
        }
        true
    }

    /// Whether to believe that the workload is at revision `number` ([`Observation::believes`]).
    fn believes(&self, number: i64, refused: Option<RefusedNumber>) -> bool {
        let Some(Listed { value, .. }) = self.observation.as_deref() else { return false };
        // The present number needs a proof itself. Without one, a number that follows on the last proven one may be the true one.
        let is_possible = value.workload.revision.is_some_and(|present| !self.has_had(present))
            && self.last_proven().is_none_or(|proven| proven <= number)
            && (self.last_proven() == Some(number) || !self.was_observed(number));
        is_possible || value.believes(number, refused.map(|refused| refused.number), self.highest_number())
    }

    /// Goes back to the observation at revision `number`, if no revision has had the numbers since. Returns whether there are any.
    fn withdraw_unproven(&mut self, number: i64) -> bool {
        let present = self.observation.as_ref().and_then(|listed| listed.value.workload.revision);
        let is_back = present.is_some_and(|present| present != number && !self.has_had(present));
        if !is_back || self.last_proven() != Some(number) {
            return false;
        }
        if let Some(unrecorded) = &mut self.unrecorded {
            // The next number is wrong by chance only. It may have been true, and this one may be the wrong one.
            unrecorded.has_gap |= present == number.checked_add(1);
        }
        while let Some(past) = self.unrecorded.as_deref_mut().and_then(Unrecorded::pop) {
            let is_proven = past.revision.is_some();
            if let Some(listed) = self.observation.as_mut().filter(|_| is_proven) {
                listed.value = past.observation;
                break;
            }
        }
        true
    }

    fn take_gap(&mut self) -> bool {
        self.unrecorded.as_deref_mut().is_some_and(|unrecorded| std::mem::take(&mut unrecorded.has_gap))
    }

    /// Drops past observations whose number was never true: no revision has had it, and one with a lower number came afterwards.
    fn drop_disproved(&mut self) {
        let present = self.observation.as_ref().and_then(|listed| listed.value.workload.revision);
        let mut lowest = present.filter(|present| self.has_had(*present));
        let Some(unrecorded) = self.unrecorded.as_deref_mut() else { return };
        for position in (0..unrecorded.observations.len()).rev() {
            let PastObservation { observation, revision, .. } = &unrecorded.observations[position];
            let number = observation.workload.revision;
            if revision.is_some() {
                lowest = number;
            } else if lowest.is_some() && number > lowest {
                unrecorded.observations.remove(position);
                unrecorded.total = unrecorded.total.saturating_sub(1);
            }
        }
    }

    /// Whether a revision that is or was owned has had the number.
    fn has_had(&self, number: i64) -> bool {
        let deleted = self.unrecorded.iter().flat_map(|unrecorded| &unrecorded.deleted_revisions);
        self.revisions.iter().map(|listed| &listed.value).chain(deleted).any(|revision| revision.ran(number))
    }

    /// Whether a past observation that is not recorded yet has the number.
    fn was_observed(&self, number: i64) -> bool {
        let mut past = self.unrecorded.iter().flat_map(|unrecorded| &unrecorded.observations);
        past.any(|past| past.observation.workload.revision == Some(number))
    }

    /// The number of the newest past observation whose revision is known.
    fn last_proven(&self) -> Option<i64> {
        let proven = self.unrecorded.as_ref()?.observations.iter().rfind(|past| past.revision.is_some());
        proven?.observation.workload.revision
    }

    /// Believes the number that was refused, if it is the highest one now.
    fn check_refused(&mut self) {
        let highest = self.highest_number();
        let (Some(RefusedNumber { number, source, at }), Some(listed)) = (self.refused(), &self.observation) else {
            return;
        };
        if highest == Some(number) {
            self.observe(Workload { revision: highest, ..listed.value.workload.clone() }, source, at);
        }
    }

    fn highest_number(&self) -> Option<i64> {
        highest_number(self.revisions.iter().map(|listed| &listed.value))
    }

    fn refused(&self) -> Option<RefusedNumber> {
        self.unrecorded.as_ref()?.refused
    }

    fn refuse(&mut self, refused: Option<RefusedNumber>) {
        if refused.is_some() || self.refused().is_some() {
            self.unrecorded.get_or_insert_default().refused = refused;
        }
        self.drop_empty();
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
