//! Watches: a list, then each change, resumed after every interruption.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use kube::api::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::{Metrics, WatchActivity};
use crate::resources::Guarded;

/// Objects in one page of a list. The JSON of one page is the peak of the memory that a list needs.
const PAGE_SIZE: u32 = 50;

/// Holds `true` once a watch has listed all objects: `HasSynced` of an informer in client-go.
pub type Synced = watch::Sender<bool>;

/// Watches resources in all namespaces.
///
/// The API server ends a watch after a time, and this process notices a few seconds later if it hasn't. So a connection that was lost
/// without a sign is replaced.
#[derive(Clone)]
pub struct WatchClient {
    client: Client,
    /// Seconds after which the API server ends a watch, at most 294: kube's limit.
    timeout_seconds: u32,
    metrics: Arc<Metrics>,
    activity: Arc<WatchActivity>,
}

impl WatchClient {
    /// Watches through `client`, which notes in `activity` when the API server sends something.
    #[must_use]
    pub fn new(client: Client, timeout_seconds: u32, metrics: Arc<Metrics>, activity: Arc<WatchActivity>) -> Self {
        Self { client, timeout_seconds, metrics, activity }
    }

    /// Passes each event of a watch on the resources of type `K` to `handle`, and sets `synced` when the first list is complete.
    ///
    /// An interrupted watch resumes where it stopped, or else with a new list. It retries with backoff and never ends.
    pub async fn watch_each<K, F>(&self, synced: Synced, mut handle: F)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        F: FnMut(Event<K>),
    {
        let (kind, resource) = (K::kind(&()), K::plural(&()));
        let (metrics, activity) = (&self.metrics.watches, &self.activity);
        metrics.started(&resource);
        activity.start(&resource);
        let config = watcher::Config::default().page_size(PAGE_SIZE).timeout(self.timeout_seconds);
        let mut events = pin!(watcher(Api::<K>::all(self.client.clone()), config).default_backoff());
        let mut is_failing = false;
        while let Some(event) = events.next().await {
            match event {
                // No answer of the API server: the next request is a list.
                Ok(Event::Init) => handle(Event::Init),
                Ok(event) => {
                    is_failing = false;
                    activity.note(&resource);
                    let is_listed = matches!(event, Event::InitDone);
                    handle(event);
                    if is_listed && synced.send_replace(true) {
                        metrics.relisted(&resource);
                    }
                }
                Err(error) => {
                    metrics.failed(&resource);
                    log_interruption(&kind, &error, is_failing);
                    is_failing = true;
                }
            }
        }
    }
}

/// Logs the first of several errors as a warning.
fn log_interruption(kind: &str, error: &watcher::Error, was_failing: bool) {
    if was_failing {
        debug!(%kind, %error, "the watch still fails; retrying");
    } else {
        warn!(
            %kind,
            error = error as &dyn std::error::Error,
            "the watch on {kind} was interrupted; retrying (if this persists, check the API server and the ClusterRole of the controller)",
        );
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
