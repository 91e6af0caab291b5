//! The index of workloads, revisions and namespaces, kept current by the watches.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rollout::{Metadata, Observation, PastObservation, Revision, Source, Uid, Workload, WorkloadKey, WorkloadKind};

use super::entry::Entry;
use crate::runtime::{ListMark, Listing, WorkQueue};

/// How much the clocks of two API servers may differ.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// What the controller knows of the workloads of the cluster. Every change adds the UID of its workload to a work queue.
#[derive(Debug)]
pub struct Index {
    tables: Mutex<Tables>,
    changed: Arc<WorkQueue<Uid>>,
}

/// The state of one workload at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The workload as it was last observed. Absent after its deletion.
    pub observation: Option<Observation>,
    /// Its last observations at past revisions that are not recorded yet, oldest first.
    pub past_observations: Vec<PastObservation>,
    /// The revisions that it owns.
    pub revisions: Vec<Revision>,
    /// Annotations of its namespace.
    pub namespace_annotations: Metadata,
    /// Labels of its namespace.
    pub namespace_labels: Metadata,
    /// Whether its namespace exists.
    pub namespace: NamespaceState,
    /// How many past observations there were in total, including those that are recorded.
    past_total: u64,
}

impl Snapshot {
    /// The workload as it is, or as it was before its deletion.
    #[must_use]
    pub fn workload(&self) -> Option<&Workload> {
        let last = || self.past_observations.last().map(|past| &past.observation);
        self.observation.as_ref().or_else(last).map(|observation| &observation.workload)
    }
}

/// What is known of the namespace of a workload.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NamespaceState {
    /// It is deleted, or the watch has not brought it yet.
    #[default]
    Missing,
    /// It exists.
    Present,
    /// It is younger than the workload: it was deleted and created again at this time, or the clocks of API servers differ.
    Recreated(Timestamp),
}

#[derive(Debug, Default)]
struct Tables {
    workloads: HashMap<Uid, Entry>,
    /// UID of the workload that owns a revision, by the UID of the revision. A revision can be orphaned and adopted.
    owners: HashMap<Uid, Uid>,
    namespaces: HashMap<Arc<str>, NamespaceMetadata>,
    /// A list of one kind says nothing about the workloads and revisions of another.
    listings: HashMap<WorkloadKind, KindListings>,
    namespace_listing: Listing,
}

/// The lists of the workloads of one kind, and of their revisions.
#[derive(Debug, Default)]
struct KindListings {
    workloads: Listing,
    revisions: Listing,
    /// Whether the first list of revisions is complete.
    has_revisions: bool,
}

#[derive(Debug)]
struct NamespaceMetadata {
    annotations: Metadata,
    labels: Metadata,
    created: Option<Timestamp>,
    mark: ListMark,
}

impl NamespaceMetadata {
    /// Its state for a workload that was created at `created`.
    fn state(&self, created: Option<Timestamp>) -> NamespaceState {
        let (Some(own), Some(created)) = (self.created, created) else {
            return NamespaceState::Present;
        };
        // The clocks of two API servers can differ by a moment.
        if own.duration_since(created) > CLOCK_MARGIN {
            NamespaceState::Recreated(own)
        } else {
            NamespaceState::Present
        }
    }
}

impl Index {
    /// An empty index that adds changed workloads to `changed`.
    #[must_use]
    pub fn new(changed: Arc<WorkQueue<Uid>>) -> Self {
        Self { tables: Mutex::default(), changed }
    }

    /// The state of the workload with this UID.
    #[must_use]
    pub fn snapshot(&self, uid: &Uid) -> Snapshot {
        let tables = self.tables.lock();
        let Some(entry) = tables.workloads.get(uid) else {
            return Snapshot::default();
        };
        let (past_observations, past_total) = entry.past_observations();
        let mut snapshot = Snapshot {
            observation: entry.observation.as_ref().map(|listed| listed.value.clone()),
            past_observations: past_observations.to_vec(),
            past_total,
            revisions: entry.revisions.iter().map(|listed| listed.value.clone()).collect(),
            ..Snapshot::default()
        };
        let namespace = snapshot.workload().and_then(|workload| tables.namespaces.get(&workload.namespace));
        if let Some(namespace) = namespace {
            let state = namespace.state(snapshot.workload().and_then(|workload| workload.created));
            snapshot.namespace_annotations = namespace.annotations.clone();
            snapshot.namespace_labels = namespace.labels.clone();
            snapshot.namespace = state;
        }
        snapshot
    }

    /// Drops the past observations of `snapshot`: they are recorded.
    pub fn mark_recorded(&self, uid: &Uid, snapshot: &Snapshot) {
        if snapshot.past_total == 0 {
            return;
        }
        let mut tables = self.tables.lock();
        let Some(entry) = tables.workloads.get_mut(uid) else {
            return;
        };
        entry.drop_recorded(snapshot.past_total);
        if entry.is_empty() {
            tables.workloads.remove(uid);
        }
    }

    /// How many past observations of the workload were dropped since the last call, because too many of them were not recorded.
    #[must_use]
    pub fn take_dropped(&self, uid: &Uid) -> u64 {
        self.tables.lock().workloads.get_mut(uid).map_or(0, Entry::take_dropped)
    }

    /// Whether the workload has past observations that are not recorded yet.
    #[must_use]
    pub fn has_past_observations(&self, uid: &Uid) -> bool {
        self.tables.lock().workloads.get(uid).is_some_and(|entry| !entry.past_observations().0.is_empty())
    }

    /// Whether the workload with this key and UID exists.
    #[must_use]
    pub fn contains(&self, key: &WorkloadKey, uid: &Uid) -> bool {
        let tables = self.tables.lock();
        let observation = tables.workloads.get(uid).and_then(|entry| entry.observation.as_ref());
        observation.is_some_and(|listed| {
            let Workload { namespace, kind, name, .. } = &listed.value.workload;
            (namespace, kind, name) == (&key.namespace, &key.kind, &key.name)
        })
    }

    /// How many workloads and how many revisions are indexed.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        let tables = self.tables.lock();
        (tables.workloads.values().filter(|entry| entry.observation.is_some()).count(), tables.owners.len())
    }

    /// Whether nothing is indexed, not even what is left of deleted workloads.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let tables = self.tables.lock();
        tables.workloads.is_empty() && tables.owners.is_empty() && tables.namespaces.is_empty()
    }

    /// Adds every workload to the queue of changed ones: a new leader has to look at each once.
    pub fn enqueue_all(&self) {
        let uids: Vec<Uid> = self.tables.lock().workloads.keys().cloned().collect();
        for uid in uids {
            self.changed.add(uid);
        }
    }

    /// Applies a state of a workload, as `source` brought it at `now`.
    pub fn workload_applied(&self, workload: Workload, source: Source, now: Timestamp) {
        let uid = Arc::clone(&workload.uid);
        let mut tables = self.tables.lock();
        let KindListings { workloads, has_revisions, .. } = tables.listings.entry(workload.kind).or_default();
        let (mark, has_revisions) = (workloads.mark(), *has_revisions);
        let entry = tables.workloads.entry(Arc::clone(&uid)).or_default();
        let is_first = entry.observation.is_none();
        let is_changed = entry.apply(workload, mark, source, now);
        if is_first && has_revisions {
            entry.check_first_number();
        }
        drop(tables);
        if is_changed {
            self.changed.add(uid);
        }
    }

    /// Applies the deletion of a workload, as `source` brought it at `now`. `last` is its last state, if it is known.
    pub fn workload_deleted(&self, uid: &Uid, last: Option<Workload>, source: Source, now: Timestamp) {
        let mut tables = self.tables.lock();
        if let Some(entry) = tables.workloads.get_mut(uid) {
            entry.delete(last, source, now);
            if entry.is_empty() {
                tables.workloads.remove(uid);
            }
        }
        drop(tables);
        self.changed.add(Arc::clone(uid));
    }

    /// A list of all workloads of this kind starts.
    pub fn workload_list_started(&self, kind: WorkloadKind) {
        self.tables.lock().listings.entry(kind).or_default().workloads.begin();
    }

    /// The list of all workloads of this kind is complete. Those that it didn't bring were deleted.
    pub fn workload_list_completed(&self, kind: WorkloadKind, now: Timestamp) {
        let mut tables = self.tables.lock();
        let Tables { workloads, listings, .. } = &mut *tables;
        let listing = &listings.entry(kind).or_default().workloads;
        let deleted: Vec<Uid> = workloads
            .values()
            .filter_map(|entry| entry.observation.as_ref())
            .filter(|listed| listed.kind == kind && listing.is_stale(listed.mark))
            .map(|listed| Arc::clone(&listed.value.workload.uid))
            .collect();
        drop(tables);
        for uid in &deleted {
            self.workload_deleted(uid, None, Source::List, now);
        }
    }

    /// Applies a state of a revision of the workload `owner`, which is of this kind.
    pub fn revision_applied(&self, kind: WorkloadKind, owner: Uid, revision: Revision) {
        let mut tables = self.tables.lock();
        let previous_owner = tables
            .owners
            .insert(Arc::clone(&revision.uid), Arc::clone(&owner))
            .filter(|previous_owner| *previous_owner != owner);
        if let Some(previous_owner) = &previous_owner {
            tables.delete_revision(previous_owner, &revision.uid);
        }
        let mark = tables.listings.entry(kind).or_default().revisions.mark();
        let entry = tables.workloads.entry(Arc::clone(&owner)).or_default();
        let is_changed = entry.apply_revision(revision, kind, mark);
        drop(tables);
        if is_changed {
            self.changed.add(owner);
        }
        if let Some(previous_owner) = previous_owner {
            self.changed.add(previous_owner);
        }
    }

    /// Applies that a revision was deleted, or that no workload owns it any more.
    pub fn revision_deleted(&self, uid: &str) {
        let mut tables = self.tables.lock();
        let Some(owner) = tables.owners.remove(uid) else {
            return;
        };
        tables.delete_revision(&owner, uid);
        drop(tables);
        self.changed.add(owner);
    }

    /// A list of all revisions of workloads of this kind starts.
    pub fn revision_list_started(&self, kind: WorkloadKind) {
        self.tables.lock().listings.entry(kind).or_default().revisions.begin();
    }

    /// The list of all revisions of workloads of this kind is complete. Those that it didn't bring were deleted.
    pub fn revision_list_completed(&self, kind: WorkloadKind) {
        let mut tables = self.tables.lock();
        let Tables { workloads, listings, .. } = &mut *tables;
        let KindListings { revisions: listing, has_revisions, .. } = listings.entry(kind).or_default();
        if !std::mem::replace(has_revisions, true) {
            let is_kind = |entry: &&mut Entry| entry.observation.as_ref().is_some_and(|listed| listed.kind == kind);
            workloads.values_mut().filter(is_kind).for_each(Entry::check_first_number);
        }
        let deleted: Vec<Uid> = workloads
            .values()
            .flat_map(|entry| &entry.revisions)
            .filter(|listed| listed.kind == kind && listing.is_stale(listed.mark))
            .map(|listed| Arc::clone(&listed.value.uid))
            .collect();
        drop(tables);
        for uid in &deleted {
            self.revision_deleted(uid);
        }
    }

    /// Applies a state of a namespace. Records stay as they are: the metadata of a namespace matters at the time of a rollout.
    /// `created` is when it was created.
    pub fn namespace_applied(
        &self,
        name: Arc<str>,
        annotations: Metadata,
        labels: Metadata,
        created: Option<Timestamp>,
    ) {
        let mut tables = self.tables.lock();
        let mark = tables.namespace_listing.mark();
        let namespace = NamespaceMetadata { annotations, labels, created, mark };
        let before = tables.namespaces.insert(Arc::clone(&name), namespace);
        let is_recreated = before.is_some_and(|before| before.created != created);
        let left = if is_recreated { tables.unrecorded_in(&[name]) } else { Vec::new() };
        drop(tables);
        self.add_all(left);
    }

    /// Applies the deletion of a namespace. Its deleted workloads are added to the queue, since they can't be recorded any more.
    pub fn namespace_deleted(&self, name: &str) {
        let mut tables = self.tables.lock();
        let removed = tables.namespaces.remove_entry(name);
        let left = removed.map(|(name, _)| tables.unrecorded_in(&[name])).unwrap_or_default();
        drop(tables);
        self.add_all(left);
    }

    /// A list of all namespaces starts.
    pub fn namespace_list_started(&self) {
        self.tables.lock().namespace_listing.begin();
    }

    /// The list of all namespaces is complete. Those that it didn't bring were deleted.
    pub fn namespace_list_completed(&self) {
        let mut tables = self.tables.lock();
        let Tables { namespaces, namespace_listing, .. } = &mut *tables;
        let deleted: Vec<Arc<str>> = namespaces
            .extract_if(|_, namespace| namespace_listing.is_stale(namespace.mark))
            .map(|(name, _)| name)
            .collect();
        let left = tables.unrecorded_in(&deleted);
        drop(tables);
        self.add_all(left);
    }

    fn add_all(&self, uids: Vec<Uid>) {
        for uid in uids {
            self.changed.add(uid);
        }
    }
}

impl Tables {
    /// The deleted workloads of these namespaces that have past observations.
    fn unrecorded_in(&self, namespaces: &[Arc<str>]) -> Vec<Uid> {
        let is_left = |entry: &Entry| {
            let last = entry.past_observations().0.last().filter(|_| entry.observation.is_none());
            last.is_some_and(|last| namespaces.contains(&last.observation.workload.namespace))
        };
        self.workloads.iter().filter(|(_, entry)| is_left(entry)).map(|(uid, _)| Arc::clone(uid)).collect()
    }

    fn delete_revision(&mut self, owner: &Uid, uid: &str) {
        if let Some(entry) = self.workloads.get_mut(owner) {
            entry.delete_revision(uid);
            if entry.is_empty() {
                self.workloads.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rollout::test_support;

    use super::*;
    use crate::workloads::entry::MAX_PAST_OBSERVATIONS;

    fn workload(uid: &str, revision: i64) -> Workload {
        Workload { uid: uid.into(), ..test_support::deployment(revision) }
    }

    fn stateful_set(uid: &str) -> Workload {
        Workload { kind: WorkloadKind::StatefulSet, ..workload(uid, 1) }
    }

    fn revision(uid: &str) -> Revision {
        test_support::replica_set(uid, 1, 0)
    }

    fn apply(index: &Index, workload: Workload) {
        index.workload_applied(workload, Source::Watch, test_support::time(0));
    }

    fn apply_revision(index: &Index, owner: &str, revision: Revision) {
        index.revision_applied(WorkloadKind::Deployment, owner.into(), revision);
    }

    fn index() -> (Index, Arc<WorkQueue<Uid>>) {
        let changed = Arc::new(WorkQueue::default());
        (Index::new(Arc::clone(&changed)), changed)
    }

    /// Takes the changed workloads from the queue.
    fn changed(queue: &WorkQueue<Uid>) -> Vec<String> {
        let mut uids: Vec<String> = queue.drain().iter().map(ToString::to_string).collect();
        uids.sort();
        uids
    }

    fn owned(index: &Index, uid: &str) -> Vec<String> {
        index.snapshot(&uid.into()).revisions.iter().map(|revision| revision.uid.to_string()).collect()
    }

    fn exists(index: &Index, uid: &str) -> bool {
        index.snapshot(&uid.into()).observation.is_some()
    }

    #[test]
    fn unchanged_state_adds_nothing_to_the_queue() {
        let (index, queue) = index();
        apply(&index, workload("d", 1));
        apply_revision(&index, "d", revision("r"));
        assert_eq!(changed(&queue), ["d"]);
        apply(&index, workload("d", 1));
        apply_revision(&index, "d", revision("r"));
        assert!(queue.is_empty());
        apply(&index, workload("d", 2));
        assert_eq!(changed(&queue), ["d"]);
    }

    #[test]
    fn objects_missing_from_a_list_were_deleted() {
        let (index, queue) = index();
        for uid in ["a", "b"] {
            apply(&index, workload(uid, 1));
            apply_revision(&index, uid, revision(&format!("r-{uid}")));
        }
        changed(&queue);
        index.workload_list_started(WorkloadKind::Deployment);
        apply(&index, workload("a", 1));
        assert!(exists(&index, "b"), "kept until the list is complete");
        index.workload_list_completed(WorkloadKind::Deployment, test_support::time(1));
        assert_eq!(changed(&queue), ["b"]);
        assert!(!exists(&index, "b"));

        index.revision_list_started(WorkloadKind::Deployment);
        apply_revision(&index, "a", revision("r-a"));
        index.revision_list_completed(WorkloadKind::Deployment);
        assert_eq!((owned(&index, "a"), owned(&index, "b")), (vec!["r-a".to_owned()], vec![]));
        assert_eq!(index.sizes(), (1, 1), "nothing is left of b");
    }

    #[test]
    fn list_of_one_kind_deletes_nothing_of_another() {
        let (index, queue) = index();
        apply(&index, workload("d", 1));
        apply_revision(&index, "d", revision("r-d"));
        apply(&index, stateful_set("s"));
        index.revision_applied(WorkloadKind::StatefulSet, "s".into(), revision("r-s"));
        changed(&queue);

        // Two lists at the same time: that of Deployments is empty, that of StatefulSets is not complete.
        index.workload_list_started(WorkloadKind::StatefulSet);
        index.revision_list_started(WorkloadKind::StatefulSet);
        index.workload_list_started(WorkloadKind::Deployment);
        index.workload_list_completed(WorkloadKind::Deployment, test_support::time(1));
        assert!(!exists(&index, "d") && exists(&index, "s"));
        index.revision_list_started(WorkloadKind::Deployment);
        index.revision_list_completed(WorkloadKind::Deployment);
        assert_eq!((owned(&index, "d"), owned(&index, "s")), (vec![], vec!["r-s".to_owned()]));
        assert_eq!(changed(&queue), ["d"]);

        apply(&index, workload("d2", 1));
        index.workload_list_completed(WorkloadKind::StatefulSet, test_support::time(2));
        index.revision_list_completed(WorkloadKind::StatefulSet);
        assert!(exists(&index, "d2") && !exists(&index, "s"));
        assert!(owned(&index, "s").is_empty());
    }

    #[test]
    fn adopted_revision_has_one_owner() {
        let (index, queue) = index();
        apply(&index, workload("a", 1));
        apply(&index, workload("b", 1));
        apply_revision(&index, "a", revision("r"));
        changed(&queue);
        index.revision_deleted("r");
        assert_eq!((changed(&queue), owned(&index, "a")), (vec!["a".to_owned()], vec![]));
        apply_revision(&index, "a", revision("r"));
        apply_revision(&index, "b", revision("r"));
        assert_eq!(changed(&queue), ["a", "b"]);
        assert_eq!((owned(&index, "a"), owned(&index, "b")), (vec![], vec!["r".to_owned()]));
    }

    #[test]
    fn snapshot_has_the_metadata_of_the_namespace() {
        let (index, _) = index();
        let entries = |value: &str| [("environment", value)].into_iter().collect::<Metadata>();
        index.namespace_applied("shop".into(), entries("staging"), entries("labelled"), None);
        index.namespace_applied("other".into(), entries("x"), entries("x"), None);
        apply(&index, workload("d", 1));
        let snapshot = index.snapshot(&"d".into());
        assert_eq!(snapshot.namespace_annotations.get("environment"), Some("staging"));
        assert_eq!(snapshot.namespace_labels.get("environment"), Some("labelled"));
        index.namespace_list_started();
        index.namespace_list_completed();
        assert_eq!(index.snapshot(&"d".into()).namespace_annotations, Metadata::default());
    }

    /// Applies the namespace `shop`, created at this second.
    fn apply_namespace(index: &Index, second: i64) {
        let created = Some(test_support::time(second));
        index.namespace_applied("shop".into(), Metadata::default(), Metadata::default(), created);
    }

    #[test]
    fn workload_of_an_earlier_namespace_is_recognized() {
        let (index, _) = index();
        let state = |created| {
            apply(&index, Workload { created: Some(test_support::time(created)), ..workload("d", 1) });
            index.snapshot(&"d".into()).namespace
        };
        assert_eq!(state(100), NamespaceState::Missing);
        apply_namespace(&index, 100);
        assert_eq!(state(100), NamespaceState::Present);
        assert_eq!(state(98), NamespaceState::Present, "clocks differ");
        assert_eq!(state(97), NamespaceState::Recreated(test_support::time(100)));
    }

    #[test]
    fn deleted_namespace_enqueues_what_is_left_of_it() {
        let (index, queue) = index();
        let delete = |uid: &str| index.workload_deleted(&uid.into(), None, Source::Watch, test_support::time(9));
        let ends: [fn(&Index); 3] = [
            |index| index.namespace_deleted("shop"),
            |index| {
                index.namespace_list_started();
                index.namespace_list_completed();
            },
            |index| apply_namespace(index, 50),
        ];
        for end in ends {
            apply_namespace(&index, 1);
            apply(&index, workload("left", 1));
            apply(&index, workload("existing", 1));
            apply(&index, Workload { namespace: "other".into(), ..workload("elsewhere", 1) });
            delete("left");
            delete("elsewhere");
            changed(&queue);
            apply_namespace(&index, 1);
            assert!(changed(&queue).is_empty());
            end(&index);
            assert_eq!(changed(&queue), ["left"]);
            for uid in ["left", "elsewhere"] {
                index.mark_recorded(&uid.into(), &index.snapshot(&uid.into()));
            }
            index.namespace_deleted("shop");
        }
    }

    #[test]
    fn past_observations_are_kept_until_recorded() {
        let (index, _) = index();
        let uid: Uid = "d".into();
        apply_revision(&index, "d", revision("r"));
        apply(&index, workload("d", 1));
        let mut unavailable = workload("d", 1);
        unavailable.counts.available = 1;
        apply(&index, unavailable);
        apply(&index, workload("d", 2));
        let first = index.snapshot(&uid);
        let past = |snapshot: &Snapshot| -> Vec<_> {
            let summary = |past: &PastObservation| {
                (past.observation.workload.revision, past.observation.workload.counts.available)
            };
            snapshot.past_observations.iter().map(summary).collect()
        };
        assert_eq!(past(&first), [(Some(1), 1)]);
        assert_eq!(first.past_observations[0].revision.as_ref().map(|revision| &*revision.name), Some("r"));
        apply(&index, workload("d", 3));
        index.mark_recorded(&uid, &first);
        assert_eq!(past(&index.snapshot(&uid)), [(Some(2), 2)], "newer than the snapshot");
        index.mark_recorded(&uid, &index.snapshot(&uid));
        assert!(!index.has_past_observations(&uid));

        index.revision_deleted("r");
        index.workload_deleted(&uid, Some(workload("d", 3)), Source::Watch, test_support::time(9));
        let deleted = index.snapshot(&uid);
        assert!(deleted.observation.is_none());
        assert_eq!((past(&deleted), deleted.workload().map(|it| &*it.name)), (vec![(Some(3), 2)], Some("web")));
        index.mark_recorded(&uid, &deleted);
        assert!(index.tables.lock().workloads.is_empty(), "nothing is left of it");
    }

    #[test]
    fn revision_seen_late_is_kept_for_its_past_observation() {
        let (index, _) = index();
        apply(&index, workload("d", 1));
        apply(&index, workload("d", 2));
        apply_revision(&index, "d", revision("r"));
        index.revision_deleted("r");
        let past = index.snapshot(&"d".into()).past_observations;
        assert_eq!(past[0].revision.as_ref().map(|revision| &*revision.name), Some("r"));
    }

    #[test]
    fn revision_deleted_early_is_kept_for_its_past_observation() {
        let (index, _) = index();
        apply(&index, workload("d", 1));
        apply_revision(&index, "d", revision("r"));
        index.revision_deleted("r");
        apply(&index, workload("d", 2));
        let snapshot = index.snapshot(&"d".into());
        assert_eq!(snapshot.past_observations[0].revision.as_ref().map(|revision| &*revision.name), Some("r"));
        assert!(snapshot.revisions.is_empty());
        index.mark_recorded(&"d".into(), &snapshot);
        index.workload_deleted(&"d".into(), None, Source::Watch, test_support::time(9));
        index.mark_recorded(&"d".into(), &index.snapshot(&"d".into()));
        assert!(index.tables.lock().workloads.is_empty(), "nothing is left of it");
    }

    #[test]
    fn dropped_past_observations_are_counted() {
        let (index, _) = index();
        let uid: Uid = "d".into();
        for revision in 1..100 {
            apply(&index, workload("d", revision));
        }
        let snapshot = index.snapshot(&uid);
        let past = &snapshot.past_observations;
        assert_eq!(past.len(), MAX_PAST_OBSERVATIONS);
        assert_eq!(past.last().unwrap().observation.workload.revision, Some(98));
        let sources: Vec<Source> = past.iter().map(|past| past.observation.first_observed().0).collect();
        assert_eq!((sources[0], sources[1]), (Source::List, Source::Watch), "the gap is before the oldest one");
        let dropped = 98 - u64::try_from(MAX_PAST_OBSERVATIONS).unwrap();
        assert_eq!((index.take_dropped(&uid), index.take_dropped(&uid)), (dropped, 0));
        apply(&index, workload("d", 100));
        index.mark_recorded(&uid, &index.snapshot(&uid));
        assert_eq!(index.take_dropped(&uid), 0, "another replica has recorded them");
    }

    /// The number of the revision that the workload `d` is believed to be at, and the numbers of its past observations.
    fn numbers(index: &Index) -> (Option<i64>, Vec<i64>) {
        let snapshot = index.snapshot(&"d".into());
        let past = snapshot.past_observations.iter().filter_map(|past| past.observation.workload.revision);
        (snapshot.observation.unwrap().workload.revision, past.collect())
    }

    fn replica_set(number: i64) -> Revision {
        test_support::replica_set(&format!("r{number}"), number, 0)
    }

    /// An index that has listed the workload `d` at the revision `listed`, and its revisions 1 to 4.
    fn listed(listed: i64) -> Index {
        let (index, _) = index();
        index.workload_list_started(WorkloadKind::Deployment);
        index.workload_applied(workload("d", listed), Source::List, test_support::time(0));
        index.workload_list_completed(WorkloadKind::Deployment, test_support::time(0));
        index.revision_list_started(WorkloadKind::Deployment);
        (1..=4).for_each(|number| apply_revision(&index, "d", replica_set(number)));
        index.revision_list_completed(WorkloadKind::Deployment);
        index
    }

    #[test]
    fn stale_number_is_not_a_revision() {
        let index = listed(4);
        for stale in [2, 3, 1, 9, 5] {
            let mut scaled = workload("d", stale);
            scaled.counts.desired = 5;
            apply(&index, scaled);
            let refuses = stale < 4;
            assert_eq!(numbers(&index), if refuses { (Some(4), vec![]) } else { (Some(stale), vec![4]) });
            apply(&index, workload("d", 4));
            assert_eq!(numbers(&index), (Some(4), vec![]), "the Deployment controller has corrected {stale}");
        }
        let (source, since) = index.snapshot(&"d".into()).observation.unwrap().first_observed();
        assert_eq!((source, since), (Source::List, test_support::time(0)), "the observation goes on");
        // A new revision follows at once.
        apply(&index, workload("d", 9));
        apply_revision(&index, "d", replica_set(5));
        apply(&index, workload("d", 5));
        assert_eq!(numbers(&index), (Some(5), vec![4]));
        // The watch on revisions is behind.
        apply(&index, workload("d", 6));
        apply(&index, workload("d", 7));
        assert_eq!(numbers(&index), (Some(7), vec![4, 5, 6]));
        apply(&index, workload("d", 2));
        index.workload_deleted(&"d".into(), Some(workload("d", 3)), Source::Watch, test_support::time(9));
        let past = index.snapshot(&"d".into()).past_observations;
        assert_eq!(past.last().unwrap().observation.workload.revision, Some(7));
    }

    #[test]
    fn stale_number_in_a_list_is_not_believed() {
        for stale in [2, 7] {
            let index = listed(stale);
            assert_eq!(numbers(&index), (None, vec![]));
            apply(&index, Workload { paused: true, ..workload("d", stale) });
            assert_eq!(numbers(&index), (None, vec![]));
            apply(&index, workload("d", 4));
            let observation = index.snapshot(&"d".into()).observation.unwrap();
            assert_eq!(observation.workload.revision, Some(4));
            assert_eq!(observation.first_observed().0, Source::List, "{stale}: revision 4 may be older than the watch");
        }
        // The revision was created between the two lists.
        let index = listed(5);
        assert_eq!(numbers(&index), (None, vec![]));
        apply_revision(&index, "d", replica_set(5));
        assert_eq!(numbers(&index), (Some(5), vec![]));
    }

    #[test]
    fn created_with_a_stale_number_starts_at_1() {
        for stale in [7, 1] {
            let (index, _) = index();
            index.revision_list_started(WorkloadKind::Deployment);
            index.revision_list_completed(WorkloadKind::Deployment);
            apply(&index, workload("d", stale));
            assert_eq!(numbers(&index), (None, vec![]));
            apply(&index, workload("d", 1));
            apply_revision(&index, "d", replica_set(1));
            assert_eq!(numbers(&index), (Some(1), vec![]));
            assert_eq!(index.snapshot(&"d".into()).observation.unwrap().first_observed().0, Source::Watch);
        }
    }

    #[test]
    fn lower_number_counts_if_revisions_were_deleted() {
        let index = listed(4);
        // The watch on revisions is behind.
        apply(&index, workload("d", 3));
        assert_eq!(numbers(&index), (Some(4), vec![]));
        index.revision_deleted("r4");
        assert_eq!(numbers(&index), (Some(3), vec![4]));
        // The watch on workloads is behind.
        index.revision_deleted("r3");
        index.revision_deleted("r2");
        apply(&index, workload("d", 1));
        assert_eq!(numbers(&index), (Some(1), vec![4, 3]));
    }
}
