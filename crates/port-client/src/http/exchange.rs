//! One request and its answer: under the budget, in bounded time and memory, and told to the observer.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url, redirect};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::error::{Answer, Error};
use crate::http::redact::Redactor;
use crate::http::response::{RawAnswer, Reader};
use crate::http::tls::tls;
use crate::http::transport::transport_error;
use crate::observer::{Observer, Route, StatusClass};
use crate::options::{ClientOptions, OptionsError};
use crate::rate_limit::budget::Budget;
use crate::rate_limit::headers::stated_retry_after;

/// Largest body of a request that Port takes (its specification of 413: "limit is 1MiB").
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Largest answer that is kept in memory; those of the routes used here have a few kilobytes.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A request that may be sent several times.
pub(crate) struct Request {
    pub(crate) route: Route,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) body: Option<bytes::Bytes>,
}

/// What was read, and what is known of the answer that it came in.
pub(crate) struct Reply<T> {
    pub(crate) value: T,
    pub(crate) answer: Answer,
    pub(crate) headers: HeaderMap,
}

/// The way to Port that all clones of a client share.
pub(crate) struct Wire {
    http: reqwest::Client,
    host: String,
    pub(crate) budget: Budget,
    observer: Option<Arc<dyn Observer>>,
}

impl Wire {
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, OptionsError> {
        Ok(Self {
            http: http_client(options)?,
            host: options.base_url.host(),
            budget: Budget::new(options.limits, options.longest_wait, options.observer.clone()),
            observer: options.observer.clone(),
        })
    }

    /// How answers to a route are read.
    pub(crate) fn reader<'a>(&'a self, route: Route, redactor: &'a Redactor) -> Reader<'a> {
        Reader { route, host: &self.host, redactor, now: Timestamp::now() }
    }

    /// Sends a request once it is allowed to and reads the answer. If that is a 429, or a 5xx with `Retry-After`, all clones pause.
    pub(crate) async fn exchange<T: DeserializeOwned>(
        &self,
        request: &Request,
        authorization: Option<HeaderValue>,
        redactor: &Redactor,
    ) -> Result<Reply<T>, Error> {
        let route = request.route;
        let permit = self.budget.acquire(route).await?;
        tracing::trace!(%route, "sending a request to Port");
        let started = Instant::now();
        let outcome = self.send(request, authorization, redactor).await;
        let duration = started.elapsed();
        drop(permit);
        if let Ok(raw) = &outcome {
            let now = Timestamp::now();
            self.budget.learn(route, raw.status, &raw.headers, now);
            // A 429 asks for a pause with or without a time; a failing server, only with one.
            if let Some(pause) = stated_retry_after(&raw.headers, now).filter(|_| raw.status >= 500) {
                self.budget.pause(pause);
            }
        }
        let status = outcome.as_ref().map(|raw| raw.status).ok();
        if let Some(observer) = &self.observer {
            let class = status.map_or(StatusClass::NoAnswer, StatusClass::of);
            observer.on_request(route, class, duration);
        }
        let result = outcome.and_then(|raw| {
            let (value, answer) = self.reader(route, redactor).read(&raw)?;
            Ok(Reply { value, answer, headers: raw.headers })
        });
        match &result {
            Ok(reply) => tracing::debug!(
                %route,
                status,
                trace_id = reply.answer.trace_id,
                milliseconds = duration.as_millis(),
                "Port answered"
            ),
            Err(error) => {
                tracing::debug!(
                    %route,
                    status,
                    trace_id = error.trace_id(),
                    milliseconds = duration.as_millis(),
                    %error,
                    "request to Port failed"
                );
                self.pause_if_asked(error);
            }
        }
        result
    }

    /// Makes all clones pause if the error is an answer that asks for it.
    pub(crate) fn pause_if_asked(&self, error: &Error) {
        if let Error::RateLimited { retry_after, answer: Some(_) } = error {
            self.budget.pause(*retry_after);
        }
    }

    async fn send(
        &self,
        request: &Request,
        authorization: Option<HeaderValue>,
        redactor: &Redactor,
    ) -> Result<RawAnswer, Error> {
        let failed = |error| transport_error(error, self.host.clone(), redactor);
        let mut builder =
            self.http.request(request.method.clone(), request.url.clone()).header(ACCEPT, "application/json");
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let mut response = builder.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let answer = Answer { status: response.status().as_u16(), ..Answer::default() };
                return Err(self
                    .reader(request.route, redactor)
                    .unexpected(format!("one of more than {MAX_ANSWER_BYTES} bytes"), answer));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(RawAnswer { status: response.status().as_u16(), headers: std::mem::take(response.headers_mut()), body })
    }
}

fn http_client(options: &ClientOptions) -> Result<reqwest::Client, OptionsError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(&options.user_agent)
        .timeout(options.request_timeout)
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(IDLE_CONNECTION)
        // A redirect would carry the client secret or the token to wherever it points.
        .redirect(redirect::Policy::none())
        .tls_backend_preconfigured(tls(options.extra_ca.as_deref())?);
    // What is on this machine is not behind a proxy, whatever HTTP_PROXY says.
    if options.base_url.is_loopback() {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| OptionsError::Http(error.without_url().to_string()))
}

/// Shorter than what load balancers usually allow (60 s), so that a request rarely meets a connection that is about to be closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);
