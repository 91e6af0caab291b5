//! Builds the parts of the controller and wires them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use k8s_controller::LeaderElection;
use kube::Client;
use rollout::Uid;
use tracing::info;

use super::identity::{LEASE, cluster_name, default_identity, lease_reference};
use super::{Controller, RunError};
use crate::alertmanager::{self, TokenFile};
use crate::incidents::automatic::{AutoIncidentController, IncidentIndex};
use crate::publish::{Blueprints, PublishContext, Publisher, Publishing};
use crate::records::{RecorderCallbacks, Records, RolloutRecorder};
use crate::resources::{FIELD_MANAGER, ResourceKey};
use crate::runtime::{Context, Events, Metrics, PendingFn, PendingResources, Readiness, Synced, WorkQueue, now};
use crate::settings::{ActiveSettings, Settings};
use crate::workloads::Index;

/// The work that waits, by the part that does it.
#[derive(Clone, Default)]
pub struct Queues {
    changed: Arc<WorkQueue<Uid>>,
    deployments: Arc<WorkQueue<ResourceKey>>,
    incidents: Arc<WorkQueue<ResourceKey>>,
}

impl Queues {
    /// What waits to be delivered, for `/readyz` and `/metrics`.
    pub fn pending(&self) -> PendingFn {
        let waiting = |kind, queue: &WorkQueue<ResourceKey>| PendingResources {
            kind,
            count: queue.len(),
            oldest: queue.oldest().unwrap_or_default(),
        };
        let Self { deployments, incidents, changed: _ } = self.clone();
        Arc::new(move || vec![waiting("DoraDeployment", &deployments), waiting("DoraIncident", &incidents)])
    }
}

/// Opened when the first list of each kind is complete.
pub struct Listed {
    pub deployments: Synced,
    pub replica_sets: Synced,
    pub namespaces: Synced,
    pub records: Synced,
    pub incidents: Synced,
}

/// The gates of readiness, and what opens them.
pub fn readiness() -> (Readiness, Listed) {
    let mut readiness = Readiness::default();
    let listed = Listed {
        deployments: readiness.gate("Deployments"),
        replica_sets: readiness.gate("ReplicaSets"),
        namespaces: readiness.gate("Namespaces"),
        records: readiness.gate("DoraDeployments"),
        incidents: readiness.gate("DoraIncidents"),
    };
    (readiness, listed)
}

/// The route for Alertmanager's notifications, if the settings ask for it.
pub fn alert_routes(settings: &Settings, client: &Client, default_namespace: &str, metrics: &Arc<Metrics>) -> Router {
    let Some(file) = settings.alertmanager_token_file.clone() else {
        return Router::new();
    };
    let namespace = settings.namespace.clone().unwrap_or_else(|| default_namespace.to_owned());
    let store = alertmanager::IncidentStore::new(client.clone(), namespace, settings.file.alertmanager.clone());
    alertmanager::router(TokenFile(file), store, Arc::clone(metrics))
}

impl Controller {
    /// Builds all parts. Waits for the API server if the cluster's name has to be read.
    ///
    /// # Errors
    /// If the settings can't be used.
    pub(super) async fn build(
        settings: Settings,
        client: Client,
        default_namespace: String,
        metrics: Arc<Metrics>,
        queues: Queues,
    ) -> Result<Self, RunError> {
        let cluster = match settings.cluster_name.clone() {
            Some(name) => name,
            None => cluster_name(&client).await,
        };
        let identity = settings.identity.clone().unwrap_or_else(default_identity);
        let namespace = settings.namespace.clone().unwrap_or(default_namespace);
        info!(%cluster, identity, port = %settings.port_base_url, version = env!("CARGO_PKG_VERSION"), "started");
        let lease_duration = settings.lease_duration;
        let election = LeaderElection::new(client.clone(), &namespace, LEASE, &identity)
            .with_lease_duration(lease_duration)
            .with_renew_deadline(lease_duration * 2 / 3);
        let context = Context { events: Arc::new(Events::new(client.clone(), &identity)), client, metrics };
        let selection = settings.file.workloads.selection().map_err(RunError::Selection)?;
        let port = port_client(&settings, &cluster, &context)?;
        let shared = Arc::new(ActiveSettings::new(cluster, settings.file.clone(), settings.dry_run));
        let index = Arc::new(Index::new(Arc::clone(&queues.changed)));
        let records = Arc::new(Records::default());
        let publishing = publishing(settings, &context, port, &shared, &records, &queues, &namespace);
        let incident_index = Arc::new(IncidentIndex::default());
        let auto_incidents = AutoIncidentController::new(
            context.clone(),
            Arc::clone(&index),
            Arc::clone(&records),
            Arc::clone(&incident_index),
            Arc::clone(&shared),
        );
        let callbacks = callbacks(&publishing, &incident_index);
        let recorder = RolloutRecorder::new(
            context.clone(),
            Arc::clone(&shared),
            Arc::clone(&index),
            records,
            queues.changed,
            callbacks,
        );
        Ok(Self {
            context,
            settings: shared,
            namespace,
            election,
            index,
            selection,
            recorder,
            incident_index,
            auto_incidents,
            publishing,
            leads: AtomicBool::new(false),
        })
    }
}

fn port_client(settings: &Settings, cluster: &str, context: &Context) -> Result<port_client::Client, RunError> {
    let user_agent = format!("{FIELD_MANAGER}/{} ({cluster})", env!("CARGO_PKG_VERSION"));
    let options =
        port_client::ClientOptions::new(settings.port_base_url.clone(), settings.port_credentials.clone(), user_agent);
    Ok(port_client::Client::new(port_client::ClientOptions {
        observer: Some(Arc::clone(&context.metrics) as Arc<dyn port_client::Observer>),
        extra_ca: settings.port_ca_file.clone(),
        limits: settings.file.limits.limits(),
        ..options
    })?)
}

fn publishing(
    settings: Settings,
    context: &Context,
    port: port_client::Client,
    shared: &Arc<ActiveSettings>,
    records: &Arc<Records>,
    queues: &Queues,
    namespace: &str,
) -> Publishing {
    let Settings { create_missing_related_entities, create_blueprints, port_credentials, .. } = settings;
    let options =
        port_client::UpsertOptions { create_missing_related_entities, ..port_client::UpsertOptions::default() };
    let context = Arc::new(PublishContext {
        runtime: context.clone(),
        port,
        options,
        settings: Arc::clone(shared),
        records: Arc::clone(records),
        blueprints: Blueprints::default(),
    });
    Publishing {
        deployments: Arc::new(Publisher::new(Arc::clone(&context), Arc::clone(&queues.deployments))),
        incidents: Publisher::new(Arc::clone(&context), Arc::clone(&queues.incidents)),
        context,
        credentials: port_credentials,
        create_blueprints: create_blueprints && !shared.dry_run,
        lease: lease_reference(namespace),
    }
}

/// What the recorder writes goes to the publisher at once, and what it looked at may open an incident.
fn callbacks(publishing: &Publishing, incident_index: &Arc<IncidentIndex>) -> RecorderCallbacks {
    let (deployments, incident_index) = (Arc::clone(&publishing.deployments), Arc::clone(incident_index));
    RecorderCallbacks {
        on_written: Box::new(move |record| deployments.publish_written(record)),
        on_reconciled: Box::new(move |uid, available, revisions| {
            incident_index.enqueue_if_relevant(uid, available, revisions, now());
        }),
    }
}
