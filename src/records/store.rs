//! The recorded revisions of all workloads, in memory.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use parking_lot::Mutex;
use rollout::{RecordedRevision, RevisionId, Uid, UnixSeconds, WorkloadKey};

use super::applied::{AppliedRecords, AppliedState};
use super::names::record_name;
use super::retention::RetentionPolicy;
use crate::resources::{
    DeliveryState, DoraDeployment, EntityState, Guarded, NamedWorkload, SlimDoraDeployment, SlimSpec, WorkloadReference,
};
use crate::runtime::{ListMark, Listing};
use crate::settings::{ActiveSettings, IncidentTriggers};

/// The recorded revisions of each workload, at most 64 bytes each, and the records that somebody else has applied. The
/// watch on `DoraDeployment` resources keeps them current.
#[derive(Debug, Default)]
pub struct Records(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By namespace: a record that names the UID of a workload in another namespace is not about that workload.
    namespaces: HashMap<Arc<str>, HashMap<Uid, RecordedWorkload>>,
    /// Records that are not the record of a revision.
    applied: AppliedRecords,
    listing: Listing,
}

impl State {
    fn workload(&self, key: &WorkloadKey, uid: &Uid) -> Option<&RecordedWorkload> {
        self.namespaces.get(&key.namespace)?.get(uid)
    }
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
    pub generation: u16,
    /// When the record was created.
    pub created: Option<UnixSeconds>,
    /// Whether nothing is left to deliver: the entity in Port is up to date, the settings withhold the record from
    /// Port, or the controller refused it. A change of the settings doesn't change that.
    pub is_settled: bool,
    /// Whether Port has the entity of the record.
    pub entity: EntityState,
    /// What the automatic incidents need to know.
    pub incident: IncidentDetails,
}

impl RecordState {
    /// The state of `record` with these settings.
    #[must_use]
    pub fn of(record: &SlimDoraDeployment, settings: &ActiveSettings) -> Self {
        Self {
            generation: generation(record.generation()),
            created: record.meta().creation_timestamp.as_ref().and_then(seconds),
            is_settled: !settings.dry_run
                && matches!(
                    record.delivery_state(settings.digest(), settings.dry_run),
                    DeliveryState::Settled | DeliveryState::Outdated | DeliveryState::Refused
                ),
            entity: record.entity_state(settings.dry_run),
            incident: IncidentDetails {
                triggers: triggers(record.spec.environment.as_deref(), settings),
                has_incident: record.incident().is_some(),
                reported_loss: record.reported_loss().and_then(UnixSeconds::of),
                rolled_back_by: short_revision(record.spec.rolled_back_by),
            },
        }
    }

    /// The state of a record as the API server returned it to the writer of its spec.
    #[must_use]
    pub(super) fn written(record: &Guarded<DoraDeployment>, settings: &ActiveSettings) -> Self {
        let metadata = record.meta();
        let written = Self {
            generation: generation(metadata.generation.unwrap_or_default()),
            created: metadata.creation_timestamp.as_ref().and_then(seconds),
            ..Self::default()
        };
        let Guarded(Ok(DoraDeployment { spec, status, .. })) = record else {
            return written;
        };
        let status = status.as_ref();
        let reported_loss = status.and_then(|status| status.reported_loss.as_ref());
        let is_delivered = status.and_then(|it| it.entity.as_ref()).is_some_and(|it| it.delivered_at.is_some());
        Self {
            entity: if is_delivered { EntityState::Delivered } else { EntityState::Awaited },
            incident: IncidentDetails {
                triggers: triggers(spec.environment.as_deref(), settings),
                has_incident: status.is_some_and(|status| status.incident.is_some()),
                reported_loss: reported_loss.and_then(|time| UnixSeconds::of(time.0)),
                rolled_back_by: short_revision(spec.rolled_back_by),
            },
            ..written
        }
    }
}

/// What the automatic incidents need to know of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IncidentDetails {
    /// What opens an incident in the environment of the rollout.
    pub triggers: IncidentTriggers,
    /// Whether the rollout has had an incident.
    pub has_incident: bool,
    /// Start of the last loss of availability that has had an incident.
    pub reported_loss: Option<UnixSeconds>,
    /// Number of the revision that rolled this one back.
    rolled_back_by: Option<NonZeroU32>,
}

impl Default for IncidentDetails {
    fn default() -> Self {
        Self::NONE
    }
}

impl IncidentDetails {
    /// A record that opens no incident and has had none.
    pub const NONE: Self =
        Self { triggers: IncidentTriggers::NONE, has_incident: false, reported_loss: None, rolled_back_by: None };

    /// Number of the revision that rolled this one back.
    #[must_use]
    pub fn rolled_back_by(&self) -> Option<i64> {
        self.rolled_back_by.map(|revision| revision.get().into())
    }
}

fn triggers(environment: Option<&str>, settings: &ActiveSettings) -> IncidentTriggers {
    settings.file.incidents.triggers(environment.unwrap_or(&settings.file.defaults.environment))
}

/// The number of a revision in 4 bytes. Kubernetes counts revisions from 1.
fn short_revision(number: Option<i64>) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(number?).ok()?)
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
        let workload = state.workload(key, uid);
        workload.into_iter().flat_map(|workload| &workload.records).map(|record| record.revision.clone()).collect()
    }

    /// The records of the workload, each with what the automatic incidents need.
    #[must_use]
    pub fn with_incidents(&self, key: &WorkloadKey, uid: &Uid) -> Vec<(RecordedRevision, IncidentDetails)> {
        let state = self.0.lock();
        let records = state.workload(key, uid).into_iter().flat_map(|workload| &workload.records);
        records.map(|record| (record.revision.clone(), record.state.incident)).collect()
    }

    /// Stores what was written to the status of a record: whether it has had an incident, and its reported loss of availability.
    pub fn set_incident(
        &self,
        key: &WorkloadKey,
        uid: &Uid,
        revision: &RecordedRevision,
        has_incident: bool,
        reported_loss: Option<Timestamp>,
    ) {
        let mut state = self.0.lock();
        let workload = state.namespaces.get_mut(&key.namespace).and_then(|workloads| workloads.get_mut(uid));
        let records = workload.into_iter().flat_map(|workload| &mut workload.records);
        for record in records.filter(|record| have_same_name(&record.revision, revision)) {
            record.state.incident.has_incident = has_incident;
            record.state.incident.reported_loss = reported_loss.and_then(UnixSeconds::of);
        }
    }

    /// Whether Port has the entity of a record; `None` if the record doesn't exist.
    #[must_use]
    pub fn entity_state(&self, namespace: &str, uid: &Uid, revision: &RecordedRevision) -> Option<EntityState> {
        let state = self.0.lock();
        let records = &state.namespaces.get(namespace)?.get(uid)?.records;
        let record = records.iter().find(|record| have_same_name(&record.revision, revision))?;
        Some(record.state.entity)
    }

    /// The keys under which records name this UID, for a workload that is no longer in the cluster. There are several only if a record
    /// names the UID of a workload in another namespace.
    #[must_use]
    pub fn keys(&self, uid: &Uid) -> Vec<WorkloadKey> {
        let state = self.0.lock();
        state.namespaces.values().filter_map(|workloads| workloads.get(uid)).map(|it| it.key.clone()).collect()
    }

    /// The records in `namespace` that `is_wanted`.
    #[must_use]
    pub fn in_namespace(
        &self,
        namespace: &str,
        is_wanted: impl Fn(&WorkloadKey, &RecordedRevision) -> bool,
    ) -> Vec<RecordSummary> {
        let state = self.0.lock();
        let mut found = Vec::new();
        for (uid, RecordedWorkload { key, records }) in state.namespaces.get(namespace).into_iter().flatten() {
            let wanted = records.iter().filter(|it| is_wanted(key, &it.revision));
            found.extend(wanted.map(|record| RecordSummary {
                workload: NamedWorkload { kind: key.kind, name: key.name.to_string() },
                uid: Arc::clone(uid),
                revision: record.revision.clone(),
            }));
        }
        found
    }

    /// How many records a workload has.
    #[must_use]
    pub fn count(&self, key: &WorkloadKey, uid: &Uid) -> usize {
        self.0.lock().workload(key, uid).map_or(0, |workload| workload.records.len())
    }

    /// UIDs of the workloads that have records.
    #[must_use]
    pub fn workloads(&self) -> Vec<Uid> {
        self.0.lock().namespaces.values().flat_map(HashMap::keys).map(Arc::clone).collect()
    }

    /// Keys and UIDs of the workloads that have records.
    pub(super) fn owners(&self) -> Vec<(WorkloadKey, Uid)> {
        let state = self.0.lock();
        let workloads = state.namespaces.values().flatten();
        workloads.map(|(uid, workload)| (workload.key.clone(), Arc::clone(uid))).collect()
    }

    /// The records of a workload that have expired by `policy`. `workload_exists` is whether the workload is in the
    /// cluster.
    pub(super) fn expired(
        &self,
        (key, uid): (&WorkloadKey, &Uid),
        workload_exists: bool,
        policy: &RetentionPolicy,
        now: Timestamp,
    ) -> Vec<(RecordedRevision, RecordState)> {
        let state = self.0.lock();
        let Some(workload) = state.workload(key, uid) else {
            return Vec::new();
        };
        let records = workload.records.iter().map(|record| (&record.revision, record.state));
        policy.expired(records, workload_exists, now)
    }

    /// How many records in `namespace` are not the record of a revision.
    pub(super) fn count_applied(&self, namespace: &str) -> usize {
        self.0.lock().applied.count(namespace)
    }

    /// The namespaces with records that are not the record of a revision.
    pub(super) fn namespaces_with_applied(&self) -> Vec<Arc<str>> {
        self.0.lock().applied.namespaces()
    }

    /// Those of these records in `namespace` that have expired by `policy`, by name.
    pub(super) fn expired_applied(
        &self,
        namespace: &str,
        policy: &RetentionPolicy,
        now: Timestamp,
    ) -> Vec<(Box<str>, AppliedState)> {
        policy.expired_applied(self.0.lock().applied.in_namespace(namespace), now)
    }

    /// Removes a record that is not the record of a revision.
    pub(super) fn remove_applied(&self, namespace: &str, name: &str) {
        self.0.lock().applied.remove(namespace, name);
    }

    /// Stores a record of the workload `key`, unless a newer state of the record is stored.
    pub fn set(&self, uid: &Uid, key: &WorkloadKey, revision: RecordedRevision, state: RecordState) {
        let State { namespaces, listing, .. } = &mut *self.0.lock();
        let listing = listing.mark();
        let RecordedWorkload { records, .. } = namespaces
            .entry(Arc::clone(&key.namespace))
            .or_default()
            .entry(Arc::clone(uid))
            .or_insert_with(|| RecordedWorkload { key: key.clone(), records: Vec::new() });
        match records.iter_mut().find(|record| have_same_name(&record.revision, &revision)) {
            Some(record) => {
                record.listing = listing;
                // A record that was deleted and created again begins with another generation.
                if record.state.generation <= state.generation || record.state.created != state.created {
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
        let Some(workloads) = state.namespaces.get_mut(&key.namespace) else {
            return;
        };
        if let Some(workload) = workloads.get_mut(uid) {
            workload.records.retain(|record| !have_same_name(&record.revision, revision));
            if workload.records.is_empty() {
                workloads.remove(uid);
            }
        }
        if workloads.is_empty() {
            state.namespaces.remove(&key.namespace);
        }
    }

    /// Stores a record as the API server has it. Returns the workload; `None` if it is not the record of a revision, such
    /// as that of a deployment outside Kubernetes.
    pub fn apply(&self, record: &SlimDoraDeployment, state: RecordState) -> Option<(WorkloadKey, Uid)> {
        let Some((uid, key, revision)) = decode(record) else {
            let State { applied, listing, .. } = &mut *self.0.lock();
            let mark = listing.mark();
            applied.set(record.namespace(), record.name(), AppliedState::of(record, state), mark);
            return None;
        };
        self.set(&uid, &key, revision, state);
        Some((key, uid))
    }

    /// Removes a record that the API server no longer has.
    pub fn delete(&self, record: &SlimDoraDeployment) {
        match decode(record) {
            Some((uid, key, revision)) => self.remove(&key, &uid, &revision),
            None => self.remove_applied(record.namespace(), record.name()),
        }
    }

    /// A list of all records starts.
    pub fn list_started(&self) {
        self.0.lock().listing.begin();
    }

    /// The list of all records is complete. A record that is not in the list was deleted.
    pub fn list_finished(&self) {
        let State { namespaces, applied, listing } = &mut *self.0.lock();
        applied.retain(|mark| !listing.is_stale(mark));
        namespaces.retain(|_, workloads| {
            workloads.retain(|_, workload| {
                workload.records.retain(|record| !listing.is_stale(record.listing));
                !workload.records.is_empty()
            });
            !workloads.is_empty()
        });
    }
}

/// `metadata.generation` in 2 bytes: a record changes a few times only.
#[must_use]
fn generation(generation: i64) -> u16 {
    u16::try_from(generation).unwrap_or(u16::MAX)
}

/// Whether two revisions of one workload have the same record: the names of their records are equal ([`record_name`]).
fn have_same_name(one: &RecordedRevision, other: &RecordedRevision) -> bool {
    one.revision == other.revision && one.repeated == other.repeated && (!one.repeated || one.id.uid == other.id.uid)
}

/// Whether `existing` is the record of this revision of this workload, and not another object with its name.
pub(super) fn is_record_of(
    existing: &SlimDoraDeployment,
    (key, uid): (&WorkloadKey, &Uid),
    revision: &RecordedRevision,
) -> bool {
    decode(existing).is_some_and(|(existing_uid, existing_key, existing_revision)| {
        existing_uid == *uid && existing_key == *key && have_same_name(&existing_revision, revision)
    })
}

/// `time` in seconds; `None` if it is out of range.
pub(super) fn seconds(time: &Time) -> Option<UnixSeconds> {
    UnixSeconds::of(time.0)
}

/// The workload and the revision of a record. `None` if it is not the record of a revision: it has no workload, or not the
/// name of the record of its revision.
fn decode(record: &SlimDoraDeployment) -> Option<(Uid, WorkloadKey, RecordedRevision)> {
    let SlimSpec {
        workload,
        revision,
        outcome,
        change,
        environment: _,
        rolled_back_by: _,
        started_at,
        finished_at,
        paused_at,
        paused_seconds,
        identifier: _,
    } = &record.spec;
    let WorkloadReference { kind, name, uid, api_version: _ } = workload.as_ref()?;
    let reference = revision.as_ref()?;
    let seconds = |time: &Option<Time>| time.as_ref().and_then(seconds);
    let mut revision = RecordedRevision {
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
    if record_name(*kind, name, uid, &revision) != record.name() {
        revision.repeated = true;
        if record_name(*kind, name, uid, &revision) != record.name() {
            return None;
        }
    }
    let key = WorkloadKey { namespace: record.namespace().into(), kind: *kind, name: name.as_str().into() };
    Some((uid.as_str().into(), key, revision))
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

    fn set(records: &Records, revision: RecordedRevision, generation: u16) {
        let state = RecordState { generation, ..RecordState::default() };
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
        let summaries = records.in_namespace(namespace, |_, _| true);
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
    fn copy_under_another_name_records_nothing() {
        let records = Records::default();
        apply(&records, &record("shop", "copy", "Succeeded"));
        assert_eq!((names(&records, "shop"), records.count_applied("shop")), (vec![], 1));
        records.delete(&record("shop", "copy", "Succeeded"));
        assert_eq!(records.count_applied("shop"), 0);
        for name in ["web-1-01234567", "web-1-01234567-00abcdef"] {
            let records = Records::default();
            apply(&records, &record("shop", name, "Succeeded"));
            assert_eq!(names(&records, "shop"), [(name.to_owned(), Outcome::Succeeded)]);
        }
    }

    #[test]
    fn records_keep_what_incidents_need() {
        let records = Records::default();
        let details = || records.with_incidents(&key("shop"), &"0123456789".into())[0].1;
        apply(&records, &record("shop", "web-1-01234567", "Failed"));
        assert_eq!((details().triggers, details().has_incident), (IncidentTriggers::default(), false));
        let revision = records.with_incidents(&key("shop"), &"0123456789".into())[0].0.clone();
        let loss = Timestamp::from_second(1000).unwrap();
        records.set_incident(&key("shop"), &"0123456789".into(), &revision, true, Some(loss));
        assert_eq!((details().has_incident, details().reported_loss), (true, UnixSeconds::of(loss)));
        apply(&records, &record("shop", "copy", "Failed"));
        assert_eq!(records.with_incidents(&key("shop"), &"0123456789".into()).len(), 1, "a copy opens no incident");

        let mut staging = serde_json::to_value(crate::resources::DoraDeployment::new(
            "web-2-01234567",
            serde_json::from_value(
                serde_json::json!({"outcome": "Failed", "environment": "staging", "rolledBackBy": 7}),
            )
            .unwrap(),
        ))
        .unwrap();
        staging["status"] = serde_json::json!({"incident": "down", "reportedLoss": "1970-01-01T00:16:40Z"});
        let settings = ActiveSettings::new("test".to_owned(), crate::settings::FileSettings::default(), false);
        let written = RecordState::written(&serde_json::from_value(staging.clone()).unwrap(), &settings).incident;
        assert_eq!(written, RecordState::of(&serde_json::from_value(staging).unwrap(), &settings).incident);
        let expected = (IncidentTriggers::NONE, true, UnixSeconds::of(loss), Some(7));
        assert_eq!((written.triggers, written.has_incident, written.reported_loss, written.rolled_back_by()), expected);
    }

    #[test]
    fn record_that_was_created_again_replaces_the_old_one() {
        let records = Records::default();
        let state = |generation, created| RecordState {
            generation,
            created: UnixSeconds::of(Timestamp::from_second(created).unwrap()),
            ..RecordState::default()
        };
        let set = |outcome, state| records.set(&"d".into(), &key("shop"), revision(1, outcome), state);
        set(Outcome::Failed, state(4, 100));
        set(Outcome::Succeeded, state(1, 200));
        assert_eq!(all(&records), [revision(1, Outcome::Succeeded)]);
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
