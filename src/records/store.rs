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
    /// By namespace and UID: a record that names the UID of a workload in another namespace is not about that workload.
    workloads: HashMap<(Arc<str>, Uid), RecordedWorkload>,
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
    /// Whether nothing is left to deliver: the entity in Port is up to date, the settings withhold the record from
    /// Port, or the controller refused it.
    pub is_settled: bool,
    /// Whether the record has the name that the controller gives to it. A copy under another name has not.
    pub has_own_name: bool,
}

impl RecordState {
    /// The state of `record` with these settings.
    #[must_use]
    pub fn of(record: &SlimDoraDeployment, settings: &ActiveSettings) -> Self {
        Self {
            generation: generation(record.generation()),
            is_settled: !settings.dry_run
                && matches!(record.delivery_state(settings.digest()), DeliveryState::Settled | DeliveryState::Refused),
            has_own_name: decode(record).is_some_and(|(uid, WorkloadKey { kind, name, .. }, revision)| {
                record_name(kind, &name, &uid, &revision) == record.name()
            }),
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

impl Records {
    /// The recorded revisions of the workload with this key and UID, in no particular order.
    #[must_use]
    pub fn revisions(&self, key: &WorkloadKey, uid: &Uid) -> Vec<RecordedRevision> {
        let state = self.0.lock();
        let workload = state.workloads.get(&owner(key, uid));
        workload.into_iter().flat_map(|workload| &workload.records).map(|record| record.revision.clone()).collect()
    }

    /// The keys under which records name this UID, for a workload that is no longer in the cluster. There are several only if a record
    /// names the UID of a workload in another namespace.
    #[must_use]
    pub fn keys(&self, uid: &Uid) -> Vec<WorkloadKey> {
        let state = self.0.lock();
        let of_uid = state.workloads.iter().filter(|((_, other), _)| other == uid);
        of_uid.map(|(_, workload)| workload.key.clone()).collect()
    }

    /// The records of all workloads in `namespace` that have the names which the controller gives to them.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<RecordSummary> {
        let state = self.0.lock();
        let workloads = state.workloads.iter().filter(|((other, _), _)| &**other == namespace);
        workloads
            .flat_map(|((_, uid), RecordedWorkload { key, records })| {
                records.iter().filter(|record| record.state.has_own_name).map(|record| RecordSummary {
                    workload: NamedWorkload { kind: key.kind, name: key.name.to_string() },
                    uid: Arc::clone(uid),
                    revision: record.revision.clone(),
                })
            })
            .collect()
    }

    /// How many records a workload has.
    #[must_use]
    pub fn count(&self, key: &WorkloadKey, uid: &Uid) -> usize {
        self.0.lock().workloads.get(&owner(key, uid)).map_or(0, |workload| workload.records.len())
    }

    /// UIDs of the workloads that have records.
    #[must_use]
    pub fn workloads(&self) -> Vec<Uid> {
        self.0.lock().workloads.keys().map(|(_, uid)| Arc::clone(uid)).collect()
    }

    /// The records of a workload that have expired by `policy`. `workload_exists` is whether the workload is in the
    /// cluster.
    pub(super) fn expired(
        &self,
        (key, uid): (&WorkloadKey, &Uid),
        workload_exists: bool,
        policy: &RetentionPolicy,
        now: Timestamp,
    ) -> Vec<RecordedRevision> {
        let state = self.0.lock();
        let Some(workload) = state.workloads.get(&owner(key, uid)) else {
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
            .entry(owner(key, uid))
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
    pub fn remove(&self, key: &WorkloadKey, uid: &Uid, revision: &RecordedRevision) {
        let mut state = self.0.lock();
        let owner = owner(key, uid);
        if let Some(workload) = state.workloads.get_mut(&owner) {
            workload.records.retain(|record| !have_same_name(&record.revision, revision));
            if workload.records.is_empty() {
                state.workloads.remove(&owner);
            }
        }
    }

    /// Stores a record as the API server has it. Returns the workload; `None` for a deployment outside Kubernetes.
    pub fn apply(&self, record: &SlimDoraDeployment, state: RecordState) -> Option<(WorkloadKey, Uid)> {
        let (uid, key, revision) = decode(record)?;
        self.set(&uid, &key, revision, state);
        Some((key, uid))
    }

    /// Removes a record that the API server no longer has.
    pub fn delete(&self, record: &SlimDoraDeployment) {
        if let Some((uid, key, revision)) = decode(record) {
            self.remove(&key, &uid, &revision);
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

fn owner(key: &WorkloadKey, uid: &Uid) -> (Arc<str>, Uid) {
    (Arc::clone(&key.namespace), Arc::clone(uid))
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
    let SlimSpec {
        workload,
        revision,
        outcome,
        change,
        started_at,
        finished_at,
        paused_at,
        paused_seconds,
        identifier: _,
    } = &record.spec;
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

    fn key(namespace: &str) -> WorkloadKey {
        WorkloadKey { namespace: namespace.into(), kind: WorkloadKind::Deployment, name: "web".into() }
    }

    fn set(records: &Records, revision: RecordedRevision, generation: u32) {
        let state = RecordState { generation, is_settled: false, has_own_name: true };
        records.set(&"d".into(), &key("shop"), revision, state);
    }

    fn all(records: &Records) -> Vec<RecordedRevision> {
        records.revisions(&key("shop"), &"d".into())
    }

    fn record(namespace: &str, name: &str, outcome: &str) -> SlimDoraDeployment {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment",
            "metadata": {"namespace": namespace, "name": name, "generation": 9},
            "spec": {
                "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "0123456789"},
                "revision": {"number": 1, "name": "web-5f", "uid": "00abcdef-0000"}, "outcome": outcome,
            },
        }))
        .unwrap()
    }

    fn apply(records: &Records, record: &SlimDoraDeployment) {
        let settings = ActiveSettings::new("test".to_owned(), crate::settings::FileSettings::default(), false);
        records.apply(record, RecordState::of(record, &settings));
    }

    fn names(records: &Records, namespace: &str) -> Vec<(String, Outcome)> {
        let summaries = records.in_namespace(namespace);
        summaries.iter().map(|summary| (summary.name(), summary.revision.outcome)).collect()
    }

    #[test]
    fn record_of_another_namespace_changes_nothing() {
        for order in [["shop", "other"], ["other", "shop"]] {
            let records = Records::default();
            for namespace in order {
                let outcome = if namespace == "shop" { "Succeeded" } else { "Failed" };
                apply(&records, &record(namespace, "web-1-01234567", outcome));
            }
            assert_eq!(names(&records, "shop"), [("web-1-01234567".to_owned(), Outcome::Succeeded)], "{order:?}");
            let uid: Uid = "0123456789".into();
            assert_eq!(records.revisions(&key("shop"), &uid)[0].outcome, Outcome::Succeeded);
            assert_eq!((records.count(&key("shop"), &uid), records.keys(&uid).len()), (1, 2));
            records.delete(&record("other", "web-1-01234567", "Failed"));
            assert_eq!(names(&records, "shop").len(), 1);
        }
    }

    #[test]
    fn copy_under_another_name_has_no_summary() {
        let records = Records::default();
        apply(&records, &record("shop", "copy", "Succeeded"));
        assert_eq!(names(&records, "shop"), []);
        for name in ["web-1-01234567", "web-1-01234567-00abcdef"] {
            let records = Records::default();
            apply(&records, &record("shop", name, "Succeeded"));
            assert_eq!(names(&records, "shop"), [(name.to_owned(), Outcome::Succeeded)]);
        }
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
        records.remove(&key("shop"), &"d".into(), &revision(1, Outcome::InProgress));
        assert_eq!(records.keys(&"d".into()), []);
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
