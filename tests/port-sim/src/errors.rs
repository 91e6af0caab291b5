//! Port's error answers: always `{"ok":false,"error":"<code>","message":"<text>"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error answer of Port.
///
/// The codes `not_found`, `invalid_request` and `identifier_taken` are those of the real Port. The other codes are not
/// documented, so a client must not depend on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    details: Option<Missing>,
}

/// The details of a `not_found` answer: the missing resource.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Missing {
    resource: &'static str,
    identifier: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: None }
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(crate) fn blueprint_not_found(identifier: &str) -> Self {
        Self::not_found("Blueprint", identifier, format!("Blueprint with identifier \"{identifier}\" was not found"))
    }

    pub(crate) fn entity_not_found(blueprint: &str, identifier: &str) -> Self {
        Self::not_found(
            "Entity",
            identifier,
            format!("Entity with identifier \"{identifier}\" of blueprint \"{blueprint}\" was not found"),
        )
    }

    pub(crate) fn no_entity_matches(blueprint: &str, query: &Value) -> Self {
        Self::not_found(
            "Entity",
            &query.to_string(),
            format!("No entity of blueprint \"{blueprint}\" matches the query {query}"),
        )
    }

    pub(crate) fn route_not_found(method: &str, path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("Route {method}:{path} not found"))
    }

    fn not_found(resource: &'static str, identifier: &str, message: String) -> Self {
        Self {
            details: Some(Missing { resource, identifier: identifier.to_owned() }),
            ..Self::new(StatusCode::NOT_FOUND, "not_found", message)
        }
    }

    pub(crate) fn taken(resource: &str, identifier: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "identifier_taken",
            format!("{resource} with identifier \"{identifier}\" already exists"),
        )
    }

    pub(crate) fn has_dependents(blueprint: &str, identifier: &str, dependent: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "has_dependents",
            format!(
                "Entity \"{identifier}\" of blueprint \"{blueprint}\" is required by entity \
                 \"{dependent}\"; delete that one first, or send delete_dependents=true"
            ),
        )
    }

    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "Request body is too large (limit is 1MiB)")
    }

    pub(crate) fn not_json(content_type: Option<&str>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!("Content-Type must be application/json, not {}", content_type.unwrap_or("absent")),
        )
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", message)
    }

    pub(crate) fn too_many_requests() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Rate limit exceeded, please wait for the reset")
    }

    /// The answer for a fault that has only a status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::REQUEST_TIMEOUT => "request_timeout",
            StatusCode::CONFLICT => "identifier_taken",
            StatusCode::PAYLOAD_TOO_LARGE => "payload_too_large",
            StatusCode::UNPROCESSABLE_ENTITY => "invalid_request",
            StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
            status if status.is_server_error() => "internal_error",
            _ => "error",
        };
        let reason = status.canonical_reason().unwrap_or("Unnamed status");
        Self::new(status, code, format!("{reason} (a fault set on the stand-in)"))
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({"ok": false, "error": self.code, "message": self.message});
        if let Some(missing) = &self.details {
            body["details"] = json!({
                "resource": missing.resource,
                "byField": "identifier",
                "withValue": missing.identifier,
            });
        }
        body
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}
