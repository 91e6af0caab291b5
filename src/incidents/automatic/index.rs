//! Which incidents concern which workload, and which workloads have to be reconciled because of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::Resource;
use parking_lot::Mutex;
use rollout::{Availability, RecordedRevision, Uid, UnixSeconds, WorkloadKey};
use tokio_util::sync::CancellationToken;

use super::decide::{Incident, MAX_FAILURE_AGE, may_open};
use super::input::{listed_incident, read_incident};
use crate::incidents::groups::Groups;
use crate::resources::{AffectedWorkload, DoraIncident, IncidentStatus, ResourceKey, SlimDoraIncident};
use crate::runtime::{ListMark, Listing, WorkQueue};

/// How long a resolved incident stays in the index. After that it can't concern a failure that still opens an incident.
const RESOLVED_RETENTION: SignedDuration = SignedDuration::from_hours(2 * MAX_FAILURE_AGE.as_hours());

/// How many keys of the queue a standby drops at once.
const DISCARD_BATCH: usize = 100;

/// The incidents that still matter, by the workload that they refer to, and the queue of workloads to reconcile.
///
/// The index answers whether anything has to be written. Before a write, the controller reads the incident from the API server, because
/// the watch can be late.
#[derive(Debug, Default)]
pub struct IncidentIndex {
    queue: WorkQueue<Uid>,
    incidents: Mutex<Incidents>,
}

#[derive(Debug, Default)]
struct Incidents {
    rows: HashMap<ResourceKey, IndexedIncident>,
    /// The incidents that refer to a workload.
    of_workloads: Groups<WorkloadKey, ResourceKey>,
    /// The incidents that the controller opened for a workload.
    of_uids: Groups<Uid, ResourceKey>,
    listing: Listing,
}

#[derive(Debug)]
struct IndexedIncident {
    workload: WorkloadKey,
    incident: Incident,
    /// Whether the incident is resolved, and its end is only the time at which the watch brought it.
    is_end_assumed: bool,
    listing: ListMark,
}

impl IndexedIncident {
    /// UID of the workload for which the controller opened the incident.
    fn opened_for(&self) -> Option<Uid> {
        self.incident.workload_uid.as_deref().filter(|_| self.incident.opened_by.is_some()).map(Uid::from)
    }

    fn is_kept(&self, now: Timestamp) -> bool {
        self.incident.resolved.is_none_or(|resolved| now.duration_since(resolved) <= RESOLVED_RETENTION)
    }
}

impl Incidents {
    fn insert(&mut self, key: ResourceKey, row: IndexedIncident, now: Timestamp) {
        self.remove(&key);
        let expired: Vec<ResourceKey> =
            self.of_workload(&row.workload).filter(|(_, row)| !row.is_kept(now)).map(|(key, _)| key.clone()).collect();
        for key in &expired {
            self.remove(key);
        }
        if row.is_kept(now) {
            self.of_workloads.insert(row.workload.clone(), key.clone());
            if let Some(uid) = row.opened_for() {
                self.of_uids.insert(uid, key.clone());
            }
            self.rows.insert(key, row);
        }
    }

    fn remove(&mut self, key: &ResourceKey) {
        if let Some(row) = self.rows.remove(key) {
            self.of_workloads.remove(&row.workload, key);
            if let Some(uid) = row.opened_for() {
                self.of_uids.remove(&uid, key);
            }
        }
    }

    /// When an incident ended, if the watch says that it is resolved, but not when: the end in its row, otherwise `now`. The second value
    /// is whether the end is assumed.
    fn unstated_end(&self, key: &ResourceKey, now: Timestamp) -> (Timestamp, bool) {
        let in_row = self.rows.get(key).and_then(|row| Some((row.incident.resolved?, row.is_end_assumed)));
        in_row.unwrap_or((now, true))
    }

    fn of_workload(&self, workload: &WorkloadKey) -> impl Iterator<Item = (&ResourceKey, &IndexedIncident)> {
        self.of_workloads.members(workload).filter_map(|key| self.rows.get_key_value(key))
    }

    fn of_uid(&self, uid: &Uid) -> impl Iterator<Item = (&ResourceKey, &IndexedIncident)> {
        self.of_uids.members(uid).filter_map(|key| self.rows.get_key_value(key))
    }
}

impl IncidentIndex {
    /// The queue of workloads to reconcile.
    #[must_use]
    pub fn queue(&self) -> &WorkQueue<Uid> {
        &self.queue
    }

    /// Drops each key in the queue until `stop`, while this replica doesn't lead.
    pub async fn discard_queue(&self, stop: &CancellationToken) {
        self.queue.run(DISCARD_BATCH, 1, stop, async |_| {}).await;
    }

    /// Handles an incident that was created, changed or listed. An open automatic incident enqueues its workload.
    pub fn applied(&self, incident: &SlimDoraIncident, now: Timestamp) {
        let Some(key) = ResourceKey::of(incident.meta()) else {
            return;
        };
        let Some(workload) = reference(&key, incident.spec.workload_ref.as_ref()) else {
            self.incidents.lock().remove(&key);
            return;
        };
        let mut incidents = self.incidents.lock();
        let is_stated = incident.spec.status == IncidentStatus::Open || incident.resolved_at().is_some();
        let (unstated_end, is_assumed) = incidents.unstated_end(&key, now);
        let incident = listed_incident(incident, unstated_end);
        let is_open = incident.resolved.is_none();
        let opened_for = incident.workload_uid.as_deref().filter(|_| incident.opened_by.is_some()).map(Uid::from);
        let is_end_assumed = is_assumed && !is_stated;
        let row = IndexedIncident { workload, incident, is_end_assumed, listing: incidents.listing.mark() };
        incidents.insert(key, row, now);
        drop(incidents);
        if let Some(uid) = opened_for.filter(|_| is_open) {
            self.queue.add(uid);
        }
    }

    /// Takes in an incident as the API server returned it to its writer.
    pub(super) fn written(&self, incident: &DoraIncident, now: Timestamp) {
        let Some(key) = ResourceKey::of(incident.meta()) else {
            return;
        };
        if let Some(workload) = reference(&key, incident.spec.workload_ref.as_ref()) {
            let (incident, mut incidents) = (read_incident(incident, now), self.incidents.lock());
            let row = IndexedIncident { workload, incident, is_end_assumed: false, listing: incidents.listing.mark() };
            incidents.insert(key, row, now);
        }
    }

    /// The controller must not change the status of this incident, until the incident changes.
    pub(super) fn set_taken_over(&self, key: &ResourceKey) {
        if let Some(row) = self.incidents.lock().rows.get_mut(key) {
            row.incident.is_taken_over = true;
        }
    }

    /// Handles an incident that was deleted.
    pub fn deleted(&self, key: &ResourceKey) {
        self.incidents.lock().remove(key);
    }

    /// A list of all incidents starts.
    pub fn list_started(&self) {
        self.incidents.lock().listing.begin();
    }

    /// The list of all incidents is complete. An incident that is not in the list was deleted.
    pub fn list_finished(&self) {
        let mut incidents = self.incidents.lock();
        let Incidents { rows, listing, .. } = &*incidents;
        let stale: Vec<ResourceKey> =
            rows.iter().filter(|(_, row)| listing.is_stale(row.listing)).map(|(key, _)| key.clone()).collect();
        for key in &stale {
            incidents.remove(key);
        }
    }

    /// Enqueues a workload if its state or one of its `rollouts` may open or resolve an incident.
    pub fn enqueue_if_relevant(
        &self,
        uid: &Uid,
        available: Option<Availability>,
        rollouts: &[RecordedRevision],
        now: Timestamp,
    ) {
        let latest = latest_time(rollouts);
        let is_unavailable = available.is_some_and(|available| !available.is_available);
        if is_unavailable
            || rollouts.iter().any(|rollout| may_open(rollout, latest, now))
            || !self.workloads_with_open_incident(uid).is_empty()
        {
            self.queue.add(Arc::clone(uid));
        }
    }

    /// Enqueues each workload with an open automatic incident.
    pub fn enqueue_open(&self) {
        let open: Vec<Uid> = {
            let incidents = self.incidents.lock();
            let open = incidents.rows.values().filter(|row| row.incident.resolved.is_none());
            open.filter_map(IndexedIncident::opened_for).collect()
        };
        for uid in open {
            self.queue.add(uid);
        }
    }

    /// The workloads to which the open automatic incidents for this UID refer: one in each namespace. There are several only if an
    /// incident names the UID of a workload in another namespace.
    #[must_use]
    pub fn workloads_with_open_incident(&self, uid: &Uid) -> Vec<WorkloadKey> {
        let mut found: Vec<WorkloadKey> = Vec::new();
        for (_, row) in self.incidents.lock().of_uid(uid) {
            let is_new = found.iter().all(|other| other.namespace != row.workload.namespace);
            if row.incident.resolved.is_none() && is_new {
                found.push(row.workload.clone());
            }
        }
        found
    }

    /// The incidents that refer to `workload`, and those that the controller opened for it.
    #[must_use]
    pub fn of(&self, workload: &WorkloadKey, uid: &Uid) -> Vec<Incident> {
        self.rows_of(workload, uid, |row| Some(row.incident.clone()))
    }

    /// Names of those of the [incidents of a workload](IncidentIndex::of) whose end is only the time at which the watch brought it.
    #[must_use]
    pub fn with_assumed_end(&self, workload: &WorkloadKey, uid: &Uid) -> Vec<String> {
        self.rows_of(workload, uid, |row| row.is_end_assumed.then(|| row.incident.name.clone()))
    }

    fn rows_of<T>(&self, workload: &WorkloadKey, uid: &Uid, select: impl Fn(&IndexedIncident) -> Option<T>) -> Vec<T> {
        let incidents = self.incidents.lock();
        let in_namespace = |(key, _): &(&ResourceKey, &IndexedIncident)| key.namespace == workload.namespace;
        let of_uid = incidents.of_uid(uid).filter(in_namespace);
        let keys: BTreeSet<&ResourceKey> = incidents.of_workload(workload).chain(of_uid).map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| select(incidents.rows.get(key)?)).collect()
    }
}

/// The latest time in all these rollouts.
#[must_use]
pub fn latest_time(rollouts: &[RecordedRevision]) -> Option<Timestamp> {
    rollouts.iter().flat_map(|rollout| [rollout.started, rollout.finished]).flatten().max().map(UnixSeconds::time)
}

/// The workload that an incident refers to.
fn reference(incident: &ResourceKey, workload: Option<&AffectedWorkload>) -> Option<WorkloadKey> {
    let AffectedWorkload { kind, name, .. } = workload?;
    Some(WorkloadKey { namespace: Arc::clone(&incident.namespace), kind: *kind, name: name.as_str().into() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rollout::WorkloadKind;
    use serde_json::json;

    use super::*;
    use crate::incidents::automatic::OPENED_BY;
    use crate::incidents::automatic::manifest::WORKLOAD_UID;

    fn incident_in(namespace: &str, name: &str, workload: &str, resolved: Option<Timestamp>) -> SlimDoraIncident {
        serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1",
            "kind": "DoraIncident",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": { OPENED_BY: "FailedRollout" },
                "annotations": { WORKLOAD_UID: "uid" },
            },
            "spec": {
                "workloadRef": { "name": workload },
                "status": if resolved.is_some() { "resolved" } else { "open" },
                "resolvedAt": resolved,
            },
        }))
        .unwrap()
    }

    fn incident(name: &str, resolved: Option<Timestamp>) -> SlimDoraIncident {
        incident_in("shop", name, "web", resolved)
    }

    fn key(name: &str) -> ResourceKey {
        ResourceKey { namespace: "shop".into(), name: name.into() }
    }

    fn workload(namespace: &str, name: &str) -> WorkloadKey {
        WorkloadKey { namespace: namespace.into(), kind: WorkloadKind::Deployment, name: name.into() }
    }

    fn names(index: &IncidentIndex, uid: &str) -> Vec<String> {
        index.of(&workload("shop", "web"), &uid.into()).into_iter().map(|incident| incident.name).collect()
    }

    fn now() -> Timestamp {
        "2026-01-03T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn resolved_incidents_leave_the_index_in_time() {
        let (now, uid) = (now(), Uid::from("uid"));
        let index = IncidentIndex::default();
        index.applied(&incident("one", None), now);
        index.applied(&incident("two", Some(now)), now);
        assert_eq!(
            (names(&index, "uid"), index.queue().drain()),
            (vec!["one".into(), "two".into()], vec![uid.clone()])
        );
        assert_eq!(index.workloads_with_open_incident(&uid), [workload("shop", "web")]);
        index.applied(&incident("one", Some(now)), now);
        assert_eq!((index.workloads_with_open_incident(&uid), index.queue().drain()), (vec![], vec![]));
        let later = now + RESOLVED_RETENTION + SignedDuration::from_secs(1);
        index.applied(&incident("three", None), later);
        assert_eq!(names(&index, "uid"), ["three"]);
        index.deleted(&key("three"));
        let incidents = index.incidents.lock();
        assert_eq!((incidents.rows.len(), incidents.of_workloads.len(), incidents.of_uids.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn queue_of_a_standby_stays_empty() {
        let now: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
        let (index, leads) = (IncidentIndex::default(), CancellationToken::new());
        for _ in 0..3 {
            index.applied(&incident("down", None), now);
            for number in 0..500 {
                let lost = Availability { is_available: false, since: UnixSeconds::of(now).unwrap() };
                index.enqueue_if_relevant(&format!("uid-{number}").into(), Some(lost), &[], now);
            }
            let emptied = async {
                while !index.queue().is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::select! {
                () = index.discard_queue(&leads) => unreachable!(),
                () = emptied => {}
                () = tokio::time::sleep(Duration::from_secs(60)) => panic!("the queue keeps {}", index.queue().len()),
            }
        }
        index.enqueue_open();
        assert_eq!(index.queue().drain(), [Uid::from("uid")], "a new leader handles open incidents");
    }

    #[test]
    fn resolved_incident_without_a_time_is_not_open() {
        let (now, index) = (now(), IncidentIndex::default());
        let assumed = |index: &IncidentIndex| index.with_assumed_end(&workload("shop", "web"), &"uid".into());
        let mut resolved = incident("down", None);
        index.applied(&resolved, now);
        resolved.spec.status = IncidentStatus::Resolved;
        let _ = index.queue().drain();
        for later in [0, 60] {
            index.applied(&resolved, now + SignedDuration::from_secs(later));
            let found = index.of(&workload("shop", "web"), &"uid".into());
            assert_eq!((found[0].resolved, assumed(&index)), (Some(now), vec!["down".to_owned()]), "{later}");
        }
        assert_eq!((index.workloads_with_open_incident(&"uid".into()), index.queue().drain()), (vec![], vec![]));
        // The time that the API server has stays.
        let read = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {"name": "down", "namespace": "shop"},
            "spec": {"workloadRef": {"name": "web"}, "status": "resolved", "resolvedAt": "2026-01-02T00:00:00Z"},
        }));
        index.written(&read.unwrap(), now);
        index.applied(&resolved, now);
        let found = index.of(&workload("shop", "web"), &"uid".into());
        assert_eq!((found[0].resolved, assumed(&index)), (Some("2026-01-02T00:00:00Z".parse().unwrap()), vec![]));
    }

    #[test]
    fn incident_missing_in_a_list_leaves_the_index() {
        let index = IncidentIndex::default();
        index.applied(&incident("kept", None), now());
        index.applied(&incident("gone", None), now());
        index.list_started();
        index.applied(&incident("kept", None), now());
        assert_eq!(names(&index, "uid"), ["gone", "kept"], "until the list is complete");
        index.list_finished();
        assert_eq!(names(&index, "uid"), ["kept"]);
    }

    #[test]
    fn incident_with_another_reference_leaves_its_workload() {
        let index = IncidentIndex::default();
        index.applied(&incident("down", None), now());
        index.applied(&incident_in("shop", "down", "api", None), now());
        assert_eq!(names(&index, "other"), Vec::<String>::new());
        assert_eq!(names(&index, "uid"), ["down"], "the controller opened it for this workload");
    }

    #[test]
    fn incident_of_another_namespace_hides_nothing() {
        let index = IncidentIndex::default();
        for namespace in ["forged", "shop"] {
            index.applied(&incident_in(namespace, "down", "web", None), now());
        }
        assert_eq!(names(&index, "uid"), ["down"]);
        let expected = [workload("forged", "web"), workload("shop", "web")];
        assert_eq!(index.workloads_with_open_incident(&"uid".into()), expected);
    }
}
