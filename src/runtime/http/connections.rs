//! Connections to the HTTP server. None lasts without end, and none keeps others from being served.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use tracing::warn;

use crate::runtime::Metrics;
use crate::runtime::metrics::CloseReason;

/// Longest header of a request, and size of the buffer for its body, in bytes. So all connections together need a few MiB at most.
const BUFFER_SIZE: usize = 32 * 1024;

/// Delay after the process could not accept a connection, for example because it has too many open files.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// What the server allows a client.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Longest time until the complete header of the next request has come, also on a connection that had requests before.
    pub header: Duration,
    /// Longest time of one request, with reading its body.
    pub request: Duration,
    /// Time after which a connection gets no further request.
    pub connection: Duration,
    /// Connections at the same time. One more closes the oldest.
    pub connections: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            request: Duration::from_secs(20),
            connection: Duration::from_mins(5),
            connections: 256,
        }
    }
}

/// Serves `router` to all clients of `listener`, until the future is dropped.
pub async fn serve_connections(listener: TcpListener, router: Router, limits: HttpLimits, metrics: Arc<Metrics>) {
    // Ends the connections when it is dropped.
    let mut tasks = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_of_client(&error) => continue,
            Err(error) => {
                warn!(%error, "failed to accept a connection for probes, metrics or alerts; retrying");
                sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        oldest_first.retain(|connection| !connection.is_finished());
        if oldest_first.len() >= limits.connections
            && let Some(oldest) = oldest_first.pop_front()
        {
            // Most likely, it only waits. Otherwise, the client tries again.
            oldest.abort();
            metrics.server.closed(CloseReason::TooMany);
        }
        let connection = serve_connection(stream, router.clone(), limits, Arc::clone(&metrics));
        oldest_first.push_back(tasks.spawn(connection));
    }
}

/// Whether a connection ended before it was accepted.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve_connection(stream: TcpStream, router: Router, limits: HttpLimits, metrics: Arc<Metrics>) {
    let service = service_fn(|request| respond(request, &router, limits, &metrics));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_buf_size(BUFFER_SIZE)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = if let Ok(ended) = timeout(limits.connection, connection.as_mut()).await {
        ended
    } else {
        // Finishes the current request, for which the client may have to read the response.
        connection.as_mut().graceful_shutdown();
        timeout(limits.request, connection).await.unwrap_or(Ok(()))
    };
    // Other errors are those of clients that go away.
    if ended.is_err_and(|error| error.is_timeout()) {
        metrics.server.closed(CloseReason::Idle);
    }
}

async fn respond(
    request: Request<Incoming>,
    router: &Router,
    limits: HttpLimits,
    metrics: &Metrics,
) -> Result<Response, Infallible> {
    let response = timeout(limits.request, router.clone().oneshot(request.map(Body::new)));
    if let Ok(response) = response.await {
        return response;
    }
    metrics.server.closed(CloseReason::SlowRequest);
    let text = format!("the request took longer than {} s; send it again\n", limits.request.as_secs());
    // The rest of the request is not read. Alertmanager sends a notification again after a 5xx response.
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    Ok((StatusCode::SERVICE_UNAVAILABLE, close, text).into_response())
}
