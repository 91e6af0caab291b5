//! Which incidents concern which Deployment, and which Deployments have to be looked at because of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use kube::Resource;

use super::decide::{LONGEST_AGO, OpenedBy, may_open};
use super::manifest::{OPENED_BY, WORKLOAD_UID};
use crate::resources::{AffectedWorkload, SlimDoraIncident};
use crate::runtime::WorkQueue;
use rollout::{Availability, RecordedRevision, Uid, UnixSeconds, WorkloadKey};

/// An incident that was over longer ago can't concern anything that still opens one.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(2 * LONGEST_AGO.as_hours());

/// The incidents that still matter, a few bytes each, by the Deployment that they refer to.
///
/// They only tell where to look: what an incident says is read anew before anything is written. So it does no harm that one whose
/// reference was changed stays under the former one too.
#[derive(Debug, Default)]
pub struct IncidentIndex {
    queue: WorkQueue<Uid>,
    rows: Mutex<HashMap<WorkloadKey, Vec<Row>>>,
}

#[derive(Debug)]
struct Row {
    name: Box<str>,
    /// UID of the Deployment for which the controller opened it.
    own: Option<Uid>,
    resolved: Option<UnixSeconds>,
}

impl IncidentIndex {
    /// A poisoned lock still guards whole rows: each change below is made in one piece.
    fn rows(&self) -> MutexGuard<'_, HashMap<WorkloadKey, Vec<Row>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Deployments that have to be looked at.
    #[must_use]
    pub fn queue(&self) -> &WorkQueue<Uid> {
        &self.queue
    }

    /// Takes in an incident as it is in the cluster at `now`.
    pub fn seen(&self, incident: &SlimDoraIncident, now: Timestamp) {
        let Some((place, name)) = place(incident) else {
            return;
        };
        let resolved = incident.resolved_at();
        let own = own(incident);
        let is_over = resolved.is_some_and(|resolved| now.duration_since(resolved) > FORGOTTEN_AFTER);
        let mut rows = self.rows();
        let here = rows.entry(place.clone()).or_default();
        here.retain(|row| {
            let is_forgotten =
                row.resolved.is_some_and(|resolved| now.duration_since(resolved.time()) > FORGOTTEN_AFTER);
            row.name != name && !is_forgotten
        });
        if !is_over {
            here.push(Row { name, own: own.clone(), resolved: resolved.and_then(UnixSeconds::of) });
        }
        if here.is_empty() {
            rows.remove(&place);
        }
        drop(rows);
        if resolved.is_none()
            && let Some(uid) = own
        {
            self.queue.add(uid);
        }
    }

    /// Takes in that an incident is deleted.
    pub fn gone(&self, incident: &SlimDoraIncident) {
        let Some((place, name)) = place(incident) else {
            return;
        };
        let mut rows = self.rows();
        if let Some(here) = rows.get_mut(&place) {
            here.retain(|row| row.name != name);
            if here.is_empty() {
                rows.remove(&place);
            }
        }
    }

    /// Has the Deployment `uid` looked at if something of it may open or resolve an incident.
    pub fn consider(&self, uid: &Uid, available: Option<Availability>, known: &[RecordedRevision], now: Timestamp) {
        let newest = newest(known);
        let is_lost = available.is_some_and(|available| !available.is_available);
        if is_lost || known.iter().any(|known| may_open(known, newest, now)) || self.place_of(uid).is_some() {
            self.queue.add(Arc::clone(uid));
        }
    }

    /// Has every Deployment looked at for which the controller has an incident open.
    pub fn consider_all(&self) {
        let own: Vec<Uid> = self
            .rows()
            .values()
            .flatten()
            .filter(|row| row.resolved.is_none())
            .filter_map(|row| row.own.clone())
            .collect();
        for uid in own {
            self.queue.add(uid);
        }
    }

    /// The Deployment of this UID, if the controller has an incident of it open.
    #[must_use]
    pub fn place_of(&self, uid: &Uid) -> Option<WorkloadKey> {
        let rows = self.rows();
        let has_open = |row: &Row| row.own.as_ref() == Some(uid) && row.resolved.is_none();
        rows.iter().find(|(_, here)| here.iter().any(has_open)).map(|(place, _)| place.clone())
    }

    /// Names of the incidents that refer to the Deployment.
    #[must_use]
    pub fn names(&self, place: &WorkloadKey) -> Vec<String> {
        self.rows().get(place).into_iter().flatten().map(|row| row.name.to_string()).collect()
    }
}

/// The last time of all these records.
#[must_use]
pub fn newest(known: &[RecordedRevision]) -> Option<Timestamp> {
    known.iter().flat_map(|known| [known.started, known.finished]).flatten().max().map(UnixSeconds::time)
}

fn place(incident: &SlimDoraIncident) -> Option<(WorkloadKey, Box<str>)> {
    let metadata = incident.meta();
    let AffectedWorkload { kind, name, .. } = incident.spec.workload_ref.as_ref()?;
    let place =
        WorkloadKey { namespace: metadata.namespace.as_deref()?.into(), kind: *kind, name: name.as_str().into() };
    Some((place, metadata.name.as_deref()?.into()))
}

fn own(incident: &SlimDoraIncident) -> Option<Uid> {
    let metadata = incident.meta();
    OpenedBy::of(metadata.labels.as_ref()?.get(OPENED_BY)?)?;
    metadata.annotations.as_ref()?.get(WORKLOAD_UID).map(|uid| uid.as_str().into())
}
