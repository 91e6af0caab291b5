//! Which revision number of a workload is believed, as its states and its revisions arrive. The rules are in `rollout::Observation::believes`.
//!
//! A number is *proven* once a revision with this number has arrived. The observation at a number that isn't proven yet is provisional: nothing
//! is decided from it. If it turns out that the number was never true, the observation before goes on.

use jiff::Timestamp;
use rollout::{PastObservation, Source, Workload, highest_number};

use super::{Entry, Listed, Unrecorded};

/// A revision number that is not believed until a revision proves it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedNumber {
    number: i64,
    /// How and when the state with this number arrived.
    source: Source,
    at: Timestamp,
}

impl Entry {
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
    pub(super) fn observe(&mut self, mut workload: Workload, source: Source, now: Timestamp) -> bool {
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
        let present = self.observation.as_ref().and_then(|listed| listed.value.workload.revision);
        workload.revision = workload.revision.or(present);
        let source = if workload.revision != present && self.take_gap() { Source::List } else { source };
        let Some(listed) = self.observation.as_mut().filter(|listed| listed.value.workload != workload) else {
            return is_changed;
        };
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
        // The present number needs a proof itself. Without one, another number that follows on the last proven one may be the true one.
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
            // If the watch on revisions is behind, the next number may have been true, and this one may be the wrong one.
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

    pub(super) fn take_gap(&mut self) -> bool {
        self.unrecorded.as_deref_mut().is_some_and(|unrecorded| std::mem::take(&mut unrecorded.has_gap))
    }

    /// Drops past observations whose number was never true: no revision has had it, and one with a lower number came afterwards.
    pub(super) fn drop_disproved(&mut self) {
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
    pub(super) fn check_refused(&mut self) {
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

    pub(super) fn refuse(&mut self, refused: Option<RefusedNumber>) {
        if refused.is_some() || self.refused().is_some() {
            self.unrecorded.get_or_insert_default().refused = refused;
        }
        self.drop_empty();
    }
}
