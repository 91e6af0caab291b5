//! The index: a row for each Deployment, ReplicaSet and Namespace, kept current by the watches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::entry::Entry;
use crate::runtime::{ListMark, Listing, WorkQueue};
use rollout::{Metadata, Observation, PastObservation, Revision, Source, Uid, Workload};

/// Rows of the cluster. Each change names its Deployment in the queue of those to look at.
#[derive(Debug)]
pub struct Index {
    rows: Mutex<Rows>,
    changed: Arc<WorkQueue<Uid>>,
}

/// The state of one Deployment at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Absent once it is deleted.
    pub deployment: Option<Observation>,
    /// Its last states at former revisions that are not recorded yet, oldest first.
    pub former: Vec<PastObservation>,
    /// The ReplicaSets that it owns.
    pub replica_sets: Vec<Revision>,
    /// Annotations of its namespace.
    pub namespace_annotations: Metadata,
    /// Labels of its namespace.
    pub namespace_labels: Metadata,
    /// How many former states there ever were, with those that are recorded.
    former_count: u64,
}

impl Snapshot {
    /// The Deployment as it is, or as it last was.
    #[must_use]
    pub fn row(&self) -> Option<&Workload> {
        let last = || self.former.last().map(|former| &former.observation);
        self.deployment.as_ref().or_else(last).map(|observation| &observation.workload)
    }
}

#[derive(Debug, Default)]
struct Rows {
    deployments: HashMap<Uid, Entry>,
    /// Which Deployment owns a ReplicaSet: a ReplicaSet can be orphaned and adopted.
    owners: HashMap<Uid, Uid>,
    namespaces: HashMap<Arc<str>, NamespaceRow>,
    /// Which listing is under way; a row that the finished listing has not named is gone.
    deployment_listing: Listing,
    replica_set_listing: Listing,
    namespace_listing: Listing,
}

#[derive(Debug)]
struct NamespaceRow {
    annotations: Metadata,
    labels: Metadata,
    listing: ListMark,
}

impl Index {
    /// An empty index that names changed Deployments in `changed`.
    #[must_use]
    pub fn new(changed: Arc<WorkQueue<Uid>>) -> Self {
        Self { rows: Mutex::default(), changed }
    }

    /// A poisoned lock still guards whole rows: each change below is made in one piece.
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of the Deployment with this UID.
    #[must_use]
    pub fn snapshot(&self, uid: &Uid) -> Snapshot {
        let rows = self.rows();
        let Some(entry) = rows.deployments.get(uid) else {
            return Snapshot::default();
        };
        let (former, former_count) = entry.former();
        let mut snapshot = Snapshot {
            deployment: entry.deployment.as_ref().map(|seen| seen.row.clone()),
            former: former.to_vec(),
            former_count,
            replica_sets: entry.replica_sets.iter().map(|seen| seen.row.clone()).collect(),
            ..Snapshot::default()
        };
        if let Some(namespace) = snapshot.row().and_then(|row| rows.namespaces.get(&row.namespace)) {
            snapshot.namespace_annotations = namespace.annotations.clone();
            snapshot.namespace_labels = namespace.labels.clone();
        }
        snapshot
    }

    /// What `snapshot` has of former states is recorded.
    pub fn recorded(&self, uid: &Uid, snapshot: &Snapshot) {
        if snapshot.former_count == 0 {
            return;
        }
        let mut rows = self.rows();
        let Some(entry) = rows.deployments.get_mut(uid) else {
            return;
        };
        entry.recorded(snapshot.former_count);
        if entry.is_empty() {
            rows.deployments.remove(uid);
        }
    }

    /// Whether the Deployment has former states that are not recorded yet.
    #[must_use]
    pub fn has_former(&self, uid: &Uid) -> bool {
        self.rows().deployments.get(uid).is_some_and(|entry| !entry.former().0.is_empty())
    }

    /// How many Deployments and ReplicaSets are indexed.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        let rows = self.rows();
        (rows.deployments.values().filter(|entry| entry.deployment.is_some()).count(), rows.owners.len())
    }

    /// Names every Deployment as changed: a new leader has to look at each once.
    pub fn enqueue_all(&self) {
        let uids: Vec<Uid> = self.rows().deployments.keys().cloned().collect();
        for uid in uids {
            self.changed.add(uid);
        }
    }

    /// A Deployment was added or has changed, as `source` says at `now`.
    pub fn deployment_applied(&self, row: Workload, source: Source, now: Timestamp) {
        let uid = Arc::clone(&row.uid);
        let mut rows = self.rows();
        let listing = rows.deployment_listing.mark();
        let entry = rows.deployments.entry(Arc::clone(&uid)).or_default();
        let is_changed = entry.apply(row, listing, source, now);
        drop(rows);
        if is_changed {
            self.changed.add(uid);
        }
    }

    /// A Deployment was deleted, as `source` says at `now`. `last` is its last state, if that is known.
    pub fn deployment_deleted(&self, uid: &Uid, last: Option<Workload>, source: Source, now: Timestamp) {
        let mut rows = self.rows();
        if let Some(entry) = rows.deployments.get_mut(uid) {
            entry.delete(last, source, now);
            if entry.is_empty() {
                rows.deployments.remove(uid);
            }
        }
        drop(rows);
        self.changed.add(Arc::clone(uid));
    }

    /// A list of all Deployments begins.
    pub fn deployments_listed_anew(&self) {
        self.rows().deployment_listing.begin();
    }

    /// The list of all Deployments is complete: those that it did not name are gone.
    pub fn deployments_listed(&self, now: Timestamp) {
        let rows = self.rows();
        let gone: Vec<Uid> = rows
            .deployments
            .iter()
            .filter(|(_, entry)| {
                entry.deployment.as_ref().is_some_and(|seen| rows.deployment_listing.is_stale(seen.listing))
            })
            .map(|(uid, _)| Arc::clone(uid))
            .collect();
        drop(rows);
        for uid in &gone {
            self.deployment_deleted(uid, None, Source::List, now);
        }
    }

    /// A ReplicaSet of the Deployment `owner` was added or has changed.
    pub fn replica_set_applied(&self, owner: Uid, row: Revision) {
        let mut rows = self.rows();
        let former = rows.owners.insert(Arc::clone(&row.uid), Arc::clone(&owner)).filter(|former| *former != owner);
        if let Some(former) = &former {
            rows.drop_replica_set(former, &row.uid);
        }
        let listing = rows.replica_set_listing.mark();
        let entry = rows.deployments.entry(Arc::clone(&owner)).or_default();
        let is_changed = entry.apply_replica_set(row, listing);
        drop(rows);
        if is_changed {
            self.changed.add(owner);
        }
        if let Some(former) = former {
            self.changed.add(former);
        }
    }

    /// The ReplicaSet was deleted, or no Deployment owns it any more.
    pub fn replica_set_deleted(&self, uid: &str) {
        let mut rows = self.rows();
        let Some(owner) = rows.owners.remove(uid) else {
            return;
        };
        rows.drop_replica_set(&owner, uid);
        drop(rows);
        self.changed.add(owner);
    }

    /// A list of all ReplicaSets begins.
    pub fn replica_sets_listed_anew(&self) {
        self.rows().replica_set_listing.begin();
    }

    /// The list of all ReplicaSets is complete: those that it did not name are gone.
    pub fn replica_sets_listed(&self) {
        let rows = self.rows();
        let gone: Vec<Uid> = rows
            .deployments
            .values()
            .flat_map(|entry| &entry.replica_sets)
            .filter(|seen| rows.replica_set_listing.is_stale(seen.listing))
            .map(|seen| Arc::clone(&seen.row.uid))
            .collect();
        drop(rows);
        for uid in &gone {
            self.replica_set_deleted(uid);
        }
    }

    /// A Namespace was added or has changed. What is recorded stays as it is: its metadata counts at a rollout.
    pub fn namespace_applied(&self, name: Arc<str>, annotations: Metadata, labels: Metadata) {
        let mut rows = self.rows();
        let listing = rows.namespace_listing.mark();
        rows.namespaces.insert(name, NamespaceRow { annotations, labels, listing });
    }

    /// A Namespace was deleted.
    pub fn namespace_deleted(&self, name: &str) {
        self.rows().namespaces.remove(name);
    }

    /// A list of all Namespaces begins.
    pub fn namespaces_listed_anew(&self) {
        self.rows().namespace_listing.begin();
    }

    /// The list of all Namespaces is complete: those that it did not name are gone.
    pub fn namespaces_listed(&self) {
        let mut rows = self.rows();
        let listing = rows.namespace_listing.mark();
        rows.namespaces.retain(|_, row| row.listing == listing);
    }
}

impl Rows {
    fn drop_replica_set(&mut self, owner: &Uid, uid: &str) {
        if let Some(entry) = self.deployments.get_mut(owner) {
            entry.delete_replica_set(uid);
            if entry.is_empty() {
                self.deployments.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::entry::PAST_LENGTH;
    use rollout::test_support;

    fn deployment(uid: &str, revision: i64) -> Workload {
        Workload { uid: uid.into(), ..test_support::deployment(revision) }
    }

    fn replica_set(uid: &str) -> Revision {
        test_support::replica_set(uid, 1, 0)
    }

    fn applied(index: &Index, row: Workload) {
        index.deployment_applied(row, Source::Watch, test_support::time(0));
    }

    fn index() -> (Index, Arc<WorkQueue<Uid>>) {
        let changed = Arc::new(WorkQueue::default());
        (Index::new(Arc::clone(&changed)), changed)
    }

    /// The Deployments that are named as changed, and none any more afterwards.
    fn changed(queue: &WorkQueue<Uid>) -> Vec<String> {
        let mut named: Vec<String> = queue.drain().iter().map(ToString::to_string).collect();
        named.sort();
        named
    }

    fn owned(index: &Index, uid: &str) -> Vec<String> {
        index.snapshot(&uid.into()).replica_sets.iter().map(|row| row.uid.to_string()).collect()
    }

    #[test]
    fn a_row_that_has_not_changed_names_nothing() {
        let (index, queue) = index();
        applied(&index, deployment("d", 1));
        index.replica_set_applied("d".into(), replica_set("r"));
        assert_eq!(changed(&queue), ["d"]);
        applied(&index, deployment("d", 1));
        index.replica_set_applied("d".into(), replica_set("r"));
        assert!(queue.is_empty());
        applied(&index, deployment("d", 2));
        assert_eq!(changed(&queue), ["d"]);
    }

    #[test]
    fn what_a_list_does_not_name_any_more_was_deleted_while_the_watch_was_away() {
        let (index, queue) = index();
        for uid in ["a", "b"] {
            applied(&index, deployment(uid, 1));
            index.replica_set_applied(uid.into(), replica_set(&format!("r-{uid}")));
        }
        changed(&queue);
        index.deployments_listed_anew();
        applied(&index, deployment("a", 1));
        assert!(index.snapshot(&"b".into()).deployment.is_some(), "kept until the list is complete");
        index.deployments_listed(test_support::time(1));
        assert_eq!(changed(&queue), ["b"]);
        assert!(index.snapshot(&"b".into()).deployment.is_none());

        index.replica_sets_listed_anew();
        index.replica_set_applied("a".into(), replica_set("r-a"));
        index.replica_sets_listed();
        assert_eq!((owned(&index, "a"), owned(&index, "b")), (vec!["r-a".to_owned()], vec![]));
        assert_eq!(index.sizes(), (1, 1), "nothing is left of b");
    }

    #[test]
    fn a_replica_set_that_is_orphaned_and_adopted_belongs_to_one() {
        let (index, queue) = index();
        applied(&index, deployment("a", 1));
        applied(&index, deployment("b", 1));
        index.replica_set_applied("a".into(), replica_set("r"));
        changed(&queue);
        index.replica_set_deleted("r");
        assert_eq!((changed(&queue), owned(&index, "a")), (vec!["a".to_owned()], vec![]));
        index.replica_set_applied("a".into(), replica_set("r"));
        index.replica_set_applied("b".into(), replica_set("r"));
        assert_eq!(changed(&queue), ["a", "b"]);
        assert_eq!((owned(&index, "a"), owned(&index, "b")), (vec![], vec!["r".to_owned()]));
    }

    #[test]
    fn a_snapshot_has_the_metadata_of_the_namespace() {
        let (index, _) = index();
        let entries = |value: &str| [("environment", value)].into_iter().collect::<Metadata>();
        index.namespace_applied("shop".into(), entries("staging"), entries("labelled"));
        index.namespace_applied("other".into(), entries("x"), entries("x"));
        applied(&index, deployment("d", 1));
        let snapshot = index.snapshot(&"d".into());
        assert_eq!(snapshot.namespace_annotations.get("environment"), Some("staging"));
        assert_eq!(snapshot.namespace_labels.get("environment"), Some("labelled"));
        index.namespaces_listed_anew();
        index.namespaces_listed();
        assert_eq!(index.snapshot(&"d".into()).namespace_annotations, Metadata::default());
    }

    #[test]
    fn the_last_state_at_a_former_revision_is_kept_until_it_is_recorded() {
        let (index, _) = index();
        let uid: Uid = "d".into();
        index.replica_set_applied("d".into(), replica_set("r"));
        applied(&index, deployment("d", 1));
        let mut unavailable = deployment("d", 1);
        unavailable.counts.available = 1;
        applied(&index, unavailable);
        applied(&index, deployment("d", 2));
        let seen = index.snapshot(&uid);
        let former = |snapshot: &Snapshot| -> Vec<_> {
            let row = |former: &PastObservation| {
                (former.observation.workload.revision, former.observation.workload.counts.available)
            };
            snapshot.former.iter().map(row).collect()
        };
        assert_eq!(former(&seen), [(Some(1), 1)]);
        assert_eq!(seen.former[0].revision.as_ref().map(|row| &*row.name), Some("r"));
        applied(&index, deployment("d", 3));
        index.recorded(&uid, &seen);
        assert_eq!(former(&index.snapshot(&uid)), [(Some(2), 2)], "what came meanwhile is not recorded");
        index.recorded(&uid, &index.snapshot(&uid));
        assert!(!index.has_former(&uid));

        index.replica_set_deleted("r");
        index.deployment_deleted(&uid, Some(deployment("d", 3)), Source::Watch, test_support::time(9));
        let deleted = index.snapshot(&uid);
        assert!(deleted.deployment.is_none());
        assert_eq!((former(&deleted), deleted.row().map(|row| &*row.name)), (vec![(Some(3), 2)], Some("web")));
        index.recorded(&uid, &deleted);
        assert!(index.rows().deployments.is_empty(), "nothing is left of it");
    }

    #[test]
    fn a_replica_set_that_comes_late_is_kept_for_the_revision_that_it_ran() {
        let (index, _) = index();
        applied(&index, deployment("d", 1));
        applied(&index, deployment("d", 2));
        index.replica_set_applied("d".into(), replica_set("r"));
        index.replica_set_deleted("r");
        let former = index.snapshot(&"d".into()).former;
        assert_eq!(former[0].revision.as_ref().map(|row| &*row.name), Some("r"));
    }

    #[test]
    fn a_replica_set_that_is_gone_early_is_kept_for_the_revision_that_it_ran() {
        let (index, _) = index();
        applied(&index, deployment("d", 1));
        index.replica_set_applied("d".into(), replica_set("r"));
        index.replica_set_deleted("r");
        applied(&index, deployment("d", 2));
        let snapshot = index.snapshot(&"d".into());
        assert_eq!(snapshot.former[0].revision.as_ref().map(|row| &*row.name), Some("r"));
        assert!(snapshot.replica_sets.is_empty());
        index.recorded(&"d".into(), &snapshot);
        index.deployment_deleted(&"d".into(), None, Source::Watch, test_support::time(9));
        index.recorded(&"d".into(), &index.snapshot(&"d".into()));
        assert!(index.rows().deployments.is_empty(), "nothing is left of it");
    }

    #[test]
    fn no_more_former_states_are_kept_than_there_is_room_for() {
        let (index, _) = index();
        for revision in 1..100 {
            applied(&index, deployment("d", revision));
        }
        let snapshot = index.snapshot(&"d".into());
        assert_eq!(snapshot.former.len(), PAST_LENGTH);
        assert_eq!(snapshot.former.last().unwrap().observation.workload.revision, Some(98));
    }
}
