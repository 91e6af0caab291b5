//! Metrics of the requests to Port.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use port_client::{Observer, Route, StatusClass};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Metrics;

/// Buckets of `request_duration_seconds`.
const DURATION_BUCKETS: [f64; 8] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// A counter of seconds with fractions.
type SecondsCounter = Counter<f64, AtomicU64>;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RouteLabel {
    route: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    route: &'static str,
    status: &'static str,
}

/// Requests to Port.
#[derive(Debug)]
pub struct RequestMetrics {
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
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Requests to Port, by route and class of the HTTP status";
        registry.register("requests", help, self.requests.clone());
        let help = "Duration of requests to Port in seconds, without the wait for the rate limit, by route";
        registry.register("request_duration_seconds", help, self.duration.clone());
        let help = "Seconds for which requests to Port waited for the rate limit, by route";
        registry.register("request_wait_seconds", help, self.wait.clone());
        let help = "Seconds for which Port asked the controller to send nothing (HTTP status 429)";
        registry.register("paused_seconds", help, self.paused.clone());
        for route in Route::ALL.map(Route::as_str) {
            for status in StatusClass::ALL.map(StatusClass::as_str) {
                let _ = self.requests.get_or_create(&RequestLabels { route, status });
            }
            let _ = self.wait.get_or_create(&RouteLabel { route });
        }
    }
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
