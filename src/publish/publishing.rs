//! The publishers of both kinds, and the background work that they share.

use std::sync::Arc;

use futures::future::{join3, join5};
use k8s_controller::events::Event;
use k8s_openapi::api::coordination::v1::Lease;
use tokio_util::sync::CancellationToken;

use super::{
    BlueprintChange, Claimant, Pause, PublishContext, Publishable, PublishedKind, Publisher,
    retry_when_credentials_change, templates,
};
use crate::resources::{DoraDeployment, DoraIncident};
use crate::runtime::{normal_event, warning_event};
use crate::settings::FileSettings;

/// The publishers of both kinds, and the background work that they share.
pub struct Publishing {
    /// Publishes deployments.
    pub deployments: Arc<Publisher<DoraDeployment>>,
    /// Publishes incidents.
    pub incidents: Publisher<DoraIncident>,
    /// What both publishers share.
    pub context: Arc<PublishContext>,
    /// Whether blueprints that don't exist in Port are created.
    pub create_blueprints: bool,
    /// The object that Events about the blueprints are published on, since they don't concern one resource.
    pub lease: Lease,
}

impl Publishing {
    /// Publishes until `stop`. Only the leader does. Dropping the future loses nothing.
    pub async fn run(&self, stop: &CancellationToken) {
        let Some(is_assessed) = stop.run_until_cancelled(self.begin_assessment()).await else {
            return;
        };
        let PublishContext { port, settings, blueprints, gate, .. } = &*self.context;
        let retry_all_now = || {
            self.deployments.retry_all_now();
            self.incidents.retry_all_now();
            self.incidents.deletions.retry_all_now();
        };
        let watch_credentials = retry_when_credentials_change(port, || {
            retry_all_now();
            blueprints.invalidate();
            gate.probe_now();
        });
        let wanted = [DoraDeployment::blueprint(&settings.file), DoraIncident::blueprint(&settings.file)];
        let refresh_blueprints = blueprints.refresh(port, &wanted, async |changes| {
            self.report_blueprints(&changes).await;
            retry_all_now();
        });
        let background = join5(
            watch_credentials,
            refresh_blueprints,
            self.create_blueprints(),
            self.follow_gate(),
            self.assess(is_assessed),
        );
        join3(
            Box::pin(self.deployments.run(stop)),
            Box::pin(self.incidents.run(stop)),
            Box::pin(stop.run_until_cancelled(background)),
        )
        .await;
    }

    /// Reports when Port can't be used and when it can be used again, and then has everything delivered. Never returns.
    async fn follow_gate(&self) {
        let mut pauses = self.context.gate.pauses();
        let mut is_paused = false;
        loop {
            let pause = pauses.borrow_and_update().clone();
            let event = if let Some(Pause { problem, .. }) = &pause {
                // What was kept for the next attempt is read again, so that no backlog is in memory.
                self.deployments.written.lock().clear();
                self.incidents.written.lock().clear();
                let note = format!(
                    "Port can't be used, so all deliveries wait, and the controller tries one resource at a time: {problem}"
                );
                warning_event("DeliveryPaused", "Publish", note)
            } else {
                self.deployments.queue.retry_all_now();
                self.incidents.queue.retry_all_now();
                self.incidents.deletions.retry_all_now();
                let note = "Port can be used again, and the controller delivers what is pending".to_owned();
                normal_event("DeliveryResumed", "Publish", note)
            };
            if is_paused != pause.is_some() {
                is_paused = pause.is_some();
                self.publish_event(&event).await;
            }
            if pauses.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn publish_event(&self, event: &Event) {
        self.context.runtime.events.publish(&self.lease, event).await;
    }

    /// Adds resources to the queues, because another one gained or lost their identifier.
    pub fn enqueue(&self, affected: Vec<Claimant>) {
        for Claimant { kind, key } in affected {
            match kind {
                PublishedKind::Deployment => self.deployments.queue.add(key),
                PublishedKind::Incident => self.incidents.queue.add(key),
            }
        }
    }

    /// Creates the blueprints that don't exist in Port, if the settings ask for it. The target of a relation comes before the relation.
    async fn create_blueprints(&self) {
        if !self.create_blueprints {
            return;
        }
        let FileSettings { blueprints, naming, statuses, .. } = &self.context.settings.file;
        let new = [
            templates::group(),
            templates::deployment(&blueprints.deployment, &naming.deployment, statuses),
            templates::incident(&blueprints.incident, &blueprints.deployment, &naming.incident),
        ];
        self.context.blueprints.create(&self.context.port, &new).await;
    }

    /// Reports in metrics and Events which fields the blueprints do not define.
    async fn report_blueprints(&self, changes: &[BlueprintChange]) {
        let metrics = &self.context.runtime.metrics.delivery;
        for change in changes {
            metrics.set_missing_fields(&change.identifier, change.missing_fields.count());
            if let Some(note) = change.log() {
                self.publish_event(&warning_event("BlueprintIncomplete", "Publish", note)).await;
            }
        }
    }
}
