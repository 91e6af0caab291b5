//! Requests to the API server that create, change and delete records.

use std::sync::Arc;

use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rollout::{Action, Change, Policy, RecordedRevision, Uid, WorkloadKey};
use tracing::{debug, info, warn};

use super::failure::failure_reason;
use super::manifest::{RecordPatch, finish_manifest, pause_manifest, rollback_manifest, start_manifest};
use super::names::record_name;
use super::store::{RecordState, Records};
use crate::resources::{DoraDeployment, FIELD_MANAGER, SlimDoraDeployment};
use crate::runtime::{Context, warning_event};
use crate::settings::ActiveSettings;
use crate::workloads::{Snapshot, WorkloadObject};

/// Reason of the Event about an annotation or label that can't be used.
const INVALID_METADATA: &str = "InvalidMetadata";

/// Called with each record that was written, as the API server stored it.
pub type OnWritten = Box<dyn Fn(DoraDeployment) + Send + Sync>;

/// Writes records to the API server, and keeps [`Records`] in step.
pub(super) struct RecordWriter {
    pub context: Context,
    pub settings: Arc<ActiveSettings>,
    pub records: Arc<Records>,
    pub on_written: OnWritten,
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
}

/// How a write ended that the API server answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(super) enum WriteResult {
    Written,
    /// Somebody else has created or deleted the record, so the decision was made from an old state.
    Outdated,
}

impl RecordWriter {
    /// Writes `change` of the records of `workload`.
    pub async fn write(
        &self,
        workload: &WorkloadState,
        policy: &Policy,
        change: &Change<'_>,
    ) -> Result<WriteResult, kube::Error> {
        let ActiveSettings { cluster, file, .. } = &*self.settings;
        let (snapshot, defaults) = (&workload.snapshot, &file.defaults);
        let failure = failure_reason(&self.context.client, snapshot, policy, change).await;
        let patch = match change.action {
            Action::Start => {
                return match start_manifest(cluster, snapshot, defaults, change, failure) {
                    Some(record) => self.create(workload, change, &record).await,
                    None => Ok(WriteResult::Written),
                };
            }
            Action::Finish => finish_manifest(snapshot, defaults, change, failure),
            Action::Pause => pause_manifest(&change.record),
            Action::RollBack => rollback_manifest(change),
        };
        self.patch(workload, change, &patch).await
    }

    async fn create(
        &self,
        workload: &WorkloadState,
        change: &Change<'_>,
        record: &DoraDeployment,
    ) -> Result<WriteResult, kube::Error> {
        self.publish_warnings(workload, &record.spec.warnings).await;
        let api: Api<DoraDeployment> = self.api(&workload.key);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&parameters, record).await {
            Ok(written) => {
                self.store(workload, change, written);
                Ok(WriteResult::Written)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                if let Some(existing) =
                    self.slim_api(&workload.key).get_opt(&workload.record_name(&change.record)).await?
                {
                    self.apply(&existing);
                }
                Ok(WriteResult::Outdated)
            }
            Err(error) => Err(error),
        }
    }

    async fn patch(
        &self,
        workload: &WorkloadState,
        change: &Change<'_>,
        patch: &RecordPatch,
    ) -> Result<WriteResult, kube::Error> {
        let api: Api<DoraDeployment> = self.api(&workload.key);
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

    /// Deletes a record that has expired, unless it has changed since.
    pub async fn delete_expired(
        &self,
        workload: &WorkloadState,
        expired: &RecordedRevision,
    ) -> Result<(), kube::Error> {
        let (api, name) = (self.slim_api(&workload.key), workload.record_name(expired));
        let Some(record) = api.get_opt(&name).await? else {
            self.records.remove(&workload.key, &workload.uid, expired);
            return Ok(());
        };
        if !RecordState::of(&record, &self.settings).is_settled {
            self.apply(&record);
            return Ok(());
        }
        let parameters = DeleteParams::default().preconditions(record.preconditions());
        match api.delete(&name, &parameters).await {
            Ok(_) => {
                self.records.remove(&workload.key, &workload.uid, expired);
                info!(namespace = %workload.key.namespace, record = name, "deleted an expired record");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                self.records.remove(&workload.key, &workload.uid, expired);
                Ok(())
            }
            // The watch brings the changed record, and the next search for expired records finds it.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes in a record as the API server has it.
    fn apply(&self, record: &SlimDoraDeployment) {
        self.records.apply(record, RecordState::of(record, &self.settings));
    }

    fn store(&self, workload: &WorkloadState, change: &Change<'_>, written: DoraDeployment) {
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
        (self.on_written)(written);
    }

    /// Publishes an Event on the workload for each annotation or label that can't be used, where its author looks.
    async fn publish_warnings(&self, workload: &WorkloadState, warnings: &[String]) {
        let WorkloadState { uid, key: WorkloadKey { namespace, kind, name }, .. } = workload;
        let object = WorkloadObject::new(*kind, namespace, name, uid);
        for warning in warnings {
            warn!(%namespace, %kind, workload = %name, "{warning}");
            let event = warning_event(INVALID_METADATA, "Record", warning.clone());
            self.context.events.publish(&object, &event).await;
        }
    }

    fn api(&self, workload: &WorkloadKey) -> Api<DoraDeployment> {
        Api::namespaced(self.context.client.clone(), &workload.namespace)
    }

    fn slim_api(&self, workload: &WorkloadKey) -> Api<SlimDoraDeployment> {
        Api::namespaced(self.context.client.clone(), &workload.namespace)
    }
}
