//! Keeps the records of rollouts: looks at each Deployment that has changed and writes down what is new.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_controller::events::{Event as ObjectEvent, EventType};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::manifest::{finish_manifest, paused, record_name, rolled_back, start_manifest};
use super::retention::Expiry;
use super::store::{RecordState, Records, generation};
use crate::resources::{DoraDeployment, FIELD_MANAGER, SlimDoraDeployment};
use crate::runtime::{Backoff, Context, WorkQueue, now};
use crate::settings::ActiveSettings;
use crate::workloads::{Index, Snapshot, WorkloadObject, pods_of_revision};
use rollout::{
    Action, Availability, Change, Deadline, Decision, DecisionInput, MetadataSources, Outcome, Policy,
    RecordedRevision, Revision, Uid, Workload, WorkloadKind, decide, failure, is_ignored,
};

/// Deployments whose records are written at once.
const WRITES_IN_FLIGHT: usize = 16;

/// Bounds of the first and the longest wait after a write that failed.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));

/// Shortest time before a Deployment is looked at again that has not changed.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Longest time between two searches for records that are no longer kept.
const LONGEST_EXPIRY_PERIOD: Duration = Duration::from_hours(1);

/// Keeps the records of rollouts.
pub struct RolloutRecorder {
    context: Context,
    index: Arc<Index>,
    records: Arc<Records>,
    changed: Arc<WorkQueue<Uid>>,
    settings: Arc<ActiveSettings>,
    callbacks: RecorderCallbacks,
    waits: Backoff<Uid>,
    expiry: Expiry,
}

/// Takes in a workload, its availability if it has any, and its records.
pub type OnLookedAt = Box<dyn Fn(&Uid, Option<Availability>, &[RecordedRevision]) + Send + Sync>;

/// What the recorder hands on.
pub struct RecorderCallbacks {
    /// Called with each record that the recorder wrote, as the API server stored it.
    pub on_written: Box<dyn Fn(DoraDeployment) + Send + Sync>,
    /// Called with each workload that was looked at.
    pub on_looked_at: OnLookedAt,
}

/// Where a record is, and to whom it belongs.
#[derive(Clone, Copy)]
struct RecordOwner<'a> {
    uid: &'a Uid,
    namespace: &'a str,
    kind: WorkloadKind,
    name: &'a str,
}

impl RolloutRecorder {
    /// A recorder of the rollouts of the Deployments in `index`, which names the changed ones in `changed`.
    #[must_use]
    pub fn new(
        context: Context,
        settings: Arc<ActiveSettings>,
        index: Arc<Index>,
        records: Arc<Records>,
        changed: Arc<WorkQueue<Uid>>,
        callbacks: RecorderCallbacks,
    ) -> Self {
        let (waits, expiry) = (Backoff::new(RETRY_WAITS.0, RETRY_WAITS.1), Expiry::new(&settings.file.retention));
        Self { context, index, records, changed, settings, callbacks, waits, expiry }
    }

    /// Looks at every Deployment once, and from then on at each that has changed, until `stop`. Only the leader does, once all
    /// watches have listed everything; dropping the future loses nothing.
    pub async fn run(&self, policy: &Policy, stop: &CancellationToken) {
        self.index.enqueue_all();
        for uid in self.records.deployments() {
            self.changed.add(uid);
        }
        let look = async |uids: Vec<Uid>| {
            for uid in uids {
                self.look_at(uid, policy).await;
            }
        };
        let work = self.changed.run(1, WRITES_IN_FLIGHT, stop, look);
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
                    self.index.mark_recorded(&uid, &snapshot);
                }
                self.look_again(uid, look_again);
            }
        };
        self.changed.run(1, 1, stop, look).await;
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

    fn state_of(&self, uid: &Uid) -> (Snapshot, Vec<RecordedRevision>) {
        let known = self.records.of(uid).map(|recorded| recorded.known).unwrap_or_default();
        (self.index.snapshot(uid), known)
    }

    fn decided<'a>(snapshot: &'a Snapshot, known: &[RecordedRevision], policy: &Policy) -> Decision<'a> {
        let is_wanted = |row: &Workload, replica_set: &Revision| {
            let (annotations, labels) = (&snapshot.namespace_annotations, &snapshot.namespace_labels);
            row.selected && !is_ignored(&MetadataSources::new(row, replica_set, annotations, labels))
        };
        let scene = DecisionInput {
            deployment: snapshot.observation.as_ref(),
            former: &snapshot.past_observations,
            owned: &snapshot.revisions,
        };
        decide(&scene, known, policy, &is_wanted, now())
    }

    async fn look_at(&self, uid: Uid, policy: &Policy) {
        let (snapshot, known) = self.state_of(&uid);
        let Decision { changes, look_again, is_behind } = Self::decided(&snapshot, &known, policy);
        if is_behind {
            return self.look_again(uid, look_again);
        }
        let recorded = self.records.of(&uid);
        let place = match (snapshot.workload(), &recorded) {
            (Some(row), _) => RecordOwner { uid: &uid, namespace: &row.namespace, kind: row.kind, name: &row.name },
            (None, Some(recorded)) => {
                RecordOwner { uid: &uid, namespace: &recorded.namespace, kind: recorded.kind, name: &recorded.name }
            }
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
        self.index.mark_recorded(&uid, &snapshot);
        let known = self.records.of(&uid).map(|recorded| recorded.known).unwrap_or_default();
        let available = snapshot.observation.as_ref().and_then(|observation| observation.row.available);
        (self.callbacks.on_looked_at)(&uid, available, &known);
        if let Err(error) = self.delete_expired(place, snapshot.observation.is_some()).await {
            return self.retry(place, &error);
        }
        self.waits.forget(&uid);
        self.look_again(uid, look_again);
    }

    fn look_again(&self, uid: Uid, time: Option<Timestamp>) {
        if let Some(time) = time {
            let wait = Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default();
            // Who writes nothing must not look again and again.
            self.changed.add_after(uid, wait.max(SHORTEST_WAIT));
        }
    }

    fn retry(&self, place: RecordOwner<'_>, error: &kube::Error) {
        self.explain(place, error);
        self.changed.add_after(Arc::clone(place.uid), self.waits.next_delay(place.uid));
    }

    /// Writes `change`; breaks off if the record is not as it was known to be.
    async fn write(
        &self,
        place: RecordOwner<'_>,
        snapshot: &Snapshot,
        policy: &Policy,
        change: &Change<'_>,
    ) -> Result<ControlFlow<()>, kube::Error> {
        let ActiveSettings { cluster, file, .. } = &*self.settings;
        let defaults = &file.defaults;
        let failure = self.failure(place, snapshot, policy, change).await;
        let patch = match (change.action, snapshot.workload()) {
            (Action::Begin, Some(row)) => {
                let Some(record) = start_manifest(cluster, snapshot, row, defaults, change, failure) else {
                    return Ok(ControlFlow::Continue(()));
                };
                self.warn(row, &record.spec.warnings).await;
                return self.create(place, change, &record).await;
            }
            (Action::Begin, None) => return Ok(ControlFlow::Continue(())),
            (Action::End, _) => finish_manifest(snapshot, defaults, change, failure.as_deref()),
            (Action::Pause, _) => paused(&change.record),
            (Action::RollBack, _) => rolled_back(change),
        };
        self.patch(place, change, &patch).await
    }

    async fn create(
        &self,
        place: RecordOwner<'_>,
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
                let name = record_name(place.kind, place.name, place.uid, &change.record);
                if let Some(existing) = self.slim_api(place).get_opt(&name).await? {
                    self.take_in(&existing);
                }
                Ok(ControlFlow::Break(()))
            }
            Err(error) => Err(error),
        }
    }

    async fn patch(
        &self,
        place: RecordOwner<'_>,
        change: &Change<'_>,
        patch: &serde_json::Value,
    ) -> Result<ControlFlow<()>, kube::Error> {
        let name = record_name(place.kind, place.name, place.uid, &change.record);
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

    fn written(&self, place: RecordOwner<'_>, change: &Change<'_>, written: DoraDeployment) {
        let RecordOwner { uid, namespace, kind, name } = place;
        let RecordedRevision { revision, outcome, .. } = change.record;
        let standing = RecordState {
            generation: generation(written.metadata.generation.unwrap_or_default()),
            ..RecordState::default()
        };
        self.records.set(uid, namespace, kind, name, change.record.clone(), standing);
        if change.action != Action::Pause {
            self.context.metrics.recorded(outcome);
        }
        info!(namespace, %kind, workload = name, revision, outcome = outcome.as_str(), "recorded a rollout");
        (self.callbacks.on_written)(written);
    }

    /// Why the rollout failed, if that is what `change` says.
    async fn failure(
        &self,
        place: RecordOwner<'_>,
        snapshot: &Snapshot,
        policy: &Policy,
        change: &Change<'_>,
    ) -> Option<String> {
        if change.record.outcome != Outcome::Failed {
            return None;
        }
        let row = snapshot.workload()?;
        let is_present = row.revision == Some(change.record.revision);
        let standstill = match row.progress_deadline {
            Some(seconds) => Deadline::Own(SignedDuration::from_secs(seconds.into())),
            None => Deadline::Timeout(policy.fail_after),
        };
        // The pods of a former revision are gone, and the refusal is not about them.
        let Some(replica_set) = change.replica_set.filter(|_| is_present) else {
            return Some(failure(None, standstill, None));
        };
        let pods = pods_of_revision(&self.context.client, row, replica_set).await;
        let pods = pods.unwrap_or_else(|error| {
            debug!(
                namespace = place.namespace,
                kind = %place.kind,
                workload = place.name,
                error = &error as &dyn std::error::Error,
                "the pods of a failed rollout can't be listed; the reason is shorter without them",
            );
            None
        });
        Some(failure(row.refusal.as_deref(), standstill, pods.as_deref()))
    }

    /// Deletes the records that are no longer kept, each only as it was looked at.
    async fn delete_expired(&self, place: RecordOwner<'_>, lives: bool) -> Result<(), kube::Error> {
        for known in self.records.expired(place.uid, lives, &self.expiry, now()) {
            let name = record_name(place.kind, place.name, place.uid, &known);
            let api = self.slim_api(place);
            let Some(record) = api.get_opt(&name).await? else {
                self.records.remove(place.uid, &known);
                continue;
            };
            if !RecordState::of(&record, &self.settings).is_settled {
                self.take_in(&record);
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

    /// Says on the workload what of its metadata can't be used: that is where the person who wrote it looks.
    async fn warn(&self, row: &Workload, warnings: &[String]) {
        let workload = WorkloadObject::new(row.kind, &row.namespace, &row.name, &row.uid);
        for warning in warnings {
            warn!(namespace = %row.namespace, kind = %row.kind, workload = %row.name, "{warning}");
            let event = ObjectEvent {
                type_: EventType::Warning,
                reason: "MetadataUnusable".to_owned(),
                action: "Record".to_owned(),
                note: Some(warning.clone()),
                related: None,
            };
            self.context.events.publish(&workload, &event).await;
        }
    }

    fn explain(&self, place: RecordOwner<'_>, error: &kube::Error) {
        let RecordOwner { uid, namespace, kind, name } = place;
        let ends =
            matches!(error, kube::Error::Api(status) if status.message.contains("because it is being terminated"));
        if ends {
            debug!(namespace, %kind, workload = name, "the namespace is being deleted, and its records with it");
        } else if !self.waits.is_failing(uid) {
            warn!(
                namespace,
                %kind,
                workload = name,
                error = error as &dyn std::error::Error,
                "a rollout can't be recorded and is tried again; if this stays, check that the custom resource definitions and \
                 the ClusterRole are those of this version",
            );
        }
    }

    fn api(&self, place: RecordOwner<'_>) -> Api<DoraDeployment> {
        Api::namespaced(self.context.client.clone(), place.namespace)
    }

    fn slim_api(&self, place: RecordOwner<'_>) -> Api<SlimDoraDeployment> {
        Api::namespaced(self.context.client.clone(), place.namespace)
    }

    /// A list of all records begins.
    pub fn records_listed_anew(&self) {
        self.records.listed_anew();
    }

    /// The list of all records is complete.
    pub fn records_listed(&self) {
        self.records.listed();
    }

    /// Takes in a record as it is in the cluster.
    pub fn record_seen(&self, record: &SlimDoraDeployment) {
        let state = RecordState::of(record, &self.settings);
        let seen = self.records.seen(record, state);
        // Another replica may have recorded what this one only saw; and what is settled may be deleted.
        let has_to_look = |uid: &Uid| {
            self.index.has_past_observations(uid) || (state.is_settled && self.records.count(uid) > self.expiry.records)
        };
        if let Some(uid) = seen.filter(has_to_look) {
            self.changed.add(uid);
        }
    }

    /// Takes in that a record is gone.
    pub fn record_gone(&self, record: &SlimDoraDeployment) {
        self.records.gone(record);
    }

    fn take_in(&self, record: &SlimDoraDeployment) -> Option<Uid> {
        self.records.seen(record, RecordState::of(record, &self.settings))
    }
}
