//! The whole, put together: watches feed the index, the leader records and publishes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_controller::LeaderElection;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::cluster::{Index, watch_deployments, watch_namespaces, watch_replica_sets};
use crate::ledger::{Keeper, Records, watch_records};
use crate::operate::{Events, Gates, HttpError, Metrics, Waits, WorkQueue, serve};
use crate::port;
use crate::publish::{Context, Publisher, hasten_when_credentials_change, watch_incidents};
use crate::resources::{DoraDeployment, DoraIncident, FIELD_MANAGER};
use crate::settings::Settings;

/// Name of the lease that the replicas share.
const LEASE: &str = FIELD_MANAGER;

/// Characters of the UID of `kube-system` that name a cluster which was given no name.
const CLUSTER_CHARACTERS: usize = 8;

/// First and longest wait while the API server can't be reached at the start.
const START_WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Why the controller can't run. Everything else is waited for.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no way to find the API server.
    #[error(
        "no Kubernetes cluster is configured ({0}): run in a pod with a service account, or set KUBECONFIG to a kubeconfig file"
    )]
    Config(#[from] kube::config::InferConfigError),
    /// The configuration of the API client can't be used.
    #[error("the Kubernetes configuration can't be used: {0}; check the kubeconfig or the mounted service account")]
    Client(#[source] Box<kube::Error>),
    /// The Port client can't be made.
    #[error(transparent)]
    Port(#[from] port::OptionsError),
    /// Health and metrics can't be served.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Runs the controller until `stop` is notified.
///
/// # Errors
/// If the settings can't be used; the text says what to change.
pub async fn run(settings: Settings, stop: Arc<Notify>) -> Result<(), RunError> {
    let Settings { port_base_url, port_credentials, cluster_name, listen_address, identity, namespace, file } =
        settings;
    let config = kube::Config::infer().await?;
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| RunError::Client(Box::new(error)))?;
    let metrics = Arc::new(Metrics::default());

    let mut gates = Gates::default();
    let listed = [
        gates.add("Deployments"),
        gates.add("ReplicaSets"),
        gates.add("Namespaces"),
        gates.add("DoraDeployments"),
        gates.add("DoraIncidents"),
    ];
    let backlog: Arc<std::sync::OnceLock<(Arc<Publisher<DoraDeployment>>, Arc<Publisher<DoraIncident>>)>> =
        Arc::default();
    let pending = {
        let backlog = Arc::clone(&backlog);
        Arc::new(move || match backlog.get() {
            Some((deployments, incidents)) => {
                vec![("DoraDeployment", deployments.queue().len()), ("DoraIncident", incidents.queue().len())]
            }
            None => Vec::new(),
        })
    };
    // Probes are answered before the API server is reached and before the lease is held.
    let health = serve(listen_address, gates.clone(), Arc::clone(&metrics), pending).await?;
    let controller = async {
        let cluster = match cluster_name {
            Some(name) => name,
            None => name_of_cluster(&client).await,
        };
        let identity = identity.unwrap_or_else(default_identity);
        info!(%cluster, identity, port = %port_base_url, version = env!("CARGO_PKG_VERSION"), "started");
        let options = port::ClientOptions {
            observer: Some(Arc::clone(&metrics) as Arc<dyn port::Observer>),
            ..port::ClientOptions::new(
                port_base_url,
                port_credentials.clone(),
                format!("{FIELD_MANAGER}/{} ({cluster})", env!("CARGO_PKG_VERSION")),
            )
        };
        let port = port::Client::new(options)?;
        let context = Arc::new(Context::new(cluster, file));
        let events = Arc::new(Events::new(client.clone(), &identity));

        let changed = Arc::new(WorkQueue::default());
        let index = Arc::new(Index::new(Arc::clone(&changed)));
        let records = Arc::new(Records::default());
        let deployments = Arc::new(Publisher::<DoraDeployment>::new(
            client.clone(),
            port.clone(),
            Arc::clone(&context),
            Arc::clone(&events),
            Arc::clone(&metrics),
        ));
        let incidents = Arc::new(Publisher::<DoraIncident>::new(
            client.clone(),
            port,
            Arc::clone(&context),
            Arc::clone(&events),
            Arc::clone(&metrics),
        ));
        let _ = backlog.set((Arc::clone(&deployments), Arc::clone(&incidents)));
        let keeper = Keeper::new(
            client.clone(),
            Arc::clone(&index),
            Arc::clone(&records),
            changed,
            context,
            events,
            Arc::clone(&metrics),
        );

        let [deployments_listed, replica_sets_listed, namespaces_listed, records_listed, incidents_listed] = listed;
        let reading = futures::future::join5(
            watch_deployments(client.clone(), &index, deployments_listed),
            watch_replica_sets(client.clone(), &index, replica_sets_listed),
            watch_namespaces(client.clone(), &index, namespaces_listed),
            watch_records(client.clone(), &records, &deployments, records_listed),
            watch_incidents(client.clone(), &incidents, incidents_listed),
        );
        let election = LeaderElection::new(client.clone(), &namespace, LEASE, &identity);
        let writing = async {
            loop {
                let lead = async {
                    gates.opened().await;
                    let installed = time_of_installation(&client, &namespace).await;
                    info!(%installed, "leading: rollouts are recorded and delivered by this replica");
                    metrics.leads(true);
                    futures::future::join4(
                        keeper.run(installed),
                        deployments.run(),
                        incidents.run(),
                        hasten_when_credentials_change(&port_credentials, || {
                            deployments.queue().hasten();
                            incidents.queue().hasten();
                        }),
                    )
                    .await;
                };
                election.with_lease(lead).await;
                metrics.leads(false);
                warn!("the lease is lost: another replica may lead now, this one stands by");
            }
        };
        tokio::select! {
            _ = reading => {}
            () = writing => {}
            () = stop.notified() => {}
            () = report_sizes(&index, &metrics) => {}
        }
        election.release().await;
        info!("stopped");
        Ok(())
    };
    tokio::select! {
        result = controller => result,
        () = health => Ok(()),
    }
}

async fn report_sizes(index: &Index, metrics: &Metrics) {
    loop {
        let (deployments, replica_sets) = index.sizes();
        metrics.indexed(deployments, replica_sets);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// The first characters of the UID of `kube-system`, which lives as long as its cluster.
async fn name_of_cluster(client: &Client) -> String {
    let namespace = until_answered("the namespace kube-system", || async {
        Api::<Namespace>::all(client.clone()).get("kube-system").await
    })
    .await;
    namespace.metadata.uid.unwrap_or_default().chars().take(CLUSTER_CHARACTERS).collect()
}

/// When the controller first started in this cluster: then it made its lease.
async fn time_of_installation(client: &Client, namespace: &str) -> Timestamp {
    let lease = until_answered("the lease of the controller", || async {
        Api::<Lease>::namespaced(client.clone(), namespace).get(LEASE).await
    })
    .await;
    lease.metadata.creation_timestamp.map_or_else(Timestamp::now, |time| time.0)
}

async fn until_answered<T, F: Future<Output = Result<T, kube::Error>>>(what: &'static str, get: impl Fn() -> F) -> T {
    let waits = Waits::new(START_WAITS.0, START_WAITS.1);
    loop {
        match get().await {
            Ok(answer) => return answer,
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "{what} can't be read and is tried again; check that the API server is reachable and the ClusterRole is that of \
                 this version",
            ),
        }
        tokio::time::sleep_until(waits.failed(&())).await;
    }
}

fn default_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "local".to_owned());
    format!("{host}-{}", std::process::id())
}
