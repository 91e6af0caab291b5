//! The composition root: every replica watches, and the leader records and publishes.

mod build;
mod clients;
mod identity;
mod installations;
mod queues;
mod watches;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_controller::LeaderElection;
use rollout::Policy;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::build::{ReadinessGates, alert_routes, readiness};
use self::clients::Clients;
use self::identity::installation_time;
use self::installations::Installations;
use self::queues::Queues;
use crate::alertmanager::AlertIndex;
use crate::incidents::automatic::{AutoIncidentController, IncidentIndex};
use crate::publish::Publishing;
use crate::records::RolloutRecorder;
use crate::runtime::{
    ApiClientError, Context, HttpError, HttpLimits, Metrics, Probes, Readiness, WatchActivity, serve,
};
use crate::settings::{ActiveSettings, Settings};
use crate::workloads::{WatchContext, watch_all};

/// How long a leader may finish its work after it was asked to stop. This is less than `terminationGracePeriodSeconds`, by default 30.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a leader may take to release its lease. If it can't, the lease expires.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the metrics of the index are updated.
const INDEX_METRICS_PERIOD: Duration = Duration::from_secs(5);

/// Why the controller can't start. It waits for everything else, such as the API server.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Neither a service account nor a kubeconfig names an API server.
    #[error(
        "no Kubernetes cluster is configured ({0}): run in a pod with a service account, or set KUBECONFIG to a kubeconfig file"
    )]
    Config(#[from] kube::config::InferConfigError),
    /// The Kubernetes client can't be built from the configuration.
    #[error("the Kubernetes configuration is invalid: {0}; check the kubeconfig or the mounted service account")]
    Client(#[from] ApiClientError),
    /// The Port client can't be built from the settings.
    #[error(transparent)]
    Port(#[from] port_client::OptionsError),
    /// The Port client could not be built because the process ends.
    #[error("building the Port client was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    /// The HTTP server can't listen.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Runs the controller until `stop`, and then finishes its work.
///
/// # Errors
/// If the settings are invalid. The text says what to change.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), RunError> {
    let config = kube::Config::infer().await?;
    let default_namespace = config.default_namespace.clone();
    let (metrics, activity) = (Arc::new(Metrics::default()), Arc::new(WatchActivity::default()));
    let clients = Clients::new(&config, &settings, &metrics, &activity)?;
    let queues = Queues::default();
    let (readiness, gates) = readiness(&settings);
    let alert_index = Arc::new(AlertIndex::default());
    let alerts = alert_routes(&settings, &clients.requests, &default_namespace, &metrics, &alert_index);
    // Probes must be answered before the API server answers and before this replica holds the lease.
    let probes = Probes {
        readiness: readiness.clone(),
        metrics: Arc::clone(&metrics),
        pending: queues.pending(),
        frozen: queues.frozen(settings.api.watch_seconds, &activity),
        activity,
    };
    let http = serve(settings.listen_address, HttpLimits::default(), probes, alerts)?;
    let work = async {
        let build =
            Box::pin(Controller::build(settings, clients, default_namespace, metrics, queues, alert_index, &readiness));
        if let Some(controller) = stop.run_until_cancelled(build).await {
            Box::pin(controller?.run(&readiness, gates, &stop)).await;
        }
        Ok(())
    };
    tokio::select! {
        result = work => result,
        () = http => Ok(()),
    }
}

/// The wired parts of the controller.
struct Controller {
    context: Context,
    settings: Arc<ActiveSettings>,
    namespace: String,
    election: LeaderElection,
    installations: Installations,
    watches: WatchContext,
    recorder: RolloutRecorder,
    incident_index: Arc<IncidentIndex>,
    alert_index: Arc<AlertIndex>,
    auto_incidents: AutoIncidentController,
    publishing: Publishing,
    leads: AtomicBool,
}

impl Controller {
    /// Watches all the time, and writes while this replica holds the lease.
    async fn run(&self, readiness: &Readiness, gates: ReadinessGates, stop: &CancellationToken) {
        tokio::select! {
            () = self.watch(gates) => {}
            () = self.update_index_metrics() => {}
            () = self.run_election(readiness, stop) => {}
            () = self.shutdown_timeout(stop) => warn!("failed to finish the work in time; the next leader continues it"),
        }
        if tokio::time::timeout(RELEASE_TIMEOUT, self.election.release()).await.is_err() {
            warn!("failed to release the lease in time; another replica leads when it has expired");
        }
        info!("stopped");
    }

    /// Waits for `stop`, and then for the time that a leader has to finish its work. A standby has nothing to finish.
    async fn shutdown_timeout(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        if self.leads.load(Ordering::Relaxed) {
            tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
        }
    }

    /// Runs all watches, each of which opens its gate.
    async fn watch(&self, gates: ReadinessGates) {
        let ReadinessGates { workloads, records, incidents } = gates;
        futures::future::join3(
            watch_all(&self.watches, workloads),
            self.watch_records(records),
            self.watch_incidents(incidents),
        )
        .await;
    }

    /// Leads while this replica holds the lease, and stands by otherwise, until `stop`.
    async fn run_election(&self, readiness: &Readiness, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let stand_by = CancellationToken::new();
            let lead = async {
                // Until then, this replica stands by although it holds the lease of its installation.
                if stop.run_until_cancelled(self.installations.until_first()).await.is_none() {
                    return;
                }
                stand_by.cancel();
                tokio::select! {
                    () = Box::pin(self.lead(readiness, stop)) => {}
                    () = self.installations.until_second() => {}
                }
            };
            let finished = tokio::select! {
                finished = self.election.with_lease(lead) => finished,
                never = self.stand_by(readiness, &stand_by) => never,
            };
            self.set_leads(false);
            self.installations.clear_report();
            if finished.is_none() {
                warn!("lost the lease; this replica stands by, and another one can lead");
            }
        }
    }

    /// Follows the records of the leader until `leads`. It never returns, because the election decides when standing by ends.
    async fn stand_by(&self, readiness: &Readiness, leads: &CancellationToken) -> Option<()> {
        let record = async {
            if let Some(policy) = leads.run_until_cancelled(self.policy(readiness)).await {
                self.recorder.stand_by(&policy, leads).await;
            }
        };
        futures::future::join(record, self.auto_incidents.stand_by(leads)).await;
        std::future::pending().await
    }

    /// Waits until all watches have listed everything, and returns the rules for recording rollouts.
    async fn policy(&self, readiness: &Readiness) -> Policy {
        readiness.ready().await;
        let installed = installation_time(&self.context.client, &self.namespace).await;
        let rollouts = &self.settings.file.rollouts;
        Policy { installed, history: rollouts.history, fail_after: rollouts.fail_after.0 }
    }

    /// Records, opens incidents and publishes until `stop`.
    async fn lead(&self, readiness: &Readiness, stop: &CancellationToken) {
        let Some(policy) = stop.run_until_cancelled(self.policy(readiness)).await else {
            return;
        };
        info!(installed = %policy.installed, "this replica leads: it records and publishes rollouts");
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
        self.context.metrics.process.set_leader(leads);
    }

    async fn update_index_metrics(&self) {
        loop {
            let (workloads, revisions) = self.watches.index.sizes();
            self.context.metrics.process.set_indexed(workloads, revisions);
            tokio::time::sleep(INDEX_METRICS_PERIOD).await;
        }
    }
}
