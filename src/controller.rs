//! The whole, put together: watches feed the index, the leader records and publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use jiff::Timestamp;
use k8s_controller::LeaderElection;
use k8s_controller::events::{Event, EventType};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ObjectMeta;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::alertmanager::{self, TokenFile};
use crate::cluster::{Index, Selection, Synced, watch_deployments, watch_namespaces, watch_replica_sets};
use crate::incident::{OpenIncidents, Opener};
use crate::ledger::{Keeper, Records};
use crate::operate::{Events, Gates, HttpError, Metrics, Tools, Waiting, Waits, WorkQueue, serve};
use crate::port;
use crate::publish::{
    BlueprintChange, Context, Key, Publisher, Record, Wanted, hasten_when_credentials_change, new_blueprints,
    watch_incidents,
};
use crate::resources::{DoraDeployment, DoraIncident, FIELD_MANAGER};
use crate::rollout::{Policy, Uid};
use crate::settings::{FileSettings, Rollouts, Settings};

/// Name of the lease that the replicas share.
const LEASE: &str = FIELD_MANAGER;

/// Characters of the UID of `kube-system` that name a cluster which was given no name.
const CLUSTER_CHARACTERS: usize = 8;

/// How long a leader that is told to stop goes on with what is under way. Less than the 30 s that Kubernetes gives by default.
const TIME_TO_FINISH: Duration = Duration::from_secs(15);

/// How often the sizes of the index are measured for the metrics.
const SIZES_PERIOD: Duration = Duration::from_secs(5);

/// Bounds of the first and the longest wait while the API server can't be reached at the start.
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
    /// The settings select no Deployments.
    #[error("the settings file (CONFIG_FILE) can't be used: {0}")]
    Selection(String),
    /// Health and metrics can't be served.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Runs the controller until `stop`; what is under way then is finished.
///
/// # Errors
/// If the settings can't be used; the text says what to change.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), RunError> {
    let mut config = kube::Config::infer().await?;
    // kube takes HTTPS_PROXY, which is meant for the way to Port, for the API server too, and does not know NO_PROXY.
    config.proxy_url = None;
    let default_namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(|error| RunError::Client(Box::new(error)))?;
    let metrics = Arc::new(Metrics::default());
    let queues = Queues::default();
    let (gates, listed) = gates();
    let pending = {
        let Queues { deployments, incidents, .. } = queues.clone();
        let waiting = |kind, queue: &WorkQueue<Key>| Waiting {
            kind,
            count: queue.len(),
            oldest: queue.oldest().unwrap_or_default(),
        };
        Arc::new(move || vec![waiting("DoraDeployment", &deployments), waiting("DoraIncident", &incidents)])
    };
    let alerts = match settings.alertmanager_token_file.clone() {
        Some(file) => {
            let namespace = settings.namespace.clone().unwrap_or_else(|| default_namespace.clone());
            let store = alertmanager::Store::new(client.clone(), namespace, settings.file.alertmanager.clone());
            alertmanager::router(TokenFile(file), store, Arc::clone(&metrics))
        }
        None => Router::new(),
    };
    // Probes are answered before the API server is reached and before the lease is held.
    let health = serve(settings.listen_address, gates.clone(), Arc::clone(&metrics), pending, alerts).await?;
    let work = async {
        let parts = Parts::make(settings, client, default_namespace, metrics, queues).await?;
        Box::pin(parts.run(&gates, listed, &stop)).await;
        Ok(())
    };
    tokio::select! {
        result = work => result,
        () = health => Ok(()),
    }
}

/// What waits, by the part that works on it.
#[derive(Clone, Default)]
struct Queues {
    changed: Arc<WorkQueue<Uid>>,
    deployments: Arc<WorkQueue<Key>>,
    incidents: Arc<WorkQueue<Key>>,
}

/// Opened when the first list of each kind is complete.
struct Listed {
    deployments: Synced,
    replica_sets: Synced,
    namespaces: Synced,
    records: Synced,
    incidents: Synced,
}

fn gates() -> (Gates, Listed) {
    let mut gates = Gates::default();
    let listed = Listed {
        deployments: gates.add("Deployments"),
        replica_sets: gates.add("ReplicaSets"),
        namespaces: gates.add("Namespaces"),
        records: gates.add("DoraDeployments"),
        incidents: gates.add("DoraIncidents"),
    };
    (gates, listed)
}

/// The parts of the controller, put together.
struct Parts {
    tools: Tools,
    namespace: String,
    election: LeaderElection,
    credentials: port::CredentialSource,
    port: port::Client,
    context: Arc<Context>,
    create_blueprints: bool,
    index: Arc<Index>,
    selection: Selection,
    rollouts: Rollouts,
    keeper: Keeper,
    open_incidents: Arc<OpenIncidents>,
    opener: Opener,
    deployments: Arc<Publisher<DoraDeployment>>,
    incidents: Publisher<DoraIncident>,
    leads: AtomicBool,
}

impl Parts {
    async fn make(
        settings: Settings,
        client: Client,
        default_namespace: String,
        metrics: Arc<Metrics>,
        queues: Queues,
    ) -> Result<Self, RunError> {
        let Settings {
            port_base_url,
            port_credentials,
            port_ca_file,
            create_blueprints,
            create_missing_related_entities,
            dry_run,
            cluster_name,
            alertmanager_token_file: _,
            listen_address: _,
            lease_duration,
            identity,
            namespace,
            file,
        } = settings;
        let cluster = match cluster_name {
            Some(name) => name,
            None => name_of_cluster(&client).await,
        };
        let identity = identity.unwrap_or_else(default_identity);
        let namespace = namespace.unwrap_or(default_namespace);
        info!(%cluster, identity, port = %port_base_url, version = env!("CARGO_PKG_VERSION"), "started");
        let user_agent = format!("{FIELD_MANAGER}/{} ({cluster})", env!("CARGO_PKG_VERSION"));
        let port = port::Client::new(port::ClientOptions {
            observer: Some(Arc::clone(&metrics) as Arc<dyn port::Observer>),
            extra_ca: port_ca_file,
            limits: file.limits.limits(),
            ..port::ClientOptions::new(port_base_url, port_credentials.clone(), user_agent)
        })?;
        let events = Arc::new(Events::new(client.clone(), &identity));
        let election = LeaderElection::new(client.clone(), &namespace, LEASE, &identity)
            .with_lease_duration(lease_duration)
            .with_renew_deadline(lease_duration * 2 / 3);
        let tools = Tools { client, events, metrics };
        let selection = file.deployments.selection().map_err(RunError::Selection)?;
        let (rollouts, retention) = (file.rollouts.clone(), file.retention.clone());
        let context = Arc::new(Context::new(cluster, file, dry_run));
        let options = port::UpsertOptions { create_missing_related_entities, ..port::UpsertOptions::default() };
        let Queues { changed, deployments, incidents } = queues;
        let index = Arc::new(Index::new(Arc::clone(&changed)));
        let deployments =
            Arc::new(Publisher::new(tools.clone(), port.clone(), options, Arc::clone(&context), deployments));
        let (records, open_incidents) = (Arc::new(Records::default()), Arc::new(OpenIncidents::default()));
        Ok(Self {
            opener: Opener::new(
                tools.clone(),
                Arc::clone(&index),
                Arc::clone(&records),
                Arc::clone(&open_incidents),
                Arc::clone(&context),
            ),
            keeper: Keeper::new(
                tools.clone(),
                Arc::clone(&index),
                records,
                changed,
                Arc::clone(&deployments),
                Arc::clone(&open_incidents),
                &retention,
            ),
            open_incidents,
            deployments,
            incidents: Publisher::new(tools.clone(), port.clone(), options, Arc::clone(&context), incidents),
            port,
            context,
            create_blueprints: create_blueprints && !dry_run,
            credentials: port_credentials,
            tools,
            namespace,
            election,
            index,
            selection,
            rollouts,
            leads: AtomicBool::new(false),
        })
    }

    /// Reads at once and for ever; writes while this replica holds the lease.
    async fn run(&self, gates: &Gates, listed: Listed, stop: &CancellationToken) {
        tokio::select! {
            () = self.read(listed) => {}
            () = self.report_sizes() => {}
            () = self.write(gates, stop) => {}
            () = self.overdue(stop) => warn!("what was under way is left to the next start"),
        }
        self.election.release().await;
        info!("stopped");
    }

    /// Waits until it is time to leave unfinished what is under way. A standby has nothing to finish.
    async fn overdue(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        if self.leads.load(Ordering::Relaxed) {
            tokio::time::sleep(TIME_TO_FINISH).await;
        }
    }

    async fn read(&self, listed: Listed) {
        let client = || self.tools.client.clone();
        let Listed { deployments, replica_sets, namespaces, records, incidents } = listed;
        futures::future::join5(
            watch_deployments(client(), &self.index, &self.selection, deployments),
            watch_replica_sets(client(), &self.index, replica_sets),
            watch_namespaces(client(), &self.index, namespaces),
            self.keeper.watch_records(client(), records),
            watch_incidents(
                client(),
                &self.incidents,
                |incident| self.open_incidents.seen(incident, Timestamp::now()),
                |incident| self.open_incidents.gone(incident),
                incidents,
            ),
        )
        .await;
    }

    async fn write(&self, gates: &Gates, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let stand_by = CancellationToken::new();
            let lead = async {
                stand_by.cancel();
                Box::pin(self.lead(gates, stop)).await;
            };
            let finished = tokio::select! {
                finished = self.election.with_lease(lead) => finished,
                never = self.stand_by(gates, &stand_by) => never,
            };
            self.set_leads(false);
            if finished.is_none() {
                warn!("the lease is lost: another replica may lead now, this one stands by");
            }
        }
    }

    /// Follows what the leader does until `leads`; never comes back, since whoever leads decides when that ends.
    async fn stand_by(&self, gates: &Gates, leads: &CancellationToken) -> Option<()> {
        if let Some(policy) = leads.run_until_cancelled(self.policy(gates)).await {
            self.keeper.stand_by(&policy, leads).await;
        }
        std::future::pending().await
    }

    /// By which rules it is decided what is recorded, once everything is listed.
    async fn policy(&self, gates: &Gates) -> Policy {
        gates.opened().await;
        let installed = time_of_installation(&self.tools.client, &self.namespace).await;
        Policy { installed, history: self.rollouts.history, patience: self.rollouts.fail_after.0 }
    }

    async fn lead(&self, gates: &Gates, stop: &CancellationToken) {
        let Some(policy) = stop.run_until_cancelled(self.policy(gates)).await else {
            return;
        };
        info!(installed = %policy.installed, "leading: rollouts are recorded and delivered by this replica");
        self.set_leads(true);
        let hasten = || {
            self.deployments.queue().hasten();
            self.incidents.queue().hasten();
        };
        let watch_credentials = hasten_when_credentials_change(&self.credentials, || {
            hasten();
            self.context.blueprints.doubt();
        });
        let publish = futures::future::join(self.deployments.run(stop), self.incidents.run(stop));
        let wanted = self.wanted();
        let keep_blueprints = self.context.blueprints.keep(&self.port, &wanted, async |changes| {
            self.tell_of_blueprints(&changes).await;
            hasten();
        });
        futures::future::join5(
            Box::pin(self.keeper.run(&policy, stop)),
            Box::pin(self.opener.run(policy.installed, stop)),
            Box::pin(publish),
            stop.run_until_cancelled(watch_credentials),
            stop.run_until_cancelled(futures::future::join(keep_blueprints, self.create_blueprints())),
        )
        .await;
    }

    /// The blueprints that entities are made of.
    fn wanted(&self) -> [Wanted<'_>; 2] {
        [DoraDeployment::wanted(&self.context), DoraIncident::wanted(&self.context)]
    }

    /// Makes the blueprints that Port doesn't have, if that is wanted. Relations need the blueprint that they lead to.
    async fn create_blueprints(&self) {
        if !self.create_blueprints {
            return;
        }
        let FileSettings { blueprints, naming, statuses, .. } = &self.context.settings;
        let new = [
            new_blueprints::group(),
            new_blueprints::deployment(&blueprints.deployment, &naming.deployment, statuses),
            new_blueprints::incident(&blueprints.incident, &blueprints.deployment, &naming.incident),
        ];
        self.context.blueprints.create(&self.port, &new).await;
    }

    /// Says on the lease, which is the controller's own, what the blueprints lack: it concerns every resource alike.
    async fn tell_of_blueprints(&self, changes: &[BlueprintChange]) {
        for change in changes {
            self.tools.metrics.blueprint_lacks(&change.identifier, change.lacking.len());
            let Some(note) = change.told() else {
                continue;
            };
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(LEASE.to_owned()),
                    namespace: Some(self.namespace.clone()),
                    ..ObjectMeta::default()
                },
                ..Lease::default()
            };
            let event = Event {
                type_: EventType::Warning,
                reason: "BlueprintLacks".to_owned(),
                action: "Publish".to_owned(),
                note: Some(note),
                related: None,
            };
            self.tools.events.publish(&lease, &event).await;
        }
    }

    fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
        self.tools.metrics.leads(leads);
    }

    async fn report_sizes(&self) {
        loop {
            let (deployments, replica_sets) = self.index.sizes();
            self.tools.metrics.indexed(deployments, replica_sets);
            tokio::time::sleep(SIZES_PERIOD).await;
        }
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
