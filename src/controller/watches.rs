//! The watches on our own resources. Each state goes to all parts that need it.

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Api, Resource};

use super::Controller;
use crate::resources::{DeliveryState, ResourceKey, SlimDoraDeployment, SlimDoraIncident};
use crate::runtime::{Synced, decoded, watch_each};

impl Controller {
    /// Feeds the `DoraDeployment` resources of all namespaces into the records and to the publisher, until the future is dropped.
    pub(super) async fn watch_records(&self, synced: Synced) {
        let api = Api::<DeserializeGuard<SlimDoraDeployment>>::all(self.context.client.clone());
        watch_each(api, synced, |event| match event {
            Event::Init => {
                self.recorder.record_list_started();
                self.publishing.deployments.list_started();
            }
            Event::InitDone => {
                self.recorder.record_list_finished();
                self.publishing.deployments.list_finished();
            }
            Event::Apply(record) => self.record_seen(record, false),
            Event::InitApply(record) => self.record_seen(record, true),
            Event::Delete(record) => {
                if let Some(key) = ResourceKey::of(record.meta()) {
                    self.publishing.deployments.deleted(&key);
                }
                if let Some(record) = decoded(record) {
                    self.recorder.record_deleted(&record);
                }
            }
        })
        .await;
    }

    fn record_seen(&self, record: DeserializeGuard<SlimDoraDeployment>, listed: bool) {
        let key = ResourceKey::of(record.meta());
        if let Some(key) = key.as_ref().filter(|_| listed) {
            self.publishing.deployments.listed(key);
        }
        let Some(record) = decoded(record) else {
            return;
        };
        self.recorder.record_applied(&record);
        if let Some(key) = key {
            let state = record.delivery_state(self.settings.digest(), self.settings.dry_run);
            self.publishing.deployments.observed(key, state, listed);
        }
    }

    /// Feeds the `DoraIncident` resources of all namespaces into their index and to the publisher, until the future is dropped.
    pub(super) async fn watch_incidents(&self, synced: Synced) {
        let api = Api::<DeserializeGuard<SlimDoraIncident>>::all(self.context.client.clone());
        watch_each(api, synced, |event| match event {
            Event::Init => {
                self.incident_index.list_started();
                self.publishing.incidents.list_started();
            }
            Event::InitDone => {
                self.incident_index.list_finished();
                self.publishing.incidents.list_finished();
            }
            Event::Apply(incident) => self.incident_seen(incident, false),
            Event::InitApply(incident) => self.incident_seen(incident, true),
            Event::Delete(incident) => {
                if let Some(key) = ResourceKey::of(incident.meta()) {
                    self.publishing.incidents.deleted(&key);
                }
                if let Some(incident) = decoded(incident) {
                    self.incident_index.deleted(&incident);
                }
            }
        })
        .await;
    }

    fn incident_seen(&self, incident: DeserializeGuard<SlimDoraIncident>, listed: bool) {
        let metadata = incident.meta();
        let (key, is_deleted) = (ResourceKey::of(metadata), metadata.deletion_timestamp.is_some());
        if let Some(key) = key.as_ref().filter(|_| listed) {
            self.publishing.incidents.listed(key);
        }
        let incident = decoded(incident);
        // The finalizer blocks the deletion. So the publisher must handle it even if the rest of the resource can't be decoded.
        let state = if is_deleted {
            Some(DeliveryState::New)
        } else {
            incident.as_ref().map(|incident| incident.delivery_state(self.settings.digest(), self.settings.dry_run))
        };
        if let (Some(key), Some(state)) = (key, state) {
            self.publishing.incidents.observed(key, state, listed);
        }
        if let Some(incident) = incident {
            self.incident_index.applied(&incident, Timestamp::now());
        }
    }
}
