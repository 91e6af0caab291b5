//! The watches on our own resources. Each state goes to all parts that need it.

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Api, Resource};

use super::Controller;
use crate::resources::{ResourceKey, SlimDoraDeployment, SlimDoraIncident};
use crate::runtime::{Synced, decoded, watch_each};

impl Controller {
    /// Feeds the `DoraDeployment` resources of all namespaces into the records and to the publisher, until the future is dropped.
    pub(super) async fn watch_records(&self, synced: Synced) {
        let api = Api::<DeserializeGuard<SlimDoraDeployment>>::all(self.context.client.clone());
        watch_each(api, synced, |event| match event {
            Event::Init => self.recorder.record_list_started(),
            Event::InitDone => self.recorder.record_list_finished(),
            Event::Apply(record) => self.record_seen(record, false),
            Event::InitApply(record) => self.record_seen(record, true),
            Event::Delete(record) => {
                if let Some(record) = decoded(record) {
                    self.recorder.record_deleted(&record);
                }
            }
        })
        .await;
    }

    fn record_seen(&self, record: DeserializeGuard<SlimDoraDeployment>, listed: bool) {
        let Some(record) = decoded(record) else {
            return;
        };
        self.recorder.record_applied(&record);
        if let Some(key) = ResourceKey::of(record.meta()) {
            let state = record.delivery_state(self.settings.digest());
            self.publishing.deployments.observed(key, state, listed);
        }
    }

    /// Feeds the `DoraIncident` resources of all namespaces into their index and to the publisher, until the future is dropped.
    pub(super) async fn watch_incidents(&self, synced: Synced) {
        let api = Api::<DeserializeGuard<SlimDoraIncident>>::all(self.context.client.clone());
        watch_each(api, synced, |event| match event {
            Event::Init => self.incident_index.list_started(),
            Event::InitDone => self.incident_index.list_finished(),
            Event::Apply(incident) => self.incident_seen(incident, false),
            Event::InitApply(incident) => self.incident_seen(incident, true),
            Event::Delete(incident) => {
                self.publishing.incidents.deleted(incident.meta());
                if let Some(incident) = decoded(incident) {
                    self.incident_index.deleted(&incident);
                }
            }
        })
        .await;
    }

    fn incident_seen(&self, incident: DeserializeGuard<SlimDoraIncident>, listed: bool) {
        let is_deleted = incident.meta().deletion_timestamp.is_some();
        if is_deleted {
            // The finalizer blocks the deletion. So the publisher must handle it even if the rest of the resource can't be decoded.
            self.publishing.incidents.deletion_observed(incident.meta());
        }
        let Some(incident) = decoded(incident) else {
            return;
        };
        if let Some(key) = ResourceKey::of(incident.meta()).filter(|_| !is_deleted) {
            let state = incident.delivery_state(self.settings.digest());
            self.publishing.incidents.observed(key, state, listed);
        }
        self.incident_index.applied(&incident, Timestamp::now());
    }
}
