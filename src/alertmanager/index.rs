//! The incidents of each group of alerts, from the watch on incidents.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::Resource;
use kube::api::ObjectMeta;
use parking_lot::Mutex;
use rollout::UnixSeconds;

use super::manifest::GROUP_LABEL;
use crate::resources::{DoraIncident, IncidentStatus, ResourceKey, SlimDoraIncident};
use crate::runtime::{ListMark, Listing};

/// Resolved incidents of a group whose time is unknown and that are read for a decision. The controller writes that time into `status`
/// soon, so there are few.
const MAX_UNKNOWN_TIMES: usize = 10;

/// The incidents of each group of alerts, a few bytes for each.
///
/// Every replica has this index, because every replica receives notifications. It says which incidents to read for a decision: before a
/// write, the store reads them from the API server. The store's own writes are in the index at once.
#[derive(Debug, Default)]
pub struct AlertIndex(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By the label of the group.
    groups: HashMap<Arc<str>, HashMap<ResourceKey, Row>>,
    listing: Listing,
    is_complete: bool,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    episode: Episode,
    listing: ListMark,
}

/// How far an episode of a group has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Episode {
    /// Its incident is open.
    Open,
    /// Its incident is resolved, at this time if it is known.
    Resolved(Option<UnixSeconds>),
}

impl Episode {
    fn new(status: IncidentStatus, resolved: Option<Timestamp>) -> Self {
        match status {
            IncidentStatus::Open => Self::Open,
            IncidentStatus::Resolved => Self::Resolved(resolved.and_then(UnixSeconds::of)),
        }
    }
}

impl State {
    fn insert(&mut self, metadata: &ObjectMeta, episode: Episode) {
        let (Some(group), Some(key)) = (group(metadata), ResourceKey::of(metadata)) else {
            return;
        };
        let row = Row { episode, listing: self.listing.mark() };
        match self.groups.get_mut(group) {
            Some(incidents) => incidents.insert(key, row),
            None => self.groups.entry(group.into()).or_default().insert(key, row),
        };
    }
}

impl AlertIndex {
    /// Takes in an incident that was created, changed or listed.
    ///
    /// An incident whose label was changed also stays in its previous group until the next list. The store reads it and sees that.
    pub fn applied(&self, incident: &SlimDoraIncident) {
        self.0.lock().insert(incident.meta(), Episode::new(incident.spec.status, incident.resolved_at()));
    }

    /// Takes in an incident as the API server returned it to its writer. The watch brings it later.
    pub(super) fn written(&self, incident: &DoraIncident) {
        let resolved = incident.spec.resolved_at.as_ref().map(|time| time.0);
        self.0.lock().insert(incident.meta(), Episode::new(incident.spec.status, resolved));
    }

    /// Takes in that an incident was deleted.
    pub fn deleted(&self, metadata: &ObjectMeta) {
        let (Some(group), Some(key)) = (group(metadata), ResourceKey::of(metadata)) else {
            return;
        };
        let mut state = self.0.lock();
        if let Some(incidents) = state.groups.get_mut(group) {
            incidents.remove(&key);
            if incidents.is_empty() {
                state.groups.remove(group);
            }
        }
    }

    /// A list of all incidents starts.
    pub fn list_started(&self) {
        self.0.lock().listing.begin();
    }

    /// The list of all incidents is complete. An incident that is not in the list was deleted.
    pub fn list_finished(&self) {
        let State { groups, listing, is_complete } = &mut *self.0.lock();
        groups.retain(|_, incidents| {
            incidents.retain(|_, row| !listing.is_stale(row.listing));
            !incidents.is_empty()
        });
        *is_complete = true;
    }

    /// The incidents of a group that matter for a decision: the open ones, the one that was resolved last, and those whose time is
    /// unknown. `None` until the first list is complete.
    #[must_use]
    pub fn relevant(&self, group: &str) -> Option<Vec<(ResourceKey, Episode)>> {
        let state = self.0.lock();
        if !state.is_complete {
            return None;
        }
        let (mut relevant, mut unknown, mut latest) = (Vec::new(), Vec::new(), None);
        for (key, row) in state.groups.get(group).into_iter().flatten() {
            match row.episode {
                Episode::Open => relevant.push((key.clone(), row.episode)),
                Episode::Resolved(None) => unknown.push(key),
                Episode::Resolved(Some(time)) => latest = latest.max(Some((time, key))),
            }
        }
        // The names of the incidents of a group end with the time of their beginning.
        unknown.sort_unstable_by(|one, other| other.cmp(one));
        let newest = unknown.into_iter().take(MAX_UNKNOWN_TIMES).map(|key| (key.clone(), Episode::Resolved(None)));
        relevant.extend(newest);
        relevant.extend(latest.map(|(time, key)| (key.clone(), Episode::Resolved(Some(time)))));
        Some(relevant)
    }

    /// Whether the index has this incident of the group.
    #[must_use]
    pub fn knows(&self, group: &str, incident: &ResourceKey) -> bool {
        self.0.lock().groups.get(group).is_some_and(|incidents| incidents.contains_key(incident))
    }
}

/// The label of the group.
fn group(metadata: &ObjectMeta) -> Option<&str> {
    metadata.labels.as_ref()?.get(GROUP_LABEL).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn incident(name: &str, resolved: Option<&str>) -> SlimDoraIncident {
        serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {"name": name, "namespace": "shop", "labels": {GROUP_LABEL: "group"}},
            "spec": {
                "status": if resolved.is_some() { "resolved" } else { "open" },
                "resolvedAt": resolved.filter(|time| !time.is_empty()),
            },
        }))
        .unwrap()
    }

    fn relevant(index: &AlertIndex) -> Option<Vec<String>> {
        let mut names: Vec<String> =
            index.relevant("group")?.into_iter().map(|(key, _)| key.name.to_string()).collect();
        names.sort();
        Some(names)
    }

    #[test]
    fn only_open_and_latest_incidents_matter() {
        let index = AlertIndex::default();
        index.list_started();
        for day in 1..=28 {
            index.applied(&incident(&format!("a-{day:02}"), Some(&format!("2026-01-{day:02}T00:00:00Z"))));
        }
        index.applied(&incident("open", None));
        index.applied(&incident("unknown", Some("")));
        assert_eq!(relevant(&index), None, "until the list is complete");
        index.list_finished();
        assert_eq!(relevant(&index).unwrap(), ["a-28", "open", "unknown"]);
        index.deleted(incident("a-28", None).meta());
        assert_eq!(relevant(&index).unwrap(), ["a-27", "open", "unknown"]);
        index.applied(&incident("unknown", Some("2026-02-01T00:00:00Z")));
        assert_eq!(relevant(&index).unwrap(), ["open", "unknown"]);
    }

    #[test]
    fn own_write_outlives_a_list_that_began_before_it() {
        let index = AlertIndex::default();
        index.list_started();
        let written: DoraIncident = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {"name": "new", "namespace": "shop", "labels": {GROUP_LABEL: "group"}}, "spec": {},
        }))
        .unwrap();
        index.written(&written);
        index.list_finished();
        assert_eq!(relevant(&index).unwrap(), ["new"]);
        index.list_started();
        index.list_finished();
        assert!(relevant(&index).unwrap().is_empty() && index.0.lock().groups.is_empty());
    }
}
