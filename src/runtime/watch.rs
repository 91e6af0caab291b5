//! Watches: a list, then each change, taken up again after every interruption.

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{debug, warn};

/// Objects of one page of a list: the page's JSON is what a list costs in memory at its peak.
const PAGE_SIZE: u32 = 50;

/// Tells whether a watch has listed everything once.
pub type Synced = watch::Sender<bool>;

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
