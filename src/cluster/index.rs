//! The index: a row for each Deployment, ReplicaSet and Namespace, kept current by the watches.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::operate::WorkQueue;
use crate::rollout::{DeploymentRow, Metadata, ReplicaSetRow, Uid};

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
    pub deployment: Option<DeploymentRow>,
    /// The ReplicaSets that it owns.
    pub replica_sets: Vec<ReplicaSetRow>,
    /// Annotations of its namespace.
    pub namespace_annotations: Metadata,
    /// Labels of its namespace.
    pub namespace_labels: Metadata,
}

#[derive(Debug, Default)]
struct Rows {
    deployments: HashMap<Uid, Entry>,
    /// Which Deployment owns a ReplicaSet: a ReplicaSet can be orphaned and adopted.
    owners: HashMap<Uid, Uid>,
    namespaces: HashMap<Arc<str>, NamespaceRow>,
    /// Which listing is under way; a row that the finished listing has not named is gone.
    deployment_listing: u32,
    replica_set_listing: u32,
    namespace_listing: u32,
}

/// Small, since a good part of the room in a hash map is unused.
#[derive(Debug, Default)]
struct Entry {
    deployment: Option<Box<Seen<DeploymentRow>>>,
    #[expect(
        clippy::vec_box,
        reason = "a Vec begins with room for four, which is 800 bytes for nearly every Deployment"
    )]
    replica_sets: Vec<Box<Seen<ReplicaSetRow>>>,
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.deployment.is_none() && self.replica_sets.is_empty()
    }
}

#[derive(Debug)]
struct NamespaceRow {
    annotations: Metadata,
    labels: Metadata,
    listing: u32,
}

/// A row with the listing that named it last.
#[derive(Debug)]
struct Seen<R> {
    row: R,
    listing: u32,
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
        let deployment = entry.deployment.as_ref().map(|seen| seen.row.clone());
        let namespace = deployment.as_ref().and_then(|row| rows.namespaces.get(&row.namespace));
        Snapshot {
            replica_sets: entry.replica_sets.iter().map(|seen| seen.row.clone()).collect(),
            namespace_annotations: namespace.map(|row| row.annotations.clone()).unwrap_or_default(),
            namespace_labels: namespace.map(|row| row.labels.clone()).unwrap_or_default(),
            deployment,
        }
    }

    /// How many Deployments and ReplicaSets are indexed.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        let rows = self.rows();
        (rows.deployments.values().filter(|entry| entry.deployment.is_some()).count(), rows.owners.len())
    }

    /// Names every Deployment as changed: a new leader has to look at each once.
    pub fn name_all(&self) {
        let uids: Vec<Uid> = self.rows().deployments.keys().cloned().collect();
        for uid in uids {
            self.changed.add(uid);
        }
    }

    /// A Deployment was added or has changed.
    pub fn deployment_applied(&self, row: DeploymentRow) {
        let uid = Arc::clone(&row.uid);
        let mut rows = self.rows();
        let listing = rows.deployment_listing;
        let entry = rows.deployments.entry(Arc::clone(&uid)).or_default();
        let same = entry.deployment.as_ref().is_some_and(|seen| seen.row == row);
        entry.deployment = Some(Box::new(Seen { row, listing }));
        drop(rows);
        if !same {
            self.changed.add(uid);
        }
    }

    /// A Deployment was deleted.
    pub fn deployment_deleted(&self, uid: &Uid) {
        let mut rows = self.rows();
        if let Some(entry) = rows.deployments.get_mut(uid) {
            entry.deployment = None;
            if entry.is_empty() {
                rows.deployments.remove(uid);
            }
        }
        drop(rows);
        self.changed.add(Arc::clone(uid));
    }

    /// A list of all Deployments begins.
    pub fn deployments_listed_anew(&self) {
        self.rows().deployment_listing += 1;
    }

    /// The list of all Deployments is complete: those that it did not name are gone.
    pub fn deployments_listed(&self) {
        let rows = self.rows();
        let listing = rows.deployment_listing;
        let gone: Vec<Uid> = rows
            .deployments
            .iter()
            .filter(|(_, entry)| entry.deployment.as_ref().is_some_and(|seen| seen.listing != listing))
            .map(|(uid, _)| Arc::clone(uid))
            .collect();
        drop(rows);
        for uid in &gone {
            self.deployment_deleted(uid);
        }
    }

    /// A ReplicaSet of the Deployment `owner` was added or has changed.
    pub fn replica_set_applied(&self, owner: Uid, row: ReplicaSetRow) {
        let mut rows = self.rows();
        let former = rows.owners.insert(Arc::clone(&row.uid), Arc::clone(&owner)).filter(|former| *former != owner);
        if let Some(former) = &former {
            rows.drop_replica_set(former, &row.uid);
        }
        let listing = rows.replica_set_listing;
        let siblings = &mut rows.deployments.entry(Arc::clone(&owner)).or_default().replica_sets;
        let same = if let Some(seen) = siblings.iter_mut().find(|seen| seen.row.uid == row.uid) {
            seen.listing = listing;
            mem::replace(&mut seen.row, row.clone()) == row
        } else {
            siblings.push(Box::new(Seen { row, listing }));
            false
        };
        drop(rows);
        if !same {
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
        self.rows().replica_set_listing += 1;
    }

    /// The list of all ReplicaSets is complete: those that it did not name are gone.
    pub fn replica_sets_listed(&self) {
        let rows = self.rows();
        let listing = rows.replica_set_listing;
        let gone: Vec<Uid> = rows
            .deployments
            .values()
            .flat_map(|entry| &entry.replica_sets)
            .filter(|seen| seen.listing != listing)
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
        let listing = rows.namespace_listing;
        rows.namespaces.insert(name, NamespaceRow { annotations, labels, listing });
    }

    /// A Namespace was deleted.
    pub fn namespace_deleted(&self, name: &str) {
        self.rows().namespaces.remove(name);
    }

    /// A list of all Namespaces begins.
    pub fn namespaces_listed_anew(&self) {
        self.rows().namespace_listing += 1;
    }

    /// The list of all Namespaces is complete: those that it did not name are gone.
    pub fn namespaces_listed(&self) {
        let mut rows = self.rows();
        let listing = rows.namespace_listing;
        rows.namespaces.retain(|_, row| row.listing == listing);
    }
}

impl Rows {
    fn drop_replica_set(&mut self, owner: &Uid, uid: &str) {
        if let Some(entry) = self.deployments.get_mut(owner) {
            entry.replica_sets.retain(|seen| &*seen.row.uid != uid);
            if entry.is_empty() {
                self.deployments.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(uid: &str, revision: i64) -> DeploymentRow {
        DeploymentRow {
            uid: uid.into(),
            namespace: "shop".into(),
            name: "web".into(),
            generation: 1,
            observed_generation: 1,
            revision: Some(revision),
            replicas: 1,
            current_replicas: 1,
            updated_replicas: 1,
            available_replicas: 1,
            progressing: None,
            labels: Metadata::default(),
        }
    }

    fn replica_set(uid: &str) -> ReplicaSetRow {
        ReplicaSetRow {
            uid: uid.into(),
            name: uid.into(),
            revision: Some(1),
            reused: false,
            created: None,
            annotations: Metadata::default(),
            template_annotations: Metadata::default(),
            template_labels: Metadata::default(),
        }
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
        index.deployment_applied(deployment("d", 1));
        index.replica_set_applied("d".into(), replica_set("r"));
        assert_eq!(changed(&queue), ["d"]);
        index.deployment_applied(deployment("d", 1));
        index.replica_set_applied("d".into(), replica_set("r"));
        assert!(queue.is_empty());
        index.deployment_applied(deployment("d", 2));
        assert_eq!(changed(&queue), ["d"]);
    }

    #[test]
    fn what_a_list_does_not_name_any_more_was_deleted_while_the_watch_was_away() {
        let (index, queue) = index();
        for uid in ["a", "b"] {
            index.deployment_applied(deployment(uid, 1));
            index.replica_set_applied(uid.into(), replica_set(&format!("r-{uid}")));
        }
        changed(&queue);
        index.deployments_listed_anew();
        index.deployment_applied(deployment("a", 1));
        assert!(index.snapshot(&"b".into()).deployment.is_some(), "kept until the list is complete");
        index.deployments_listed();
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
        index.deployment_applied(deployment("a", 1));
        index.deployment_applied(deployment("b", 1));
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
        index.deployment_applied(deployment("d", 1));
        let snapshot = index.snapshot(&"d".into());
        assert_eq!(snapshot.namespace_annotations.get("environment"), Some("staging"));
        assert_eq!(snapshot.namespace_labels.get("environment"), Some("labelled"));
        index.namespaces_listed_anew();
        index.namespaces_listed();
        assert_eq!(index.snapshot(&"d".into()).namespace_annotations, Metadata::default());
    }
}
