//! The HTTP server: `/livez`, `/readyz` and `/metrics`.

mod connections;
mod listen;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

pub use self::connections::HttpLimits;
use self::connections::serve_connections;
use self::listen::listen;
use super::metrics::PARTS;
use super::{FrozenFn, FrozenPart, Metrics, Readiness, WatchActivity};

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
        "cannot listen on LISTEN_ADDRESS {address}: {source}; set another address, such as [::]:8080, or stop the \
         process that uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// What probes and metrics show.
#[derive(Clone)]
pub struct Probes {
    /// Whether all watches have listed their objects.
    pub readiness: Readiness,
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
    /// The resources that wait to be delivered.
    pub pending: PendingFn,
    /// The parts that make no progress.
    pub frozen: FrozenFn,
    /// When the API server last sent something on each watch.
    pub activity: Arc<WatchActivity>,
}

/// Starts to listen on `address`, and returns the future that serves probes, metrics and `other_routes`. It never ends.
///
/// Liveness depends neither on the cluster nor on Port, because a restart of this process repairs neither. Readiness
/// depends on the watches and on progress, and not on the lease, so a standby replica is ready too.
///
/// # Errors
/// If the process can't listen on the address.
pub fn serve(
    address: SocketAddr,
    limits: HttpLimits,
    probes: Probes,
    other_routes: Router,
) -> Result<impl Future<Output = ()>, HttpError> {
    let listener = listen(address).map_err(|source| HttpError::Listen { address, source })?;
    Ok(serve_on(listener, limits, probes, other_routes))
}

async fn serve_on(listener: TcpListener, limits: HttpLimits, probes: Probes, other_routes: Router) {
    let metrics = Arc::clone(&probes.metrics);
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(probes)
        .merge(other_routes);
    serve_connections(listener, router, limits, metrics).await;
}

async fn readyz(State(probes): State<Probes>) -> impl IntoResponse {
    let closed = probes.readiness.closed_gates().into_iter();
    let waiting = closed.map(|kind| format!("waiting for the first list of {kind}"));
    let frozen = (probes.frozen)().into_iter().map(|frozen| frozen.text);
    let mut lines: Vec<String> = waiting.chain(frozen).collect();
    let is_ready = lines.is_empty();
    if is_ready {
        lines.push("ready".to_owned());
    }
    lines.extend(probes.readiness.notice());
    let pending = (probes.pending)().into_iter();
    lines
        .extend(pending.map(|PendingResources { kind, count, .. }| format!("{kind} waiting to be delivered: {count}")));
    let text = lines.join("\n") + "\n";
    (if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

async fn metrics_text(State(probes): State<Probes>) -> impl IntoResponse {
    let Probes { readiness: _, metrics, pending, frozen, activity } = probes;
    for PendingResources { kind, count, oldest } in pending() {
        metrics.delivery.set_pending(kind, count, oldest);
    }
    let frozen: Vec<FrozenPart> = frozen();
    for part in PARTS {
        metrics.process.set_frozen(part, frozen.iter().filter(|frozen| frozen.part == part).count());
    }
    for (resource, age) in activity.ages() {
        metrics.watches.set_age(&resource, age);
    }
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
