//! The composition root: watches feed the index, and the leader records and publishes.

mod build;
mod identity;
mod watches;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_controller::LeaderElection;
use kube::Client;
use rollout::Policy;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::build::{Listed, Queues, alert_routes, readiness};
use self::identity::installation_time;
use crate::incidents::automatic::{AutoIncidentController, IncidentIndex};
use crate::publish::Publishing;
use crate::records::RolloutRecorder;
use crate::runtime::{Context, HttpError, Metrics, Readiness, serve};
use crate::settings::{ActiveSettings, Settings};
use crate::workloads::{Index, Selection, watch_deployments, watch_namespaces, watch_replica_sets};

/// How long a leader that is told to stop may go on with work under way. Less than the 30 s that Kubernetes gives by default.
const TIME_TO_FINISH: Duration = Duration::from_secs(15);

/// How often the sizes of the index are measured for the metrics.
const SIZES_PERIOD: Duration = Duration::from_secs(5);

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
    Port(#[from] port_client::OptionsError),
    /// The settings select no Deployments.
    #[error("the settings file (CONFIG_FILE) can't be used: {0}")]
    Selection(String),
    /// Health and metrics can't be served.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Runs the controller until `stop`, and finishes the work under way then.
///
/// # Errors
/// If the settings can't be used; the text says what to change.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), RunError> {
    let mut config = kube::Config::infer().await?;
    // kube applies HTTPS_PROXY, which is meant for the way to Port, to the API server too, and does not know NO_PROXY.
    config.proxy_url = None;
    let default_namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(|error| RunError::Client(Box::new(error)))?;
    let metrics = Arc::new(Metrics::default());
    let queues = Queues::default();
    let (readiness, listed) = readiness();
    let alerts = alert_routes(&settings, &client, &default_namespace, &metrics);
    // Probes are answered before the API server is reached and before the lease is held.
    let pending = queues.pending();
    let http = serve(settings.listen_address, readiness.clone(), Arc::clone(&metrics), pending, alerts).await?;
    let work = async {
        let controller = Controller::build(settings, client, default_namespace, metrics, queues).await?;
        Box::pin(controller.run(&readiness, listed, &stop)).await;
        Ok(())
    };
    tokio::select! {
        result = work => result,
        () = http => Ok(()),
    }
}

/// The parts of the controller, wired.
struct Controller {
    context: Context,
    settings: Arc<ActiveSettings>,
    namespace: String,
    election: LeaderElection,
    index: Arc<Index>,
    selection: Selection,
    recorder: RolloutRecorder,
    incident_index: Arc<IncidentIndex>,
    auto_incidents: AutoIncidentController,
    publishing: Publishing,
    leads: AtomicBool,
}

impl Controller {
    /// Reads at once, for as long as it runs; writes while this replica holds the lease.
    async fn run(&self, readiness: &Readiness, listed: Listed, stop: &CancellationToken) {
        tokio::select! {
            () = self.read(listed) => {}
            () = self.report_sizes() => {}
            () = self.write(readiness, stop) => {}
            () = self.overdue(stop) => warn!("the work under way took too long to finish; the next start continues it"),
        }
        self.election.release().await;
        info!("stopped");
    }

    /// Waits until it is time to leave the work under way unfinished. A standby has nothing to finish.
    async fn overdue(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        if self.leads.load(Ordering::Relaxed) {
            tokio::time::sleep(TIME_TO_FINISH).await;
        }
    }

    async fn read(&self, listed: Listed) {
        let client = || self.context.client.clone();
        let Listed { deployments, replica_sets, namespaces, records, incidents } = listed;
        futures::future::join5(
            watch_deployments(client(), &self.index, &self.selection, deployments),
            watch_replica_sets(client(), &self.index, replica_sets),
            watch_namespaces(client(), &self.index, namespaces),
            self.watch_records(records),
            self.watch_incidents(incidents),
        )
        .await;
    }

    async fn write(&self, readiness: &Readiness, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let stand_by = CancellationToken::new();
            let lead = async {
                stand_by.cancel();
                Box::pin(self.lead(readiness, stop)).await;
            };
            let finished = tokio::select! {
                finished = self.election.with_lease(lead) => finished,
                never = self.stand_by(readiness, &stand_by) => never,
            };
            self.set_leads(false);
            if finished.is_none() {
                warn!("the lease is lost; this replica stands by, and another may lead");
            }
        }
    }

    /// Follows the leader until `leads`; never returns, since the election decides when that ends.
    async fn stand_by(&self, readiness: &Readiness, leads: &CancellationToken) -> Option<()> {
        if let Some(policy) = leads.run_until_cancelled(self.policy(readiness)).await {
            self.recorder.stand_by(&policy, leads).await;
        }
        std::future::pending().await
    }

    /// The rules by which rollouts are recorded, once everything is listed.
    async fn policy(&self, readiness: &Readiness) -> Policy {
        readiness.ready().await;
        let installed = installation_time(&self.context.client, &self.namespace).await;
        let rollouts = &self.settings.file.rollouts;
        Policy { installed, history: rollouts.history, fail_after: rollouts.fail_after.0 }
    }

    async fn lead(&self, readiness: &Readiness, stop: &CancellationToken) {
        let Some(policy) = stop.run_until_cancelled(self.policy(readiness)).await else {
            return;
        };
        info!(installed = %policy.installed, "this replica leads: it records rollouts and publishes them");
        self.set_leads(true);
        futures::future::join3(
            Box::pin(self.recorder.run(&policy, stop)),
            Box::pin(self.auto_incidents.run(policy.installed, stop)),
            Box::pin(self.publishing.run(stop)),
        )
        .await;
    }

    fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
        self.context.metrics.set_leader(leads);
    }

    async fn report_sizes(&self) {
        loop {
            let (deployments, replica_sets) = self.index.sizes();
            self.context.metrics.set_indexed(deployments, replica_sets);
            tokio::time::sleep(SIZES_PERIOD).await;
        }
    }
}
