//! A watch of the bench's own: when each Deployment was seen complete, independently of the controller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use serde::Deserialize;
use tokio::sync::oneshot;

const REVISION: &str = "deployment.kubernetes.io/revision";

/// A rollout that was seen complete: `Progressing` with reason `NewReplicaSetAvailable`, for a ReplicaSet that it had
/// not named before.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The ReplicaSet that the condition names.
    pub replica_set: String,
    /// The revision of the Deployment.
    pub revision: i64,
    /// The UID of the Deployment.
    pub uid: String,
    /// When the watch had delivered it.
    pub seen: Instant,
}

/// Watches all Deployments, in a thread of its own, so that no other work of the bench delays what it sees.
#[derive(Debug)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By the name of the Deployment.
    completions: HashMap<String, Vec<Completion>>,
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
        let seen = Arc::new(Mutex::new(Seen::default()));
        let writer = Arc::clone(&seen);
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
                    // Dropping the sender ends it.
                    _ = stopped => {}
                }
            });
        })?;
        has_started.await.context("the thread of the bench's own watch ended")??;
        Ok(Self { seen, stop: Some(stop), thread: Some(thread) })
    }

    /// How many Deployments were seen complete at so many revisions at least.
    pub fn complete(&self, revisions: usize) -> usize {
        lock(&self.seen).completions.values().filter(|completions| completions.len() >= revisions).count()
    }

    /// The rollout of a Deployment that was seen complete as the second one: the first is its creation.
    pub fn second_completion(&self, name: &str) -> Option<Completion> {
        lock(&self.seen).completions.get(name)?.get(1).cloned()
    }

    /// How often the watch was interrupted: what was seen around then was seen late.
    pub fn interruptions(&self) -> usize {
        lock(&self.seen).interruptions
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It has panicked if this fails, and has said so.
            let _ = thread.join();
        }
    }
}

/// A poisoned lock still guards whole entries.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(client: Client, seen: &Mutex<Seen>) {
    let api = Api::<WatchedDeployment>::all(client);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        let now = Instant::now();
        match event {
            Ok(Event::Apply(deployment) | Event::InitApply(deployment)) => lock(seen).note(deployment, now),
            Ok(Event::Init | Event::InitDone | Event::Delete(_)) => {}
            Err(error) => {
                lock(seen).interruptions += 1;
                eprintln!("bench: the bench's own watch was interrupted: {error}");
            }
        }
    }
}

impl Seen {
    fn note(&mut self, deployment: WatchedDeployment, now: Instant) {
        let Some((name, completion)) = deployment.completion(now) else { return };
        let completions = self.completions.entry(name).or_default();
        // The condition goes on naming the former ReplicaSet for a moment after a change.
        if completions.iter().all(|known| known.replica_set != completion.replica_set) {
            completions.push(completion);
        }
    }
}

/// A Deployment with only what is looked at: decoding all of it would take time from what is measured.
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
    fn a_rollout_counts_once_and_only_when_the_condition_names_its_replica_set() {
        let mut seen = Seen::default();
        let start = Instant::now();
        let complete = "NewReplicaSetAvailable";
        for (revision, reason, replica_set) in [
            ("1", complete, "web-1"),
            ("2", complete, "web-1"),
            ("2", "ReplicaSetUpdated", "web-2"),
            ("2", complete, "web-2"),
            ("2", complete, "web-2"),
        ] {
            seen.note(deployment(revision, reason, replica_set), start);
        }
        let seen: Vec<_> = seen.completions["web"].iter().map(|one| (one.revision, one.replica_set.as_str())).collect();
        assert_eq!(seen, [(1, "web-1"), (2, "web-2")]);
    }
}
