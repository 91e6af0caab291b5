//! Keeps the records of rollouts: looks at each Deployment that has changed and writes down what is new.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_controller::events::{Event as ObjectEvent, EventType};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::records::{RecordedDeployment, Records};
use super::write::{begun, described, ended, record_name};
use crate::cluster::{Index, Snapshot, Synced, watch_each};
use crate::operate::{Tools, Waits, WorkQueue};
use crate::publish::{Publisher, SlimDoraDeployment, readable};
use crate::resources::{DoraDeployment, DoraDeploymentSpec, FIELD_MANAGER};
use crate::rollout::{Change, DeploymentRow, Known, Moment, Uid, changes};

/// Deployments whose records are written at once.
const WRITES_IN_FLIGHT: usize = 16;

/// First and longest wait after a write that failed.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));

/// Keeps the records of rollouts.
pub struct Keeper {
    tools: Tools,
    index: Arc<Index>,
    records: Arc<Records>,
    changed: Arc<WorkQueue<Uid>>,
    publisher: Arc<Publisher<DoraDeployment>>,
    waits: Waits<Uid>,
}

impl Keeper {
    /// A keeper of the records of the Deployments in `index`, which names the changed ones in `changed`.
    #[must_use]
    pub fn new(
        tools: Tools,
        index: Arc<Index>,
        records: Arc<Records>,
        changed: Arc<WorkQueue<Uid>>,
        publisher: Arc<Publisher<DoraDeployment>>,
    ) -> Self {
        Self { tools, index, records, changed, publisher, waits: Waits::new(RETRY_WAITS.0, RETRY_WAITS.1) }
    }

    /// Looks at every Deployment once, and from then on at each that has changed, until `stop`. Only the leader does, once all
    /// watches have listed everything; dropping the future loses nothing.
    ///
    /// `installed` is the time at which the controller first started in this cluster.
    pub async fn run(&self, installed: Timestamp, stop: &CancellationToken) {
        self.index.name_all();
        for uid in self.records.in_progress() {
            self.changed.add(uid);
        }
        self.changed
            .work_off(1, WRITES_IN_FLIGHT, stop, async |uids| {
                for uid in uids {
                    self.look_at(uid, installed).await;
                }
            })
            .await;
    }

    async fn look_at(&self, uid: Uid, installed: Timestamp) {
        let snapshot = self.index.snapshot(&uid);
        let recorded = self.records.of(&uid);
        let known = recorded.as_ref().map(|recorded| recorded.known.as_slice()).unwrap_or_default();
        let now = Timestamp::now();
        // Kubernetes keeps times in whole seconds.
        let moment = Moment { now: Timestamp::from_second(now.as_second()).unwrap_or(now), installed };
        let changes = changes(snapshot.deployment.as_ref(), &snapshot.replica_sets, known, moment);
        let mut failed = false;
        for change in &changes {
            if let Err(error) = self.write(&uid, &snapshot, recorded.as_ref(), change).await {
                failed = true;
                self.explain(&uid, &snapshot, &error);
            }
        }
        if failed {
            self.changed.add_at(Arc::clone(&uid), self.waits.failed(&uid));
        } else {
            self.waits.forget(&uid);
        }
    }

    async fn write(
        &self,
        uid: &Uid,
        snapshot: &Snapshot,
        recorded: Option<&RecordedDeployment>,
        change: &Change<'_>,
    ) -> Result<(), kube::Error> {
        match (change, &snapshot.deployment) {
            (Change::Begin { replica_set, revision, outcome, .. }, Some(deployment)) => {
                let spec =
                    described(snapshot, deployment, replica_set, &self.publisher.context().settings.defaults, change);
                self.warn(deployment, &spec).await;
                let record = begun(deployment, replica_set, *revision, spec);
                let api = self.api(&deployment.namespace);
                let name = record_name(&deployment.name, *revision, uid);
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                let written = api.patch(&name, &parameters, &Patch::Apply(&record)).await?;
                let known = Known { revision: *revision, outcome: *outcome };
                self.written(uid, &deployment.namespace, &deployment.name, known, written);
            }
            (Change::End { replica_set, revision, outcome, .. }, Some(deployment)) => {
                let spec =
                    described(snapshot, deployment, replica_set, &self.publisher.context().settings.defaults, change);
                let patch = ended(&spec);
                let known = Known { revision: *revision, outcome: *outcome };
                self.patch(uid, &deployment.namespace, &deployment.name, known, &patch).await?;
            }
            (Change::Close { revision, outcome, finished }, _) => {
                let Some(RecordedDeployment { namespace, name, known: _ }) = recorded else {
                    return Ok(());
                };
                let patch = serde_json::json!({ "spec": { "outcome": outcome, "finishedAt": finished } });
                let known = Known { revision: *revision, outcome: *outcome };
                self.patch(uid, namespace, name, known, &patch).await?;
            }
            // A deleted Deployment only has records to close.
            (Change::Begin { .. } | Change::End { .. }, None) => {}
        }
        Ok(())
    }

    async fn patch(
        &self,
        uid: &Uid,
        namespace: &str,
        deployment: &str,
        known: Known,
        patch: &serde_json::Value,
    ) -> Result<(), kube::Error> {
        let name = record_name(deployment, known.revision, uid);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api(namespace).patch(&name, &parameters, &Patch::Merge(patch)).await {
            Ok(written) => {
                self.written(uid, namespace, deployment, known, written);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                debug!(namespace, record = name, "the record was deleted meanwhile");
                self.records.remove(uid, known.revision);
                self.changed.add(Arc::clone(uid));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn written(&self, uid: &Uid, namespace: &str, deployment: &str, known: Known, written: DoraDeployment) {
        let generation = written.metadata.generation.unwrap_or_default();
        self.records.set(uid, namespace, deployment, known, generation);
        self.tools.metrics.recorded(known.outcome);
        let Known { revision, outcome } = known;
        info!(namespace, deployment, revision, outcome = outcome.as_str(), "recorded a rollout");
        self.publisher.publish_written(written);
    }

    /// Says on the Deployment what of its metadata can't be used: that is where the person who wrote it looks.
    async fn warn(&self, row: &DeploymentRow, spec: &DoraDeploymentSpec) {
        let deployment = Deployment {
            metadata: ObjectMeta {
                name: Some(row.name.to_string()),
                namespace: Some(row.namespace.to_string()),
                uid: Some(row.uid.to_string()),
                ..ObjectMeta::default()
            },
            ..Deployment::default()
        };
        for warning in &spec.warnings {
            warn!(namespace = %row.namespace, deployment = %row.name, "{warning}");
            let event = ObjectEvent {
                type_: EventType::Warning,
                reason: "MetadataUnusable".to_owned(),
                action: "Record".to_owned(),
                note: Some(warning.clone()),
                related: None,
            };
            self.tools.events.publish(&deployment, &event).await;
        }
    }

    fn explain(&self, uid: &Uid, snapshot: &Snapshot, error: &kube::Error) {
        let (namespace, deployment) =
            snapshot.deployment.as_ref().map_or(("", ""), |deployment| (&*deployment.namespace, &*deployment.name));
        let ends =
            matches!(error, kube::Error::Api(status) if status.message.contains("because it is being terminated"));
        if ends {
            debug!(namespace, deployment, "the namespace is being deleted, and its records with it");
        } else if !self.waits.is_failing(uid) {
            warn!(
                namespace,
                deployment,
                error = error as &dyn std::error::Error,
                "a rollout can't be recorded and is tried again; if this stays, check that the custom resource definitions and \
                 the ClusterRole are those of this version",
            );
        }
    }

    fn api(&self, namespace: &str) -> Api<DoraDeployment> {
        Api::namespaced(self.tools.client.clone(), namespace)
    }
}

/// Feeds the `DoraDeployment` resources of all namespaces into `records` and to the publisher, for ever.
pub async fn watch_records(client: Client, records: &Records, publisher: &Publisher<DoraDeployment>, synced: Synced) {
    let take_in = |record, listed| {
        if let Some(record) = readable::<SlimDoraDeployment>(record) {
            records.seen(&record);
            record.offer(publisher, listed);
        }
    };
    watch_each(Api::<DeserializeGuard<SlimDoraDeployment>>::all(client), synced, |event| match event {
        Event::Init => records.listed_anew(),
        Event::InitDone => records.listed(),
        Event::Apply(record) => take_in(record, false),
        Event::InitApply(record) => take_in(record, true),
        Event::Delete(record) => {
            if let Some(record) = readable(record) {
                records.gone(&record);
            }
        }
    })
    .await;
}
