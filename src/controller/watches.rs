//! The watches on our own resources. Each state goes to all parts that need it. The publisher reports what can't be decoded.

use jiff::Timestamp;
use kube::Resource;
use kube::runtime::watcher::Event;

use super::Controller;
use crate::resources::{DeliveryState, Guarded, ResourceKey, SlimDoraDeployment, SlimDoraIncident};
use crate::runtime::Synced;

impl Controller {
    /// Feeds the `DoraDeployment` resources of all namespaces into the records and to the publisher, until the future is dropped.
    pub(super) async fn watch_records(&self, synced: Synced) {
        let handle = |event: Event<Guarded<SlimDoraDeployment>>| match event {
            Event::Init => self.recorder.record_list_started(),
            Event::InitDone => self.recorder.record_list_finished(),
            Event::Apply(record) => self.record_seen(&record, false),
            Event::InitApply(record) => self.record_seen(&record, true),
            Event::Delete(Guarded(record)) => {
                if let Ok(record) = record {
                    self.recorder.record_deleted(&record);
                }
            }
        };
        self.watches.client.watch_each(synced, handle).await;
    }

    fn record_seen(&self, record: &Guarded<SlimDoraDeployment>, listed: bool) {
        let key = ResourceKey::of(record.meta());
        let state = match &record.0 {
            Ok(record) => {
                self.recorder.record_applied(record);
                record.delivery_state(self.settings.digest())
            }
            Err(undecodable) => undecodable.delivery_state(self.settings.digest()),
        };
        if let Some(key) = key {
            self.publishing.deployments.observed(key, state, listed);
        }
    }

    /// Feeds the `DoraIncident` resources of all namespaces into their index and to the publisher, until the future is dropped.
    pub(super) async fn watch_incidents(&self, synced: Synced) {
        let handle = |event: Event<Guarded<SlimDoraIncident>>| match event {
            Event::Init => self.incident_index.list_started(),
            Event::InitDone => self.incident_index.list_finished(),
            Event::Apply(incident) => self.incident_seen(&incident, false),
            Event::InitApply(incident) => self.incident_seen(&incident, true),
            Event::Delete(Guarded(incident)) => {
                if let Ok(incident) = incident {
                    self.incident_index.deleted(&incident);
                }
            }
        };
        self.watches.client.watch_each(synced, handle).await;
    }

    fn incident_seen(&self, incident: &Guarded<SlimDoraIncident>, listed: bool) {
        let metadata = incident.meta();
        let (key, is_deleted) = (ResourceKey::of(metadata), metadata.deletion_timestamp.is_some());
        let state = match &incident.0 {
            // The finalizer blocks the deletion.
            _ if is_deleted => DeliveryState::New,
            Ok(incident) => incident.delivery_state(self.settings.digest()),
            Err(undecodable) => undecodable.delivery_state(self.settings.digest()),
        };
        if let Some(key) = key {
            self.publishing.incidents.observed(key, state, listed);
        }
        if let Ok(incident) = &incident.0 {
            self.incident_index.applied(incident, Timestamp::now());
        }
    }
}
