//! A watch of the bench, which shows the completion of each Deployment independently of the controller.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use cluster::LocalCluster;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::oneshot;

const REVISION: &str = "deployment.kubernetes.io/revision";

/// A completed rollout: the condition `Progressing` has the reason `NewReplicaSetAvailable`, and names a ReplicaSet
/// that it did not name before.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The ReplicaSet that the condition names.
    pub replica_set: String,
    /// The revision of the Deployment.
    pub revision: i64,
    /// The UID of the Deployment.
    pub uid: String,
    /// When the watch delivered it.
    pub seen: Instant,
}

/// Watches all Deployments in a thread of its own, so that other work of the bench doesn't delay it.
#[derive(Debug)]
pub struct Observer {
    completions: Arc<Mutex<Completions>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The completions so far.
#[derive(Debug, Default)]
struct Completions {
    /// By the name of the Deployment.
    by_name: HashMap<String, Vec<Completion>>,
    interruptions: usize,
}

impl Observer {
    /// Starts to watch.
    ///
    /// # Errors
    /// When the kubeconfig can't be used.
    pub async fn start(cluster: &LocalCluster) -> Result<Self> {
        let kubeconfig = cluster.kubeconfig().to_path_buf();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let completions = Arc::new(Mutex::new(Completions::default()));
        let writer = Arc::clone(&completions);
        let (started, has_started) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = async move {
            match LocalCluster::client_from(&kubeconfig).await {
                Ok(client) => {
                    let _ = started.send(Ok(()));
                    watch(client, &writer).await;
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        };
        let thread = std::thread::Builder::new().name("observer".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = run => {}
                    // The drop of the sender ends the watch.
                    _ = stopped => {}
                }
            });
        })?;
        has_started.await.context("the thread of the watch ended")??;
        Ok(Self { completions, stop: Some(stop), thread: Some(thread) })
    }

    /// The number of Deployments with at least this number of completed revisions.
    pub fn complete(&self, revisions: usize) -> usize {
        self.completions.lock().by_name.values().filter(|completions| completions.len() >= revisions).count()
    }

    /// The second completed rollout of a Deployment. The first one is its creation.
    pub fn second_completion(&self, name: &str) -> Option<Completion> {
        self.completions.lock().by_name.get(name)?.get(1).cloned()
    }

    /// How often the watch was interrupted. Completions around an interruption are seen late.
    pub fn interruptions(&self) -> usize {
        self.completions.lock().interruptions
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // An error means that the thread has panicked. The message is already printed.
            let _ = thread.join();
        }
    }
}

async fn watch(client: Client, completions: &Mutex<Completions>) {
    let api = Api::<WatchedDeployment>::all(client);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        let now = Instant::now();
        match event {
            Ok(Event::Apply(deployment) | Event::InitApply(deployment)) => completions.lock().add(deployment, now),
            Ok(Event::Init | Event::InitDone | Event::Delete(_)) => {}
            Err(error) => {
                completions.lock().interruptions += 1;
                eprintln!("bench: the watch was interrupted: {error}");
            }
        }
    }
}

impl Completions {
    fn add(&mut self, deployment: WatchedDeployment, now: Instant) {
        let Some((name, completion)) = deployment.completion(now) else { return };
        let completions = self.by_name.entry(name).or_default();
        // For a moment after a change, the condition still names the old ReplicaSet.
        if completions.iter().all(|known| known.replica_set != completion.replica_set) {
            completions.push(completion);
        }
    }
}

/// A Deployment with only the needed fields. Decoding all fields would take CPU time from the controller.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Deployment)]
struct WatchedDeployment {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl WatchedDeployment {
    fn completion(self, seen: Instant) -> Option<(String, Completion)> {
        let ObjectMeta { name, uid, annotations, .. } = self.metadata;
        let is_complete =
            |condition: &&Condition| condition.kind == "Progressing" && condition.reason == "NewReplicaSetAvailable";
        let condition = self.status.conditions.iter().find(is_complete)?;
        // ReplicaSet "web-7679c567ff" has successfully progressed.
        let replica_set = condition.message.split('"').nth(1)?.to_owned();
        let revision = annotations?.get(REVISION)?.parse().ok()?;
        Some((name?, Completion { replica_set, revision, uid: uid?, seen }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(revision: &str, reason: &str, replica_set: &str) -> WatchedDeployment {
        let message = format!("ReplicaSet \"{replica_set}\" has successfully progressed.");
        serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "0123", "annotations": {REVISION: revision}},
            "status": {"conditions": [
                {"type": "Available", "reason": "MinimumReplicasAvailable"},
                {"type": "Progressing", "reason": reason, "message": message},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn completion_counts_once_and_names_its_replica_set() {
        let mut completions = Completions::default();
        let start = Instant::now();
        let complete = "NewReplicaSetAvailable";
        for (revision, reason, replica_set) in [
            ("1", complete, "web-1"),
            ("2", complete, "web-1"),
            ("2", "ReplicaSetUpdated", "web-2"),
            ("2", complete, "web-2"),
            ("2", complete, "web-2"),
        ] {
            completions.add(deployment(revision, reason, replica_set), start);
        }
        let found: Vec<_> =
            completions.by_name["web"].iter().map(|one| (one.revision, one.replica_set.as_str())).collect();
        assert_eq!(found, [(1, "web-1"), (2, "web-2")]);
    }
}
