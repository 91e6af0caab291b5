//! Which revisions are recorded already, and how.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::manifest::record_name;
use super::retention::Expiry;
use crate::resources::{DeliveryState, NamedWorkload, SlimDoraDeployment, SlimSpec, WorkloadReference};
use crate::runtime::{ListMark, Listing};
use crate::settings::ActiveSettings;
use rollout::{Outcome, RecordedRevision, RevisionId, Uid, UnixSeconds, WorkloadKind};

/// The recorded revisions of each Deployment, a few bytes each.
#[derive(Debug, Default)]
pub struct Records(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    deployments: HashMap<Uid, RecordedWorkload>,
    /// Which listing is under way; a record that the finished listing has not named is gone.
    listing: Listing,
}

#[derive(Debug)]
struct RecordedWorkload {
    namespace: Arc<str>,
    kind: WorkloadKind,
    name: Box<str>,
    revisions: Vec<RecordRow>,
}

#[derive(Debug)]
struct RecordRow {
    known: RecordedRevision,
    standing: RecordState,
    listing: ListMark,
}

/// How a record stands, beside what it records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RecordState {
    /// Generation of the record: an older state that arrives late must not replace a newer one.
    pub generation: u32,
    /// Whether Port has it as it is, or is not to have it.
    pub is_settled: bool,
}

impl RecordState {
    /// How `record` stands with these settings.
    #[must_use]
    pub fn of(record: &SlimDoraDeployment, settings: &ActiveSettings) -> Self {
        Self {
            generation: generation(record.generation()),
            is_settled: !settings.dry_run && record.delivery_state(settings.digest()) == DeliveryState::Settled,
        }
    }
}

/// One record of a namespace.
#[derive(Clone, Debug)]
pub struct RecordSummary {
    /// The workload.
    pub workload: NamedWorkload,
    /// Its UID.
    pub uid: Uid,
    /// What is recorded.
    pub known: RecordedRevision,
}

impl RecordSummary {
    /// Name of the record.
    #[must_use]
    pub fn name(&self) -> String {
        record_name(self.workload.kind, &self.workload.name, &self.uid, &self.known)
    }
}

/// The records of one Deployment.
#[derive(Clone, Debug)]
pub struct WorkloadRecords {
    /// Namespace of the workload and its records.
    pub namespace: Arc<str>,
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the Deployment.
    pub name: Box<str>,
    /// Its recorded revisions.
    pub known: Vec<RecordedRevision>,
}

impl Records {
    /// A poisoned lock still guards whole rows: each change below is made in one piece.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of the Deployment with this UID, if it has any.
    #[must_use]
    pub fn of(&self, uid: &Uid) -> Option<WorkloadRecords> {
        let state = self.state();
        let recorded = state.deployments.get(uid)?;
        Some(WorkloadRecords {
            namespace: Arc::clone(&recorded.namespace),
            kind: recorded.kind,
            name: recorded.name.clone(),
            known: recorded.revisions.iter().map(|revision| revision.known.clone()).collect(),
        })
    }

    /// The records of all Deployments in `namespace`.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<RecordSummary> {
        let state = self.state();
        let here = state.deployments.iter().filter(|(_, recorded)| &*recorded.namespace == namespace);
        here.flat_map(|(uid, recorded)| {
            recorded.revisions.iter().map(|row| RecordSummary {
                workload: NamedWorkload { kind: recorded.kind, name: recorded.name.to_string() },
                uid: Arc::clone(uid),
                known: row.known.clone(),
            })
        })
        .collect()
    }

    /// The Deployments with a record that is still in progress.
    #[must_use]
    pub fn in_progress(&self) -> Vec<Uid> {
        let state = self.state();
        let open = |recorded: &RecordedWorkload| {
            recorded.revisions.iter().any(|revision| revision.known.outcome == Outcome::InProgress)
        };
        state.deployments.iter().filter(|(_, recorded)| open(recorded)).map(|(uid, _)| Arc::clone(uid)).collect()
    }

    /// A record was written or seen.
    pub fn set(
        &self,
        uid: &Uid,
        namespace: &str,
        kind: WorkloadKind,
        name: &str,
        known: RecordedRevision,
        standing: RecordState,
    ) {
        let mut state = self.state();
        let listing = state.listing.mark();
        let recorded = state.deployments.entry(Arc::clone(uid)).or_insert_with(|| RecordedWorkload {
            namespace: namespace.into(),
            kind,
            name: name.into(),
            revisions: Vec::new(),
        });
        match recorded.revisions.iter_mut().find(|revision| is_same(&revision.known, &known)) {
            Some(revision) => {
                revision.listing = listing;
                if revision.standing.generation <= standing.generation {
                    revision.known = known;
                    revision.standing = standing;
                }
            }
            None => recorded.revisions.push(RecordRow { known, standing, listing }),
        }
    }

    /// A record was deleted.
    pub fn remove(&self, uid: &Uid, known: &RecordedRevision) {
        let mut state = self.state();
        if let Some(recorded) = state.deployments.get_mut(uid) {
            recorded.revisions.retain(|recorded| !is_same(&recorded.known, known));
            if recorded.revisions.is_empty() {
                state.deployments.remove(uid);
            }
        }
    }

    /// The records of a Deployment that are no longer kept, by `rules`; `lives` is whether it still exists.
    #[must_use]
    pub fn expired(&self, uid: &Uid, lives: bool, rules: &Expiry, now: Timestamp) -> Vec<RecordedRevision> {
        let state = self.state();
        let Some(recorded) = state.deployments.get(uid) else {
            return Vec::new();
        };
        let records = recorded.revisions.iter().map(|revision| (&revision.known, revision.standing.is_settled));
        rules.expired(records, lives, now)
    }

    /// How many records a Deployment has.
    #[must_use]
    pub fn count(&self, uid: &Uid) -> usize {
        self.state().deployments.get(uid).map_or(0, |recorded| recorded.revisions.len())
    }

    /// The Deployments that have records.
    #[must_use]
    pub fn deployments(&self) -> Vec<Uid> {
        self.state().deployments.keys().cloned().collect()
    }

    /// A list of all records begins.
    pub fn listed_anew(&self) {
        self.state().listing.begin();
    }

    /// The list of all records is complete: those that it did not name are gone.
    pub fn listed(&self) {
        let mut state = self.state();
        let listing = state.listing.mark();
        state.deployments.retain(|_, recorded| {
            recorded.revisions.retain(|revision| revision.listing == listing);
            !recorded.revisions.is_empty()
        });
    }

    /// Takes in a record as it is in the cluster; returns the UID of its Deployment.
    pub fn seen(&self, record: &SlimDoraDeployment, state: RecordState) -> Option<Uid> {
        let (uid, known) = known(record)?;
        let workload = record.spec.workload.as_ref()?;
        self.set(&uid, record.namespace(), workload.kind, &workload.name, known, state);
        Some(uid)
    }

    /// Takes in that a record is gone.
    pub fn gone(&self, record: &SlimDoraDeployment) {
        if let Some((uid, known)) = known(record) {
            self.remove(&uid, &known);
        }
    }
}

/// A generation in few bytes: a record is changed a handful of times.
#[must_use]
pub fn generation(generation: i64) -> u32 {
    u32::try_from(generation).unwrap_or(u32::MAX)
}

/// Whether two states are of one record: they have the same name ([`record_name`]).
fn is_same(one: &RecordedRevision, other: &RecordedRevision) -> bool {
    one.revision == other.revision && one.repeated == other.repeated && (!one.repeated || one.id.uid == other.id.uid)
}

/// What is known of a recorded rollout; `None` of a deployment outside of Kubernetes.
fn known(record: &SlimDoraDeployment) -> Option<(Uid, RecordedRevision)> {
    let SlimSpec { workload, revision, outcome, change, started_at, finished_at, paused_at, paused_seconds } =
        &record.spec;
    let WorkloadReference { kind, name, uid, api_version: _ } = workload.as_ref()?;
    let revision = revision.as_ref()?;
    let second = |time: &Option<Time>| time.as_ref().and_then(|time| UnixSeconds::of(time.0));
    let known = RecordedRevision {
        revision: revision.number,
        id: RevisionId::new(&revision.uid, &revision.name),
        repeated: false,
        outcome: *outcome,
        change: *change,
        started: second(started_at),
        finished: second(finished_at),
        paused_at: second(paused_at),
        paused_seconds: paused_seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or_default(),
    };
    let repeated = record_name(*kind, name, uid, &known) != record.name();
    Some((uid.as_str().into(), RecordedRevision { repeated, ..known }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(revision: i64, outcome: Outcome) -> RecordedRevision {
        RecordedRevision {
            revision,
            id: RevisionId::new("0123456789", "web-5f"),
            repeated: false,
            outcome,
            change: None,
            started: None,
            finished: None,
            paused_at: None,
            paused_seconds: 0,
        }
    }

    fn set(records: &Records, known: RecordedRevision, generation: u32) {
        records.set(
            &"d".into(),
            "shop",
            WorkloadKind::Deployment,
            "web",
            known,
            RecordState { generation, is_settled: false },
        );
    }

    fn all(records: &Records) -> Vec<RecordedRevision> {
        records.of(&"d".into()).map(|recorded| recorded.known).unwrap_or_default()
    }

    #[test]
    fn an_older_state_that_arrives_late_does_not_replace_a_newer_one() {
        let records = Records::default();
        set(&records, known(1, Outcome::InProgress), 1);
        set(&records, known(1, Outcome::Succeeded), 2);
        set(&records, known(1, Outcome::InProgress), 1);
        assert_eq!(all(&records), [known(1, Outcome::Succeeded)]);
        assert!(records.in_progress().is_empty());
    }

    #[test]
    fn a_record_that_a_list_does_not_name_any_more_is_gone() {
        let records = Records::default();
        set(&records, known(1, Outcome::InProgress), 1);
        set(&records, known(2, Outcome::InProgress), 1);
        records.listed_anew();
        set(&records, known(2, Outcome::InProgress), 1);
        records.listed();
        assert_eq!(all(&records), [known(2, Outcome::InProgress)]);
        records.remove(&"d".into(), &known(2, Outcome::InProgress));
        assert!(records.of(&"d".into()).is_none());
    }

    #[test]
    fn two_records_of_one_number_are_two() {
        let records = Records::default();
        let other = RevisionId::new("abcdef0123", "web-6c");
        let repeated = RecordedRevision { repeated: true, id: other, ..known(1, Outcome::InProgress) };
        set(&records, known(1, Outcome::Succeeded), 1);
        set(&records, repeated.clone(), 1);
        assert_eq!(all(&records), [known(1, Outcome::Succeeded), repeated]);
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<RecordRow>() <= 64, "{}", size_of::<RecordRow>());
    }
}
