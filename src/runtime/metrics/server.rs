//! Metrics of the HTTP server.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why the server closes a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CloseReason {
    /// The client sent no complete request header in time: nothing, or too slowly.
    Idle,
    /// The request took too long, for example because its body came slowly.
    SlowRequest,
    /// There were too many connections.
    TooMany,
}

impl CloseReason {
    const ALL: [Self; 3] = [Self::Idle, Self::SlowRequest, Self::TooMany];

    fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SlowRequest => "slow_request",
            Self::TooMany => "too_many",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabel {
    reason: &'static str,
}

/// The HTTP server of this process.
#[derive(Debug, Default)]
pub struct ServerMetrics {
    closed: Family<ReasonLabel, Counter>,
}

impl ServerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Connections to this process that it closed before the client did, by reason";
        registry.register("http_connections_closed", help, self.closed.clone());
        for reason in CloseReason::ALL {
            let _ = self.closed.get_or_create(&ReasonLabel { reason: reason.as_str() });
        }
    }

    /// The server closes a connection.
    pub fn closed(&self, reason: CloseReason) {
        self.closed.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }
}
