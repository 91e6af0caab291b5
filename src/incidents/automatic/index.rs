//! Which incidents concern which workload, and which workloads have to be reconciled because of them.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::Resource;
use parking_lot::Mutex;
use rollout::{Availability, RecordedRevision, Uid, UnixSeconds, WorkloadKey};

use super::decide::{MAX_FAILURE_AGE, OpenedBy, may_open};
use super::manifest::{OPENED_BY, WORKLOAD_UID};
use crate::resources::{AffectedWorkload, SlimDoraIncident};
use crate::runtime::{ListMark, Listing, WorkQueue};

/// How long a resolved incident stays in the index. After that it can't concern a failure that still opens an incident.
const RESOLVED_RETENTION: SignedDuration = SignedDuration::from_hours(2 * MAX_FAILURE_AGE.as_hours());

/// The incidents that still matter, by the workload that they refer to, and the queue of workloads to reconcile.
///
/// Each incident takes a few bytes. The index only says which incidents to read: before a write, the controller reads the incident
/// from the API server. So it does no harm that an incident whose reference was changed also stays under the previous workload.
#[derive(Debug, Default)]
pub struct IncidentIndex {
    queue: WorkQueue<Uid>,
    incidents: Mutex<Incidents>,
}

#[derive(Debug, Default)]
struct Incidents {
    of_workloads: HashMap<WorkloadKey, Vec<IndexedIncident>>,
    listing: Listing,
}

#[derive(Debug)]
struct IndexedIncident {
    name: Box<str>,
    /// UID of the workload for which the controller opened the incident.
    opened_for: Option<Uid>,
    resolved: Option<UnixSeconds>,
    listing: ListMark,
}

impl IncidentIndex {
    /// The queue of workloads to reconcile.
    #[must_use]
    pub fn queue(&self) -> &WorkQueue<Uid> {
        &self.queue
    }

    /// Handles an incident that was created, changed or listed. An open automatic incident enqueues its workload.
    pub fn applied(&self, incident: &SlimDoraIncident, now: Timestamp) {
        let Some((workload, name)) = reference(incident) else {
            return;
        };
        let resolved = incident.resolved_at();
        let opened_for = opened_for(incident);
        let is_kept = |resolved: Option<Timestamp>| {
            resolved.is_none_or(|resolved| now.duration_since(resolved) <= RESOLVED_RETENTION)
        };
        let mut incidents = self.incidents.lock();
        let listing = incidents.listing.mark();
        let of_workload = incidents.of_workloads.entry(workload.clone()).or_default();
        of_workload.retain(|other| other.name != name && is_kept(other.resolved.map(UnixSeconds::time)));
        if is_kept(resolved) {
            let resolved = resolved.and_then(UnixSeconds::of);
            of_workload.push(IndexedIncident { name, opened_for: opened_for.clone(), resolved, listing });
        }
        if of_workload.is_empty() {
            incidents.of_workloads.remove(&workload);
        }
        drop(incidents);
        if let (Some(uid), None) = (opened_for, resolved) {
            self.queue.add(uid);
        }
    }

    /// Handles an incident that was deleted.
    pub fn deleted(&self, incident: &SlimDoraIncident) {
        let Some((workload, name)) = reference(incident) else {
            return;
        };
        let mut incidents = self.incidents.lock();
        if let Some(of_workload) = incidents.of_workloads.get_mut(&workload) {
            of_workload.retain(|other| other.name != name);
            if of_workload.is_empty() {
                incidents.of_workloads.remove(&workload);
            }
        }
    }

    /// A list of all incidents starts.
    pub fn list_started(&self) {
        self.incidents.lock().listing.begin();
    }

    /// The list of all incidents is complete. An incident that is not in the list was deleted.
    pub fn list_finished(&self) {
        let Incidents { of_workloads, listing } = &mut *self.incidents.lock();
        of_workloads.retain(|_, of_workload| {
            of_workload.retain(|incident| !listing.is_stale(incident.listing));
            !of_workload.is_empty()
        });
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
        let uids: Vec<Uid> = self
            .incidents
            .lock()
            .of_workloads
            .values()
            .flatten()
            .filter(|incident| incident.resolved.is_none())
            .filter_map(|incident| incident.opened_for.clone())
            .collect();
        for uid in uids {
            self.queue.add(uid);
        }
    }

    /// The workloads that the open automatic incidents for this UID refer to. There are several only if an incident names the UID of a
    /// workload in another namespace, or if somebody changed its reference.
    #[must_use]
    pub fn workloads_with_open_incident(&self, uid: &Uid) -> Vec<WorkloadKey> {
        let is_open =
            |incident: &IndexedIncident| incident.opened_for.as_ref() == Some(uid) && incident.resolved.is_none();
        let incidents = self.incidents.lock();
        let found = incidents.of_workloads.iter().filter(|(_, of_workload)| of_workload.iter().any(is_open));
        found.map(|(workload, _)| workload.clone()).collect()
    }

    /// Names of the incidents that refer to `workload`.
    #[must_use]
    pub fn names(&self, workload: &WorkloadKey) -> Vec<String> {
        self.incidents
            .lock()
            .of_workloads
            .get(workload)
            .into_iter()
            .flatten()
            .map(|incident| incident.name.to_string())
            .collect()
    }
}

/// The latest time in all these rollouts.
#[must_use]
pub fn latest_time(rollouts: &[RecordedRevision]) -> Option<Timestamp> {
    rollouts.iter().flat_map(|rollout| [rollout.started, rollout.finished]).flatten().max().map(UnixSeconds::time)
}

/// The workload that an incident refers to, and the name of the incident.
fn reference(incident: &SlimDoraIncident) -> Option<(WorkloadKey, Box<str>)> {
    let metadata = incident.meta();
    let AffectedWorkload { kind, name, .. } = incident.spec.workload_ref.as_ref()?;
    let namespace = metadata.namespace.as_deref()?.into();
    let workload = WorkloadKey { namespace, kind: *kind, name: name.as_str().into() };
    Some((workload, metadata.name.as_deref()?.into()))
}

/// UID of the workload for which the controller opened an incident.
fn opened_for(incident: &SlimDoraIncident) -> Option<Uid> {
    let metadata = incident.meta();
    OpenedBy::from_label(metadata.labels.as_ref()?.get(OPENED_BY)?)?;
    metadata.annotations.as_ref()?.get(WORKLOAD_UID).map(|uid| uid.as_str().into())
}

#[cfg(test)]
mod tests {
    use rollout::WorkloadKind;
    use serde_json::json;

    use super::*;

    fn incident(name: &str, resolved: Option<Timestamp>) -> SlimDoraIncident {
        serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1",
            "kind": "DoraIncident",
            "metadata": {
                "name": name,
                "namespace": "shop",
                "labels": { OPENED_BY: "FailedRollout" },
                "annotations": { WORKLOAD_UID: "uid" },
            },
            "spec": {
                "workloadRef": { "name": "web" },
                "status": if resolved.is_some() { "resolved" } else { "open" },
                "resolvedAt": resolved,
            },
        }))
        .unwrap()
    }

    #[test]
    fn resolved_incidents_leave_the_index_in_time() {
        let now: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
        let (workload, uid): (_, Uid) = (
            WorkloadKey { namespace: "shop".into(), kind: WorkloadKind::Deployment, name: "web".into() },
            "uid".into(),
        );
        let index = IncidentIndex::default();
        index.applied(&incident("one", None), now);
        index.applied(&incident("two", Some(now)), now);
        assert_eq!(
            (index.names(&workload), index.queue().drain()),
            (vec!["one".into(), "two".into()], vec![uid.clone()])
        );
        assert_eq!(index.workloads_with_open_incident(&uid), std::slice::from_ref(&workload));
        index.applied(&incident("one", Some(now)), now);
        assert_eq!((index.workloads_with_open_incident(&uid), index.queue().drain()), (vec![], vec![]));
        let later = now + RESOLVED_RETENTION + SignedDuration::from_secs(1);
        index.applied(&incident("three", None), later);
        assert_eq!(index.names(&workload), ["three"]);
        index.deleted(&incident("three", None));
        assert!(index.incidents.lock().of_workloads.is_empty());
    }

    #[test]
    fn incident_missing_in_a_list_leaves_the_index() {
        let now: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
        let workload = WorkloadKey { namespace: "shop".into(), kind: WorkloadKind::Deployment, name: "web".into() };
        let index = IncidentIndex::default();
        index.applied(&incident("kept", None), now);
        index.applied(&incident("gone", None), now);
        index.list_started();
        index.applied(&incident("kept", None), now);
        assert_eq!(index.names(&workload), ["gone", "kept"], "until the list is complete");
        index.list_finished();
        assert_eq!(index.names(&workload), ["kept"]);
    }
}
