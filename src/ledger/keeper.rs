//! Keeps the records of rollouts: looks at each Deployment that has changed and writes down what is new.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_controller::events::{Event as ObjectEvent, EventType};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::records::{Records, Standing, generation};
use super::retention::Expiry;
use super::write::{begun, ended, paused, record_name, rolled_back};
use crate::cluster::{Index, Snapshot, Synced, pods_of, watch_each};
use crate::incident::OpenIncidents;
use crate::mapping::{Layers, is_ignored};
use crate::operate::{Tools, Waits, WorkQueue};
use crate::publish::{Publisher, SlimDoraDeployment, readable};
use crate::resources::{DoraDeployment, FIELD_MANAGER, Outcome};
use crate::rollout::{
    Action, Change, Deadline, Decision, DeploymentRow, Known, Policy, ReplicaSetRow, Scene, Uid, decide, failure,
};
use crate::settings::Retention;

/// Deployments whose records are written at once.
const WRITES_IN_FLIGHT: usize = 16;

/// Bounds of the first and the longest wait after a write that failed.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));

/// Shortest time before a Deployment is looked at again that has not changed.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Longest time between two searches for records that are no longer kept.
const LONGEST_EXPIRY_PERIOD: Duration = Duration::from_hours(1);

/// Keeps the records of rollouts.
pub struct Keeper {
    tools: Tools,
    index: Arc<Index>,
    records: Arc<Records>,
    changed: Arc<WorkQueue<Uid>>,
    publisher: Arc<Publisher<DoraDeployment>>,
    incidents: Arc<OpenIncidents>,
    waits: Waits<Uid>,
    expiry: Expiry,
}

/// Where a record is, and to whom it belongs.
#[derive(Clone, Copy)]
struct Place<'a> {
    uid: &'a Uid,
    namespace: &'a str,
    deployment: &'a str,
}

impl Keeper {
    /// A keeper of the records of the Deployments in `index`, which names the changed ones in `changed`. `incidents` is told of each
    /// that was looked at.
    #[must_use]
    pub fn new(
        tools: Tools,
        index: Arc<Index>,
        records: Arc<Records>,
        changed: Arc<WorkQueue<Uid>>,
        publisher: Arc<Publisher<DoraDeployment>>,
        incidents: Arc<OpenIncidents>,
        retention: &Retention,
    ) -> Self {
        let (waits, expiry) = (Waits::new(RETRY_WAITS.0, RETRY_WAITS.1), Expiry::new(retention));
        Self { tools, index, records, changed, publisher, incidents, waits, expiry }
    }

    /// Looks at every Deployment once, and from then on at each that has changed, until `stop`. Only the leader does, once all
    /// watches have listed everything; dropping the future loses nothing.
    pub async fn run(&self, policy: &Policy, stop: &CancellationToken) {
        self.index.name_all();
        for uid in self.records.deployments() {
            self.changed.add(uid);
        }
        let look = async |uids: Vec<Uid>| {
            for uid in uids {
                self.look_at(uid, policy).await;
            }
        };
        let work = self.changed.work_off(1, WRITES_IN_FLIGHT, stop, look);
        futures::future::join(work, stop.run_until_cancelled(self.search_expired())).await;
    }

    /// Follows the Deployments and the records that the leader writes of them, until `stop`, and writes nothing: so a standby knows how
    /// a rollout ended that the leader has not recorded when it ends itself.
    pub async fn stand_by(&self, policy: &Policy, stop: &CancellationToken) {
        let look = async |uids: Vec<Uid>| {
            for uid in uids {
                let (snapshot, known) = self.state_of(&uid);
                let Decision { changes, is_behind, look_again } = Self::decided(&snapshot, &known, policy);
                if changes.is_empty() && !is_behind {
                    self.index.recorded(&uid, &snapshot);
                }
                self.look_again(uid, look_again);
            }
        };
        self.changed.work_off(1, 1, stop, look).await;
    }

    async fn search_expired(&self) {
        let tenth = Duration::try_from(self.expiry.max_age / 10).unwrap_or(LONGEST_EXPIRY_PERIOD);
        let period = tenth.clamp(Duration::from_secs(1), LONGEST_EXPIRY_PERIOD);
        loop {
            tokio::time::sleep(period).await;
            for uid in self.records.deployments() {
                self.changed.add(uid);
            }
        }
    }

    fn state_of(&self, uid: &Uid) -> (Snapshot, Vec<Known>) {
        let known = self.records.of(uid).map(|recorded| recorded.known).unwrap_or_default();
        (self.index.snapshot(uid), known)
    }

    fn decided<'a>(snapshot: &'a Snapshot, known: &[Known], policy: &Policy) -> Decision<'a> {
        let is_wanted = |row: &DeploymentRow, replica_set: &ReplicaSetRow| {
            let (annotations, labels) = (&snapshot.namespace_annotations, &snapshot.namespace_labels);
            row.selected && !is_ignored(&Layers::new(row, replica_set, annotations, labels))
        };
        let scene =
            Scene { deployment: snapshot.deployment.as_ref(), former: &snapshot.former, owned: &snapshot.replica_sets };
        decide(&scene, known, policy, &is_wanted, now())
    }

    async fn look_at(&self, uid: Uid, policy: &Policy) {
        let (snapshot, known) = self.state_of(&uid);
        let Decision { changes, look_again, is_behind } = Self::decided(&snapshot, &known, policy);
        if is_behind {
            return self.look_again(uid, look_again);
        }
        let recorded = self.records.of(&uid);
        let place = match (snapshot.row(), &recorded) {
            (Some(row), _) => Place { uid: &uid, namespace: &row.namespace, deployment: &row.name },
            (None, Some(recorded)) => Place { uid: &uid, namespace: &recorded.namespace, deployment: &recorded.name },
            (None, None) => return,
        };
        for change in &changes {
            match self.write(place, &snapshot, policy, change).await {
                Ok(ControlFlow::Continue(())) => {}
                // Somebody else changed the records: what follows may be wrong by now.
                Ok(ControlFlow::Break(())) => {
                    self.changed.add(Arc::clone(&uid));
                    return;
                }
                Err(error) => return self.retry(place, &error),
            }
        }
        self.index.recorded(&uid, &snapshot);
        let known = self.records.of(&uid).map(|recorded| recorded.known).unwrap_or_default();
        let available = snapshot.deployment.as_ref().and_then(|sighting| sighting.row.available);
        self.incidents.consider(&uid, available, &known, now());
        if let Err(error) = self.delete_expired(place, snapshot.deployment.is_some()).await {
            return self.retry(place, &error);
        }
        self.waits.forget(&uid);
        self.look_again(uid, look_again);
    }

    fn look_again(&self, uid: Uid, time: Option<Timestamp>) {
        if let Some(time) = time {
            let wait = Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default();
            // Who writes nothing must not look again and again.
            self.changed.add_at(uid, Instant::now() + wait.max(SHORTEST_WAIT));
        }
    }

    fn retry(&self, place: Place<'_>, error: &kube::Error) {
        self.explain(place, error);
        self.changed.add_at(Arc::clone(place.uid), self.waits.failed(place.uid));
    }

    /// Writes `change`; breaks off if the record is not as it was known to be.
    async fn write(
        &self,
        place: Place<'_>,
        snapshot: &Snapshot,
        policy: &Policy,
        change: &Change<'_>,
    ) -> Result<ControlFlow<()>, kube::Error> {
        let context = self.publisher.context();
        let defaults = &context.settings.defaults;
        let failure = self.failure(place, snapshot, policy, change).await;
        let patch = match (change.action, snapshot.row()) {
            (Action::Begin, Some(row)) => {
                let Some(record) = begun(&context.cluster, snapshot, row, defaults, change, failure) else {
                    return Ok(ControlFlow::Continue(()));
                };
                self.warn(row, &record.spec.warnings).await;
                return self.create(place, change, &record).await;
            }
            (Action::Begin, None) => return Ok(ControlFlow::Continue(())),
            (Action::End, _) => ended(snapshot, defaults, change, failure.as_deref()),
            (Action::Pause, _) => paused(&change.record),
            (Action::RollBack, _) => rolled_back(change),
        };
        self.patch(place, change, &patch).await
    }

    async fn create(
        &self,
        place: Place<'_>,
        change: &Change<'_>,
        record: &DoraDeployment,
    ) -> Result<ControlFlow<()>, kube::Error> {
        let api: Api<DoraDeployment> = self.api(place);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&parameters, record).await {
            Ok(written) => {
                self.written(place, change, written);
                Ok(ControlFlow::Continue(()))
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let name = record_name(place.deployment, place.uid, &change.record);
                if let Some(existing) = self.slim_api(place).get_opt(&name).await? {
                    self.records.seen(&existing, existing.is_settled(self.publisher.context()));
                }
                Ok(ControlFlow::Break(()))
            }
            Err(error) => Err(error),
        }
    }

    async fn patch(
        &self,
        place: Place<'_>,
        change: &Change<'_>,
        patch: &serde_json::Value,
    ) -> Result<ControlFlow<()>, kube::Error> {
        let name = record_name(place.deployment, place.uid, &change.record);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api(place).patch(&name, &parameters, &Patch::Merge(patch)).await {
            Ok(written) => {
                self.written(place, change, written);
                Ok(ControlFlow::Continue(()))
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                debug!(namespace = place.namespace, record = name, "the record was deleted meanwhile");
                self.records.remove(place.uid, &change.record);
                Ok(ControlFlow::Break(()))
            }
            Err(error) => Err(error),
        }
    }

    fn written(&self, place: Place<'_>, change: &Change<'_>, written: DoraDeployment) {
        let Place { uid, namespace, deployment } = place;
        let Known { revision, outcome, .. } = change.record;
        let standing =
            Standing { generation: generation(written.metadata.generation.unwrap_or_default()), is_settled: false };
        self.records.set(uid, namespace, deployment, change.record.clone(), standing);
        if change.action != Action::Pause {
            self.tools.metrics.recorded(outcome);
        }
        info!(namespace, deployment, revision, outcome = outcome.as_str(), "recorded a rollout");
        self.publisher.publish_written(written);
    }

    /// Why the rollout failed, if that is what `change` says.
    async fn failure(
        &self,
        place: Place<'_>,
        snapshot: &Snapshot,
        policy: &Policy,
        change: &Change<'_>,
    ) -> Option<String> {
        if change.record.outcome != Outcome::Failed {
            return None;
        }
        let row = snapshot.row()?;
        let is_present = row.revision == Some(change.record.revision);
        let standstill = match row.progress_deadline {
            Some(seconds) => Deadline::Own(SignedDuration::from_secs(seconds.into())),
            None => Deadline::Timeout(policy.patience),
        };
        // The pods of a former revision are gone, and the refusal is not about them.
        let Some(replica_set) = change.replica_set.filter(|_| is_present) else {
            return Some(failure(None, standstill, None));
        };
        let hash =
            replica_set.name.strip_prefix(&*row.name).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
        let pods = pods_of(&self.tools.client, place.namespace, hash, &replica_set.uid).await;
        let pods = pods.unwrap_or_else(|error| {
            debug!(
                namespace = place.namespace,
                deployment = place.deployment,
                error = &error as &dyn std::error::Error,
                "the pods of a failed rollout can't be listed; the reason is shorter without them",
            );
            None
        });
        Some(failure(row.refusal.as_deref(), standstill, pods.as_deref()))
    }

    /// Deletes the records that are no longer kept, each only as it was looked at.
    async fn delete_expired(&self, place: Place<'_>, lives: bool) -> Result<(), kube::Error> {
        for known in self.records.expired(place.uid, lives, &self.expiry, now()) {
            let name = record_name(place.deployment, place.uid, &known);
            let api = self.slim_api(place);
            let Some(record) = api.get_opt(&name).await? else {
                self.records.remove(place.uid, &known);
                continue;
            };
            if !record.is_settled(self.publisher.context()) {
                self.records.seen(&record, false);
                continue;
            }
            let parameters = DeleteParams::default().preconditions(record.preconditions());
            match api.delete(&name, &parameters).await {
                Ok(_) => {
                    self.records.remove(place.uid, &known);
                    info!(namespace = place.namespace, record = name, "deleted a record at the end of its retention");
                }
                Err(kube::Error::Api(status)) if status.is_not_found() => self.records.remove(place.uid, &known),
                // It has changed meanwhile: the watch brings it, and the next search looks at it again.
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says on the Deployment what of its metadata can't be used: that is where the person who wrote it looks.
    async fn warn(&self, row: &DeploymentRow, warnings: &[String]) {
        let deployment = Deployment {
            metadata: ObjectMeta {
                name: Some(row.name.to_string()),
                namespace: Some(row.namespace.to_string()),
                uid: Some(row.uid.to_string()),
                ..ObjectMeta::default()
            },
            ..Deployment::default()
        };
        for warning in warnings {
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

    fn explain(&self, place: Place<'_>, error: &kube::Error) {
        let Place { uid, namespace, deployment } = place;
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

    fn api(&self, place: Place<'_>) -> Api<DoraDeployment> {
        Api::namespaced(self.tools.client.clone(), place.namespace)
    }

    fn slim_api(&self, place: Place<'_>) -> Api<SlimDoraDeployment> {
        Api::namespaced(self.tools.client.clone(), place.namespace)
    }

    /// Feeds the `DoraDeployment` resources of all namespaces into the records and to the publisher, for ever.
    pub async fn watch_records(&self, client: Client, synced: Synced) {
        let take_in = |record, listed| {
            if let Some(record) = readable::<SlimDoraDeployment>(record) {
                let is_settled = record.is_settled(self.publisher.context());
                let seen = self.records.seen(&record, is_settled);
                record.offer(&self.publisher, listed);
                // Another replica may have recorded what this one only saw; and what is settled may be deleted.
                let has_to_look = |uid: &Uid| {
                    self.index.has_former(uid) || (is_settled && self.records.count(uid) > self.expiry.records)
                };
                if let Some(uid) = seen.filter(has_to_look) {
                    self.changed.add(uid);
                }
            }
        };
        watch_each(Api::<DeserializeGuard<SlimDoraDeployment>>::all(client), synced, |event| match event {
            Event::Init => self.records.listed_anew(),
            Event::InitDone => self.records.listed(),
            Event::Apply(record) => take_in(record, false),
            Event::InitApply(record) => take_in(record, true),
            Event::Delete(record) => {
                if let Some(record) = readable(record) {
                    self.records.gone(&record);
                }
            }
        })
        .await;
    }
}

/// Kubernetes keeps times in whole seconds.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
