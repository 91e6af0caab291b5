//! The watches on our own resources. Each state goes to all parts that need it.

use jiff::Timestamp;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Api, Resource};

use super::Controller;
use crate::publish::{Claimant, IdentifierClaims, PublishedKind};
use crate::resources::{DeliveryState, IdentifierClaim, ResourceKey, SlimDoraDeployment, SlimDoraIncident};
use crate::runtime::{Synced, decoded, watch_each};

impl Controller {
    /// Feeds the `DoraDeployment` resources of all namespaces into the records and to the publisher, until the future is dropped.
    pub(super) async fn watch_records(&self, synced: Synced) {
        let api = Api::<DeserializeGuard<SlimDoraDeployment>>::all(self.context.client.clone());
        watch_each(api, synced, |event| match event {
            Event::Init => {
                self.recorder.record_list_started();
                self.claims().list_started(PublishedKind::Deployment);
            }
            Event::InitDone => {
                self.recorder.record_list_finished();
                self.publishing.enqueue(self.claims().list_finished(PublishedKind::Deployment));
            }
            Event::Apply(record) => self.record_seen(record, false),
            Event::InitApply(record) => self.record_seen(record, true),
            Event::Delete(record) => {
                self.claimant_gone(PublishedKind::Deployment, record.meta());
                if let Some(record) = decoded(record) {
                    self.recorder.record_deleted(&record);
                }
            }
        })
        .await;
    }

    fn record_seen(&self, record: DeserializeGuard<SlimDoraDeployment>, listed: bool) {
        self.claimant_seen(PublishedKind::Deployment, &record, SlimDoraDeployment::claim);
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
            Event::Init => {
                self.incident_index.list_started();
                self.claims().list_started(PublishedKind::Incident);
            }
            Event::InitDone => {
                self.incident_index.list_finished();
                self.publishing.enqueue(self.claims().list_finished(PublishedKind::Incident));
            }
            Event::Apply(incident) => self.incident_seen(incident, false),
            Event::InitApply(incident) => self.incident_seen(incident, true),
            Event::Delete(incident) => {
                self.claimant_gone(PublishedKind::Incident, incident.meta());
                if let Some(incident) = decoded(incident) {
                    self.incident_index.deleted(&incident);
                }
            }
        })
        .await;
    }

    fn incident_seen(&self, incident: DeserializeGuard<SlimDoraIncident>, listed: bool) {
        self.claimant_seen(PublishedKind::Incident, &incident, SlimDoraIncident::claim);
        let metadata = incident.meta();
        let (key, is_deleted) = (ResourceKey::of(metadata), metadata.deletion_timestamp.is_some());
        let is_own_write = !listed
            && !is_deleted
            && key.as_ref().is_some_and(|key| self.publishing.incidents.is_own_write(key, metadata));
        let incident = decoded(incident);
        // The finalizer blocks the deletion. So the publisher must handle it even if the rest of the resource can't be decoded.
        let state = if is_deleted {
            Some(DeliveryState::New)
        } else {
            incident.as_ref().map(|incident| incident.delivery_state(self.settings.digest()))
        };
        if let (Some(key), Some(state)) = (key, state)
            && !is_own_write
        {
            self.publishing.incidents.observed(key, state, listed);
        }
        if let Some(incident) = incident {
            self.incident_index.applied(&incident, Timestamp::now());
        }
    }

    fn claims(&self) -> &IdentifierClaims {
        &self.publishing.context.claims
    }

    /// Keeps the claims to identifiers current, before the resource is added to a queue.
    fn claimant_seen<K: Resource<DynamicType = ()>>(
        &self,
        kind: PublishedKind,
        resource: &DeserializeGuard<K>,
        claim: impl Fn(&K) -> Option<IdentifierClaim<'_>>,
    ) {
        let Some(key) = ResourceKey::of(resource.meta()) else {
            return;
        };
        let claimant = Claimant { kind, key };
        match &resource.0 {
            Ok(decoded) => {
                let affected = self.claims().applied(&claimant, decoded.meta(), claim(decoded));
                self.publishing.enqueue(affected);
            }
            Err(_) => self.claims().listed(&claimant),
        }
    }

    fn claimant_gone(&self, kind: PublishedKind, metadata: &ObjectMeta) {
        if let Some(key) = ResourceKey::of(metadata) {
            self.publishing.enqueue(self.claims().deleted(&Claimant { kind, key }));
        }
    }
}
