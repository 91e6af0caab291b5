//! Metrics of the requests to the API server.

use port_client::StatusClass;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::runtime::api;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct MethodLabel {
    method: &'static str,
}

/// Requests to the API server.
#[derive(Debug, Default)]
pub struct ApiMetrics {
    requests: Family<RequestLabels, Counter>,
    timeouts: Family<MethodLabel, Counter>,
}

impl ApiMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Requests to the API server with their repetitions, by method and class of the HTTP status";
        registry.register("api_requests", help, self.requests.clone());
        let help = "Requests to the API server that were not answered completely in time, by method";
        registry.register("api_request_timeouts", help, self.timeouts.clone());
        for method in api::METHODS {
            for status in StatusClass::ALL.map(StatusClass::as_str) {
                let _ = self.requests.get_or_create(&RequestLabels { method, status });
            }
            let _ = self.timeouts.get_or_create(&MethodLabel { method });
        }
    }

    /// An attempt of a request ended with the start of a response, or without one.
    pub fn answered(&self, method: &'static str, status: StatusClass) {
        self.requests.get_or_create(&RequestLabels { method, status: status.as_str() }).inc();
    }

    /// A request was not answered completely in time.
    pub fn timed_out(&self, method: &'static str) {
        self.timeouts.get_or_create(&MethodLabel { method }).inc();
    }
}
