//! Sends requests: within the rate limits, and with bounded time and memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::error::{Error, ErrorResponse};
use crate::http::redact::Redactor;
use crate::http::request::Request;
use crate::http::response::{MAX_RESPONSE_BYTES, RawResponse, Response, ResponseReader};
use crate::http::tls::tls_config;
use crate::http::transport_error::transport_error;
use crate::http::{Route, StatusClass};
use crate::observer::Observer;
use crate::options::{ClientOptions, OptionsError};
use crate::rate_limit::budget::Budget;
use crate::rate_limit::headers::retry_after_header;

/// How long the client keeps an idle connection. Load balancers usually close one after 60 s, so that a request rarely uses a connection
/// that is about to be closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The connection to Port that all clones of a client share.
pub(crate) struct Transport {
    http: reqwest::Client,
    host: String,
    pub(crate) budget: Budget,
    observer: Option<Arc<dyn Observer>>,
}

impl Transport {
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, OptionsError> {
        Ok(Self {
            http: http_client(options)?,
            host: options.base_url.host(),
            budget: Budget::new(options.limits, options.max_wait, options.observer.clone()),
            observer: options.observer.clone(),
        })
    }

    /// A reader of the responses to a route.
    pub(crate) fn reader<'a>(&'a self, route: Route, redactor: &'a Redactor) -> ResponseReader<'a> {
        ResponseReader { route, host: &self.host, redactor, now: SystemTime::now() }
    }

    /// Sends a request as soon as the rate limits allow it, and reads the response. After a 429, or a 5xx with `Retry-After`, all clones
    /// pause.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        request: &Request,
        authorization: Option<HeaderValue>,
        redactor: &Redactor,
    ) -> Result<Response<T>, Error> {
        let route = request.route;
        let permit = self.budget.acquire(route).await?;
        tracing::trace!(%route, "sending a request to Port");
        let started = Instant::now();
        let raw = self.send_raw(request, authorization, redactor).await;
        let duration = started.elapsed();
        drop(permit);
        if let Ok(raw) = &raw {
            let now = SystemTime::now();
            self.budget.update(route, raw.status, &raw.headers, now);
            // A 429 asks for a pause with or without this header; a failing server only with it.
            if let Some(pause) = retry_after_header(&raw.headers, now).filter(|_| raw.status >= 500) {
                self.budget.pause(pause);
            }
        }
        let status = raw.as_ref().map(|raw| raw.status).ok();
        if let Some(observer) = &self.observer {
            let class = status.map_or(StatusClass::NoResponse, StatusClass::of);
            observer.on_request(route, class, duration);
        }
        let result = raw.and_then(|raw| {
            let (value, details) = self.reader(route, redactor).read(&raw)?;
            Ok(Response { value, details, headers: raw.headers })
        });
        if let Err(error) = &result {
            self.pause_if_requested(error);
        }
        log_result(route, status, duration, &result);
        result
    }

    /// Pauses all clones if the error is a response that asks for it.
    pub(crate) fn pause_if_requested(&self, error: &Error) {
        if let Error::RateLimited { retry_after, response: Some(_) } = error {
            self.budget.pause(*retry_after);
        }
    }

    async fn send_raw(
        &self,
        request: &Request,
        authorization: Option<HeaderValue>,
        redactor: &Redactor,
    ) -> Result<RawResponse, Error> {
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
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                let details = ErrorResponse { status: response.status().as_u16(), ..ErrorResponse::default() };
                let problem = format!("the body is larger than {MAX_RESPONSE_BYTES} bytes");
                return Err(self.reader(request.route, redactor).unexpected(problem, details));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(RawResponse { status: response.status().as_u16(), headers: std::mem::take(response.headers_mut()), body })
    }
}

fn log_result<T>(route: Route, status: Option<u16>, duration: Duration, result: &Result<Response<T>, Error>) {
    let milliseconds = duration.as_millis();
    match result {
        Ok(response) => {
            let trace_id = response.details.trace_id.as_deref();
            tracing::debug!(%route, status, trace_id, milliseconds, "request to Port succeeded");
        }
        Err(error) => {
            tracing::debug!(%route, status, trace_id = error.trace_id(), milliseconds, %error, "request to Port failed");
        }
    }
}

fn http_client(options: &ClientOptions) -> Result<reqwest::Client, OptionsError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(&options.user_agent)
        .timeout(options.request_timeout)
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
        // A redirect would send the client secret or the token to another address.
        .redirect(redirect::Policy::none())
        .tls_backend_preconfigured(tls_config(options.extra_ca.as_deref())?);
    // HTTP_PROXY does not apply to loopback hosts.
    if options.base_url.is_loopback() {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| OptionsError::Http(error.without_url().to_string()))
}
