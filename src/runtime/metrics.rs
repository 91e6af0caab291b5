//! The metrics, by names and labels that are few and fixed.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use port_client::{Observer, Route, StatusClass};
use rollout::Outcome;

/// Buckets of the latency of a request to Port, in seconds.
const LATENCY_BUCKETS: [f64; 8] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct FailureLabels {
    kind: String,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    route: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BlueprintLabel {
    blueprint: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AlertLabels {
    status: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RouteLabel {
    route: &'static str,
}

/// The metrics of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    recorded: Family<OutcomeLabel, Counter>,
    opened: Family<CauseLabel, Counter>,
    delivered: Family<KindLabel, Counter>,
    not_delivered: Family<FailureLabels, Counter>,
    retried: Family<KindLabel, Counter>,
    orphaned: Family<KindLabel, Counter>,
    pending: Family<KindLabel, Gauge>,
    oldest: Family<KindLabel, Gauge<f64, AtomicU64>>,
    requests: Family<RequestLabels, Counter>,
    latency: Family<RouteLabel, Histogram, fn() -> Histogram>,
    missing_fields: Family<BlueprintLabel, Gauge>,
    paused: Counter<f64, AtomicU64>,
    waited: Family<RouteLabel, Counter<f64, AtomicU64>>,
    alerts: Family<AlertLabels, Counter>,
    workloads: Gauge,
    revisions: Gauge,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("port_dora");
        let latency = Family::new_with_constructor((|| Histogram::new(LATENCY_BUCKETS)) as fn() -> Histogram);
        let metrics = Self {
            recorded: Family::default(),
            opened: Family::default(),
            delivered: Family::default(),
            not_delivered: Family::default(),
            retried: Family::default(),
            orphaned: Family::default(),
            pending: Family::default(),
            oldest: Family::default(),
            requests: Family::default(),
            latency,
            missing_fields: Family::default(),
            paused: Counter::default(),
            waited: Family::default(),
            alerts: Family::default(),
            workloads: Gauge::default(),
            revisions: Gauge::default(),
            leader: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("build", "Version of the controller", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("rollouts_recorded", "Rollouts written down, by outcome", metrics.recorded.clone());
        registry.register("incidents_opened", "Incidents that the controller opened, by cause", metrics.opened.clone());
        registry.register("resources_delivered", "Resources that Port accepted", metrics.delivered.clone());
        registry.register(
            "deliveries_failed",
            "Attempts to deliver a resource that failed, by reason",
            metrics.not_delivered.clone(),
        );
        registry.register(
            "resources_pending",
            "Resources that wait to be looked at or delivered",
            metrics.pending.clone(),
        );
        registry.register(
            "deliveries_retried",
            "Attempts to deliver a resource that had failed before",
            metrics.retried.clone(),
        );
        registry.register(
            "entities_orphaned",
            "Entities that should have been deleted from Port with their resource and could not be",
            metrics.orphaned.clone(),
        );
        registry.register(
            "oldest_pending_seconds",
            "Seconds for which the resource that came first has waited to be delivered, in this process",
            metrics.oldest.clone(),
        );
        registry.register("requests", "Requests to Port", metrics.requests.clone());
        registry.register("request_duration_seconds", "Duration of requests to Port", metrics.latency.clone());
        registry.register(
            "paused_seconds",
            "Seconds for which Port asked to send nothing (429)",
            metrics.paused.clone(),
        );
        registry.register(
            "request_wait_seconds",
            "Seconds that requests waited for the limits of Port before they were sent",
            metrics.waited.clone(),
        );
        registry.register(
            "blueprint_missing_fields",
            "Properties and relations that the blueprint lacks, or requires and the controller can't fill",
            metrics.missing_fields.clone(),
        );
        registry.register(
            "alerts_received",
            "Notifications of Alertmanager, by what became of them",
            metrics.alerts.clone(),
        );
        registry.register("indexed_deployments", "Workloads in the index", metrics.workloads.clone());
        registry.register(
            "indexed_replica_sets",
            "Revisions of workloads in the index, such as ReplicaSets of Deployments",
            metrics.revisions.clone(),
        );
        registry.register("leader", "Whether this replica is the one that writes", metrics.leader.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// A rollout was written down.
    pub fn recorded(&self, outcome: Outcome) {
        self.recorded.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }

    /// The controller opened an incident. `cause` is one of [`crate::incidents::OpenedBy`].
    pub fn incident_opened(&self, cause: &'static str) {
        self.opened.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Port accepted a resource of this kind.
    pub fn delivered(&self, kind: &str) {
        self.delivered.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// An attempt to deliver a resource of this kind failed. `reason` is one of [`port_client::Kind`].
    pub fn not_delivered(&self, kind: &str, reason: &'static str) {
        self.not_delivered.get_or_create(&FailureLabels { kind: kind.to_owned(), reason }).inc();
    }

    /// How many resources of this kind wait, and for how long the oldest has.
    pub fn pending(&self, kind: &str, count: usize, oldest: Duration) {
        let label = KindLabel { kind: kind.to_owned() };
        self.pending.get_or_create(&label).set(clamped(count));
        self.oldest.get_or_create(&label).set(oldest.as_secs_f64());
    }

    /// An attempt to deliver a resource of this kind that had failed before.
    pub fn retried(&self, kind: &str) {
        self.retried.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// The entity of a resource of this kind stays in Port although it should have been deleted with it.
    pub fn orphaned(&self, kind: &str) {
        self.orphaned.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// How many names a blueprint lacks. There are two blueprints.
    pub fn blueprint_missing_fields(&self, blueprint: &str, count: usize) {
        self.missing_fields.get_or_create(&BlueprintLabel { blueprint: blueprint.to_owned() }).set(clamped(count));
    }

    /// Alertmanager sent a notification. `result` is `stored`, `unchanged`, `refused` or `failed`.
    pub fn alert_received(&self, status: &'static str, result: &'static str) {
        self.alerts.get_or_create(&AlertLabels { status, result }).inc();
    }

    /// How many workloads and revisions are indexed.
    pub fn indexed(&self, workloads: usize, revisions: usize) {
        self.workloads.set(clamped(workloads));
        self.revisions.set(clamped(revisions));
    }

    /// Whether this replica is the one that writes.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All metrics in the text format of OpenMetrics.
    ///
    /// # Errors
    /// Never in practice: writing into memory can't fail.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn clamped(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Observer for Metrics {
    fn on_request(&self, route: Route, status: StatusClass, duration: Duration) {
        let (route, status) = (route.as_str(), status.as_str());
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
        self.latency.get_or_create(&RouteLabel { route }).observe(duration.as_secs_f64());
    }

    fn on_pause(&self, duration: Duration) {
        self.paused.inc_by(duration.as_secs_f64());
    }

    fn on_wait(&self, route: Route, duration: Duration) {
        self.waited.get_or_create(&RouteLabel { route: route.as_str() }).inc_by(duration.as_secs_f64());
    }
}
