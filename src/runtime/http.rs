//! `/livez`, `/readyz` and `/metrics`.

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

/// Content type of the text format of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What waits at this moment, for `/readyz` and `/metrics`.
pub type Pending = Arc<dyn Fn() -> Vec<Waiting> + Send + Sync>;

/// The resources of one kind that wait to be delivered.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Their kind.
    pub kind: &'static str,
    /// How many they are.
    pub count: usize,
    /// How long the oldest of them has waited in this process.
    pub oldest: Duration,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address can't be listened on.
    #[error(
        "LISTEN_ADDRESS {address} can't be listened on ({source}): set another one, such as 0.0.0.0:8080, or stop what uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
}

#[derive(Clone)]
struct Served {
    readiness: Readiness,
    metrics: Arc<Metrics>,
    pending: Pending,
}

/// Serves these and the `further` routes until the returned future is dropped. Liveness says nothing about the cluster or Port: restarting the process
/// mends neither. Readiness waits for the watches, not for the lease, so that a standby is ready too.
///
/// # Errors
/// If the address can't be listened on.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    pending: Pending,
    further: Router,
) -> Result<impl Future<Output = ()>, HttpError> {
    let listener = TcpListener::bind(address).await.map_err(|source| HttpError::Listen { address, source })?;
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Served { readiness, metrics, pending })
        .merge(further);
    Ok(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "health and metrics are not served any more");
        }
    })
}

async fn ready(State(served): State<Served>) -> impl IntoResponse {
    let closed = served.readiness.closed();
    let mut lines: Vec<String> = closed.iter().map(|name| format!("waiting for the first list of {name}")).collect();
    if closed.is_empty() {
        lines.push("ready".to_owned());
    }
    let waiting = (served.pending)().into_iter();
    lines.extend(waiting.map(|Waiting { kind, count, .. }| format!("{kind} waiting to be delivered: {count}")));
    let text = lines.join("\n") + "\n";
    (if closed.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

async fn metrics_text(State(served): State<Served>) -> impl IntoResponse {
    for Waiting { kind, count, oldest } in (served.pending)() {
        served.metrics.pending(kind, count, oldest);
    }
    match served.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
