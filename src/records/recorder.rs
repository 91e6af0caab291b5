//! The controller that records rollouts: reconciles each workload that has changed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rollout::{
    Availability, Change, Decision, DecisionInput, MetadataSources, Policy, RecordedRevision, Revision, Uid, Workload,
    WorkloadKey, decide, is_ignored,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::retention::RetentionPolicy;
use super::store::{RecordState, Records};
use super::writer::{OnWritten, RecordWriter, WorkloadState, WriteResult};
use crate::resources::SlimDoraDeployment;
use crate::runtime::{Backoff, Context, WorkQueue, is_namespace_terminating, now, requeue_delay};
use crate::settings::ActiveSettings;
use crate::workloads::{Index, Snapshot};

/// Workloads that are reconciled at the same time.
const MAX_CONCURRENT_RECONCILES: usize = 16;

/// Bounds of the first and the longest delay before a workload is reconciled again after an error.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));

/// Reason in the metric of dropped rollouts: more of them than the index keeps were not recorded yet.
const TOO_MANY_REVISIONS: &str = "TooManyRevisions";

/// Longest time between two searches for expired records.
const MAX_EXPIRY_PERIOD: Duration = Duration::from_hours(1);

/// Records rollouts as `DoraDeployment` resources.
pub struct RolloutRecorder {
    index: Arc<Index>,
    records: Arc<Records>,
    queue: Arc<WorkQueue<Uid>>,
    settings: Arc<ActiveSettings>,
    writer: RecordWriter,
    on_reconciled: OnReconciled,
    backoff: Backoff<Uid>,
    retention: RetentionPolicy,
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
    /// A recorder of the rollouts of the workloads in `index`. `queue` has the UIDs of the workloads that have changed.
    #[must_use]
    pub fn new(
        context: Context,
        settings: Arc<ActiveSettings>,
        index: Arc<Index>,
        records: Arc<Records>,
        queue: Arc<WorkQueue<Uid>>,
        callbacks: RecorderCallbacks,
    ) -> Self {
        let RecorderCallbacks { on_written, on_reconciled } = callbacks;
        let (backoff, retention) = (Backoff::new(BACKOFF.0, BACKOFF.1), RetentionPolicy::new(&settings.file.retention));
        let writer =
            RecordWriter { context, settings: Arc::clone(&settings), records: Arc::clone(&records), on_written };
        Self { index, records, queue, settings, writer, on_reconciled, backoff, retention }
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
                let snapshot = self.index.snapshot(&uid);
                let recorded = self.keys(&uid, &snapshot).first().map(|key| self.records.revisions(key, &uid));
                let Decision { changes, is_behind, requeue_at } =
                    decide_changes(&snapshot, &recorded.unwrap_or_default(), policy);
                if changes.is_empty() && !is_behind {
                    self.index.mark_recorded(&uid, &snapshot);
                }
                self.requeue_at(uid, requeue_at);
            }
        };
        self.queue.run(1, 1, stop, follow).await;
    }

    /// Reconciles the workloads with records from time to time, since only the passing of time makes a record expire.
    async fn search_expired(&self) {
        let tenth = Duration::try_from(self.retention.max_age / 10).unwrap_or(MAX_EXPIRY_PERIOD);
        let period = tenth.clamp(Duration::from_secs(1), MAX_EXPIRY_PERIOD);
        loop {
            tokio::time::sleep(period).await;
            self.enqueue_recorded();
        }
    }

    fn enqueue_recorded(&self) {
        for uid in self.records.workloads() {
            self.queue.add(uid);
        }
    }

    async fn reconcile(&self, uid: Uid, policy: &Policy) {
        let snapshot = self.index.snapshot(&uid);
        self.report_dropped(&uid, &snapshot);
        for key in self.keys(&uid, &snapshot) {
            let workload = WorkloadState { uid: Arc::clone(&uid), key, snapshot: snapshot.clone() };
            self.reconcile_workload(&workload, policy).await;
        }
    }

    async fn reconcile_workload(&self, workload: &WorkloadState, policy: &Policy) {
        let Decision { changes, requeue_at, is_behind } =
            decide_changes(&workload.snapshot, &self.records.revisions(&workload.key, &workload.uid), policy);
        if is_behind {
            return self.requeue_at(Arc::clone(&workload.uid), requeue_at);
        }
        match self.record(workload, policy, &changes).await {
            Ok(WriteResult::Written) => {
                self.backoff.forget(&workload.uid);
                self.requeue_at(Arc::clone(&workload.uid), requeue_at);
            }
            Ok(WriteResult::Outdated) => self.queue.add(Arc::clone(&workload.uid)),
            Err(error) => self.requeue_after_error(workload, &error),
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

    /// Writes `changes` in their order, and deletes the expired records.
    async fn record(
        &self,
        workload: &WorkloadState,
        policy: &Policy,
        changes: &[Change<'_>],
    ) -> Result<WriteResult, kube::Error> {
        for change in changes {
            if self.writer.write(workload, policy, change).await? == WriteResult::Outdated {
                return Ok(WriteResult::Outdated);
            }
        }
        let WorkloadState { uid, key, snapshot } = workload;
        self.index.mark_recorded(uid, snapshot);
        let available = snapshot.observation.as_ref().and_then(|observation| observation.workload.conditions.available);
        (self.on_reconciled)(uid, available, &self.records.revisions(key, uid));
        for expired in self.records.expired((key, uid), snapshot.observation.is_some(), &self.retention, now()) {
            self.writer.delete_expired(workload, &expired).await?;
        }
        Ok(WriteResult::Written)
    }

    fn requeue_at(&self, uid: Uid, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.queue.add_after(uid, requeue_delay(time, Timestamp::now()));
        }
    }

    fn requeue_after_error(&self, workload: &WorkloadState, error: &kube::Error) {
        self.log_error(workload, error);
        self.queue.add_after(Arc::clone(&workload.uid), self.backoff.next_delay(&workload.uid));
    }

    /// Logs the first error of a workload, not those of its retries.
    fn log_error(&self, WorkloadState { uid, key, .. }: &WorkloadState, error: &kube::Error) {
        let WorkloadKey { namespace, kind, name } = key;
        if is_namespace_terminating(error) {
            debug!(
                %namespace, %kind, workload = %name,
                "the namespace is being deleted; its rollouts are no longer recorded",
            );
        } else if !self.backoff.is_failing(uid) {
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
            return;
        };
        // Another replica may have recorded what this one has only observed.
        let has_unrecorded = self.index.has_past_observations(&uid);
        let may_expire = state.is_settled && self.records.count(&key, &uid) > self.retention.max_records;
        if has_unrecorded || may_expire {
            self.queue.add(uid);
        }
    }

    /// Takes in that a record was deleted.
    pub fn record_deleted(&self, record: &SlimDoraDeployment) {
        self.records.delete(record);
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
