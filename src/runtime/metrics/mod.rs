//! The metrics of the controller, in groups. Their labels have few, fixed values.
//!
//! Counters whose labels are known exist from the start with the value 0, so that `increase()` of Prometheus sees the first event.

mod api;
mod delivery;
mod incidents;
mod process;
mod records;
mod requests;
mod server;
mod watches;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use self::api::ApiMetrics;
pub use self::delivery::DeliveryMetrics;
pub use self::incidents::IncidentMetrics;
pub use self::process::{PARTS, ProcessMetrics};
pub use self::records::RecordMetrics;
use self::requests::RequestMetrics;
pub use self::server::{CloseReason, ServerMetrics};
pub use self::watches::WatchMetrics;

/// Prefix of all names.
const PREFIX: &str = "port_dora";

/// A gauge of seconds with fractions.
type SecondsGauge = Gauge<f64, AtomicU64>;

/// The metrics of this process.
#[derive(Debug)]
pub struct Metrics {
    /// What the controller writes to the cluster.
    pub records: RecordMetrics,
    /// The incidents that the controller opens.
    pub incidents: IncidentMetrics,
    /// Delivery of custom resources to Port.
    pub delivery: DeliveryMetrics,
    /// Requests to the API server.
    pub api: ApiMetrics,
    /// The watches.
    pub watches: WatchMetrics,
    /// The HTTP server.
    pub server: ServerMetrics,
    /// The process itself.
    pub process: ProcessMetrics,
    requests: RequestMetrics,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let (records, incidents) = (RecordMetrics::default(), IncidentMetrics::default());
        let (delivery, process, requests) =
            (DeliveryMetrics::default(), ProcessMetrics::default(), RequestMetrics::default());
        let (api, watches, server) = (ApiMetrics::default(), WatchMetrics::default(), ServerMetrics::default());
        records.register(&mut registry);
        incidents.register(&mut registry);
        delivery.register(&mut registry);
        requests.register(&mut registry);
        api.register(&mut registry);
        watches.register(&mut registry);
        server.register(&mut registry);
        process.register(&mut registry);
        Self { records, incidents, delivery, api, watches, server, process, requests, registry }
    }
}

impl Metrics {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use port_client::{ErrorKind, Observer as _, Route, StatusClass};
    use rollout::Outcome;

    use super::*;

    fn used_metrics() -> Metrics {
        let metrics = Metrics::default();
        metrics.records.rollout_recorded(Outcome::Succeeded);
        metrics.records.dropped("TooManyRevisions");
        metrics.incidents.opened("FailedRollout");
        metrics.records.dropped("NameTaken");
        metrics.records.write_retried();
        metrics.records.expired(false);
        metrics.incidents.write_dropped("NamespaceGone");
        metrics.incidents.write_dropped("NameTaken");
        metrics.incidents.write_retried(true);
        metrics.incidents.lookup_failed();
        metrics.records.alert_received("firing", "stored");
        metrics.delivery.delivered("DoraIncident");
        metrics.delivery.failed("DoraIncident", "Unreachable");
        metrics.delivery.retried("DoraIncident");
        metrics.delivery.refused("DoraIncident", "Undecodable");
        metrics.delivery.orphaned("DoraIncident");
        metrics.delivery.refused("DoraIncident", "IdentifierTaken");
        metrics.delivery.set_pending("DoraIncident", 2, Duration::from_millis(1500));
        metrics.delivery.set_missing_fields("dora_incident", 3);
        metrics.delivery.set_parked("DoraIncident", 4);
        metrics.delivery.set_outdated("DoraIncident", 5);
        metrics.delivery.delivery_paused("Unreachable");
        metrics.delivery.set_paused(Some(ErrorKind::Unreachable));
        metrics.delivery.probed(false);
        metrics.process.set_indexed(4, 5);
        metrics.process.set_leader(true);
        metrics.process.set_frozen("recorder", 1);
        metrics.api.answered("PATCH", StatusClass::Success);
        metrics.api.timed_out("PATCH");
        metrics.watches.started("deployments");
        metrics.watches.failed("deployments");
        metrics.watches.relisted("deployments");
        metrics.watches.set_age("deployments", Duration::from_millis(2500));
        metrics.server.closed(CloseReason::Idle);
        metrics.process.set_conflicting_installations(true);
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
            "port_dora_rollouts_dropped_total{reason=\"TooManyRevisions\"} 1",
            "port_dora_incidents_opened_total{cause=\"FailedRollout\"} 1",
            "port_dora_rollouts_dropped_total{reason=\"NameTaken\"} 1",
            "port_dora_record_writes_retried_total 1",
            "port_dora_records_expired_total{delivered=\"false\"} 1",
            "port_dora_incident_writes_dropped_total{reason=\"NamespaceGone\"} 1",
            "port_dora_incident_writes_dropped_total{reason=\"NameTaken\"} 1",
            "port_dora_incident_writes_retried_total{reason=\"Refused\"} 1",
            "port_dora_lookups_failed_total 1",
            "port_dora_alerts_received_total{status=\"firing\",result=\"stored\"} 1",
            "port_dora_resources_delivered_total{kind=\"DoraIncident\"} 1",
            "port_dora_deliveries_failed_total{kind=\"DoraIncident\",reason=\"Unreachable\"} 1",
            "port_dora_deliveries_retried_total{kind=\"DoraIncident\"} 1",
            "port_dora_resources_refused_total{kind=\"DoraIncident\",reason=\"Undecodable\"} 1",
            "port_dora_entities_orphaned_total{kind=\"DoraIncident\"} 1",
            "port_dora_resources_refused_total{kind=\"DoraIncident\",reason=\"IdentifierTaken\"} 1",
            "port_dora_resources_pending{kind=\"DoraIncident\"} 2",
            "port_dora_oldest_pending_seconds{kind=\"DoraIncident\"} 1.5",
            "port_dora_blueprint_missing_fields{blueprint=\"dora_incident\"} 3",
            "port_dora_resources_parked{kind=\"DoraIncident\"} 4",
            "port_dora_resources_outdated{kind=\"DoraIncident\"} 5",
            "port_dora_delivery_pauses_total{reason=\"Unreachable\"} 1",
            "port_dora_delivery_paused{reason=\"Unreachable\"} 1",
            "port_dora_delivery_paused{reason=\"RateLimited\"} 0",
            "port_dora_delivery_probes_total{result=\"failed\"} 1",
            "port_dora_requests_total{route=\"upsert\",status=\"2xx\"} 1",
            "port_dora_request_duration_seconds_bucket{le=\"0.05\",route=\"upsert\"} 1",
            "port_dora_request_wait_seconds_total{route=\"upsert\"} 0.5",
            "port_dora_paused_seconds_total 60.0",
            "port_dora_api_requests_total{method=\"PATCH\",status=\"2xx\"} 1",
            "port_dora_api_request_timeouts_total{method=\"PATCH\"} 1",
            "port_dora_watch_errors_total{resource=\"deployments\"} 1",
            "port_dora_watch_relists_total{resource=\"deployments\"} 1",
            "port_dora_watch_last_event_age_seconds{resource=\"deployments\"} 2.5",
            "port_dora_http_connections_closed_total{reason=\"idle\"} 1",
            "port_dora_frozen_parts{part=\"recorder\"} 1",
            "port_dora_leader 1",
            "port_dora_conflicting_installations 1",
            "port_dora_indexed_workloads 4",
            "port_dora_indexed_revisions 5",
        ] {
            assert!(samples.contains(&sample), "{sample} is missing in {text}");
        }
    }

    #[test]
    fn known_counters_exist_from_the_start() {
        let text = Metrics::default().text().unwrap();
        for sample in [
            "port_dora_rollouts_recorded_total{outcome=\"Failed\"} 0",
            "port_dora_rollouts_dropped_total{reason=\"NamespaceDeleted\"} 0",
            "port_dora_record_writes_retried_total 0",
            "port_dora_records_expired_total{delivered=\"true\"} 0",
            "port_dora_rollouts_dropped_total{reason=\"NameTaken\"} 0",
            "port_dora_incidents_opened_total{cause=\"LostAvailability\"} 0",
            "port_dora_incident_writes_retried_total{reason=\"Failed\"} 0",
            "port_dora_lookups_failed_total 0",
            "port_dora_alerts_received_total{status=\"firing\",result=\"failed\"} 0",
            "port_dora_deliveries_failed_total{kind=\"DoraDeployment\",reason=\"Unreachable\"} 0",
            "port_dora_resources_refused_total{kind=\"DoraDeployment\",reason=\"Undecodable\"} 0",
            "port_dora_entities_orphaned_total{kind=\"DoraIncident\"} 0",
            "port_dora_delivery_pauses_total{reason=\"Unauthorized\"} 0",
            "port_dora_delivery_probes_total{result=\"succeeded\"} 0",
            "port_dora_resources_refused_total{kind=\"DoraDeployment\",reason=\"ForeignIdentifier\"} 0",
            "port_dora_requests_total{route=\"upsert\",status=\"none\"} 0",
            "port_dora_api_requests_total{method=\"WATCH\",status=\"none\"} 0",
            "port_dora_api_request_timeouts_total{method=\"GET\"} 0",
            "port_dora_http_connections_closed_total{reason=\"too_many\"} 0",
            "port_dora_frozen_parts{part=\"watch\"} 0",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample} is missing in {text}");
        }
    }

    #[test]
    fn documentation_lists_all_metrics() {
        let text = used_metrics().text().unwrap();
        let documentation = include_str!("../../../docs/metrics.md");
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
