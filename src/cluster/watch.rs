//! The watches that keep the index current.

use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;

use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::index::Index;
use super::selection::Selection;
use super::slim::{SlimDeployment, SlimNamespace, SlimReplicaSet};
use crate::rollout::{Source, Uid};

/// Objects of one page of a list: the page's JSON is what a list costs in memory at its peak.
const PAGE_SIZE: u32 = 50;

/// Tells whether a watch has listed everything once.
pub type Synced = watch::Sender<bool>;

/// Feeds the Deployments of all namespaces into `index`, for ever.
pub fn watch_deployments<'a>(
    client: Client,
    index: &'a Index,
    selection: &'a Selection,
    synced: Synced,
) -> impl Future<Output = ()> + 'a {
    let apply = move |deployment: SlimDeployment, source| {
        if let Some(row) = deployment.row(selection) {
            index.deployment_applied(row, source, Timestamp::now());
        }
    };
    watch_each(Api::<SlimDeployment>::all(client), synced, move |event| match event {
        Event::Init => index.deployments_listed_anew(),
        Event::InitDone => index.deployments_listed(Timestamp::now()),
        Event::Apply(deployment) => apply(deployment, Source::Watch),
        Event::InitApply(deployment) => apply(deployment, Source::List),
        Event::Delete(deployment) => {
            if let Some(row) = deployment.row(selection) {
                let uid = Uid::clone(&row.uid);
                index.deployment_deleted(&uid, Some(row), Source::Watch, Timestamp::now());
            }
        }
    })
}

/// Feeds the ReplicaSets of all namespaces into `index`, for ever.
pub fn watch_replica_sets(client: Client, index: &Index, synced: Synced) -> impl Future<Output = ()> {
    watch_each(Api::<SlimReplicaSet>::all(client), synced, move |event| match event {
        Event::Init => index.replica_sets_listed_anew(),
        Event::InitDone => index.replica_sets_listed(),
        Event::Apply(replica_set) | Event::InitApply(replica_set) => match replica_set.row() {
            Some((owner, row)) => index.replica_set_applied(owner, row),
            None => replica_set.uid().into_iter().for_each(|uid| index.replica_set_deleted(uid)),
        },
        Event::Delete(replica_set) => {
            replica_set.uid().into_iter().for_each(|uid| index.replica_set_deleted(uid));
        }
    })
}

/// Feeds the Namespaces into `index`, for ever.
pub fn watch_namespaces(client: Client, index: &Index, synced: Synced) -> impl Future<Output = ()> {
    watch_each(Api::<SlimNamespace>::all(client), synced, move |event| match event {
        Event::Init => index.namespaces_listed_anew(),
        Event::InitDone => index.namespaces_listed(),
        Event::Apply(namespace) | Event::InitApply(namespace) => {
            if let Some((name, annotations, labels)) = namespace.row() {
                index.namespace_applied(name, annotations, labels);
            }
        }
        Event::Delete(namespace) => {
            if let Some((name, ..)) = namespace.row() {
                index.namespace_deleted(&name);
            }
        }
    })
}

/// Hands each event of a watch on `api` to `handle`, for ever; says in `synced` when the first list is complete.
///
/// An interrupted watch is taken up again where it stopped, else with a new list, with back-off.
pub async fn watch_each<K, F>(api: Api<K>, synced: Synced, mut handle: F)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    F: FnMut(Event<K>),
{
    let kind = K::kind(&());
    let config = watcher::Config::default().page_size(PAGE_SIZE);
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut failing = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                failing = false;
                let listed = matches!(event, Event::InitDone);
                handle(event);
                if listed {
                    synced.send_replace(true);
                }
            }
            Err(error) if failing => debug!(%kind, %error, "the watch still fails"),
            Err(error) => {
                failing = true;
                warn!(
                    %kind,
                    error = &error as &dyn std::error::Error,
                    "the watch on {kind} was interrupted and is taken up again; if this stays, check the API server \
                     and the ClusterRole of the controller",
                );
            }
        }
    }
}
