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
use crate::publish::{Blueprints, IdentifierClaims, PublishContext, Publisher, Publishing};
use crate::records::{RecorderCallbacks, Records, RolloutRecorder};
use crate::resources::{FIELD_MANAGER, ResourceKey};
use crate::runtime::{Context, Events, Metrics, PendingFn, PendingResources, Readiness, Synced, WorkQueue, now};
use crate::settings::{ActiveSettings, PortSettings, Settings};
use crate::workloads::{Index, Watch, WatchContext, watches};

/// The work queues, by the part that works on them.
#[derive(Clone, Default)]
pub struct Queues {
    changed: Arc<WorkQueue<Uid>>,
    deployments: Arc<WorkQueue<ResourceKey>>,
    incidents: Arc<WorkQueue<ResourceKey>>,
}

impl Queues {
    /// How many resources wait to be delivered, for `/readyz` and `/metrics`.
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
pub fn alert_routes(settings: &Settings, client: &Client, default_namespace: &str, metrics: &Arc<Metrics>) -> Router {
    let Some(file) = settings.alertmanager_token_file.clone() else {
        return Router::new();
    };
    let namespace = settings.replica.namespace.clone().unwrap_or_else(|| default_namespace.to_owned());
    let store = alertmanager::IncidentStore::new(client.clone(), namespace, settings.file.alertmanager.clone());
    alertmanager::router(TokenFile(file), store, Arc::clone(metrics))
}

impl Controller {
    /// Builds all parts. Without a name of the cluster in the settings, it waits until the API server answers.
    ///
    /// # Errors
    /// If the settings are invalid.
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
        let identity = settings.replica.identity.clone().unwrap_or_else(default_identity);
        let namespace = settings.replica.namespace.clone().unwrap_or(default_namespace);
        info!(%cluster, identity, port = %settings.port.base_url, version = env!("CARGO_PKG_VERSION"), "started");
        let election = election(&settings, &client, &namespace, &identity);
        let context = Context { events: Arc::new(Events::new(client.clone(), &identity)), client, metrics };
        let port = port_client(&settings, &cluster, &context)?;
        let shared = Arc::new(ActiveSettings::new(cluster, settings.file.clone(), settings.dry_run));
        let records = Arc::new(Records::default());
        let publishing = publishing(settings.port, &context, port, &shared, &records, &queues, &namespace);
        let incident_index = Arc::new(IncidentIndex::default());
        let index = Arc::new(Index::new(Arc::clone(&queues.changed)));
        let watches = WatchContext {
            client: context.client.clone(),
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
        let recorder =
            RolloutRecorder::new(context.clone(), Arc::clone(&shared), index, records, queues.changed, callbacks);
        Ok(Self {
            context,
            settings: shared,
            namespace,
            election,
            watches,
            recorder,
            incident_index,
            auto_incidents,
            publishing,
            leads: AtomicBool::new(false),
        })
    }
}

/// The election of the replica that writes. A leader that can't renew its lease stops before another replica takes over.
fn election(settings: &Settings, client: &Client, namespace: &str, identity: &str) -> LeaderElection {
    let lease_duration = settings.replica.lease_duration;
    LeaderElection::new(client.clone(), namespace, LEASE, identity)
        .with_lease_duration(lease_duration)
        .with_renew_deadline(lease_duration * 2 / 3)
}

fn port_client(settings: &Settings, cluster: &str, context: &Context) -> Result<port_client::Client, RunError> {
    let user_agent = format!("{FIELD_MANAGER}/{} ({cluster})", env!("CARGO_PKG_VERSION"));
    let PortSettings { base_url, credentials, ca_file, .. } = &settings.port;
    let options = port_client::ClientOptions::new(base_url.clone(), credentials.clone(), user_agent);
    Ok(port_client::Client::new(port_client::ClientOptions {
        observer: Some(Arc::clone(&context.metrics) as Arc<dyn port_client::Observer>),
        extra_ca: ca_file.clone(),
        limits: settings.file.limits.limits(),
        ..options
    })?)
}

fn publishing(
    settings: PortSettings,
    context: &Context,
    port: port_client::Client,
    shared: &Arc<ActiveSettings>,
    records: &Arc<Records>,
    queues: &Queues,
    namespace: &str,
) -> Publishing {
    let PortSettings { create_missing_related_entities, create_blueprints, credentials, .. } = settings;
    let options =
        port_client::UpsertOptions { create_missing_related_entities, ..port_client::UpsertOptions::default() };
    let context = Arc::new(PublishContext {
        runtime: context.clone(),
        port,
        options,
        settings: Arc::clone(shared),
        records: Arc::clone(records),
        claims: IdentifierClaims::new(shared),
        blueprints: Blueprints::default(),
    });
    Publishing {
        deployments: Arc::new(Publisher::new(Arc::clone(&context), Arc::clone(&queues.deployments))),
        incidents: Publisher::new(Arc::clone(&context), Arc::clone(&queues.incidents)),
        context,
        credentials,
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
