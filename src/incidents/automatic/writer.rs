//! The requests to the API server of the automatic incidents.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use parking_lot::Mutex;
use rollout::{Uid, WorkloadKey};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::{info, warn};

use super::decide::{MAX_FAILURE_AGE, NewIncident, OpenedBy, Write};
use super::index::IncidentIndex;
use super::input::{CachedWorkload, ReadObjects, RequiredObjects, is_about, reported_loss};
use super::manifest::{
    CREATION_MANAGER, OPENED_BY, UPDATE_MANAGER, incident_manifest, record_status_patch, reopen_patch, resolve_patch,
};
use crate::records::Records;
use crate::resources::{DoraDeployment, DoraIncident, Guarded, ResourceKey, is_object_name};
use crate::runtime::{Context, now, warning_event};
use crate::workloads::{WorkloadObject, unavailable_message};

/// Reads the objects of a decision, and writes its result. What is written goes into memory at once, so that the next decision knows it
/// before the watches bring it.
pub(super) struct IncidentWriter {
    pub context: Context,
    pub records: Arc<Records>,
    pub incidents: Arc<IncidentIndex>,
    /// Start of the last loss of availability that has had an incident, for workloads without a record that could hold it.
    pub reported_losses: Mutex<HashMap<Uid, Timestamp>>,
}

/// Why a write is not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// Another `DoraIncident` has the name of the new incident: one of another workload, or one that can't be decoded.
    #[error("another DoraIncident has the name {0}")]
    NameTaken(String),
    /// The request failed.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl IncidentWriter {
    /// Start of the last loss of availability that has had an incident, if no record could hold it.
    pub fn reported_loss(&self, uid: &Uid) -> Option<Timestamp> {
        self.reported_losses.lock().get(uid).copied()
    }

    /// Reads the objects of these names, as far as they exist.
    pub async fn read(
        &self,
        workload: &WorkloadKey,
        RequiredObjects { records, incidents }: RequiredObjects,
    ) -> Result<ReadObjects, kube::Error> {
        let mut read = ReadObjects::default();
        for name in records {
            let record = self.get::<DoraDeployment>(workload, &name).await?;
            read.records.insert(name, record);
        }
        for name in incidents {
            let incident = self.get::<DoraIncident>(workload, &name).await?;
            read.incidents.insert(name, incident);
        }
        Ok(read)
    }

    /// The object of this name. `None` if it doesn't exist or can't be decoded: then the controller doesn't change it.
    async fn get<K>(&self, workload: &WorkloadKey, name: &str) -> Result<Option<K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + 'static,
    {
        if !is_object_name(name) {
            return Ok(None);
        }
        let Some(guarded) = self.api::<Guarded<K>>(workload).get_opt(name).await? else {
            return Ok(None);
        };
        let decoded = guarded.0.inspect_err(|undecodable| {
            warn!(
                kind = %K::kind(&()), namespace = %workload.namespace, name, problem = undecodable.problem,
                "failed to decode the resource, so the controller doesn't change it",
            );
            let key = ResourceKey { namespace: Arc::clone(&workload.namespace), name: name.into() };
            self.incidents.set_taken_over(&key);
        });
        Ok(decoded.ok())
    }

    /// Carries out `write`.
    pub async fn write(&self, cached: &CachedWorkload, read: &ReadObjects, write: &Write) -> Result<(), WriteError> {
        let namespace = &cached.workload.namespace;
        match write {
            Write::Open(incident) => return self.open(cached, read, incident).await,
            Write::Resolve { name, at } => {
                info!(%namespace, incident = name, %at, "resolving the incident");
                self.apply(cached, read, name, |incident| resolve_patch(incident, *at)).await
            }
            Write::Reopen { name, since } => {
                info!(%namespace, incident = name, %since, "reopening the incident");
                self.apply(cached, read, name, |incident| reopen_patch(incident, *since)).await
            }
            Write::SetIncident { record, incident } => {
                let loss = read.records.get(record).and_then(Option::as_ref).and_then(reported_loss);
                self.apply_record_status(cached, record, Some(incident), loss).await
            }
            Write::SetReportedLoss { since } => {
                let Some(record) = cached.current_record(read) else {
                    self.remember_loss(&cached.uid, *since);
                    return Ok(());
                };
                let name = record.metadata.name.as_deref().unwrap_or_default();
                let incident = record.status.as_ref().and_then(|status| status.incident.as_deref());
                self.apply_record_status(cached, name, incident, Some(*since)).await
            }
        }?;
        Ok(())
    }

    /// Forgets what is remembered of a workload that no longer exists.
    pub fn forget(&self, uid: &Uid) {
        self.reported_losses.lock().remove(uid);
    }

    /// Remembers a loss for as long as it could open another incident.
    fn remember_loss(&self, uid: &Uid, since: Timestamp) {
        let mut losses = self.reported_losses.lock();
        drop_old(&mut losses, now());
        losses.insert(Arc::clone(uid), since);
    }

    async fn open(
        &self,
        cached: &CachedWorkload,
        read: &ReadObjects,
        incident: &NewIncident,
    ) -> Result<(), WriteError> {
        let CachedWorkload { workload, uid, .. } = cached;
        let record = match incident.opened_by {
            OpenedBy::FailedRollout | OpenedBy::RolledBackRollout => {
                read.records.get(&incident.name).and_then(Option::as_ref)
            }
            OpenedBy::LostAvailability => cached.current_record(read),
        };
        let description = match incident.opened_by {
            OpenedBy::FailedRollout => record.and_then(|record| record.spec.failure.clone()),
            OpenedBy::RolledBackRollout => {
                incident.rolled_back_by.map(|revision| format!("Rolled back by revision {revision}."))
            }
            OpenedBy::LostAvailability => unavailable_message(&self.context.client, workload).await?,
        };
        let group = record.and_then(|record| record.spec.group.clone()).or_else(|| cached.group());
        let manifest = incident_manifest(incident, workload, uid, description, group);
        let parameters = PostParams { field_manager: Some(CREATION_MANAGER.to_owned()), ..PostParams::default() };
        match self.api::<DoraIncident>(workload).create(&parameters, &manifest).await {
            Ok(created) => {
                self.incidents.written(&created, now());
                self.report_opened(cached, incident.opened_by, &created).await;
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.check_existing(cached, &incident.name, kube::Error::Api(status)).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Checks whether the incident with the name of the new one is about the workload: an earlier attempt has created it, and its response
    /// was lost. Otherwise the failure would be noted as reported although no incident says so.
    async fn check_existing(&self, cached: &CachedWorkload, name: &str, error: kube::Error) -> Result<(), WriteError> {
        let CachedWorkload { workload, uid, .. } = cached;
        match self.api::<Guarded<DoraIncident>>(workload).get_opt(name).await?.map(|guarded| guarded.0) {
            Some(Ok(existing)) if is_about(&existing, workload, uid) => {
                self.incidents.written(&existing, now());
                Ok(())
            }
            Some(_) => Err(WriteError::NameTaken(name.to_owned())),
            // It was deleted in the meantime.
            None => Err(error.into()),
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
        cached: &CachedWorkload,
        read: &ReadObjects,
        name: &str,
        patch: impl Fn(&DoraIncident) -> Value,
    ) -> Result<(), kube::Error> {
        let Some(incident) = read.incidents.get(name).and_then(Option::as_ref) else {
            return Ok(());
        };
        let parameters = PatchParams::apply(UPDATE_MANAGER).force();
        let patch = Patch::Apply(patch(incident));
        let written = self.api::<DoraIncident>(&cached.workload).patch(name, &parameters, &patch).await?;
        self.incidents.written(&written, now());
        Ok(())
    }

    async fn apply_record_status(
        &self,
        cached: &CachedWorkload,
        record: &str,
        incident: Option<&str>,
        reported_loss: Option<Timestamp>,
    ) -> Result<(), kube::Error> {
        let parameters = PatchParams::apply(UPDATE_MANAGER).force();
        let patch = Patch::Apply(record_status_patch(record, incident, reported_loss));
        let CachedWorkload { workload, uid, .. } = cached;
        match self.api::<DoraDeployment>(workload).patch_status(record, &parameters, &patch).await {
            Ok(_) => {
                if let Some(rollout) = cached.rollout(record) {
                    self.records.set_incident(workload, uid, rollout, incident.is_some(), reported_loss);
                }
                Ok(())
            }
            // A record that was deleted in the meantime opens no further incident.
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn api<K>(&self, workload: &WorkloadKey) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &workload.namespace)
    }
}

/// Drops the losses that are too old to open an incident.
fn drop_old(losses: &mut HashMap<Uid, Timestamp>, now: Timestamp) {
    losses
        .retain(|_, since| now.duration_since(*since) <= MAX_FAILURE_AGE.saturating_add(SignedDuration::from_mins(1)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_that_open_no_incident_are_forgotten() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |age: SignedDuration| now - age;
        let mut losses: HashMap<Uid, Timestamp> =
            [("old".into(), ago(MAX_FAILURE_AGE * 2)), ("new".into(), ago(MAX_FAILURE_AGE))].into();
        drop_old(&mut losses, now);
        assert_eq!(losses.into_keys().collect::<Vec<_>>(), [Uid::from("new")]);
    }
}
