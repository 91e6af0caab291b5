//! The publishers of both kinds, and the background work that they share.

use std::sync::Arc;

use futures::future::join3;
use k8s_openapi::api::coordination::v1::Lease;
use port_client::CredentialSource;
use tokio_util::sync::CancellationToken;

use super::{
    BlueprintChange, Claimant, PublishContext, Publishable, PublishedKind, Publisher, retry_when_credentials_change,
    templates,
};
use crate::resources::{DoraDeployment, DoraIncident};
use crate::runtime::warning_event;
use crate::settings::FileSettings;

/// The publishers of both kinds, and the background work that they share.
pub struct Publishing {
    /// Publishes deployments.
    pub deployments: Arc<Publisher<DoraDeployment>>,
    /// Publishes incidents.
    pub incidents: Publisher<DoraIncident>,
    /// What both publishers share.
    pub context: Arc<PublishContext>,
    /// Where the credentials come from.
    pub credentials: CredentialSource,
    /// Whether blueprints that don't exist in Port are created.
    pub create_blueprints: bool,
    /// The object that Events about the blueprints are published on, since they don't concern one resource.
    pub lease: Lease,
}

impl Publishing {
    /// Publishes until `stop`. Only the leader does. Dropping the future loses nothing.
    pub async fn run(&self, stop: &CancellationToken) {
        let PublishContext { port, settings, blueprints, .. } = &*self.context;
        let retry_all_now = || {
            self.deployments.queue.retry_all_now();
            self.incidents.queue.retry_all_now();
        };
        let watch_credentials = retry_when_credentials_change(&self.credentials, || {
            retry_all_now();
            blueprints.invalidate();
        });
        let wanted = [DoraDeployment::blueprint(&settings.file), DoraIncident::blueprint(&settings.file)];
        let refresh_blueprints = blueprints.refresh(port, &wanted, async |changes| {
            self.report_blueprints(&changes).await;
            retry_all_now();
        });
        let background = join3(watch_credentials, refresh_blueprints, self.create_blueprints());
        join3(self.deployments.run(stop), self.incidents.run(stop), stop.run_until_cancelled(background)).await;
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
        let runtime = &self.context.runtime;
        for change in changes {
            runtime.metrics.delivery.set_missing_fields(&change.identifier, change.missing_fields.count());
            if let Some(note) = change.log() {
                runtime.events.publish(&self.lease, &warning_event("BlueprintIncomplete", "Publish", note)).await;
            }
        }
    }
}
