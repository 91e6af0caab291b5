//! What the index has of one Deployment.

use jiff::Timestamp;

use crate::runtime::ListMark;
use rollout::{Observation, PastObservation, Revision, Source, Workload};

/// PastObservation states of one Deployment that are kept until they are recorded.
pub const PAST_LENGTH: usize = 16;

/// A row with the listing that named it last.
#[derive(Debug)]
pub struct Seen<R> {
    /// The row.
    pub row: R,
    /// The listing.
    pub listing: ListMark,
}

/// What the index has of one Deployment. Small, since a good part of the room in a hash map is unused.
#[derive(Debug, Default)]
pub struct Entry {
    /// Absent before it is seen and once it is deleted.
    pub deployment: Option<Box<Seen<Observation>>>,
    /// What is not recorded yet of the time before.
    past: Option<Box<Past>>,
    /// The ReplicaSets that it owns.
    #[expect(
        clippy::vec_box,
        reason = "a Vec begins with room for four, which is 800 bytes for nearly every Deployment"
    )]
    pub replica_sets: Vec<Box<Seen<Revision>>>,
}

/// What is not recorded yet of the time before the present state.
#[derive(Debug, Default)]
struct Past {
    former: Vec<PastObservation>,
    /// How many former states there ever were.
    count: u64,
    /// ReplicaSets that are gone, of revisions that the watch on Deployments has not left yet: one of the watches may be behind the
    /// other.
    gone: Vec<Revision>,
}

impl Entry {
    /// Whether there is nothing left of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deployment.is_none() && self.replica_sets.is_empty() && self.past.is_none()
    }

    /// Takes in a state of the Deployment; whether it is another than before.
    pub fn apply(&mut self, row: Workload, listing: ListMark, source: Source, now: Timestamp) -> bool {
        let Some(seen) = &mut self.deployment else {
            self.deployment = Some(Box::new(Seen { row: Observation::new(row, source, now), listing }));
            return true;
        };
        seen.listing = listing;
        if seen.row.workload == row {
            return false;
        }
        if let Some(former) = seen.row.update(row, source, now) {
            self.keep(former, source, now);
            self.forget_gone();
        }
        true
    }

    /// Takes in that the Deployment is deleted, in this last state if it is known.
    pub fn delete(&mut self, last: Option<Workload>, source: Source, now: Timestamp) {
        let Some(mut seen) = self.deployment.take() else {
            return;
        };
        if let Some(former) = last.and_then(|last| seen.row.update(last, source, now)) {
            self.keep(former, source, now);
        }
        self.keep(seen.row, source, now);
        self.forget_gone();
    }

    /// Takes in a state of a ReplicaSet; whether it is another than before.
    pub fn apply_replica_set(&mut self, row: Revision, listing: ListMark) -> bool {
        for former in self.past.iter_mut().flat_map(|past| &mut past.former) {
            if former.revision.is_none() && ran(&row, former.observation.workload.revision) {
                former.revision = Some(row.clone());
            }
        }
        let Some(seen) = self.replica_sets.iter_mut().find(|seen| seen.row.uid == row.uid) else {
            self.replica_sets.push(Box::new(Seen { row, listing }));
            return true;
        };
        seen.listing = listing;
        std::mem::replace(&mut seen.row, row.clone()) != row
    }

    /// Takes in that the Deployment has this ReplicaSet no more.
    pub fn delete_replica_set(&mut self, uid: &str) {
        let Some(position) = self.replica_sets.iter().position(|seen| &*seen.row.uid == uid) else {
            return;
        };
        let Seen { row, listing: _ } = *self.replica_sets.swap_remove(position);
        let present = self.deployment.as_ref().map(|seen| seen.row.workload.revision.unwrap_or_default());
        if present.is_some_and(|present| row.revision >= Some(present)) {
            self.past.get_or_insert_default().gone.push(row);
        }
    }

    /// The former states that are not recorded yet, and how many there ever were.
    #[must_use]
    pub fn former(&self) -> (&[PastObservation], u64) {
        self.past.as_ref().map_or((&[], 0), |past| (&past.former, past.count))
    }

    /// The first `count` of all former states there ever were are recorded.
    pub fn recorded(&mut self, count: u64) {
        if let Some(past) = &mut self.past {
            let younger = usize::try_from(past.count.saturating_sub(count)).unwrap_or(usize::MAX);
            past.former.drain(..past.former.len().saturating_sub(younger));
        }
        self.forget_past();
    }

    /// Keeps the last state at a former revision until it is recorded.
    fn keep(&mut self, observation: Observation, next_source: Source, until: Timestamp) {
        let past = self.past.get_or_insert_default();
        let owned = self.replica_sets.iter().map(|seen| &seen.row);
        let revision = owned.chain(&past.gone).find(|row| ran(row, observation.workload.revision)).cloned();
        past.count += 1;
        past.former.push(PastObservation { observation, revision, next_source, until });
        if past.former.len() > PAST_LENGTH {
            past.former.remove(0);
        }
    }

    /// Keeps of the ReplicaSets that are gone only those that may be needed.
    fn forget_gone(&mut self) {
        let present = self.deployment.as_ref().map(|seen| seen.row.workload.revision);
        if let Some(past) = &mut self.past {
            past.gone.retain(|row| present.is_some_and(|present| row.revision >= present));
        }
        self.forget_past();
    }

    fn forget_past(&mut self) {
        if self.past.as_ref().is_some_and(|past| past.former.is_empty() && past.gone.is_empty()) {
            self.past = None;
        }
    }
}

fn ran(row: &Revision, revision: Option<i64>) -> bool {
    revision.is_some_and(|revision| row.ran(revision))
}
