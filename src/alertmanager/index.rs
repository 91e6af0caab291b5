//! The incidents of each group of alerts, from the watch on incidents.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
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

/// Open incidents of a group that are read for one notification. A group has one, so more of them are a mistake, or an attempt to make
/// the controller busy.
pub(super) const MAX_OPEN: usize = 10;

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
    /// When the incident began, if it says so. It only decides which incidents are read first.
    opened: Option<Timestamp>,
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
    fn insert(&mut self, metadata: &ObjectMeta, episode: Episode, opened: Option<Timestamp>) {
        let (Some(group), Some(key)) = (group(metadata), ResourceKey::of(metadata)) else {
            return;
        };
        let row = Row { episode, opened, listing: self.listing.mark() };
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
        let episode = Episode::new(incident.spec.status, incident.resolved_at());
        self.0.lock().insert(incident.meta(), episode, incident.opened_at());
    }

    /// Takes in an incident as the API server returned it to its writer. The watch brings it later.
    pub(super) fn written(&self, incident: &DoraIncident) {
        let resolved = incident.spec.resolved_at.as_ref().map(|time| time.0);
        let opened = incident.spec.created_at.as_ref().or(incident.meta().creation_timestamp.as_ref());
        let episode = Episode::new(incident.spec.status, resolved);
        self.0.lock().insert(incident.meta(), episode, opened.map(|time| time.0));
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

    /// The incidents of a group in these namespaces that matter for a decision: the open ones, the one that was resolved last, and those
    /// whose time is unknown or after `now`. `None` until the first list is complete.
    ///
    /// Everybody who may create incidents in a namespace can give them the label of any group. So the caller names the namespaces whose
    /// incidents count.
    #[must_use]
    pub fn relevant(
        &self,
        group: &str,
        namespaces: &BTreeSet<&str>,
        now: Timestamp,
    ) -> Option<Vec<(ResourceKey, Episode)>> {
        let state = self.0.lock();
        if !state.is_complete {
            return None;
        }
        let (mut open, mut unknown, mut latest) = (Vec::new(), Vec::new(), None);
        let rows = state.groups.get(group).into_iter().flatten();
        for (key, row) in rows.filter(|(key, _)| namespaces.contains(&*key.namespace)) {
            match row.episode {
                Episode::Open => open.push((key, row.opened)),
                Episode::Resolved(Some(time)) if time.time() <= now => latest = latest.max(Some((time, key))),
                Episode::Resolved(_) => unknown.push((key, row.opened)),
            }
        }
        let mut relevant: Vec<(ResourceKey, Episode)> =
            newest(open, MAX_OPEN).into_iter().map(|key| (key.clone(), Episode::Open)).collect();
        let unknown = newest(unknown, MAX_UNKNOWN_TIMES);
        relevant.extend(unknown.into_iter().map(|key| (key.clone(), Episode::Resolved(None))));
        relevant.extend(latest.map(|(time, key)| (key.clone(), Episode::Resolved(Some(time)))));
        Some(relevant)
    }

    /// The open incidents of a group in all other namespaces than these, at most `MAX_OPEN`.
    #[must_use]
    pub fn open_elsewhere(&self, group: &str, namespaces: &BTreeSet<&str>) -> Vec<ResourceKey> {
        let state = self.0.lock();
        let rows = state.groups.get(group).into_iter().flatten();
        let is_elsewhere =
            |(key, row): &(&ResourceKey, &Row)| row.episode == Episode::Open && !namespaces.contains(&*key.namespace);
        let open = rows.filter(is_elsewhere).map(|(key, row)| (key, row.opened)).collect();
        newest(open, MAX_OPEN).into_iter().cloned().collect()
    }

    /// Whether the index has this incident of the group.
    #[must_use]
    pub fn knows(&self, group: &str, incident: &ResourceKey) -> bool {
        self.0.lock().groups.get(group).is_some_and(|incidents| incidents.contains_key(incident))
    }
}

/// At most `max` of these incidents: first the newest of each namespace, then the second newest of each, and so on. So the incidents of
/// one namespace don't displace those of another.
pub(super) fn newest<K: Borrow<ResourceKey> + Ord>(mut incidents: Vec<(K, Option<Timestamp>)>, max: usize) -> Vec<K> {
    incidents.sort_unstable_by(|one, other| (other.1, &other.0).cmp(&(one.1, &one.0)));
    let mut of_namespace: HashMap<Arc<str>, usize> = HashMap::new();
    let mut ranked: Vec<(usize, K)> = Vec::with_capacity(incidents.len());
    for (key, _) in incidents {
        let rank = of_namespace.entry(Arc::clone(&key.borrow().namespace)).or_default();
        ranked.push((*rank, key));
        *rank += 1;
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().take(max).map(|(_, key)| key).collect()
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

    const NOW: &str = "2026-03-01T00:00:00Z";

    fn relevant(index: &AlertIndex) -> Option<Vec<String>> {
        let relevant = index.relevant("group", &["own", "shop"].into(), NOW.parse().unwrap())?;
        let mut names: Vec<String> = relevant.into_iter().map(|(key, _)| key.name.to_string()).collect();
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

    fn incident_in(namespace: &str, name: &str, resolved: Option<&str>) -> SlimDoraIncident {
        let mut value = json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {"name": name, "namespace": namespace, "labels": {GROUP_LABEL: "group"}},
            "spec": {"status": "open"},
        });
        if let Some(time) = resolved {
            value["spec"] = json!({"status": "resolved", "resolvedAt": time});
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn incidents_of_other_namespaces_do_not_count() {
        let index = AlertIndex::default();
        index.list_finished();
        index.applied(&incident_in("evil", "open", None));
        index.applied(&incident_in("evil", "resolved", Some("2026-02-28T00:00:00Z")));
        assert!(relevant(&index).unwrap().is_empty());
        index.applied(&incident_in("own", "fallback", None));
        index.applied(&incident("named", None));
        assert_eq!(relevant(&index).unwrap(), ["fallback", "named"]);
        let elsewhere = index.open_elsewhere("group", &["own", "shop"].into());
        assert_eq!(elsewhere, [ResourceKey { namespace: "evil".into(), name: "open".into() }]);
    }

    #[test]
    fn future_resolution_hides_no_earlier_one() {
        let index = AlertIndex::default();
        index.list_finished();
        index.applied(&incident("future", Some("2199-01-01T00:00:00Z")));
        index.applied(&incident("past", Some("2026-02-01T00:00:00Z")));
        assert_eq!(relevant(&index).unwrap(), ["future", "past"]);
    }

    #[test]
    fn few_open_incidents_of_each_namespace_are_read() {
        let index = AlertIndex::default();
        index.list_finished();
        for number in 0..500 {
            index.applied(&incident_in("own", &format!("flood-{number:03}"), None));
        }
        index.applied(&incident("a", None));
        let names = relevant(&index).unwrap();
        assert_eq!((names.len(), names[0].as_str(), names[9].as_str()), (MAX_OPEN, "a", "flood-499"));
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
