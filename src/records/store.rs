//! The recorded revisions of all workloads, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use rollout::{RecordedRevision, RevisionId, Uid, UnixSeconds, WorkloadKey};

use super::names::record_name;
use super::retention::RetentionPolicy;
use crate::resources::{DeliveryState, NamedWorkload, SlimDoraDeployment, SlimSpec, WorkloadReference};
use crate::runtime::{ListMark, Listing};
use crate::settings::ActiveSettings;

/// The recorded revisions of each workload, at most 64 bytes each. The watch on `DoraDeployment` resources keeps them
/// current.
#[derive(Debug, Default)]
pub struct Records(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    workloads: HashMap<Uid, RecordedWorkload>,
    listing: Listing,
}

#[derive(Debug)]
struct RecordedWorkload {
    key: WorkloadKey,
    records: Vec<StoredRecord>,
}

#[derive(Debug)]
struct StoredRecord {
    revision: RecordedRevision,
    state: RecordState,
    listing: ListMark,
}

/// The state of a record beside what it records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RecordState {
    /// `metadata.generation` of the record. An older state that arrives late must not replace a newer one.
    pub generation: u32,
    /// Whether nothing is left to deliver: the entity in Port is up to date, or the settings withhold the record from
    /// Port.
    pub is_settled: bool,
}

impl RecordState {
    /// The state of `record` with these settings.
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
    /// The workload that was rolled out.
    pub workload: NamedWorkload,
    /// UID of the workload.
    pub uid: Uid,
    /// The recorded revision.
    pub revision: RecordedRevision,
}

impl RecordSummary {
    /// Name of the record.
    #[must_use]
    pub fn name(&self) -> String {
        record_name(self.workload.kind, &self.workload.name, &self.uid, &self.revision)
    }
}

/// The records of one workload.
#[derive(Clone, Debug)]
pub struct WorkloadRecords {
    /// Namespace, kind and name of the workload.
    pub key: WorkloadKey,
    /// The recorded revisions, in no particular order.
    pub revisions: Vec<RecordedRevision>,
}

impl Records {
    /// The records of the workload with this UID; `None` if it has none.
    #[must_use]
    pub fn get(&self, uid: &Uid) -> Option<WorkloadRecords> {
        let state = self.0.lock();
        let RecordedWorkload { key, records } = state.workloads.get(uid)?;
        let revisions = records.iter().map(|record| record.revision.clone()).collect();
        Some(WorkloadRecords { key: key.clone(), revisions })
    }

    /// The recorded revisions of the workload with this UID.
    #[must_use]
    pub fn revisions(&self, uid: &Uid) -> Vec<RecordedRevision> {
        self.get(uid).map(|records| records.revisions).unwrap_or_default()
    }

    /// The records of all workloads in `namespace`.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<RecordSummary> {
        let state = self.0.lock();
        let workloads = state.workloads.iter().filter(|(_, workload)| &*workload.key.namespace == namespace);
        workloads
            .flat_map(|(uid, RecordedWorkload { key, records })| {
                records.iter().map(|record| RecordSummary {
                    workload: NamedWorkload { kind: key.kind, name: key.name.to_string() },
                    uid: Arc::clone(uid),
                    revision: record.revision.clone(),
                })
            })
            .collect()
    }

    /// How many records a workload has.
    #[must_use]
    pub fn count(&self, uid: &Uid) -> usize {
        self.0.lock().workloads.get(uid).map_or(0, |workload| workload.records.len())
    }

    /// UIDs of the workloads that have records.
    #[must_use]
    pub fn workloads(&self) -> Vec<Uid> {
        self.0.lock().workloads.keys().cloned().collect()
    }

    /// The records of a workload that have expired by `policy`. `workload_exists` is whether the workload is in the
    /// cluster.
    pub(super) fn expired(
        &self,
        uid: &Uid,
        workload_exists: bool,
        policy: &RetentionPolicy,
        now: Timestamp,
    ) -> Vec<RecordedRevision> {
        let state = self.0.lock();
        let Some(workload) = state.workloads.get(uid) else {
            return Vec::new();
        };
        let records = workload.records.iter().map(|record| (&record.revision, record.state.is_settled));
        policy.expired(records, workload_exists, now)
    }

    /// Stores a record of the workload `key`, unless a newer state of the record is stored.
    pub fn set(&self, uid: &Uid, key: &WorkloadKey, revision: RecordedRevision, state: RecordState) {
        let State { workloads, listing } = &mut *self.0.lock();
        let listing = listing.mark();
        let RecordedWorkload { records, .. } = workloads
            .entry(Arc::clone(uid))
            .or_insert_with(|| RecordedWorkload { key: key.clone(), records: Vec::new() });
        match records.iter_mut().find(|record| have_same_name(&record.revision, &revision)) {
            Some(record) => {
                record.listing = listing;
                if record.state.generation <= state.generation {
                    record.revision = revision;
                    record.state = state;
                }
            }
            None => records.push(StoredRecord { revision, state, listing }),
        }
    }

    /// Removes a record that was deleted.
    pub fn remove(&self, uid: &Uid, revision: &RecordedRevision) {
        let mut state = self.0.lock();
        if let Some(workload) = state.workloads.get_mut(uid) {
            workload.records.retain(|record| !have_same_name(&record.revision, revision));
            if workload.records.is_empty() {
                state.workloads.remove(uid);
            }
        }
    }

    /// Stores a record as the API server has it. Returns the UID of the workload; `None` for a deployment outside
    /// Kubernetes.
    pub fn apply(&self, record: &SlimDoraDeployment, state: RecordState) -> Option<Uid> {
        let (uid, key, revision) = decode(record)?;
        self.set(&uid, &key, revision, state);
        Some(uid)
    }

    /// Removes a record that the API server no longer has.
    pub fn delete(&self, record: &SlimDoraDeployment) {
        if let Some((uid, _, revision)) = decode(record) {
            self.remove(&uid, &revision);
        }
    }

    /// A list of all records starts.
    pub fn list_started(&self) {
        self.0.lock().listing.begin();
    }

    /// The list of all records is complete. A record that is not in the list was deleted.
    pub fn list_finished(&self) {
        let State { workloads, listing } = &mut *self.0.lock();
        workloads.retain(|_, workload| {
            workload.records.retain(|record| !listing.is_stale(record.listing));
            !workload.records.is_empty()
        });
    }
}

/// `metadata.generation` in 4 bytes: a record changes a few times only.
#[must_use]
pub(super) fn generation(generation: i64) -> u32 {
    u32::try_from(generation).unwrap_or(u32::MAX)
}

/// Whether two revisions of one workload have the same record: the names of their records are equal ([`record_name`]).
fn have_same_name(one: &RecordedRevision, other: &RecordedRevision) -> bool {
    one.revision == other.revision && one.repeated == other.repeated && (!one.repeated || one.id.uid == other.id.uid)
}

/// The workload and the revision of a record; `None` for a deployment outside Kubernetes.
fn decode(record: &SlimDoraDeployment) -> Option<(Uid, WorkloadKey, RecordedRevision)> {
    let SlimSpec { workload, revision, outcome, change, started_at, finished_at, paused_at, paused_seconds } =
        &record.spec;
    let WorkloadReference { kind, name, uid, api_version: _ } = workload.as_ref()?;
    let reference = revision.as_ref()?;
    let seconds = |time: &Option<Time>| time.as_ref().and_then(|time| UnixSeconds::of(time.0));
    let revision = RecordedRevision {
        revision: reference.number,
        id: RevisionId::new(&reference.uid, &reference.name),
        repeated: false,
        outcome: *outcome,
        change: *change,
        started: seconds(started_at),
        finished: seconds(finished_at),
        paused_at: seconds(paused_at),
        paused_seconds: paused_seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or_default(),
    };
    let repeated = record_name(*kind, name, uid, &revision) != record.name();
    let key = WorkloadKey { namespace: record.namespace().into(), kind: *kind, name: name.as_str().into() };
    Some((uid.as_str().into(), key, RecordedRevision { repeated, ..revision }))
}

#[cfg(test)]
pub(super) mod tests {
    use rollout::{Outcome, WorkloadKind};

    use super::*;

    /// A recorded revision without times.
    pub fn revision(number: i64, outcome: Outcome) -> RecordedRevision {
        RecordedRevision {
            revision: number,
            id: RevisionId::new("00abcdef-0000", "web-5f"),
            repeated: false,
            outcome,
            change: None,
            started: None,
            finished: None,
            paused_at: None,
            paused_seconds: 0,
        }
    }

    fn set(records: &Records, revision: RecordedRevision, generation: u32) {
        let key = WorkloadKey { namespace: "shop".into(), kind: WorkloadKind::Deployment, name: "web".into() };
        records.set(&"d".into(), &key, revision, RecordState { generation, is_settled: false });
    }

    fn all(records: &Records) -> Vec<RecordedRevision> {
        records.revisions(&"d".into())
    }

    #[test]
    fn late_old_state_does_not_replace_a_newer_one() {
        let records = Records::default();
        set(&records, revision(1, Outcome::InProgress), 1);
        set(&records, revision(1, Outcome::Succeeded), 2);
        set(&records, revision(1, Outcome::InProgress), 1);
        assert_eq!(all(&records), [revision(1, Outcome::Succeeded)]);
    }

    #[test]
    fn record_missing_in_a_list_is_removed() {
        let records = Records::default();
        set(&records, revision(1, Outcome::InProgress), 1);
        set(&records, revision(2, Outcome::InProgress), 1);
        records.list_started();
        set(&records, revision(2, Outcome::InProgress), 1);
        records.list_finished();
        assert_eq!(all(&records), [revision(2, Outcome::InProgress)]);
    }

    #[test]
    fn workload_without_records_is_removed() {
        let records = Records::default();
        set(&records, revision(1, Outcome::InProgress), 1);
        records.remove(&"d".into(), &revision(1, Outcome::InProgress));
        assert!(records.get(&"d".into()).is_none());
        assert!(records.workloads().is_empty());
    }

    #[test]
    fn repeated_number_has_a_record_of_its_own() {
        let records = Records::default();
        let replica_set = RevisionId::new("abcdef0123", "web-6c");
        let repeated = RecordedRevision { repeated: true, id: replica_set, ..revision(1, Outcome::InProgress) };
        set(&records, revision(1, Outcome::Succeeded), 1);
        set(&records, repeated.clone(), 1);
        assert_eq!(all(&records), [revision(1, Outcome::Succeeded), repeated]);
    }

    #[test]
    fn stored_record_takes_at_most_64_bytes() {
        assert!(size_of::<StoredRecord>() <= 64, "{}", size_of::<StoredRecord>());
    }
}
