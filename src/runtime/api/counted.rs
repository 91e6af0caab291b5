//! Counts each attempt of a request by the status of its response.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::{Request, Response, StatusCode};
use kube::client::Body;
use port_client::StatusClass;
use tower::Service;

use super::method;
use crate::runtime::Metrics;

/// Counts each attempt of a request that `inner` sends.
#[derive(Clone)]
pub struct Counted<S> {
    pub inner: S,
    pub metrics: Arc<Metrics>,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut attempt = Attempt {
            method: method::label(request.method(), request.uri()),
            status: StatusClass::NoResponse,
            metrics: Arc::clone(&self.metrics),
        };
        let response = self.inner.call(request);
        Box::pin(async move {
            let result = response.await;
            if let Ok(response) = &result {
                attempt.answered(response.status());
            }
            result
        })
    }
}

/// Counts an attempt when it is dropped, which also happens if its time is over.
struct Attempt {
    method: &'static str,
    status: StatusClass,
    metrics: Arc<Metrics>,
}

impl Attempt {
    fn answered(&mut self, status: StatusCode) {
        self.status = StatusClass::of(status.as_u16());
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.metrics.api.answered(self.method, self.status);
    }
}
