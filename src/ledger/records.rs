//! Which revisions are recorded already, and how.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::publish::SlimDoraDeployment;
use crate::resources::Outcome;
use crate::rollout::{Known, Uid};

/// The recorded revisions of each Deployment, a few bytes each.
#[derive(Debug, Default)]
pub struct Records(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    deployments: HashMap<Uid, Recorded>,
    /// Which listing is under way; a record that the finished listing has not named is gone.
    listing: u32,
}

#[derive(Debug)]
struct Recorded {
    namespace: Arc<str>,
    name: Box<str>,
    revisions: Vec<Revision>,
}

#[derive(Debug)]
struct Revision {
    number: i64,
    outcome: Outcome,
    /// Generation of the record: an older state that arrives late must not replace a newer one.
    generation: i64,
    listing: u32,
}

/// The records of one Deployment.
#[derive(Clone, Debug)]
pub struct RecordedDeployment {
    /// Namespace of the Deployment and its records.
    pub namespace: Arc<str>,
    /// Name of the Deployment.
    pub name: Box<str>,
    /// Its recorded revisions.
    pub known: Vec<Known>,
}

impl Records {
    /// A poisoned lock still guards whole rows: each change below is made in one piece.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of the Deployment with this UID, if it has any.
    #[must_use]
    pub fn of(&self, uid: &Uid) -> Option<RecordedDeployment> {
        let state = self.state();
        let recorded = state.deployments.get(uid)?;
        let known = |revision: &Revision| Known { revision: revision.number, outcome: revision.outcome };
        Some(RecordedDeployment {
            namespace: Arc::clone(&recorded.namespace),
            name: recorded.name.clone(),
            known: recorded.revisions.iter().map(known).collect(),
        })
    }

    /// The Deployments with a record that is still in progress.
    #[must_use]
    pub fn in_progress(&self) -> Vec<Uid> {
        let state = self.state();
        let open =
            |recorded: &Recorded| recorded.revisions.iter().any(|revision| revision.outcome == Outcome::InProgress);
        state.deployments.iter().filter(|(_, recorded)| open(recorded)).map(|(uid, _)| Arc::clone(uid)).collect()
    }

    /// A record was written or seen.
    pub fn set(&self, uid: &Uid, namespace: &str, name: &str, known: Known, generation: i64) {
        let mut state = self.state();
        let listing = state.listing;
        let recorded = state.deployments.entry(Arc::clone(uid)).or_insert_with(|| Recorded {
            namespace: namespace.into(),
            name: name.into(),
            revisions: Vec::new(),
        });
        let Known { revision: number, outcome } = known;
        match recorded.revisions.iter_mut().find(|revision| revision.number == number) {
            Some(revision) => {
                revision.listing = listing;
                if revision.generation <= generation {
                    revision.outcome = outcome;
                    revision.generation = generation;
                }
            }
            None => recorded.revisions.push(Revision { number, outcome, generation, listing }),
        }
    }

    /// A record was deleted.
    pub fn remove(&self, uid: &Uid, revision: i64) {
        let mut state = self.state();
        if let Some(recorded) = state.deployments.get_mut(uid) {
            recorded.revisions.retain(|recorded| recorded.number != revision);
            if recorded.revisions.is_empty() {
                state.deployments.remove(uid);
            }
        }
    }

    /// A list of all records begins.
    pub fn listed_anew(&self) {
        self.state().listing += 1;
    }

    /// The list of all records is complete: those that it did not name are gone.
    pub fn listed(&self) {
        let mut state = self.state();
        let listing = state.listing;
        state.deployments.retain(|_, recorded| {
            recorded.revisions.retain(|revision| revision.listing == listing);
            !recorded.revisions.is_empty()
        });
    }

    /// Takes in a record that the watch has seen.
    pub fn seen(&self, record: &SlimDoraDeployment) {
        if let Some(reference) = &record.spec.deployment {
            let known = Known { revision: reference.revision, outcome: record.spec.outcome };
            let uid = Uid::from(reference.uid.as_str());
            self.set(&uid, record.namespace(), &reference.name, known, record.generation());
        }
    }

    /// Takes in that a record is gone.
    pub fn gone(&self, record: &SlimDoraDeployment) {
        if let Some(reference) = &record.spec.deployment {
            self.remove(&Uid::from(reference.uid.as_str()), reference.revision);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(records: &Records) -> Vec<Known> {
        records.of(&"d".into()).map(|recorded| recorded.known).unwrap_or_default()
    }

    #[test]
    fn an_older_state_that_arrives_late_does_not_replace_a_newer_one() {
        let records = Records::default();
        let set = |outcome, generation| {
            records.set(&"d".into(), "shop", "web", Known { revision: 1, outcome }, generation);
        };
        set(Outcome::InProgress, 1);
        set(Outcome::Succeeded, 2);
        set(Outcome::InProgress, 1);
        assert_eq!(known(&records), [Known { revision: 1, outcome: Outcome::Succeeded }]);
        assert!(records.in_progress().is_empty());
    }

    #[test]
    fn a_record_that_a_list_does_not_name_any_more_is_gone() {
        let records = Records::default();
        let set = |revision| {
            records.set(&"d".into(), "shop", "web", Known { revision, outcome: Outcome::InProgress }, 1);
        };
        set(1);
        set(2);
        records.listed_anew();
        set(2);
        records.listed();
        assert_eq!(known(&records).iter().map(|known| known.revision).collect::<Vec<_>>(), [2]);
        records.remove(&"d".into(), 2);
        assert!(records.of(&"d".into()).is_none());
    }
}
