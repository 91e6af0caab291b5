//! Builds the parts of the controller and wires them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use k8s_controller::LeaderElection;
use kube::{Client, Config};
use rollout::Uid;
use tracing::info;

use super::identity::{LEASE, cluster_name, default_identity, lease_reference};
use super::{Controller, RunError};
use crate::alertmanager::{self, TokenFile};
use crate::incidents::automatic::{AutoIncidentController, IncidentIndex};
use crate::publish::{Blueprints, PublishContext, Publisher, Publishing};
use crate::records::{RecorderCallbacks, Records, RolloutRecorder};
use crate::resources::{FIELD_MANAGER, ResourceKey};
use crate::runtime::{
    ApiClientError, Context, Events, FROZEN_AFTER, FrozenFn, FrozenPart, Metrics, PendingFn, PendingResources,
    Readiness, Synced, WatchActivity, WatchClient, WorkQueue, api_client, frozen_worker, now,
};
use crate::settings::{ActiveSettings, ApiSettings, PortSettings, Settings};
use crate::workloads::{Index, Watch, WatchContext, watches};

/// The work queues, by the part that works on them.
#[derive(Clone, Default)]
pub struct Queues {
    changed: Arc<WorkQueue<Uid>>,
    deployments: Arc<WorkQueue<ResourceKey>>,
    incidents: Arc<WorkQueue<ResourceKey>>,
    /// Has the queue of the automatic incidents.
    incident_index: Arc<IncidentIndex>,
}

impl Queues {
    /// How many resources wait to be delivered, for `/readyz` and `/metrics`.
    pub fn pending(&self) -> PendingFn {
        let waiting = |kind, queue: &WorkQueue<ResourceKey>| PendingResources {
            kind,
            count: queue.len(),
            oldest: queue.oldest().unwrap_or_default(),
        };
        let Self { deployments, incidents, .. } = self.clone();
        Arc::new(move || vec![waiting("DoraDeployment", &deployments), waiting("DoraIncident", &incidents)])
    }

    /// The parts that make no progress: workers that have been busy with one key for too long, and watches on which the API server has
    /// sent nothing for [`FROZEN_AFTER`] longer than a watch lasts.
    pub fn frozen(&self, watch_seconds: u16, activity: &Arc<WatchActivity>) -> FrozenFn {
        let (Self { changed, deployments, incidents, incident_index }, activity) = (self.clone(), Arc::clone(activity));
        let max_age = FROZEN_AFTER + Duration::from_secs(watch_seconds.into());
        Arc::new(move || {
            let resource = |key: &ResourceKey| format!("{}/{}", key.namespace, key.name);
            let workload = |uid: &Uid| format!("the workload with the UID {uid}");
            let workers = [
                frozen_worker(&changed, "recorder", "the recorder of rollouts", workload),
                frozen_worker(
                    incident_index.queue(),
                    "automatic_incidents",
                    "the controller of automatic incidents",
                    workload,
                ),
                frozen_worker(&deployments, "deployment_publisher", "the publisher of DoraDeployment", resource),
                frozen_worker(&incidents, "incident_publisher", "the publisher of DoraIncident", resource),
            ];
            let silent = activity.ages().into_iter().filter(|(_, age)| *age >= max_age);
            let watches = silent.map(|(resource, age)| FrozenPart {
                part: "watch",
                text: format!("the API server has sent nothing on the watch on {resource} for {} s", age.as_secs()),
            });
            workers.into_iter().flatten().chain(watches).collect()
        })
    }
}

/// The clients of the API server.
pub struct Clients {
    /// For all requests except those below.
    pub requests: Client,
    /// For the lease. Its timeout is shorter, so that a lost connection doesn't cost the lease.
    pub lease: Client,
    pub watches: WatchClient,
}

impl Clients {
    /// The clients of the API server in `config`. Nothing is sent yet.
    ///
    /// # Errors
    /// If `config` is invalid.
    pub fn new(
        config: &Config,
        settings: &Settings,
        metrics: &Arc<Metrics>,
        activity: &Arc<WatchActivity>,
    ) -> Result<Self, ApiClientError> {
        let client = |timeout| api_client(config.clone(), timeout, metrics, activity);
        let ApiSettings { timeout, watch_seconds } = settings.api;
        let requests = client(timeout)?;
        // A renewal may be tried twice before its deadline.
        let lease = client(timeout.min(renew_deadline(settings) / 2))?;
        let watches =
            WatchClient::new(requests.clone(), watch_seconds.into(), Arc::clone(metrics), Arc::clone(activity));
        Ok(Self { requests, lease, watches })
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
        clients: Clients,
        default_namespace: String,
        metrics: Arc<Metrics>,
        queues: Queues,
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
        let publishing = publishing(settings.port, &context, port, &shared, &records, &queues, &namespace);
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
fn election(settings: &Settings, client: Client, namespace: &str, identity: &str) -> LeaderElection {
    LeaderElection::new(client, namespace, LEASE, identity)
        .with_lease_duration(settings.replica.lease_duration)
        .with_renew_deadline(renew_deadline(settings))
}

/// Time after which a leader that can't renew its lease stops.
fn renew_deadline(settings: &Settings) -> Duration {
    settings.replica.lease_duration * 2 / 3
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
    settings: PortSettings,
    context: &Context,
    port: port_client::Client,
    shared: &Arc<ActiveSettings>,
    records: &Arc<Records>,
    queues: &Queues,
    namespace: &str,
) -> Publishing {
    let PortSettings { create_missing_related_entities, create_blueprints, .. } = settings;
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

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn frozen_worker_and_silent_watch_are_named() {
        let (queues, activity, stop) =
            (Queues::default(), Arc::new(WatchActivity::default()), CancellationToken::new());
        let frozen = queues.frozen(290, &activity);
        activity.start("namespaces");
        queues.incidents.add(ResourceKey { namespace: "shop".into(), name: "down".into() });
        let work = queues.incidents.run(20, 4, &stop, async |_| std::future::pending().await);
        let parts_after = async |seconds| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            frozen().into_iter().map(|frozen| frozen.text).collect::<Vec<_>>()
        };
        let publisher = "the publisher of DoraIncident has worked on shop/down for";
        let checks = async {
            assert_eq!(parts_after(299).await, Vec::<String>::new());
            assert_eq!(parts_after(13).await, [format!("{publisher} 312 s")]);
            let watch = "the API server has sent nothing on the watch on namespaces for 612 s".to_owned();
            assert_eq!(parts_after(300).await, [format!("{publisher} 612 s"), watch]);
        };
        tokio::select! {
            () = work => unreachable!(),
            () = checks => {}
        }
    }
}
