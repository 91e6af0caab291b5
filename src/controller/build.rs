//! Builds the parts of the controller and wires them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use k8s_controller::LeaderElection;
use kube::Client;
use tracing::info;

use super::clients::{Clients, renew_deadline};
use super::identity::{LEASE, cluster_name, default_identity, lease_reference};
use super::installations::Installations;
use super::queues::Queues;
use super::{Controller, RunError};
use crate::alertmanager::{self, AlertIndex, TokenFile};
use crate::incidents::AwaitedEntities;
use crate::incidents::automatic::{AutoIncidentController, IncidentIndex};
use crate::publish::{Blueprints, IdentifierClaims, PortGate, PublishContext, Publisher, Publishing};
use crate::records::{RecorderCallbacks, Records, RolloutRecorder};
use crate::resources::FIELD_MANAGER;
use crate::runtime::{Context, Events, Metrics, Readiness, Synced, now};
use crate::settings::{ActiveSettings, PortSettings, Settings};
use crate::workloads::{Index, Watch, WatchContext, watches};

/// The gates of readiness. Each opens when the first list of its resource is complete.
pub struct ReadinessGates {
    pub workloads: Vec<(Watch, Synced)>,
    pub records: Synced,
    pub incidents: Synced,
}

/// Readiness, and its gates: one for each watch that the settings need.
pub fn readiness(settings: &Settings) -> (Readiness, ReadinessGates) {
    let mut readiness = Readiness::default();
    let watches = watches(&settings.file.workloads.kinds);
    let gates = ReadinessGates {
        workloads: watches.into_iter().map(|watch| (watch, readiness.gate(watch.resource))).collect(),
        records: readiness.gate("DoraDeployments"),
        incidents: readiness.gate("DoraIncidents"),
    };
    (readiness, gates)
}

/// The route for notifications of Alertmanager, if the settings have a token file.
pub fn alert_routes(
    settings: &Settings,
    client: &Client,
    default_namespace: &str,
    metrics: &Arc<Metrics>,
    index: &Arc<AlertIndex>,
) -> Router {
    let Some(file) = settings.alertmanager_token_file.clone() else {
        return Router::new();
    };
    let namespace = settings.replica.namespace.clone().unwrap_or_else(|| default_namespace.to_owned());
    let alerts = settings.file.alertmanager.clone();
    let store = alertmanager::IncidentStore::new(client.clone(), namespace, alerts, Arc::clone(index));
    alertmanager::router(TokenFile(file), store, Arc::clone(metrics))
}

impl Controller {
    /// Builds all parts. Without a name of the cluster in the settings, it waits until the API server answers.
    ///
    /// # Errors
    /// If the settings are invalid.
    pub(super) async fn build(
        settings: Settings,
        clients: Clients,
        default_namespace: String,
        metrics: Arc<Metrics>,
        queues: Queues,
        alert_index: Arc<AlertIndex>,
        readiness: &Readiness,
    ) -> Result<Self, RunError> {
        let Clients { requests: client, lease, watches: watch_client } = clients;
        let cluster = match settings.cluster_name.clone() {
            Some(name) => name,
            None => cluster_name(&client).await,
        };
        let identity = settings.replica.identity.clone().unwrap_or_else(default_identity);
        let namespace = settings.replica.namespace.clone().unwrap_or(default_namespace);
        info!(%cluster, identity, port = %settings.port.base_url, version = env!("CARGO_PKG_VERSION"), "started");
        let election = election(&settings, lease, &namespace, &identity);
        let context = Context { events: Arc::new(Events::new(client.clone(), &identity)), client, metrics };
        let port = port_client(&settings, &cluster, &context).await?;
        let shared = Arc::new(ActiveSettings::new(cluster, settings.file.clone(), settings.dry_run));
        let records = Arc::new(Records::default());
        let publishing = publishing(&settings.port, &context, port, &shared, &records, &queues, &namespace);
        let incident_index = Arc::clone(&queues.incident_index);
        let index = Arc::new(Index::new(Arc::clone(&queues.changed)));
        let watches = WatchContext {
            client: watch_client,
            index: Arc::clone(&index),
            selection: shared.file.workloads.selection(),
        };
        let auto_incidents = AutoIncidentController::new(
            context.clone(),
            Arc::clone(&index),
            Arc::clone(&records),
            Arc::clone(&incident_index),
            Arc::clone(&shared),
        );
        let callbacks = callbacks(&publishing, &incident_index);
        let (changed, lease) = (queues.changed, lease_reference(&namespace));
        let recorder =
            RolloutRecorder::new(context.clone(), Arc::clone(&shared), index, records, changed, callbacks, lease);
        Ok(Self {
            installations: Installations::new(&context, readiness, &namespace),
            context,
            settings: shared,
            namespace,
            election,
            watches,
            recorder,
            incident_index,
            alert_index,
            auto_incidents,
            publishing,
            leads: AtomicBool::new(false),
        })
    }
}

/// The election of the replica that writes. A leader that can't renew its lease stops before another replica takes over.
fn election(settings: &Settings, client: Client, namespace: &str, identity: &str) -> LeaderElection {
    LeaderElection::new(client, namespace, LEASE, identity)
        .with_lease_duration(settings.replica.lease_duration)
        .with_renew_deadline(renew_deadline(settings))
}

async fn port_client(settings: &Settings, cluster: &str, context: &Context) -> Result<port_client::Client, RunError> {
    let user_agent = format!("{FIELD_MANAGER}/{} ({cluster})", env!("CARGO_PKG_VERSION"));
    let PortSettings { base_url, credentials, ca_file, .. } = &settings.port;
    let options = port_client::ClientOptions::new(base_url.clone(), credentials.clone(), user_agent);
    let options = port_client::ClientOptions {
        observer: Some(Arc::clone(&context.metrics) as Arc<dyn port_client::Observer>),
        extra_ca: ca_file.clone(),
        limits: settings.file.limits.limits(),
        ..options
    };
    // It reads the file with certificate authorities, which may block. Probes are already answered.
    Ok(tokio::task::spawn_blocking(|| port_client::Client::new(options)).await??)
}

fn publishing(
    settings: &PortSettings,
    context: &Context,
    port: port_client::Client,
    shared: &Arc<ActiveSettings>,
    records: &Arc<Records>,
    queues: &Queues,
    namespace: &str,
) -> Publishing {
    let PortSettings { create_missing_related_entities, create_blueprints, .. } = *settings;
    let options =
        port_client::UpsertOptions { create_missing_related_entities, ..port_client::UpsertOptions::default() };
    let context = Arc::new(PublishContext {
        gate: PortGate::new(Arc::clone(&context.metrics)),
        runtime: context.clone(),
        port,
        options,
        settings: Arc::clone(shared),
        records: Arc::clone(records),
        awaited: AwaitedEntities::default(),
        claims: IdentifierClaims::new(shared),
        blueprints: Blueprints::default(),
    });
    Publishing {
        deployments: Arc::new(Publisher::new(
            Arc::clone(&context),
            Arc::clone(&queues.deployments),
            Arc::clone(&queues.deployment_deletions),
        )),
        incidents: Publisher::new(
            Arc::clone(&context),
            Arc::clone(&queues.incidents),
            Arc::clone(&queues.incident_deletions),
        ),
        context,
        create_blueprints: create_blueprints && !shared.dry_run,
        lease: lease_reference(namespace),
    }
}

/// Sends each written record to the publisher at once, and each reconciled workload to the automatic incidents.
fn callbacks(publishing: &Publishing, incident_index: &Arc<IncidentIndex>) -> RecorderCallbacks {
    let (deployments, incident_index) = (Arc::clone(&publishing.deployments), Arc::clone(incident_index));
    RecorderCallbacks {
        on_written: Box::new(move |record| deployments.publish_written(record)),
        on_reconciled: Box::new(move |uid, available, revisions| {
            incident_index.enqueue_if_relevant(uid, available, revisions, now());
        }),
    }
}
