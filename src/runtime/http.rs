//! The HTTP server: `/livez`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Metrics, Readiness};

/// Content type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns the resources that are pending now, one entry for each kind.
pub type PendingFn = Arc<dyn Fn() -> Vec<PendingResources> + Send + Sync>;

/// The resources of one kind that wait to be delivered.
#[derive(Clone, Copy, Debug)]
pub struct PendingResources {
    /// Kind of the resources.
    pub kind: &'static str,
    /// Number of resources.
    pub count: usize,
    /// How long the oldest of them has waited in this process.
    pub oldest: Duration,
}

/// Why the HTTP server can't start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The process can't listen on the address.
    #[error(
        "cannot listen on LISTEN_ADDRESS {address}: {source}; set another address, such as 0.0.0.0:8080, or stop the \
         process that uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

#[derive(Clone)]
struct ServerState {
    readiness: Readiness,
    metrics: Arc<Metrics>,
    pending: PendingFn,
}

/// Starts to listen on `address`, and returns the future that serves probes, metrics and `other_routes`.
///
/// Liveness depends neither on the cluster nor on Port, because a restart of this process repairs neither. Readiness
/// depends on the watches and not on the lease, so a standby replica is ready too.
///
/// # Errors
/// If the process can't listen on the address.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    pending: PendingFn,
    other_routes: Router,
) -> Result<impl Future<Output = ()>, HttpError> {
    let listener = TcpListener::bind(address).await.map_err(|source| HttpError::Listen { address, source })?;
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(ServerState { readiness, metrics, pending })
        .merge(other_routes);
    Ok(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP server stopped; probes and metrics are not served");
        }
    })
}

async fn readyz(State(state): State<ServerState>) -> impl IntoResponse {
    let closed = state.readiness.closed_gates();
    let mut lines: Vec<String> = closed.iter().map(|kind| format!("waiting for the first list of {kind}")).collect();
    if closed.is_empty() {
        lines.push("ready".to_owned());
    }
    lines.extend(state.readiness.notice());
    let pending = (state.pending)().into_iter();
    lines
        .extend(pending.map(|PendingResources { kind, count, .. }| format!("{kind} waiting to be delivered: {count}")));
    let text = lines.join("\n") + "\n";
    (if closed.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

async fn metrics_text(State(state): State<ServerState>) -> impl IntoResponse {
    for PendingResources { kind, count, oldest } in (state.pending)() {
        state.metrics.delivery.set_pending(kind, count, oldest);
    }
    match state.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
