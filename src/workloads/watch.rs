//! The watches that feed the index.

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use rollout::{Revision, Source, Uid, Workload, WorkloadKind};
use serde::de::DeserializeOwned;

use super::kinds::Kind;
use super::namespaces::NAMESPACES;
use super::{Index, Selection};
use crate::resources::Guarded;
use crate::runtime::{Synced, WatchClient, decoded};

/// What all watches share.
pub struct WatchContext {
    /// Watches through the API server.
    pub client: WatchClient,
    /// The index that the watches feed.
    pub index: Arc<Index>,
    /// Which workloads are recorded.
    pub selection: Selection,
}

/// A watch on one resource, which feeds the index.
#[derive(Clone, Copy)]
pub struct Watch {
    /// The resource, as people write it in the plural: `Deployments`.
    pub resource: &'static str,
    /// Watches until the future is dropped; sends `true` when the first list is complete.
    pub run: for<'a> fn(&'a WatchContext, Synced) -> BoxFuture<'a, ()>,
}

/// The watches that these kinds of workloads need, each once.
#[must_use]
pub fn watches(kinds: &[WorkloadKind]) -> Vec<Watch> {
    let mut watches: Vec<Watch> = Vec::new();
    let of_kinds = kinds.iter().filter_map(|kind| Kind::of(*kind)).flat_map(|kind| kind.watches);
    for watch in of_kinds.chain([&NAMESPACES]) {
        if watches.iter().all(|other| other.resource != watch.resource) {
            watches.push(*watch);
        }
    }
    watches
}

/// Runs these watches until the future is dropped. Each sends `true` when its first list is complete.
pub async fn watch_all(context: &WatchContext, watches: Vec<(Watch, Synced)>) {
    join_all(watches.into_iter().map(|(watch, synced)| (watch.run)(context, synced))).await;
}

/// Feeds the workloads of one kind, in all namespaces, into the index.
pub fn watch_workloads<K>(
    context: &WatchContext,
    synced: Synced,
    kind: WorkloadKind,
    to_workload: fn(&K, &Selection) -> Option<Workload>,
) -> BoxFuture<'_, ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let WatchContext { client, index, selection } = context;
    let workload = move |object: Guarded<K>| to_workload(&decoded(object)?, selection);
    let apply = move |object, source| {
        if let Some(workload) = workload(object) {
            index.workload_applied(workload, source, Timestamp::now());
        }
    };
    Box::pin(client.watch_each(synced, move |event: Event<Guarded<K>>| match event {
        Event::Init => index.workload_list_started(kind),
        Event::InitDone => index.workload_list_completed(kind, Timestamp::now()),
        Event::Apply(object) => apply(object, Source::Watch),
        Event::InitApply(object) => apply(object, Source::List),
        Event::Delete(object) => {
            if let Some(uid) = object.meta().uid.as_deref().map(Uid::from) {
                index.workload_deleted(&uid, workload(object), Source::Watch, Timestamp::now());
            }
        }
    }))
}

/// Feeds the revisions of workloads of these `kinds`, in all namespaces, into the index. One object is one revision, and the workload
/// controls it (`ownerReferences`).
pub fn watch_revisions<'a, K>(
    context: &'a WatchContext,
    synced: Synced,
    kinds: &'static [WorkloadKind],
    to_revision: fn(&K) -> Option<Revision>,
) -> BoxFuture<'a, ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let WatchContext { client, index, selection: _ } = context;
    let delete = move |metadata: &ObjectMeta| metadata.uid.iter().for_each(|uid| index.revision_deleted(uid));
    Box::pin(client.watch_each(synced, move |event: Event<Guarded<K>>| match event {
        Event::Init => kinds.iter().for_each(|kind| index.revision_list_started(*kind)),
        Event::InitDone => kinds.iter().for_each(|kind| index.revision_list_completed(*kind)),
        Event::Apply(object) | Event::InitApply(object) => {
            let Some(object) = decoded(object) else {
                return;
            };
            match (controller_of(object.meta(), kinds), to_revision(&object)) {
                (Some((kind, owner)), Some(revision)) => index.revision_applied(kind, owner, revision),
                _ => delete(object.meta()),
            }
        }
        Event::Delete(object) => delete(object.meta()),
    }))
}

/// Kind and UID of the workload that controls an object; `None` if its controller is of no kind in `kinds`.
fn controller_of(metadata: &ObjectMeta, kinds: &[WorkloadKind]) -> Option<(WorkloadKind, Uid)> {
    let owner = metadata.owner_references.as_deref()?.iter().find(|owner| owner.controller == Some(true))?;
    let is_kind =
        |kind: &&WorkloadKind| owner.kind == kind.as_str() && group(&owner.api_version) == group(kind.api_version());
    Some((*kinds.iter().find(is_kind)?, owner.uid.as_str().into()))
}

/// The group of an `apiVersion` such as `apps/v1`.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn metadata(owners: &Value) -> ObjectMeta {
        serde_json::from_value(json!({"name": "web-5f", "ownerReferences": owners})).unwrap()
    }

    #[test]
    fn revision_belongs_to_the_workload_that_controls_it() {
        let kinds = [WorkloadKind::StatefulSet, WorkloadKind::DaemonSet];
        let owner = |api_version: &str, kind: &str, controller: bool| {
            let owner =
                json!({"apiVersion": api_version, "kind": kind, "name": "web", "uid": "d", "controller": controller});
            json!([owner])
        };
        let of_daemon_set = metadata(&owner("apps/v1", "DaemonSet", true));
        assert_eq!(controller_of(&of_daemon_set, &kinds), Some((WorkloadKind::DaemonSet, "d".into())));
        for owners in [
            owner("apps/v1", "DaemonSet", false),
            owner("apps/v1", "Deployment", true),
            owner("example.com/v1", "DaemonSet", true),
            json!([]),
        ] {
            assert_eq!(controller_of(&metadata(&owners), &kinds), None, "{owners}");
        }
    }

    #[test]
    fn each_watch_runs_once() {
        let names = |kinds: &[WorkloadKind]| watches(kinds).iter().map(|watch| watch.resource).collect::<Vec<_>>();
        let expected = ["Deployments", "ReplicaSets", "Namespaces"];
        assert_eq!(names(&[WorkloadKind::Deployment]), expected);
        assert_eq!(names(&[WorkloadKind::Deployment, WorkloadKind::Deployment]), expected);
    }
}
