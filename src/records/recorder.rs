//! The controller that records rollouts: reconciles each workload that has changed.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use rollout::{
    Action, Availability, Change, Decision, DecisionInput, MetadataSources, Policy, RecordedRevision, Revision, Uid,
    Workload, WorkloadKey, decide, is_ignored,
};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::expiry::{Expiry, RETRY_DELAYS};
use super::retention::RetentionPolicy;
use super::retries::{Cause, Retries};
use super::store::{RecordState, Records};
use super::taken_names::{RETRY_TAKEN_NAME, TakenNames};
use super::writer::{OnWritten, RecordWriter, WorkloadState, WriteResult};
use crate::resources::SlimDoraDeployment;
use crate::runtime::{Backoff, Context, WorkQueue, is_namespace_gone, later, now, requeue_delay};
use crate::settings::ActiveSettings;
use crate::workloads::{Index, NamespaceState, Snapshot};

/// Workloads that are reconciled at the same time.
const MAX_CONCURRENT_RECONCILES: usize = 16;

/// How long the namespace of a deleted workload may be missing before the workload counts as deleted with it. The watch on
/// namespaces can be behind the watch on workloads.
const NAMESPACE_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// Reason in the metric of dropped rollouts: more of them than the index keeps were not recorded yet.
const TOO_MANY_REVISIONS: &str = "TooManyRevisions";

/// Records rollouts as `DoraDeployment` resources.
pub struct RolloutRecorder {
    index: Arc<Index>,
    records: Arc<Records>,
    queue: Arc<WorkQueue<Uid>>,
    settings: Arc<ActiveSettings>,
    writer: RecordWriter,
    on_reconciled: OnReconciled,
    retries: Retries,
    expiry: Expiry,
}

/// Called with a workload after its rollouts are recorded: UID, condition `Available` if the workload exists and has
/// it, and recorded revisions.
pub type OnReconciled = Box<dyn Fn(&Uid, Option<Availability>, &[RecordedRevision]) + Send + Sync>;

/// Functions that the recorder calls, so that other parts react at once.
pub struct RecorderCallbacks {
    /// Called with each record that was written.
    pub on_written: OnWritten,
    /// Called with each workload that was reconciled.
    pub on_reconciled: OnReconciled,
}

impl RolloutRecorder {
    /// A recorder of the rollouts of the workloads in `index`. `queue` has the UIDs of the workloads that have changed. Events
    /// about many records are published on `lease`.
    #[must_use]
    pub fn new(
        context: Context,
        settings: Arc<ActiveSettings>,
        index: Arc<Index>,
        records: Arc<Records>,
        queue: Arc<WorkQueue<Uid>>,
        callbacks: RecorderCallbacks,
        lease: Lease,
    ) -> Self {
        let RecorderCallbacks { on_written, on_reconciled } = callbacks;
        let expiry = Expiry {
            context: context.clone(),
            settings: Arc::clone(&settings),
            index: Arc::clone(&index),
            records: Arc::clone(&records),
            policy: RetentionPolicy::new(&settings.file.retention),
            lease,
            requested: Notify::new(),
            backoff: Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1),
        };
        let writer = RecordWriter {
            context,
            settings: Arc::clone(&settings),
            records: Arc::clone(&records),
            on_written,
            taken_names: TakenNames::default(),
        };
        Self { index, records, queue, settings, writer, on_reconciled, retries: Retries::default(), expiry }
    }

    /// Reconciles every workload once, and then each that changes, until `stop`.
    ///
    /// Only the leader calls this, once all watches have listed their objects. Dropping the future loses nothing.
    pub async fn run(&self, policy: &Policy, stop: &CancellationToken) {
        self.index.enqueue_all();
        self.enqueue_recorded();
        let reconcile = async |uids: Vec<Uid>| {
            for uid in uids {
                self.reconcile(uid, policy).await;
            }
        };
        let work = self.queue.run(1, MAX_CONCURRENT_RECONCILES, stop, reconcile);
        futures::future::join(work, stop.run_until_cancelled(self.search_expired())).await;
    }

    /// Follows the workloads and the records of the leader until `stop`, without writing.
    ///
    /// A standby thus knows how a rollout ended that the leader did not record before it stopped.
    pub async fn stand_by(&self, policy: &Policy, stop: &CancellationToken) {
        let follow = async |uids: Vec<Uid>| {
            for uid in uids {
                self.follow(uid, policy);
            }
        };
        self.queue.run(1, 1, stop, follow).await;
    }

    /// Drops what the leader has recorded of a workload, or can't record any more.
    fn follow(&self, uid: Uid, policy: &Policy) {
        let snapshot = self.index.snapshot(&uid);
        let recorded = self.keys(&uid, &snapshot).first().map(|key| self.records.revisions(key, &uid));
        let Decision { changes, is_behind, requeue_at } =
            decide_changes(&snapshot, &recorded.unwrap_or_default(), policy);
        let gone_at = gone_at(&snapshot);
        let is_gone = gone_at.is_some_and(|time| time <= now());
        if (changes.is_empty() && !is_behind) || is_gone {
            self.index.mark_recorded(&uid, &snapshot);
        }
        self.requeue_at(Arc::clone(&uid), requeue_at.filter(|_| !is_gone));
        self.requeue_at(uid, gone_at.filter(|_| !is_gone));
    }

    /// Deletes expired records from time to time. Also reconciles the workloads with records then: the record of a workload that
    /// doesn't exist may be in progress.
    async fn search_expired(&self) {
        let period = self.expiry.period();
        let mut regular = later(Instant::now(), period);
        loop {
            let has_failures = self.expiry.search().await;
            self.expiry.next_search(regular, has_failures).await;
            if Instant::now() >= regular {
                regular = later(Instant::now(), period);
                self.enqueue_recorded();
            }
        }
    }

    fn enqueue_recorded(&self) {
        for uid in self.records.workloads() {
            self.queue.add(uid);
        }
    }

    async fn reconcile(&self, uid: Uid, policy: &Policy) {
        let snapshot = self.index.snapshot(&uid);
        if gone_at(&snapshot).is_some_and(|time| time <= now()) {
            return self.drop_unrecorded(&uid, &snapshot, snapshot.past_observations.len());
        }
        if let Some(time) = unknown_until(&snapshot).filter(|time| *time > now()) {
            return self.requeue_at(uid, Some(time));
        }
        self.report_dropped(&uid, &snapshot);
        let keys = self.keys(&uid, &snapshot);
        if keys.is_empty() {
            self.retries.forget(&uid);
            self.writer.taken_names.forget(&uid);
        }
        for key in keys {
            let workload = WorkloadState { uid: Arc::clone(&uid), key, snapshot: snapshot.clone() };
            self.reconcile_workload(&workload, policy).await;
        }
    }

    async fn reconcile_workload(&self, workload: &WorkloadState, policy: &Policy) {
        let WorkloadState { uid, snapshot, key } = workload;
        let Decision { changes, requeue_at, is_behind } =
            decide_changes(snapshot, &self.records.revisions(key, uid), policy);
        if is_behind {
            return self.requeue_at(Arc::clone(uid), requeue_at);
        }
        match self.record(workload, policy, &changes).await {
            Ok(WriteResult::Written) => {
                self.retries.forget(uid);
                self.writer.taken_names.forget(uid);
                self.requeue_at(Arc::clone(uid), requeue_at);
            }
            Ok(WriteResult::NameTaken) => {
                self.retries.forget(uid);
                self.requeue_at(Arc::clone(uid), requeue_at);
                self.queue.add_after(Arc::clone(uid), RETRY_TAKEN_NAME);
            }
            Ok(WriteResult::Outdated) => {
                let (delay, _) = self.retries.next(uid, Cause::Outdated);
                self.writer.context.metrics.records.write_retried();
                self.queue.add_after(Arc::clone(uid), delay);
            }
            Err(error) if is_namespace_gone(&error) => {
                let starts = changes.iter().filter(|change| change.action == Action::Start).count();
                self.drop_unrecorded(uid, snapshot, starts);
            }
            Err(error) => self.retry(workload, &error).await,
        }
    }

    /// Drops what was observed of a workload: its namespace is gone, and nothing can be recorded in it any more. `rollouts` are
    /// not recorded therefore.
    fn drop_unrecorded(&self, uid: &Uid, snapshot: &Snapshot, rollouts: usize) {
        self.index.mark_recorded(uid, snapshot);
        self.retries.forget(uid);
        self.writer.taken_names.forget(uid);
        for _ in 0..rollouts {
            self.writer.context.metrics.records.dropped("NamespaceDeleted");
        }
        if let Some(Workload { namespace, kind, name, .. }) = snapshot.workload() {
            debug!(
                %namespace, %kind, workload = %name, rollouts,
                "the namespace is deleted or being deleted; rollouts of the workload are no longer recorded",
            );
        }
    }

    /// The key of a workload that is or was in the cluster, or else the keys under which it has records.
    fn keys(&self, uid: &Uid, snapshot: &Snapshot) -> Vec<WorkloadKey> {
        match snapshot.workload() {
            Some(workload) => vec![workload.key()],
            None => self.records.keys(uid),
        }
    }

    /// Reports the rollouts that the index has dropped. The next record counts those that left no trace.
    fn report_dropped(&self, uid: &Uid, snapshot: &Snapshot) {
        let (dropped, Some(workload)) = (self.index.take_dropped(uid), snapshot.workload()) else {
            return;
        };
        if dropped > 0 {
            warn!(
                namespace = %workload.namespace, kind = %workload.kind, workload = %workload.name, dropped,
                "too many rollouts wait to be recorded; the next record counts the oldest ones in unseenRevisions (see the \
                 earlier error about this workload)",
            );
        }
        for _ in 0..dropped {
            self.writer.context.metrics.records.dropped(TOO_MANY_REVISIONS);
        }
    }

    /// Writes `changes`, and then lets the automatic incidents look at the workload: a write that fails doesn't hold them back.
    async fn record(
        &self,
        workload: &WorkloadState,
        policy: &Policy,
        changes: &[Change<'_>],
    ) -> Result<WriteResult, kube::Error> {
        let result = self.write_all(workload, policy, changes).await;
        let WorkloadState { uid, key, snapshot } = workload;
        if matches!(result, Ok(WriteResult::Written)) {
            self.index.mark_recorded(uid, snapshot);
        }
        let available = snapshot.observation.as_ref().and_then(|observation| observation.workload.conditions.available);
        (self.on_reconciled)(uid, available, &self.records.revisions(key, uid));
        result
    }

    /// Writes `changes` in their order. A record whose name is taken doesn't block the others.
    async fn write_all(
        &self,
        workload: &WorkloadState,
        policy: &Policy,
        changes: &[Change<'_>],
    ) -> Result<WriteResult, kube::Error> {
        let mut result = WriteResult::Written;
        for change in changes {
            match self.writer.write(workload, policy, change).await? {
                WriteResult::Written => {}
                WriteResult::NameTaken => result = WriteResult::NameTaken,
                WriteResult::Outdated => return Ok(WriteResult::Outdated),
            }
        }
        Ok(result)
    }

    fn requeue_at(&self, uid: Uid, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.queue.add_after(uid, requeue_delay(time, Timestamp::now()));
        }
    }

    /// Reconciles the workload again after `error`. Reports the first error in a row, not those of the retries.
    async fn retry(&self, workload: &WorkloadState, error: &kube::Error) {
        let WorkloadState { uid, key: WorkloadKey { namespace, kind, name }, .. } = workload;
        let cause = Cause::of(error);
        let (delay, is_first) = self.retries.next(uid, cause);
        self.writer.context.metrics.records.write_retried();
        self.queue.add_after(Arc::clone(uid), delay);
        if is_first && cause == Cause::Refusal {
            self.writer.report_refusal(workload, error).await;
        } else if is_first {
            warn!(
                %namespace, %kind, workload = %name, error = error as &dyn std::error::Error,
                "failed to record a rollout; retrying (if this persists, check that the custom resource definitions \
                 and the ClusterRole are those of this version)",
            );
        }
    }

    /// A list of all records starts.
    pub fn record_list_started(&self) {
        self.records.list_started();
    }

    /// The list of all records is complete. A record that is not in the list was deleted.
    pub fn record_list_finished(&self) {
        self.records.list_finished();
    }

    /// Takes in a record as the API server has it.
    pub fn record_applied(&self, record: &SlimDoraDeployment) {
        let state = RecordState::of(record, &self.settings);
        let Some((key, uid)) = self.records.apply(record, state) else {
            return self.expiry.applied_changed(record.namespace());
        };
        self.expiry.record_changed(&key, &uid);
        // Another replica may have recorded what this one has only observed.
        if self.index.has_past_observations(&uid) {
            self.queue.add(uid);
        }
    }

    /// Takes in that a record was deleted.
    pub fn record_deleted(&self, record: &SlimDoraDeployment) {
        self.records.delete(record);
        if let Some(uid) = self.writer.taken_names.released(record.namespace(), record.name()) {
            self.queue.add(uid);
        }
    }
}

/// From when nothing can be recorded of a workload any more, because it was deleted with its namespace. `None` as long as its
/// namespace exists.
fn gone_at(snapshot: &Snapshot) -> Option<Timestamp> {
    match (snapshot.namespace, &snapshot.observation, snapshot.past_observations.last()) {
        (NamespaceState::Recreated(_), None, _) => Some(Timestamp::MIN),
        (NamespaceState::Missing, None, Some(last)) => last.until.checked_add(NAMESPACE_WAIT).ok(),
        _ => None,
    }
}

/// Until when it is unknown whether a workload that seems older than its namespace is gone: the watch may not have brought its deletion
/// yet. A workload that is still there afterwards belongs to the namespace, and the clocks of two API servers differ.
fn unknown_until(snapshot: &Snapshot) -> Option<Timestamp> {
    match (snapshot.namespace, &snapshot.observation) {
        (NamespaceState::Recreated(created), Some(_)) => created.checked_add(NAMESPACE_WAIT).ok(),
        _ => None,
    }
}

/// The changes of the records that `snapshot` asks for, given the `recorded` revisions.
fn decide_changes<'a>(snapshot: &'a Snapshot, recorded: &[RecordedRevision], policy: &Policy) -> Decision<'a> {
    let is_wanted = |workload: &Workload, replica_set: &Revision| {
        let (annotations, labels) = (&snapshot.namespace_annotations, &snapshot.namespace_labels);
        workload.selected && !is_ignored(&MetadataSources::new(workload, replica_set, annotations, labels))
    };
    let input = DecisionInput {
        current: snapshot.observation.as_ref(),
        past: &snapshot.past_observations,
        revisions: &snapshot.revisions,
    };
    decide(&input, recorded, policy, &is_wanted, now())
}

#[cfg(test)]
mod tests;
