//! The watches on our own resources. Each state goes to all parts that need it. The publisher reports what can't be decoded.

use jiff::Timestamp;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;

use super::Controller;
use crate::publish::{Claimant, IdentifierClaims, PublishedKind};
use crate::resources::{
    DeliveryState, EntityState, Guarded, IdentifierClaim, ResourceKey, SlimDoraDeployment, SlimDoraIncident,
};
use crate::runtime::Synced;

impl Controller {
    /// Feeds the `DoraDeployment` resources of all namespaces into the records and to the publisher, until the future is dropped.
    pub(super) async fn watch_records(&self, synced: Synced) {
        let handle = |event: Event<Guarded<SlimDoraDeployment>>| match event {
            Event::Init => {
                self.recorder.record_list_started();
                self.claims().list_started(PublishedKind::Deployment);
                self.publishing.deployments.list_started();
            }
            Event::InitDone => {
                self.recorder.record_list_finished();
                self.publishing.deployments.list_finished();
                self.publishing.enqueue(self.claims().list_finished(PublishedKind::Deployment));
                // The list doesn't name the records that were deleted while nothing was watched.
                self.look_up_again(self.publishing.context.awaited.take_all());
            }
            Event::Apply(record) => self.record_seen(&record, false),
            Event::InitApply(record) => self.record_seen(&record, true),
            Event::Delete(record) => {
                self.claimant_gone(PublishedKind::Deployment, record.meta());
                if let Some(key) = ResourceKey::of(record.meta()) {
                    self.publishing.deployments.deleted(&key);
                    self.look_up_again(self.publishing.context.awaited.take(&key));
                }
                if let Guarded(Ok(record)) = record {
                    self.recorder.record_deleted(&record);
                }
            }
        };
        self.watches.client.watch_each(synced, handle).await;
    }

    fn record_seen(&self, record: &Guarded<SlimDoraDeployment>, listed: bool) {
        let is_refused = self.claimant_seen(PublishedKind::Deployment, record, SlimDoraDeployment::claim);
        let state = match &record.0 {
            Ok(record) => {
                self.recorder.record_applied(record);
                state_or_refused(record.delivery_state(self.settings.digest(), self.settings.dry_run), is_refused)
            }
            Err(undecodable) => undecodable.delivery_state(),
        };
        if let Some(key) = ResourceKey::of(record.meta()) {
            let is_awaited =
                |record: &SlimDoraDeployment| record.entity_state(self.settings.dry_run) == EntityState::Awaited;
            if !record.0.as_ref().is_ok_and(is_awaited) {
                self.look_up_again(self.publishing.context.awaited.take(&key));
            }
            if listed {
                self.publishing.deployments.listed(&key);
            }
            self.publishing.deployments.observed(key, state, listed);
        }
    }

    /// Publishes these incidents again, because the record of their cause has changed.
    fn look_up_again(&self, incidents: Vec<ResourceKey>) {
        for incident in incidents {
            self.publishing.incidents.observed(incident, DeliveryState::New, false);
        }
    }

    /// Feeds the `DoraIncident` resources of all namespaces into their index and to the publisher, until the future is dropped.
    pub(super) async fn watch_incidents(&self, synced: Synced) {
        let handle = |event: Event<Guarded<SlimDoraIncident>>| match event {
            Event::Init => {
                self.incident_index.list_started();
                self.alert_index.list_started();
                self.claims().list_started(PublishedKind::Incident);
                self.publishing.incidents.list_started();
            }
            Event::InitDone => {
                self.incident_index.list_finished();
                self.alert_index.list_finished();
                self.publishing.incidents.list_finished();
                self.publishing.enqueue(self.claims().list_finished(PublishedKind::Incident));
            }
            Event::Apply(incident) => self.incident_seen(&incident, false),
            Event::InitApply(incident) => self.incident_seen(&incident, true),
            Event::Delete(incident) => {
                self.claimant_gone(PublishedKind::Incident, incident.meta());
                if let Some(key) = ResourceKey::of(incident.meta()) {
                    self.publishing.incidents.deleted(&key);
                    self.publishing.context.awaited.forget(&key);
                    self.alert_index.deleted(incident.meta());
                    self.incident_index.deleted(&key);
                }
            }
        };
        self.watches.client.watch_each(synced, handle).await;
    }

    fn incident_seen(&self, incident: &Guarded<SlimDoraIncident>, listed: bool) {
        let is_refused = self.claimant_seen(PublishedKind::Incident, incident, SlimDoraIncident::claim);
        let metadata = incident.meta();
        let key = ResourceKey::of(metadata);
        if let Some(key) = key.as_ref().filter(|_| listed) {
            self.publishing.incidents.listed(key);
        }
        let state = match &incident.0 {
            Ok(incident) => {
                state_or_refused(incident.delivery_state(self.settings.digest(), self.settings.dry_run), is_refused)
            }
            Err(undecodable) => undecodable.delivery_state(),
        };
        if metadata.deletion_timestamp.is_some() {
            // The finalizer blocks the deletion. So the publisher must handle it even if the rest of the resource can't be decoded.
            self.publishing.incidents.deletion_observed(metadata);
        } else if let Some(key) = key
            && (listed || !self.publishing.incidents.is_own_write(&key, metadata))
        {
            self.publishing.incidents.observed(key, state, listed);
        }
        if let Ok(incident) = &incident.0 {
            self.incident_index.applied(incident, Timestamp::now());
            self.alert_index.applied(incident);
        }
    }

    fn claims(&self) -> &IdentifierClaims {
        &self.publishing.context.claims
    }

    /// Keeps the claims to identifiers current, before the resource is added to a queue. Returns whether the resource is refused now.
    fn claimant_seen<K: Resource<DynamicType = ()>>(
        &self,
        kind: PublishedKind,
        resource: &Guarded<K>,
        claim: impl Fn(&K) -> Option<IdentifierClaim<'_>>,
    ) -> bool {
        let Some(key) = ResourceKey::of(resource.meta()) else {
            return false;
        };
        let claimant = Claimant { kind, key };
        let Ok(decoded) = &resource.0 else {
            self.claims().listed(&claimant);
            return false;
        };
        let affected = self.claims().applied(&claimant, decoded.meta(), claim(decoded));
        self.publishing.enqueue(affected);
        let refusal = |claim| self.claims().refusal(&claimant, decoded.meta(), &claim);
        claim(decoded).and_then(refusal).is_some()
    }

    fn claimant_gone(&self, kind: PublishedKind, metadata: &ObjectMeta) {
        if let Some(key) = ResourceKey::of(metadata) {
            self.publishing.enqueue(self.claims().deleted(&Claimant { kind, key }));
        }
    }
}

/// The state of a resource whose identifier may belong to another one: an earlier version of the controller may have delivered both.
fn state_or_refused(state: DeliveryState, is_refused: bool) -> DeliveryState {
    match state {
        DeliveryState::Settled | DeliveryState::Outdated | DeliveryState::Undecided if is_refused => {
            DeliveryState::Refused
        }
        state => state,
    }
}
