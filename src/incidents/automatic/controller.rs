//! The controller of automatic incidents: it reconciles each workload that may need an incident opened or resolved.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use parking_lot::Mutex;
use rollout::{Uid, WorkloadKey};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::decide::{Decision, IncidentPolicy, NewIncident, OpenedBy, Write, decide};
use super::index::IncidentIndex;
use super::input::{CachedWorkload, ObservedWorkload, RequiredObjects, reported_loss};
use super::manifest::{
    CREATION_MANAGER, OPENED_BY, UPDATE_MANAGER, incident_manifest, record_status_patch, reopen_patch, resolve_patch,
};
use crate::records::Records;
use crate::resources::{DoraDeployment, DoraIncident};
use crate::runtime::{Backoff, Context, is_namespace_terminating, now, requeue_delay, warning_event};
use crate::settings::ActiveSettings;
use crate::workloads::{Index, WorkloadObject, unavailable_message};

/// How many workloads are reconciled at the same time.
const MAX_CONCURRENT_RECONCILES: usize = 4;

/// Upper bound of the delay before the first retry. It doubles with each further failure, up to [`MAX_RETRY_DELAY`].
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(200);

const MAX_RETRY_DELAY: Duration = Duration::from_mins(1);

/// Delay after a conflict with another writer.
const CONFLICT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// Opens and resolves automatic incidents.
pub struct AutoIncidentController {
    context: Context,
    index: Arc<Index>,
    records: Arc<Records>,
    incidents: Arc<IncidentIndex>,
    settings: Arc<ActiveSettings>,
    backoff: Backoff<Uid>,
    /// Start of the last loss of availability that has had an incident, for workloads without a record that could hold it.
    reported_losses: Mutex<HashMap<Uid, Timestamp>>,
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
        let backoff = Backoff::new(FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
        Self { context, index, records, incidents, settings, backoff, reported_losses: Mutex::default() }
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

    async fn reconcile_and_requeue(&self, uid: Uid, installed: Timestamp) {
        let queue = self.incidents.queue();
        match self.reconcile(&uid, installed).await {
            Ok(delay) => {
                self.backoff.forget(&uid);
                if let Some(delay) = delay {
                    queue.add_after(uid, delay);
                }
            }
            // Another writer changed an object after it was read.
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                queue.add_after(uid, CONFLICT_RETRY_DELAY);
            }
            Err(error) => {
                self.log_failure(&uid, &error);
                let delay = self.backoff.next_delay(&uid);
                queue.add_after(uid, delay);
            }
        }
    }

    /// Reads, decides and writes for the workload with this UID. Returns the delay before the next time, if any.
    async fn reconcile(&self, uid: &Uid, installed: Timestamp) -> Result<Option<Duration>, kube::Error> {
        let cached = self.cached(uid);
        if cached.is_empty() {
            self.reported_losses.lock().remove(uid);
        }
        let mut next: Option<Duration> = None;
        for cached in cached {
            let delay = self.reconcile_workload(cached, installed).await?;
            next = next.into_iter().chain(delay).min();
        }
        Ok(next)
    }

    async fn reconcile_workload(
        &self,
        cached: CachedWorkload,
        installed: Timestamp,
    ) -> Result<Option<Duration>, kube::Error> {
        let now = now();
        let required = cached.required_objects(self.incidents.names(&cached.workload), now);
        let observed = self.read(cached, required).await?;

        let remembered_loss = self.reported_losses.lock().get(&observed.cached.uid).copied();
        let input = observed.input(remembered_loss, &self.settings.file.defaults, now);
        let policy = IncidentPolicy { settings: &self.settings.file.incidents, installed };
        let Decision { writes, requeue_at } = decide(&input, &policy, now);

        for write in &writes {
            self.write(&observed, write).await?;
        }
        if !writes.is_empty() {
            return Ok(Some(Duration::ZERO));
        }
        Ok(requeue_at.map(|time| requeue_delay(time, now)))
    }

    /// The workload with this UID, from memory. None if it has neither a state, nor a record, nor an open incident.
    ///
    /// A workload that is gone may have several keys: records and incidents of other namespaces can name its UID. They must not hide
    /// those of its own namespace.
    fn cached(&self, uid: &Uid) -> Vec<CachedWorkload> {
        let snapshot = self.index.snapshot(uid);
        let keys: HashSet<WorkloadKey> = match snapshot.workload() {
            Some(workload) => HashSet::from([workload.key()]),
            None => {
                self.records.keys(uid).into_iter().chain(self.incidents.workloads_with_open_incident(uid)).collect()
            }
        };
        let cached = |workload| {
            let rollouts = self.records.revisions(&workload, uid);
            CachedWorkload { workload, uid: Arc::clone(uid), snapshot: snapshot.clone(), rollouts }
        };
        keys.into_iter().map(cached).collect()
    }

    async fn read(&self, cached: CachedWorkload, required: RequiredObjects) -> Result<ObservedWorkload, kube::Error> {
        let records = self.read_all(&cached.workload, required.records).await?;
        let incidents = self.read_all(&cached.workload, required.incidents).await?;
        Ok(ObservedWorkload { cached, records, incidents })
    }

    /// Reads the objects of these names in the namespace of `workload`, as far as they exist.
    async fn read_all<K>(
        &self,
        workload: &WorkloadKey,
        names: impl IntoIterator<Item = String>,
    ) -> Result<HashMap<String, K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = self.api::<K>(workload);
        let mut objects = HashMap::new();
        for name in names {
            if let Some(object) = api.get_opt(&name).await? {
                objects.insert(name, object);
            }
        }
        Ok(objects)
    }

    async fn write(&self, observed: &ObservedWorkload, write: &Write) -> Result<(), kube::Error> {
        let namespace = &observed.cached.workload.namespace;
        match write {
            Write::Open(incident) => self.open(observed, incident).await,
            Write::Resolve { name, at } => {
                info!(%namespace, incident = name, %at, "resolving the incident");
                self.apply(observed, name, |incident| resolve_patch(incident, *at)).await
            }
            Write::Reopen { name, since } => {
                info!(%namespace, incident = name, %since, "reopening the incident");
                self.apply(observed, name, |incident| reopen_patch(incident, *since)).await
            }
            Write::SetIncident { record, incident } => {
                let reported_loss = observed.records.get(record).and_then(reported_loss);
                self.apply_record_status(observed, record, Some(incident), reported_loss).await
            }
            Write::SetReportedLoss { since } => {
                let Some(record) = observed.current_record() else {
                    self.reported_losses.lock().insert(Arc::clone(&observed.cached.uid), *since);
                    return Ok(());
                };
                let name = record.metadata.name.as_deref().unwrap_or_default();
                let incident = record.status.as_ref().and_then(|status| status.incident.as_deref());
                self.apply_record_status(observed, name, incident, Some(*since)).await
            }
        }
    }

    async fn open(&self, observed: &ObservedWorkload, incident: &NewIncident) -> Result<(), kube::Error> {
        let CachedWorkload { workload, uid, .. } = &observed.cached;
        let record = match incident.opened_by {
            OpenedBy::FailedRollout | OpenedBy::RolledBackRollout => observed.records.get(&incident.name),
            OpenedBy::LostAvailability => observed.current_record(),
        };
        let description = match incident.opened_by {
            OpenedBy::FailedRollout => record.and_then(|record| record.spec.failure.clone()),
            OpenedBy::RolledBackRollout => {
                incident.rolled_back_by.map(|revision| format!("Rolled back by revision {revision}."))
            }
            OpenedBy::LostAvailability => unavailable_message(&self.context.client, workload).await?,
        };
        let group = record.and_then(|record| record.spec.group.clone()).or_else(|| observed.group());
        let manifest = incident_manifest(incident, workload, uid, description, group);
        let parameters = PostParams { field_manager: Some(CREATION_MANAGER.to_owned()), ..PostParams::default() };
        match self.api::<DoraIncident>(workload).create(&parameters, &manifest).await {
            Ok(created) => {
                self.report_opened(&observed.cached, incident.opened_by, &created).await;
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reports a new incident in the log, as a metric, and as an Event on the workload.
    async fn report_opened(&self, cached: &CachedWorkload, opened_by: OpenedBy, incident: &DoraIncident) {
        let CachedWorkload { workload: WorkloadKey { namespace, kind, name: workload }, uid, .. } = cached;
        let name = incident.metadata.name.as_deref().unwrap_or_default();
        let cause = opened_by.as_str();
        self.context.metrics.incidents.opened(cause);
        info!(%namespace, %kind, %workload, incident = name, cause, "opened an incident");
        let object = WorkloadObject::new(*kind, namespace, workload, uid);
        let title = incident.spec.title.as_deref().unwrap_or(name);
        let note = format!("{title}: opened the DoraIncident {name} ({OPENED_BY}: {cause})");
        let event = warning_event("IncidentOpened", "Open", note);
        self.context.events.publish(&object, &event).await;
    }

    async fn apply(
        &self,
        observed: &ObservedWorkload,
        name: &str,
        patch: impl Fn(&DoraIncident) -> Value,
    ) -> Result<(), kube::Error> {
        let Some(incident) = observed.incidents.get(name) else {
            return Ok(());
        };
        let parameters = PatchParams::apply(UPDATE_MANAGER).force();
        let patch = Patch::Apply(patch(incident));
        self.api::<DoraIncident>(&observed.cached.workload).patch(name, &parameters, &patch).await.map(|_| ())
    }

    async fn apply_record_status(
        &self,
        observed: &ObservedWorkload,
        record: &str,
        incident: Option<&str>,
        reported_loss: Option<Timestamp>,
    ) -> Result<(), kube::Error> {
        let parameters = PatchParams::apply(UPDATE_MANAGER).force();
        let patch = Patch::Apply(record_status_patch(record, incident, reported_loss));
        let api = self.api::<DoraDeployment>(&observed.cached.workload);
        match api.patch_status(record, &parameters, &patch).await {
            Ok(_) => Ok(()),
            // A record that was deleted in the meantime opens no further incident.
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn log_failure(&self, uid: &Uid, error: &kube::Error) {
        if is_namespace_terminating(error) {
            debug!(%uid, "the namespace is being deleted, so no incident can be created in it");
        } else if !self.backoff.is_failing(uid) {
            warn!(
                %uid,
                error = error as &dyn std::error::Error,
                "failed to read or write the incidents of a workload; retrying (if this persists, check that the custom resource \
                 definitions and the ClusterRole are those of this version)",
            );
        }
    }

    fn api<K>(&self, workload: &WorkloadKey) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &workload.namespace)
    }
}
