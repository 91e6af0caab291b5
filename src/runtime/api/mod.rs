//! The client of the API server: every request ends in time, a lost connection is noticed, and both are counted.

mod counted;
mod deadline;
mod method;

use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Client;
use kube::client::ConfigExt;
use kube::client::retry::RetryPolicy;
use tower::retry::RetryLayer;
use tower::retry::backoff::InvalidBackoff;
use tower::{BoxError, ServiceBuilder};

use self::counted::Counted;
use self::deadline::{Deadline, Deadlines};
pub use self::method::LABELS as METHODS;
use super::{Metrics, WatchActivity};

/// Longest time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// TCP keepalive: time without traffic before the first probe, time between probes, and lost probes after which the connection is closed.
/// So the process notices within a minute that the other end is gone, also on a watch, on which it sends nothing.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// Further attempts after an answer with 429, 503 or 504, within the timeout of the request. The API server may name the delay.
const RETRIES: u32 = 5;

/// Bounds of the first and the longest delay before a further attempt.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ApiClientError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] kube::Error),
    /// The delays between attempts contradict each other, which doesn't happen.
    #[error(transparent)]
    Retries(#[from] InvalidBackoff),
}

/// A client of the API server in `config`.
///
/// - A request ends after `timeout`, with all its attempts and its whole response. A watch ends at the latest a few seconds after the
///   time at which the API server should have ended it (`timeoutSeconds`).
/// - Its connections have TCP keepalive.
/// - It uses no proxy: `HTTPS_PROXY` is meant for connections to Port.
/// - `metrics` counts the requests, and `activity` notes when the API server sends something on a watch.
///
/// The stack is that of [`kube::client::ClientBuilder`], which gives no access to the TCP connector.
///
/// # Errors
/// If the configuration is invalid, such as a certificate in the kubeconfig.
pub fn api_client(
    config: kube::Config,
    timeout: Duration,
    metrics: &Arc<Metrics>,
    activity: &Arc<WatchActivity>,
) -> Result<Client, ApiClientError> {
    let https = config.rustls_https_connector_with_connector(tcp_connector())?;
    let http = HttpClient::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https);
    let retries = RetryPolicy::new(RETRY_DELAYS.0, RETRY_DELAYS.1, RETRIES, true)?;
    let deadlines = Deadlines { timeout, metrics: Arc::clone(metrics), activity: Arc::clone(activity) };
    let service = ServiceBuilder::new()
        .layer_fn(|inner| Deadline { inner, deadlines: deadlines.clone() })
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(retries))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer_fn(|inner| Counted { inner, metrics: Arc::clone(metrics) })
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

fn tcp_connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // TLS is above this connector.
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let (time, interval, retries) = KEEPALIVE;
    connector.set_keepalive(Some(time));
    connector.set_keepalive_interval(Some(interval));
    connector.set_keepalive_retries(Some(retries));
    connector
}

#[cfg(test)]
mod tests;
