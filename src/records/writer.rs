//! Requests to the API server that create, change and delete records.

use std::sync::Arc;

use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rollout::{Action, Change, Policy, RecordedRevision, Uid, WorkloadKey};
use tracing::{debug, info, warn};

use super::failure::failure_reason;
use super::manifest::{RecordPatch, finish_manifest, pause_manifest, rollback_manifest, start_manifest};
use super::names::record_name;
use super::store::{RecordState, Records, is_record_of};
use super::taken_names::TakenNames;
use crate::resources::{DoraDeployment, FIELD_MANAGER, Guarded, ResourceKey, SlimDoraDeployment};
use crate::runtime::{Context, warning_event};
use crate::settings::ActiveSettings;
use crate::workloads::{Snapshot, WorkloadObject};

/// Reason of the Event about an annotation or label that can't be used.
const INVALID_METADATA: &str = "InvalidMetadata";

/// Reason of the Event about a record that can't have its name.
const RECORD_NAME_TAKEN: &str = "RecordNameTaken";

/// Reason of the Event about a record that the API server refuses.
const RECORD_REFUSED: &str = "RecordRefused";

/// Called with each record that was written, as the API server stored it.
pub type OnWritten = Box<dyn Fn(DoraDeployment) + Send + Sync>;

/// Writes records to the API server, and keeps [`Records`] in step.
pub(super) struct RecordWriter {
    pub context: Context,
    pub settings: Arc<ActiveSettings>,
    pub records: Arc<Records>,
    pub on_written: OnWritten,
    pub taken_names: TakenNames,
}

/// The workload whose records are written, and the state that the decision was made from.
pub(super) struct WorkloadState {
    pub uid: Uid,
    pub key: WorkloadKey,
    pub snapshot: Snapshot,
}

impl WorkloadState {
    fn record_name(&self, record: &RecordedRevision) -> String {
        record_name(self.key.kind, &self.key.name, &self.uid, record)
    }

    fn record_key(&self, record: &RecordedRevision) -> ResourceKey {
        let name = self.record_name(record).into();
        ResourceKey { namespace: Arc::clone(&self.key.namespace), name }
    }

    fn object(&self) -> WorkloadObject {
        let Self { uid, key: WorkloadKey { namespace, kind, name }, .. } = self;
        WorkloadObject::new(*kind, namespace, name, uid)
    }
}

/// How a write ended that the API server answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(super) enum WriteResult {
    Written,
    /// Somebody else has created or deleted the record, so the decision was made from an old state.
    Outdated,
    /// Other objects have the names of the record.
    NameTaken,
}

impl RecordWriter {
    /// Writes `change` of the records of `workload`.
    pub async fn write(
        &self,
        workload: &WorkloadState,
        policy: &Policy,
        change: &Change<'_>,
    ) -> Result<WriteResult, kube::Error> {
        let (snapshot, defaults) = (&workload.snapshot, &self.settings.file.defaults);
        if change.action == Action::Start && self.taken_names.is_waiting(&workload.record_key(&change.record)) {
            return Ok(WriteResult::NameTaken);
        }
        let failure = failure_reason(&self.context.client, snapshot, policy, change).await;
        let patch = match change.action {
            Action::Start => return self.start(workload, change, failure).await,
            Action::Finish => finish_manifest(snapshot, defaults, change, failure),
            Action::Pause => pause_manifest(&change.record),
            Action::RollBack => rollback_manifest(change),
        };
        self.patch(workload, change, &patch).await
    }

    /// Creates the record of a rollout. If another object has its name, the record gets the longer one of repeated numbers.
    async fn start(
        &self,
        workload: &WorkloadState,
        change: &Change<'_>,
        failure: Option<String>,
    ) -> Result<WriteResult, kube::Error> {
        let Some(record) = self.manifest(workload, change, failure.clone()) else {
            return Ok(WriteResult::Written);
        };
        let result = self.create(workload, change, &record).await?;
        if result != WriteResult::NameTaken {
            return Ok(result);
        }
        let key = workload.record_key(&change.record);
        let renamed = Change { record: RecordedRevision { repeated: true, ..change.record.clone() }, ..change.clone() };
        let other_name = workload.record_name(&renamed.record);
        let result = match self.manifest(workload, &renamed, failure) {
            Some(record) if !change.record.repeated => self.create(workload, &renamed, &record).await?,
            _ => WriteResult::NameTaken,
        };
        let (revision, name) = (change.record.revision, Arc::clone(&key.name));
        let note = match result {
            WriteResult::Written => format!(
                "the record of revision {revision} has the name {other_name}, because another object has the name {name}: delete that \
                 DoraDeployment if nobody needs it"
            ),
            WriteResult::Outdated => return Ok(result),
            WriteResult::NameTaken => {
                if !self.taken_names.add(key, other_name.clone(), Arc::clone(&workload.uid)) {
                    return Ok(result);
                }
                self.context.metrics.records.dropped("NameTaken");
                format!(
                    "revision {revision} is not recorded, because another object has the name of its record: delete or rename the \
                     DoraDeployments {name} and {other_name}. The controller tries again when they are deleted, or after 30 minutes"
                )
            }
        };
        self.warn(workload, RECORD_NAME_TAKEN, note).await;
        Ok(result)
    }

    fn manifest(
        &self,
        workload: &WorkloadState,
        change: &Change<'_>,
        failure: Option<String>,
    ) -> Option<DoraDeployment> {
        let ActiveSettings { cluster, file, .. } = &*self.settings;
        start_manifest(cluster, &workload.snapshot, &file.defaults, change, failure)
    }

    async fn create(
        &self,
        workload: &WorkloadState,
        change: &Change<'_>,
        record: &DoraDeployment,
    ) -> Result<WriteResult, kube::Error> {
        let api = self.api(&workload.key);
        let guarded = Guarded(Ok(record.clone()));
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&parameters, &guarded).await {
            Ok(written) => {
                self.store(workload, change, written);
                self.publish_warnings(workload, &record.spec.warnings).await;
                Ok(WriteResult::Written)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.read_existing(workload, change).await,
            Err(error) => Err(error),
        }
    }

    /// Takes in the object that has the name of the record already.
    async fn read_existing(&self, workload: &WorkloadState, change: &Change<'_>) -> Result<WriteResult, kube::Error> {
        let WorkloadState { uid, key, .. } = workload;
        let api: Api<Guarded<SlimDoraDeployment>> = Api::namespaced(self.context.client.clone(), &key.namespace);
        match api.get_opt(&workload.record_name(&change.record)).await? {
            None => Ok(WriteResult::Outdated),
            Some(Guarded(Ok(existing))) if is_record_of(&existing, (key, uid), &change.record) => {
                self.records.apply(&existing, RecordState::of(&existing, &self.settings));
                Ok(WriteResult::Outdated)
            }
            Some(_) => Ok(WriteResult::NameTaken),
        }
    }

    async fn patch(
        &self,
        workload: &WorkloadState,
        change: &Change<'_>,
        patch: &RecordPatch,
    ) -> Result<WriteResult, kube::Error> {
        let api = self.api(&workload.key);
        let name = workload.record_name(&change.record);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch(&name, &parameters, &Patch::Merge(patch)).await {
            Ok(written) => {
                self.store(workload, change, written);
                Ok(WriteResult::Written)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                let namespace = &workload.key.namespace;
                debug!(%namespace, record = name, "the record no longer exists; reconciling again");
                self.records.remove(&workload.key, &workload.uid, &change.record);
                Ok(WriteResult::Outdated)
            }
            Err(error) => Err(error),
        }
    }

    /// The publisher reports a record that can't be decoded, such as one to which somebody added such properties.
    fn store(&self, workload: &WorkloadState, change: &Change<'_>, written: Guarded<DoraDeployment>) {
        let WorkloadState { uid, key, .. } = workload;
        let RecordedRevision { revision, outcome, .. } = change.record;
        self.records.set(uid, key, change.record.clone(), RecordState::written(&written, &self.settings));
        if change.action != Action::Pause {
            self.context.metrics.records.rollout_recorded(outcome);
        }
        info!(
            namespace = %key.namespace, kind = %key.kind, workload = %key.name, revision, outcome = outcome.as_str(),
            "recorded a rollout",
        );
        if let Guarded(Ok(written)) = written {
            (self.on_written)(written);
        }
    }

    /// Publishes an Event on the workload for each annotation or label that can't be used, where its author looks.
    async fn publish_warnings(&self, workload: &WorkloadState, warnings: &[String]) {
        for warning in warnings {
            self.warn(workload, INVALID_METADATA, warning.clone()).await;
        }
    }

    /// Reports that the API server refuses a record of the workload.
    pub async fn report_refusal(&self, workload: &WorkloadState, error: &kube::Error) {
        let note = format!(
            "the API server refuses the record of a rollout; the controller tries again, at least every 5 minutes. Check admission policies \
             and webhooks for DoraDeployments, and the ClusterRole of the controller: {error}"
        );
        self.warn(workload, RECORD_REFUSED, note).await;
    }

    /// Reports a problem in the log and in an Event on the workload.
    async fn warn(&self, workload: &WorkloadState, reason: &str, note: String) {
        let WorkloadKey { namespace, kind, name } = &workload.key;
        warn!(%namespace, %kind, workload = %name, reason, "{note}");
        self.context.events.publish(&workload.object(), &warning_event(reason, "Record", note)).await;
    }

    fn api(&self, workload: &WorkloadKey) -> Api<Guarded<DoraDeployment>> {
        Api::namespaced(self.context.client.clone(), &workload.namespace)
    }
}
