//! Watches: a list, then each change, resumed after every interruption.

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt;
use kube::api::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::resources::Guarded;

/// Objects in one page of a list. The JSON of one page is the peak of the memory that a list needs.
const PAGE_SIZE: u32 = 50;

/// Holds `true` once a watch has listed all objects: `HasSynced` of an informer in client-go.
pub type Synced = watch::Sender<bool>;

/// Passes each event of a watch on `api` to `handle`, and sets `synced` when the first list is complete.
///
/// An interrupted watch resumes where it stopped, or else with a new list. It retries with backoff and never ends.
pub async fn watch_each<K, F>(api: Api<K>, synced: Synced, mut handle: F)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    F: FnMut(Event<K>),
{
    let kind = K::kind(&());
    let config = watcher::Config::default().page_size(PAGE_SIZE);
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut is_failing = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                is_failing = false;
                let is_listed = matches!(event, Event::InitDone);
                handle(event);
                if is_listed {
                    synced.send_replace(true);
                }
            }
            Err(error) if is_failing => debug!(%kind, %error, "the watch still fails; retrying"),
            Err(error) => {
                is_failing = true;
                warn!(
                    %kind,
                    error = &error as &dyn std::error::Error,
                    "the watch on {kind} was interrupted; retrying (if this persists, check the API server and the \
                     ClusterRole of the controller)",
                );
            }
        }
    }
}

/// The object, if it could be decoded; otherwise it is ignored with a warning.
pub fn decoded<K: Resource<DynamicType = ()>>(guarded: Guarded<K>) -> Option<K> {
    guarded
        .0
        .inspect_err(|undecodable| {
            let ObjectMeta { namespace, name, .. } = &undecodable.metadata;
            warn!(
                kind = %K::kind(&()), namespace, name, problem = undecodable.problem,
                "failed to decode the object; it is ignored until it changes",
            );
        })
        .ok()
}
