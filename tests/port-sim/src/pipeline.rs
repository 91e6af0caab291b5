//! The steps of each request to the routes of Port: request log, faults, token, rate limit, trace id.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::errors::ApiError;
use crate::faults::{Effect, Fault};
use crate::rate_limit::{Family, Verdict};
use crate::request_log::Request;
use crate::server::App;
use crate::validation::JsonBody;

/// The maximum size of a body that Port accepts.
const MAXIMUM_BODY: usize = 1024 * 1024;

/// The maximum size of a body that is read. A body above [`MAXIMUM_BODY`] is discarded, for clients that read the
/// answer only after they have sent the whole body. Above this size, the connection is closed.
const MAXIMUM_DISCARDED: usize = 64 * 1024 * 1024;

const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Marks a response that is not sent: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DropConnection;

/// Runs a request through all steps. Requests to the page and to the control API skip them.
pub(crate) async fn run(State(app): State<App>, request: HttpRequest, next: Next) -> Response {
    let path = request.uri().path();
    if path == "/" || path == "/control" || path.starts_with("/control/") {
        return next.run(request).await;
    }
    let received = (Timestamp::now(), app.log.started().elapsed());
    let (mut head, body) = request.into_parts();
    let (bytes, size) = match read(body).await {
        Ok(read) => read,
        // The client has closed the connection, or the body has no end, so no answer is possible.
        Err(Unreadable) => return dropped(),
    };
    let body = json_body(&head.headers, &bytes, size);
    let entry = log_entry(&head, &body, size, received);
    let trace_id = entry.trace_id.clone();
    let id = app.log.arrived(entry);
    let fault = app.faults.meet(&head.method, head.uri.path(), &bytes);
    if let Some((fault_id, fault)) = &fault {
        app.log.update(id, |request| request.fault = Some(fault.label()));
        tokio::time::sleep(fault.delay).await;
        if fault.effect == Effect::HandleOnceCleared {
            app.faults.cleared(*fault_id).await;
        }
    }
    let fault = fault.map(|(_, fault)| fault);
    let instead = fault.as_ref().and_then(|fault| answer_instead(&fault.effect));
    let mut response = if let Some(response) = instead {
        response
    } else {
        head.extensions.insert(body);
        admit(&app, HttpRequest::from_parts(head, Body::empty()), next).await
    };
    let value = HeaderValue::from_str(&trace_id).unwrap_or(HeaderValue::from_static("none"));
    response.headers_mut().insert(TRACE_ID, value);
    if let Some(fault) = &fault {
        response = apply(fault, response).await;
    }
    if response.extensions().get::<DropConnection>().is_none() {
        let status = response.status().as_u16();
        let answered_after = app.log.started().elapsed();
        app.log.update(id, |request| {
            request.status = Some(status);
            request.answered_after = Some(answered_after);
        });
    }
    response
}

/// The entry of a request in the log, before it is answered.
fn log_entry(head: &Parts, body: &JsonBody, size: usize, received: (Timestamp, Duration)) -> Request {
    let (received_at, received_after) = received;
    Request {
        id: 0,
        received_at,
        received_after,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        user_agent: text(&head.headers, &header::USER_AGENT),
        body: match body {
            JsonBody::Json(value) => Some(Arc::clone(value)),
            _ => None,
        },
        body_bytes: size,
        status: None,
        answered_after: None,
        trace_id: Uuid::new_v4().simple().to_string(),
        fault: None,
    }
}

/// Checks the token and the rate limit, and passes the request to the routes.
async fn admit(app: &App, request: HttpRequest, next: Next) -> Response {
    let path = request.uri().path();
    let (family, admitted) = if path == "/v1/auth/access_token" {
        (Family::Unauthenticated, Ok(()))
    } else if !path.starts_with("/v1/") {
        // The client has a wrong base URL. It gets the 404 without a token.
        (Family::Unauthenticated, Ok(()))
    } else {
        match app.auth.admit(request.headers()) {
            Ok(()) => (Family::of(request.method(), path), Ok(())),
            Err(refusal) => (Family::Unauthenticated, Err(refusal)),
        }
    };
    let verdict: Verdict = app.limiters.count(family);
    let mut response = if !verdict.allowed {
        ApiError::too_many_requests().into_response()
    } else if let Err(refusal) = admitted {
        refusal.into_response()
    } else if percent_decode_str(path).decode_utf8().is_err() {
        ApiError::route_not_found(request.method().as_str(), path).into_response()
    } else {
        next.run(request).await
    };
    verdict.write_headers(response.headers_mut());
    response
}

/// The answer of a fault that replaces the handling of the request.
fn answer_instead(effect: &Effect) -> Option<Response> {
    let status = |status: u16| StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match effect {
        Effect::Answer { status: code, body: Some(body) } => Some((status(*code), Json(body)).into_response()),
        Effect::Answer { status: code, body: None } => Some(ApiError::of_status(status(*code)).into_response()),
        Effect::AnswerText { status: code, content_type, body } => {
            Some((status(*code), [(header::CONTENT_TYPE, content_type.clone())], body.clone()).into_response())
        }
        Effect::DropBeforeHandling => Some(dropped()),
        Effect::Handle
        | Effect::HandleOnceCleared
        | Effect::DropAfterHandling
        | Effect::NeverAnswer
        | Effect::HalfAnswer => None,
    }
}

/// Applies a fault to an answer.
async fn apply(fault: &Fault, mut response: Response) -> Response {
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    match fault.effect {
        Effect::DropAfterHandling => dropped(),
        Effect::NeverAnswer => std::future::pending().await,
        Effect::HalfAnswer => halved(response).await,
        _ => response,
    }
}

fn dropped() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(DropConnection);
    response
}

/// The answer with its full Content-Length. The connection is closed after half of the body.
async fn halved(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(whole) = body.collect().await else {
        return dropped();
    };
    let whole = whole.to_bytes();
    let half = whole.slice(..whole.len() / 2);
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    // A pause before the end of the connection, so that the first half is sent.
    let cut = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("a fault ends the answer"))
    };
    let parts = stream::iter([Ok(half)]).chain(stream::once(cut));
    Response::from_parts(head, Body::from_stream(parts))
}

/// A body that is too long or incomplete.
struct Unreadable;

/// The part of a body that Port accepts, and the whole size.
async fn read(mut body: Body) -> Result<(Bytes, usize), Unreadable> {
    let mut accepted = Vec::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unreadable)?.into_data() else {
            continue;
        };
        size += data.len();
        if size > MAXIMUM_DISCARDED {
            return Err(Unreadable);
        }
        if size <= MAXIMUM_BODY {
            accepted.extend_from_slice(&data);
        }
    }
    Ok((Bytes::from(accepted), size))
}

fn json_body(headers: &HeaderMap, bytes: &[u8], size: usize) -> JsonBody {
    if size > MAXIMUM_BODY {
        return JsonBody::TooLarge;
    }
    if bytes.is_empty() {
        return JsonBody::Empty;
    }
    let content_type = text(headers, &header::CONTENT_TYPE);
    let essence = content_type
        .as_deref()
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase());
    if essence.as_deref() != Some("application/json") {
        return JsonBody::OtherType(content_type);
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => JsonBody::Json(Arc::new(value)),
        Err(error) => JsonBody::Malformed(error.to_string()),
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
