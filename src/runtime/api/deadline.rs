//! Ends each request in time: from its start to the last byte of its response.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Bytes};
use hyper::{Request, Response};
use kube::client::Body;
use tokio::time::{Instant, timeout};
use tower::{BoxError, Service};
use tower_http::timeout::{DeadlineBody, TimeoutError};

use super::method;
use crate::runtime::{Metrics, WatchActivity};

/// How much later than the API server this process ends a watch. Less than the 5 s of kube's watcher, which would end it without an error.
const WATCH_GRACE: Duration = Duration::from_secs(3);

/// The API server did not respond in time, or its response did not end in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "the API server did not answer completely within {} s; check the network between this pod and the API server",
    .0.as_secs_f64()
)]
pub struct RequestTimeout(Duration);

/// The times at which requests end.
#[derive(Clone)]
pub struct Deadlines {
    /// Longest time of a request that is not a watch, and until the response to a watch starts.
    pub timeout: Duration,
    pub metrics: Arc<Metrics>,
    pub activity: Arc<WatchActivity>,
}

/// Ends each request that `inner` sends in time.
#[derive(Clone)]
pub struct Deadline<S> {
    pub inner: S,
    pub deadlines: Deadlines,
}

impl<S, B> Service<Request<Body>> for Deadline<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let deadline = self.deadlines.of(&request);
        let response = self.inner.call(request);
        Box::pin(async move {
            let started = Instant::now();
            let Ok(response) = timeout(deadline.head, response).await else {
                return Err(deadline.missed(deadline.head));
            };
            let response = response?;
            let deadline = if response.status().is_success() { deadline } else { deadline.of_error() };
            let remaining = deadline.total.saturating_sub(started.elapsed());
            Ok(response.map(|body| deadline.limit(body, remaining)))
        })
    }
}

impl Deadlines {
    fn of(&self, request: &Request<Body>) -> RequestDeadline {
        let watch = method::watch(request.uri());
        RequestDeadline {
            method: method::label(request.method(), request.uri()),
            head: self.timeout,
            total: watch.as_ref().map_or(self.timeout, |watch| watch.timeout.saturating_add(WATCH_GRACE)),
            watched: watch.map(|watch| (watch.resource.to_owned(), Arc::clone(&self.activity))),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// The times at which one request ends.
struct RequestDeadline {
    method: &'static str,
    /// Longest time until the response starts.
    head: Duration,
    /// Longest time until the response ends.
    total: Duration,
    /// The resource, if the request is a watch.
    watched: Option<(String, Arc<WatchActivity>)>,
    metrics: Arc<Metrics>,
}

impl RequestDeadline {
    /// The deadline if the API server refused the request. Then it is no watch.
    fn of_error(self) -> Self {
        Self { total: self.head, watched: None, ..self }
    }

    fn missed(&self, timeout: Duration) -> BoxError {
        self.metrics.api.timed_out(self.method);
        Box::new(RequestTimeout(timeout))
    }

    /// Ends `body` after the `remaining` time.
    fn limit<B>(self, body: B, remaining: Duration) -> UnsyncBoxBody<Bytes, BoxError>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let note_activity = {
            let watched = self.watched.clone();
            move || watched.iter().for_each(|(resource, activity)| activity.note(resource))
        };
        note_activity();
        DeadlineBody::new(remaining, body)
            .map_err(move |error| if error.is::<TimeoutError>() { self.missed(self.total) } else { error })
            .map_frame(move |frame| {
                note_activity();
                frame
            })
            .boxed_unsync()
    }
}
