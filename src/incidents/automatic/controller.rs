//! The controller of automatic incidents: it reconciles each workload that may need an incident opened or resolved.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use rollout::{Uid, Workload, WorkloadKey};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::decide::{Decision, IncidentPolicy, Write, decide};
use super::index::IncidentIndex;
use super::input::{CachedWorkload, ReadObjects, RequiredObjects};
use super::writer::{IncidentWriter, WriteError};
use crate::records::Records;
use crate::resources::ResourceKey;
use crate::runtime::{Backoff, Context, is_namespace_gone, later, now, requeue_delay, warning_event};
use crate::settings::ActiveSettings;
use crate::workloads::{Index, WorkloadObject};

/// How many workloads are reconciled at the same time.
const MAX_CONCURRENT_RECONCILES: usize = 4;

/// Upper bounds of the first and of the longest delay before a retry after an error.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));

/// Upper bounds of the first and of the longest delay before the next decision after a write. One write or two are usual, so a longer
/// series means that something undoes them.
const ROUND_DELAYS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_mins(1));

/// Delay after the API server refused a write, or after the name of an incident was in use. A retry only succeeds after somebody has
/// changed the cluster.
const REFUSED_RETRY_DELAY: Duration = Duration::from_mins(5);

/// Opens and resolves automatic incidents.
pub struct AutoIncidentController {
    context: Context,
    index: Arc<Index>,
    records: Arc<Records>,
    incidents: Arc<IncidentIndex>,
    settings: Arc<ActiveSettings>,
    writer: IncidentWriter,
    backoff: Backoff<Uid>,
    rounds: Backoff<Uid>,
    /// The workloads with a refused write or with a name that is in use, and when it is tried again.
    refused: Mutex<HashMap<Uid, Instant>>,
}

/// Why a reconciliation isn't finished.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    /// The API server refuses a write: an admission policy, a validation rule, or missing rights.
    #[error("the API server refuses to write the incidents of {}: {source}", .workload.name)]
    Refused { workload: WorkloadKey, source: kube::Error },
    /// Another `DoraIncident` has the name of the incident.
    #[error("another DoraIncident has the name {name}")]
    NameTaken { workload: WorkloadKey, name: String },
    /// The API server can't be reached, or another writer changed an object after it was read.
    #[error(transparent)]
    Temporary(#[from] kube::Error),
}

impl AutoIncidentController {
    /// A controller for the workloads in `index`, which are recorded in `records`. The queue of `incidents` says which workloads to
    /// reconcile.
    #[must_use]
    pub fn new(
        context: Context,
        index: Arc<Index>,
        records: Arc<Records>,
        incidents: Arc<IncidentIndex>,
        settings: Arc<ActiveSettings>,
    ) -> Self {
        let writer = IncidentWriter {
            context: context.clone(),
            records: Arc::clone(&records),
            incidents: Arc::clone(&incidents),
            reported_losses: Mutex::default(),
        };
        Self {
            context,
            index,
            records,
            incidents,
            settings,
            writer,
            backoff: Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1),
            rounds: Backoff::new(ROUND_DELAYS.0, ROUND_DELAYS.1),
            refused: Mutex::default(),
        }
    }

    /// Reconciles each workload with an open incident, and then each workload in the queue, until `stop`. `installed` is the time at
    /// which the controller was installed.
    ///
    /// Only the leader may call this, after the first list of all watches. If the future is dropped, the next call continues.
    pub async fn run(&self, installed: Timestamp, stop: &CancellationToken) {
        self.incidents.enqueue_open();
        let reconcile = async |uids: Vec<Uid>| {
            for uid in uids {
                self.reconcile_and_requeue(uid, installed).await;
            }
        };
        self.incidents.queue().run(1, MAX_CONCURRENT_RECONCILES, stop, reconcile).await;
    }

    /// Drops what is in the queue until `stop`, so that it doesn't grow on a standby. [`AutoIncidentController::run`] needs nothing of it:
    /// the recorder of a new leader reconciles every workload, and enqueues those that may need an incident.
    pub async fn stand_by(&self, stop: &CancellationToken) {
        self.incidents.discard_queue(stop).await;
    }

    async fn reconcile_and_requeue(&self, uid: Uid, installed: Timestamp) {
        let queue = self.incidents.queue();
        if let Some(delay) = self.remaining_delay(&uid) {
            return queue.add_after(uid, delay);
        }
        match self.reconcile(&uid, installed).await {
            Ok(delay) => {
                self.backoff.forget(&uid);
                self.refused.lock().remove(&uid);
                if let Some(delay) = delay {
                    queue.add_after(uid, delay);
                }
            }
            Err(ReconcileError::Refused { workload, source }) => {
                self.report_refused(&workload, &uid, &source).await;
                queue.add_after(uid, REFUSED_RETRY_DELAY);
            }
            Err(ReconcileError::NameTaken { workload, name }) => {
                self.report_name_taken(&workload, &uid, &name).await;
                queue.add_after(uid, REFUSED_RETRY_DELAY);
            }
            Err(ReconcileError::Temporary(error)) => {
                self.report_failed(&uid, &error);
                let delay = self.backoff.next_delay(&uid);
                queue.add_after(uid, delay);
            }
        }
    }

    /// How long a workload with a refused write still waits. Its changes don't shorten that.
    fn remaining_delay(&self, uid: &Uid) -> Option<Duration> {
        let until = *self.refused.lock().get(uid)?;
        Some(until.saturating_duration_since(Instant::now())).filter(|delay| !delay.is_zero())
    }

    /// Decides and writes for one UID. Returns the delay before the next time, if any.
    async fn reconcile(&self, uid: &Uid, installed: Timestamp) -> Result<Option<Duration>, ReconcileError> {
        let snapshot = self.index.snapshot(uid);
        let mut workloads: Vec<WorkloadKey> = snapshot.workload().map(Workload::key).into_iter().collect();
        if workloads.is_empty() {
            workloads = self.records.keys(uid);
            for workload in self.incidents.workloads_with_open_incident(uid) {
                if workloads.iter().all(|other| other.namespace != workload.namespace) {
                    workloads.push(workload);
                }
            }
        }
        if snapshot.observation.is_none() {
            self.writer.forget(uid);
        }
        if workloads.is_empty() {
            self.rounds.forget(uid);
        }
        let (mut next, mut failed) = (None, None);
        for workload in workloads {
            let cached = CachedWorkload {
                records: self.records.with_incidents(&workload, uid),
                incidents: self.incidents.of(&workload, uid),
                workload,
                uid: Arc::clone(uid),
                snapshot: snapshot.clone(),
                reported_loss: self.writer.reported_loss(uid),
            };
            match self.reconcile_workload(&cached, installed).await {
                Ok(delay) => next = [next, delay].into_iter().flatten().min(),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(next), Err)
    }

    /// Decides from memory. Only if that leads to a write, reads the objects that are written, decides again, and writes.
    async fn reconcile_workload(
        &self,
        cached: &CachedWorkload,
        installed: Timestamp,
    ) -> Result<Option<Duration>, ReconcileError> {
        let now = now();
        let policy = IncidentPolicy { settings: &self.settings.file.incidents, installed };
        let decide = |read: &ReadObjects| decide(&cached.input(read, &self.settings.file, now), &policy, now);
        let Decision { writes, requeue_at } = decide(&ReadObjects::default());
        let mut required = RequiredObjects::of(&writes, cached);
        // A loss of availability must not be ignored because of an end that is only assumed.
        let mut unsure = self.incidents.with_assumed_end(&cached.workload, &cached.uid);
        if !writes.is_empty() || unsure.is_empty() || decide(&ReadObjects::without_incidents(&unsure)).writes.is_empty()
        {
            unsure.clear();
        }
        required.incidents.extend(unsure.iter().cloned());
        if writes.is_empty() && unsure.is_empty() {
            self.rounds.forget(&cached.uid);
            return Ok(requeue_at.map(|time| requeue_delay(time, now)));
        }
        let read = self.writer.read(&cached.workload, required.clone()).await?;
        self.note_ends(cached, &read, &unsure, now);
        self.note_taken_over(cached, &read, now);
        let Decision { writes, requeue_at } = decide(&read);
        if writes.is_empty() {
            self.rounds.forget(&cached.uid);
            return Ok(requeue_at.map(|time| requeue_delay(time, now)));
        }
        // What was read can lead to another write than memory did. That one has to wait for the next round.
        let is_possible = |write: &Write| required.include(write, cached);
        match self.write(cached, &read, &writes, is_possible).await? {
            Written::Done => Ok(Some(self.rounds.next_delay(&cached.uid))),
            Written::Dropped => {
                self.rounds.forget(&cached.uid);
                Ok(None)
            }
        }
    }

    /// Writes what `is_possible`. Another write, or a refused one, delays only what depends on it.
    async fn write(
        &self,
        cached: &CachedWorkload,
        read: &ReadObjects,
        writes: &[Write],
        is_possible: impl Fn(&Write) -> bool,
    ) -> Result<Written, ReconcileError> {
        let mut failed: Option<ReconcileError> = None;
        let workload = || cached.workload.clone();
        let mut missing: Vec<&str> = Vec::new();
        for write in writes {
            let has_to_wait = match write {
                Write::SetIncident { incident, .. } => missing.contains(&incident.as_str()),
                Write::SetReportedLoss { .. } => !missing.is_empty(),
                Write::Open(_) | Write::Resolve { .. } | Write::Reopen { .. } => false,
            };
            if has_to_wait || !is_possible(write) {
                missing.extend(write.opened());
                continue;
            }
            match self.writer.write(cached, read, write).await {
                Ok(()) => {}
                Err(WriteError::NameTaken(name)) => {
                    missing.extend(write.opened());
                    failed.get_or_insert(ReconcileError::NameTaken { workload: workload(), name });
                }
                Err(WriteError::Api(error)) if is_namespace_gone(&error) => {
                    self.context.metrics.incidents.write_dropped("NamespaceGone");
                    let WorkloadKey { namespace, kind, name } = &cached.workload;
                    debug!(%namespace, %kind, workload = %name, "the namespace is gone, so no incident can be created in it");
                    return Ok(Written::Dropped);
                }
                Err(WriteError::Api(source)) if is_refused(&source) => {
                    missing.extend(write.opened());
                    failed.get_or_insert(ReconcileError::Refused { workload: workload(), source });
                }
                Err(WriteError::Api(error)) => return Err(error.into()),
            }
        }
        failed.map_or(Ok(Written::Done), Err)
    }

    /// Notes when the incidents of these `names` ended, or that they don't exist any more, so that they are read only once.
    fn note_ends(&self, cached: &CachedWorkload, read: &ReadObjects, names: &[String], now: Timestamp) {
        for name in names {
            match read.incidents.get(name) {
                Some(Some(incident)) => self.incidents.written(incident, now),
                Some(None) => {
                    let namespace = Arc::clone(&cached.workload.namespace);
                    self.incidents.deleted(&ResourceKey { namespace, name: name.as_str().into() });
                }
                None => {}
            }
        }
    }

    /// Notes which of the incidents that were read the controller must not change, so that they aren't read at each change of the
    /// workload.
    fn note_taken_over(&self, cached: &CachedWorkload, read: &ReadObjects, now: Timestamp) {
        let input = cached.input(read, &self.settings.file, now);
        for incident in input.incidents.iter().filter(|incident| incident.is_taken_over) {
            let namespace = Arc::clone(&cached.workload.namespace);
            self.incidents.set_taken_over(&ResourceKey { namespace, name: incident.name.as_str().into() });
        }
    }

    /// Reports a refused write: in a metric each time, in the log and as an Event on the workload once.
    async fn report_refused(&self, workload: &WorkloadKey, uid: &Uid, error: &kube::Error) {
        self.context.metrics.incidents.write_retried(true);
        if !self.delay(uid) {
            return;
        }
        let WorkloadKey { namespace, kind, name } = workload;
        warn!(
            %namespace, %kind, workload = %name, retry_delay = ?REFUSED_RETRY_DELAY,
            error = error as &dyn std::error::Error,
            "the API server refuses to write the incidents of a workload; retrying (check admission policies, the custom resource \
             definitions and the ClusterRole)",
        );
        let note = format!(
            "The API server refuses to write a DoraIncident of this {kind}: {error}. The controller tries again every 5 minutes. Check \
             admission policies and the ClusterRole of the controller"
        );
        let object = WorkloadObject::new(*kind, namespace, name, uid);
        self.context.events.publish(&object, &warning_event("IncidentRefused", "Write", note)).await;
    }

    /// Reports that another resource has the name of an incident: once, in a metric, in the log and as an Event on the workload.
    async fn report_name_taken(&self, workload: &WorkloadKey, uid: &Uid, incident: &str) {
        if !self.delay(uid) {
            return;
        }
        self.context.metrics.incidents.write_dropped("NameTaken");
        let WorkloadKey { namespace, kind, name } = workload;
        warn!(
            %namespace, %kind, workload = %name, incident, retry_delay = ?REFUSED_RETRY_DELAY,
            "another DoraIncident has the name of an automatic incident; retrying (delete that DoraIncident)",
        );
        let note = format!(
            "The controller can't open an incident for this {kind}, because the DoraIncident {incident} isn't about it. Delete that \
             DoraIncident. The controller tries again every 5 minutes"
        );
        let object = WorkloadObject::new(*kind, namespace, name, uid);
        self.context.events.publish(&object, &warning_event("IncidentNameTaken", "Open", note)).await;
    }

    /// Delays the next attempt for a workload. Returns whether the last one succeeded.
    fn delay(&self, uid: &Uid) -> bool {
        let until = later(Instant::now(), REFUSED_RETRY_DELAY);
        self.refused.lock().insert(Arc::clone(uid), until).is_none()
    }

    fn report_failed(&self, uid: &Uid, error: &kube::Error) {
        self.context.metrics.incidents.write_retried(false);
        // Another writer changed an object after it was read.
        let is_conflict = matches!(error, kube::Error::Api(status) if status.is_conflict());
        if is_conflict {
            debug!(%uid, "an incident has changed; deciding again");
        } else if !self.backoff.is_failing(uid) {
            warn!(
                %uid,
                error = error as &dyn std::error::Error,
                "failed to read or write the incidents of a workload; retrying (if this persists, check that the custom resource \
                 definitions and the ClusterRole are those of this version)",
            );
        }
    }
}

/// The result of writing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Written {
    /// Everything is written.
    Done,
    /// The namespace is gone, so nothing more can be written.
    Dropped,
}

/// Whether the API server refuses a request in a way that a retry doesn't change.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422))
}

#[cfg(test)]
mod tests;
