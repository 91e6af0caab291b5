//! The metrics of the controller. Their labels have few, fixed values.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use port_client::{Observer, Route, StatusClass};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use rollout::Outcome;

/// Prefix of all names.
const PREFIX: &str = "port_dora";

/// Buckets of `request_duration_seconds`.
const DURATION_BUCKETS: [f64; 8] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// A counter of seconds, or a gauge of seconds, with fractions.
type SecondsCounter = Counter<f64, AtomicU64>;
type SecondsGauge = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AlertLabels {
    status: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KindLabel {
    kind: String,
}

impl KindLabel {
    fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned() }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct FailureLabels {
    kind: String,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BlueprintLabel {
    blueprint: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RouteLabel {
    route: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    route: &'static str,
    status: &'static str,
}

/// What the controller writes to the cluster.
#[derive(Debug, Default)]
struct RecordMetrics {
    rollouts: Family<OutcomeLabel, Counter>,
    incidents: Family<CauseLabel, Counter>,
    alerts: Family<AlertLabels, Counter>,
}

impl RecordMetrics {
    fn register(&self, registry: &mut Registry) {
        let help = "Writes of rollout records, by the outcome after the write";
        registry.register("rollouts_recorded", help, self.rollouts.clone());
        let help = "Incidents that the controller opened, by cause";
        registry.register("incidents_opened", help, self.incidents.clone());
        let help = "Notifications from Alertmanager, by status and result";
        registry.register("alerts_received", help, self.alerts.clone());
    }
}

/// Delivery of custom resources to Port.
#[derive(Debug, Default)]
struct DeliveryMetrics {
    delivered: Family<KindLabel, Counter>,
    failed: Family<FailureLabels, Counter>,
    retried: Family<KindLabel, Counter>,
    pending: Family<KindLabel, Gauge>,
    oldest: Family<KindLabel, SecondsGauge>,
    orphaned: Family<KindLabel, Counter>,
    missing_fields: Family<BlueprintLabel, Gauge>,
}

impl DeliveryMetrics {
    fn register(&self, registry: &mut Registry) {
        let help = "Custom resources that Port accepted, by kind";
        registry.register("resources_delivered", help, self.delivered.clone());
        let help = "Failed attempts to deliver a custom resource, by kind and reason";
        registry.register("deliveries_failed", help, self.failed.clone());
        let help = "Attempts to deliver a custom resource after a failed attempt, by kind";
        registry.register("deliveries_retried", help, self.retried.clone());
        let help = "Custom resources that wait to be processed or delivered, by kind";
        registry.register("resources_pending", help, self.pending.clone());
        let help = "Seconds for which the oldest pending custom resource has waited in this process, by kind";
        registry.register("oldest_pending_seconds", help, self.oldest.clone());
        let help = "Entities that stayed in Port although their resource was deleted with the policy Delete, by kind";
        registry.register("entities_orphaned", help, self.orphaned.clone());
        let help = "Properties and relations that the blueprint doesn't define, and required ones that the controller \
                    can't always fill, by blueprint";
        registry.register("blueprint_missing_fields", help, self.missing_fields.clone());
    }
}

/// Requests to Port.
#[derive(Debug)]
struct RequestMetrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabel, Histogram, fn() -> Histogram>,
    wait: Family<RouteLabel, SecondsCounter>,
    paused: SecondsCounter,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            wait: Family::default(),
            paused: Counter::default(),
        }
    }
}

impl RequestMetrics {
    fn register(&self, registry: &mut Registry) {
        let help = "Requests to Port, by route and class of the HTTP status";
        registry.register("requests", help, self.requests.clone());
        let help = "Duration of requests to Port in seconds, without the wait for the rate limit, by route";
        registry.register("request_duration_seconds", help, self.duration.clone());
        let help = "Seconds for which requests to Port waited for the rate limit, by route";
        registry.register("request_wait_seconds", help, self.wait.clone());
        let help = "Seconds for which Port asked the controller to send nothing (HTTP status 429)";
        registry.register("paused_seconds", help, self.paused.clone());
    }
}

/// The process itself.
#[derive(Debug, Default)]
struct ProcessMetrics {
    leader: Gauge,
    workloads: Gauge,
    revisions: Gauge,
}

impl ProcessMetrics {
    fn register(&self, registry: &mut Registry) {
        let help = "1 if this replica is the leader and writes, otherwise 0";
        registry.register("leader", help, self.leader.clone());
        let help = "Workloads in the index";
        registry.register("indexed_workloads", help, self.workloads.clone());
        let help = "Revisions of workloads in the index, such as ReplicaSets of Deployments";
        registry.register("indexed_revisions", help, self.revisions.clone());
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the controller", version);
    }
}

/// The metrics of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    records: RecordMetrics,
    delivery: DeliveryMetrics,
    requests: RequestMetrics,
    process: ProcessMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let (records, delivery) = (RecordMetrics::default(), DeliveryMetrics::default());
        let (requests, process) = (RequestMetrics::default(), ProcessMetrics::default());
        records.register(&mut registry);
        delivery.register(&mut registry);
        requests.register(&mut registry);
        process.register(&mut registry);
        Self { registry, records, delivery, requests, process }
    }
}

impl Metrics {
    /// The controller wrote the record of a rollout, which now has `outcome`.
    pub fn rollout_recorded(&self, outcome: Outcome) {
        self.records.rollouts.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }

    /// The controller opened an incident, because of `cause`.
    pub fn incident_opened(&self, cause: &'static str) {
        self.records.incidents.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Alertmanager sent a notification. `result` is `stored`, `unchanged`, `refused` or `failed`.
    pub fn alert_received(&self, status: &'static str, result: &'static str) {
        self.records.alerts.get_or_create(&AlertLabels { status, result }).inc();
    }

    /// Port accepted a resource of this kind.
    pub fn resource_delivered(&self, kind: &str) {
        self.delivery.delivered.get_or_create(&KindLabel::of(kind)).inc();
    }

    /// An attempt to deliver a resource of this kind failed. `reason` is that of the [`port_client::Error`].
    pub fn delivery_failed(&self, kind: &str, reason: &'static str) {
        self.delivery.failed.get_or_create(&FailureLabels { kind: kind.to_owned(), reason }).inc();
    }

    /// The controller tries again to deliver a resource of this kind, after a failed attempt.
    pub fn delivery_retried(&self, kind: &str) {
        self.delivery.retried.get_or_create(&KindLabel::of(kind)).inc();
    }

    /// The entity of a resource of this kind stays in Port, although it should have been deleted with the resource.
    pub fn entity_orphaned(&self, kind: &str) {
        self.delivery.orphaned.get_or_create(&KindLabel::of(kind)).inc();
    }

    /// `count` resources of this kind are pending, and the oldest has waited for `oldest`.
    pub fn set_pending(&self, kind: &str, count: usize, oldest: Duration) {
        let label = KindLabel::of(kind);
        self.delivery.pending.get_or_create(&label).set(saturated(count));
        self.delivery.oldest.get_or_create(&label).set(oldest.as_secs_f64());
    }

    /// `count` properties and relations are missing in `blueprint`, or required there and not always filled.
    pub fn set_missing_fields(&self, blueprint: &str, count: usize) {
        let label = BlueprintLabel { blueprint: blueprint.to_owned() };
        self.delivery.missing_fields.get_or_create(&label).set(saturated(count));
    }

    /// The index contains this many objects.
    pub fn set_indexed(&self, workloads: usize, revisions: usize) {
        self.process.workloads.set(saturated(workloads));
        self.process.revisions.set(saturated(revisions));
    }

    /// Whether this replica is the leader.
    pub fn set_leader(&self, is_leader: bool) {
        self.process.leader.set(i64::from(is_leader));
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// If the text can't be written to memory, which doesn't happen.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn saturated(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Observer for Metrics {
    fn on_request(&self, route: Route, status: StatusClass, duration: Duration) {
        let (route, status) = (route.as_str(), status.as_str());
        self.requests.requests.get_or_create(&RequestLabels { route, status }).inc();
        self.requests.duration.get_or_create(&RouteLabel { route }).observe(duration.as_secs_f64());
    }

    fn on_pause(&self, duration: Duration) {
        self.requests.paused.inc_by(duration.as_secs_f64());
    }

    fn on_wait(&self, route: Route, duration: Duration) {
        self.requests.wait.get_or_create(&RouteLabel { route: route.as_str() }).inc_by(duration.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used_metrics() -> Metrics {
        let metrics = Metrics::default();
        metrics.rollout_recorded(Outcome::Succeeded);
        metrics.incident_opened("FailedRollout");
        metrics.alert_received("firing", "stored");
        metrics.resource_delivered("DoraIncident");
        metrics.delivery_failed("DoraIncident", "Unreachable");
        metrics.delivery_retried("DoraIncident");
        metrics.entity_orphaned("DoraIncident");
        metrics.set_pending("DoraIncident", 2, Duration::from_millis(1500));
        metrics.set_missing_fields("dora_incident", 3);
        metrics.set_indexed(4, 5);
        metrics.set_leader(true);
        metrics.on_request(Route::Upsert, StatusClass::Success, Duration::from_millis(30));
        metrics.on_wait(Route::Upsert, Duration::from_millis(500));
        metrics.on_pause(Duration::from_secs(60));
        metrics
    }

    #[test]
    fn metrics_have_stable_names_and_labels() {
        let text = used_metrics().text().unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for sample in [
            "port_dora_rollouts_recorded_total{outcome=\"Succeeded\"} 1",
            "port_dora_incidents_opened_total{cause=\"FailedRollout\"} 1",
            "port_dora_alerts_received_total{status=\"firing\",result=\"stored\"} 1",
            "port_dora_resources_delivered_total{kind=\"DoraIncident\"} 1",
            "port_dora_deliveries_failed_total{kind=\"DoraIncident\",reason=\"Unreachable\"} 1",
            "port_dora_deliveries_retried_total{kind=\"DoraIncident\"} 1",
            "port_dora_entities_orphaned_total{kind=\"DoraIncident\"} 1",
            "port_dora_resources_pending{kind=\"DoraIncident\"} 2",
            "port_dora_oldest_pending_seconds{kind=\"DoraIncident\"} 1.5",
            "port_dora_blueprint_missing_fields{blueprint=\"dora_incident\"} 3",
            "port_dora_requests_total{route=\"upsert\",status=\"2xx\"} 1",
            "port_dora_request_duration_seconds_bucket{le=\"0.05\",route=\"upsert\"} 1",
            "port_dora_request_wait_seconds_total{route=\"upsert\"} 0.5",
            "port_dora_paused_seconds_total 60.0",
            "port_dora_leader 1",
            "port_dora_indexed_workloads 4",
            "port_dora_indexed_revisions 5",
        ] {
            assert!(samples.contains(&sample), "{sample} is missing in {text}");
        }
    }

    #[test]
    fn documentation_lists_all_metrics() {
        let text = used_metrics().text().unwrap();
        let documentation = include_str!("../../docs/metrics.md");
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        for (name, kind) in names {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let name = format!("`{name}{suffix}`");
            assert!(documentation.contains(&name), "{name} is missing in docs/metrics.md");
        }
    }
}
