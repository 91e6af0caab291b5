//! What each request to Port's routes goes through: request log, faults, token, rate limit, trace id.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request as HttpRequest, State};
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

/// Port takes no larger bodies.
const MAXIMUM_BODY: usize = 1024 * 1024;

/// Of a body that is too large, so much is read and thrown away, for a client that reads the answer only
/// after it has sent everything; then the connection is closed.
const MAXIMUM_DISCARDED: usize = 64 * 1024 * 1024;

const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Marks a response that must not be sent: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DropConnection;

/// Runs a request through everything; those to the page and to the control API pass untouched.
pub(crate) async fn run(State(app): State<App>, request: HttpRequest, next: Next) -> Response {
    let path = request.uri().path();
    if path == "/" || path == "/control" || path.starts_with("/control/") {
        return next.run(request).await;
    }
    let received_at = Timestamp::now();
    let received_after = app.log.started().elapsed();
    let trace_id = Uuid::new_v4().simple().to_string();
    let (mut head, body) = request.into_parts();
    let (bytes, size) = match read(body).await {
        Ok(read) => read,
        // The client went away, or sends without end: there is nobody to answer.
        Err(Unreadable) => return dropped(),
    };
    let body = json_body(&head.headers, &bytes, size);
    let id = app.log.arrived(Request {
        id: 0,
        received_at,
        received_after,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        user_agent: text(&head.headers, &header::USER_AGENT),
        body: match &body {
            JsonBody::Json(value) => Some(Arc::clone(value)),
            _ => None,
        },
        body_bytes: size,
        status: None,
        answered_after: None,
        trace_id: trace_id.clone(),
        fault: None,
    });
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
        response = spoil(fault, response).await;
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

/// Checks the token and the rate limit, and lets the routes answer.
async fn admit(app: &App, request: HttpRequest, next: Next) -> Response {
    let path = request.uri().path();
    let (family, admitted) = if path == "/v1/auth/access_token" {
        (Family::Unauthenticated, Ok(()))
    } else if !path.starts_with("/v1/") {
        // Whoever asks for these has a wrong base URL, and learns it without a token.
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

/// What a fault answers so that the request is not handled at all.
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

/// What a fault does to an answer.
async fn spoil(fault: &Fault, mut response: Response) -> Response {
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

/// The answer with its true Content-Length, whose body ends in the middle with the connection.
async fn halved(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(whole) = body.collect().await else {
        return dropped();
    };
    let whole = whole.to_bytes();
    let half = whole.slice(..whole.len() / 2);
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    // A pause before the break, so that the first half is really sent and not lost with the connection.
    let cut = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("the answer is cut by a fault"))
    };
    let parts = stream::iter([Ok(half)]).chain(stream::once(cut));
    Response::from_parts(head, Body::from_stream(parts))
}

/// A body that does not end, or breaks off.
struct Unreadable;

/// The beginning of a body, as much as Port accepts, and its whole size.
async fn read(mut body: Body) -> Result<(Bytes, usize), Unreadable> {
    let mut kept = Vec::new();
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
            kept.extend_from_slice(&data);
        }
    }
    Ok((Bytes::from(kept), size))
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
