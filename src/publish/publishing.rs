//! Publishing as a whole: the publishers of both kinds, the blueprints and the credentials that they share.

use std::sync::Arc;

use k8s_controller::events::{Event, EventType};
use k8s_openapi::api::coordination::v1::Lease;
use port_client::CredentialSource;
use tokio_util::sync::CancellationToken;

use super::{BlueprintChange, PublishContext, Publisher, Record, retry_when_credentials_change, templates};
use crate::resources::{DoraDeployment, DoraIncident};
use crate::runtime::Context;
use crate::settings::FileSettings;

/// The publishers of both kinds, and what they share.
pub struct Publishing {
    /// Publishes deployments.
    pub deployments: Arc<Publisher<DoraDeployment>>,
    /// Publishes incidents.
    pub incidents: Publisher<DoraIncident>,
    /// The client that all requests to Port go through.
    pub port: port_client::Client,
    /// What the mapping to entities needs to know.
    pub mapping: Arc<PublishContext>,
    /// Where the credentials come from.
    pub credentials: CredentialSource,
    /// Whether blueprints that don't exist are created.
    pub create_blueprints: bool,
    /// The way to the API server.
    pub context: Context,
    /// The object that Events about the blueprints are published on: they concern every resource alike.
    pub about: Lease,
}

impl Publishing {
    /// Publishes until `stop`. Only the leader does; dropping the future loses nothing.
    pub async fn run(&self, stop: &CancellationToken) {
        let retry_all_now = || {
            self.deployments.queue().retry_all_now();
            self.incidents.queue().retry_all_now();
        };
        let watch_credentials = retry_when_credentials_change(&self.credentials, || {
            retry_all_now();
            self.mapping.blueprints.invalidate();
        });
        let wanted = [DoraDeployment::wanted(&self.mapping), DoraIncident::wanted(&self.mapping)];
        let refresh_blueprints = self.mapping.blueprints.refresh(&self.port, &wanted, async |changes| {
            self.report_blueprints(&changes).await;
            retry_all_now();
        });
        let background = futures::future::join3(watch_credentials, refresh_blueprints, self.create_blueprints());
        futures::future::join3(
            self.deployments.run(stop),
            self.incidents.run(stop),
            stop.run_until_cancelled(background),
        )
        .await;
    }

    /// Creates the blueprints that Port doesn't have, if that is wanted. Relations need the blueprint that they lead to.
    async fn create_blueprints(&self) {
        if !self.create_blueprints {
            return;
        }
        let FileSettings { blueprints, naming, statuses, .. } = &self.mapping.settings.file;
        let new = [
            templates::group(),
            templates::deployment(&blueprints.deployment, &naming.deployment, statuses),
            templates::incident(&blueprints.incident, &blueprints.deployment, &naming.incident),
        ];
        self.mapping.blueprints.create(&self.port, &new).await;
    }

    /// Reports in metrics and Events which fields the blueprints miss.
    async fn report_blueprints(&self, changes: &[BlueprintChange]) {
        for change in changes {
            self.context.metrics.set_missing_fields(&change.identifier, change.missing_fields.count());
            let Some(note) = change.log() else {
                continue;
            };
            let event = Event {
                type_: EventType::Warning,
                reason: "BlueprintIncomplete".to_owned(),
                action: "Publish".to_owned(),
                note: Some(note),
                related: None,
            };
            self.context.events.publish(&self.about, &event).await;
        }
    }
}
