//! Reads a response: into a value, or into a typed error. Pure: no clock and no network.

use std::time::SystemTime;

use reqwest::header::{HeaderMap, LOCATION};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::missing_resource::message_with_details;
use crate::error::{Error, ErrorResponse};
use crate::http::Route;
use crate::http::redact::Redactor;
use crate::rate_limit::headers::pause_after_429;

/// The largest response that the client keeps in memory, in bytes. Responses of the routes that it calls have a few kilobytes.
pub const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

const MAX_MESSAGE_CHARACTERS: usize = 2_000;
const MAX_EXCERPT_CHARACTERS: usize = 120;
const MAX_LABEL_CHARACTERS: usize = 128;

/// A complete response that has not been read yet.
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A successful response.
pub(crate) struct Response<T> {
    /// The body.
    pub(crate) value: T,
    /// Status and trace id, for an error that is found later.
    pub(crate) details: ErrorResponse,
    pub(crate) headers: HeaderMap,
}

/// Reads the responses to one request.
pub(crate) struct ResponseReader<'a> {
    pub(crate) route: Route,
    pub(crate) host: &'a str,
    pub(crate) redactor: &'a Redactor,
    pub(crate) now: SystemTime,
}

impl ResponseReader<'_> {
    /// The value of a 2xx response, or the error that any other response means.
    pub(crate) fn read<T: DeserializeOwned>(&self, raw: &RawResponse) -> Result<(T, ErrorResponse), Error> {
        let json = serde_json::from_slice::<Value>(&raw.body);
        let details = self.details(raw, json.as_ref().ok());
        if !is_success(raw.status) {
            let is_from_port = json.is_ok_and(|json| json.get("ok") == Some(&Value::Bool(false)));
            return Err(self.error(raw.status, &raw.headers, details, is_from_port));
        }
        let json = json.map_err(|error| self.unexpected(json_problem(&raw.body, &error), details.clone()))?;
        if !self.is_ok(&json) {
            return Err(self.unexpected("the body has no \"ok\": true".to_owned(), details));
        }
        match serde_json::from_value(json) {
            Ok(value) => Ok((value, details)),
            Err(error) => {
                // serde repeats values in its text, and a value of a token response may be the token.
                let problem = if self.route == Route::Token {
                    "accessToken or expiresIn is missing or invalid".to_owned()
                } else {
                    let error = self.redactor.excerpt(&error.to_string(), MAX_EXCERPT_CHARACTERS);
                    format!("the body does not match Port's API reference: {error}")
                };
                Err(self.unexpected(problem, details))
            }
        }
    }

    /// The error that Port reports for one entity of a bulk write.
    pub(crate) fn entity_error(&self, details: ErrorResponse, headers: &HeaderMap) -> Error {
        self.error(details.status, headers, details, true)
    }

    fn trace_id(&self, headers: &HeaderMap) -> Option<String> {
        let text = headers.get("x-trace-id")?.to_str().ok()?;
        Some(self.label(text)).filter(|text| !text.is_empty())
    }

    /// An error code of Port, without secrets and of bounded length.
    pub(crate) fn label(&self, text: &str) -> String {
        self.redactor.excerpt(text, MAX_LABEL_CHARACTERS)
    }

    /// A message of Port, without secrets and of bounded length.
    pub(crate) fn message(&self, text: &str) -> String {
        self.redactor.excerpt(text, MAX_MESSAGE_CHARACTERS)
    }

    /// The error for a response that is not one of Port's.
    pub(crate) fn unexpected(&self, problem: String, details: ErrorResponse) -> Error {
        Error::UnexpectedResponse { host: self.host.to_owned(), problem, response: Box::new(details) }
    }

    /// Whether Port reports success. A bulk write that is stored in part may say `"ok": false`, so only its lists count.
    fn is_ok(&self, json: &Value) -> bool {
        self.route == Route::UpsertBulk || json.get("ok") == Some(&Value::Bool(true))
    }

    fn details(&self, raw: &RawResponse, json: Option<&Value>) -> ErrorResponse {
        let trace_id = self.trace_id(&raw.headers);
        if is_success(raw.status) && json.is_some_and(|json| self.is_ok(json)) {
            return ErrorResponse { status: raw.status, trace_id, ..ErrorResponse::default() };
        }
        let field = |name: &str| json?.get(name)?.as_str().filter(|text| !text.is_empty());
        let code = field("error").map(|code| self.label(code));
        let details = json.and_then(|json| json.get("details"));
        let message = message_with_details(field("message"), details).map(|message| self.message(&message));
        // A token response may contain a token that the redactor does not know yet, or a part of one.
        let may_quote = self.route != Route::Token && code.is_none() && message.is_none();
        let excerpt = may_quote
            .then(|| self.redactor.excerpt(&String::from_utf8_lossy(&raw.body), MAX_EXCERPT_CHARACTERS))
            .filter(|text| !text.is_empty());
        ErrorResponse { status: raw.status, code, message, trace_id, excerpt }
    }

    /// The error that a status means. A 4xx concerns the request only if it comes from Port (`"ok": false`), or if firewalls and proxies
    /// use the status in the same sense. A 404 from a proxy must never mean "does not exist".
    fn error(&self, status: u16, headers: &HeaderMap, details: ErrorResponse, is_from_port: bool) -> Error {
        let response = Box::new(details);
        match status {
            // Port's API reference lists all three for this route, whose only input is the credentials.
            401 if self.route == Route::Token => Error::WrongCredentials(response),
            404 | 422 if self.route == Route::Token && is_from_port => Error::WrongCredentials(response),
            401 => Error::Unauthorized(response),
            403 => Error::Forbidden(response),
            404 if is_from_port => Error::NotFound(response),
            408 | 500.. => Error::ServerError(response),
            409 if is_from_port => Error::Conflict(response),
            413 => Error::TooLarge(response),
            429 => Error::RateLimited { retry_after: pause_after_429(headers, self.now), response: Some(response) },
            400..=499 if is_from_port => Error::Refused(response),
            407 => self.unexpected("a proxy requires authentication".to_owned(), *response),
            400..=499 => self.unexpected("the error is not from Port".to_owned(), *response),
            _ => self.unexpected(self.redirect_problem(headers), *response),
        }
    }

    fn redirect_problem(&self, headers: &HeaderMap) -> String {
        match headers.get(LOCATION).and_then(|location| location.to_str().ok()) {
            // The query of a redirect may contain private data.
            Some(location) => {
                let target = location.split(['?', '#']).next().unwrap_or_default();
                format!("a redirect to {}", self.redactor.excerpt(target, MAX_EXCERPT_CHARACTERS))
            }
            None => "Port does not use this status".to_owned(),
        }
    }
}

fn is_success(status: u16) -> bool {
    (200..=299).contains(&status)
}

fn json_problem(body: &[u8], error: &serde_json::Error) -> String {
    let problem = if body.iter().all(u8::is_ascii_whitespace) {
        "the body is empty"
    } else if error.is_eof() {
        "the body is incomplete"
    } else {
        "the body is not JSON"
    };
    problem.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn read(route: Route, status: u16, body: &str) -> Result<Value, Error> {
        let redactor = Redactor::new(["hunter2".into()]);
        let reader = ResponseReader { route, host: "api.port.io", redactor: &redactor, now: SystemTime::UNIX_EPOCH };
        let mut headers = HeaderMap::new();
        headers.insert("x-trace-id", "trace-1".parse().unwrap());
        let raw = RawResponse { status, headers, body: body.into() };
        reader.read(&raw).map(|(value, _)| value)
    }

    #[test]
    fn each_status_of_port_has_its_kind() {
        let body = r#"{"ok":false,"error":"some_code","message":"some words"}"#;
        for (status, kind) in [
            (400, ErrorKind::Refused),
            (401, ErrorKind::Unauthorized),
            (403, ErrorKind::Forbidden),
            (404, ErrorKind::NotFound),
            (408, ErrorKind::TimedOut),
            (409, ErrorKind::Conflict),
            (413, ErrorKind::TooLarge),
            (418, ErrorKind::Refused),
            (422, ErrorKind::Refused),
            (429, ErrorKind::RateLimited),
            (500, ErrorKind::ServerError),
            (503, ErrorKind::ServerError),
            (599, ErrorKind::ServerError),
        ] {
            let error = read(Route::Upsert, status, body).unwrap_err();
            assert_eq!(error.kind(), kind, "{status}");
            let response = error.response().unwrap();
            assert_eq!(response.status, status);
            assert_eq!(response.code.as_deref(), Some("some_code"));
            assert_eq!(response.message.as_deref(), Some("some words"));
            assert_eq!(error.trace_id(), Some("trace-1"));
            let text = error.to_string();
            for part in [&status.to_string(), "some_code", "some words", "trace-1"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }

    #[test]
    fn foreign_response_counts_only_if_unambiguous() {
        let page = "<html><h1>Nothing here</h1></html>";
        for (status, kind) in [
            (301, ErrorKind::UnexpectedResponse),
            (400, ErrorKind::UnexpectedResponse),
            (401, ErrorKind::Unauthorized),
            (403, ErrorKind::Forbidden),
            (404, ErrorKind::UnexpectedResponse),
            (407, ErrorKind::UnexpectedResponse),
            (409, ErrorKind::UnexpectedResponse),
            (413, ErrorKind::TooLarge),
            (422, ErrorKind::UnexpectedResponse),
            (429, ErrorKind::RateLimited),
            (502, ErrorKind::ServerError),
        ] {
            let error = read(Route::DeleteEntity, status, page).unwrap_err();
            assert_eq!(error.kind(), kind, "{status}");
            assert!(error.to_string().contains("Nothing here"), "{error}");
        }
    }

    #[test]
    fn success_requires_a_body_of_port() {
        for (body, part) in [
            ("", "is empty"),
            (r#"{"ok":true,"entity":{"iden"#, "is incomplete"),
            ("<html>Welcome to the wifi</html>", "not JSON"),
            ("[]", "no \"ok\": true"),
            ("{}", "no \"ok\": true"),
            (r#"{"ok":false,"error":"oops","message":"words"}"#, "oops: words"),
        ] {
            let error = read(Route::Upsert, 200, body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedResponse, "{body}");
            assert!(error.is_temporary());
            assert!(error.to_string().contains(part), "{body}: {error}");
        }
        assert!(read(Route::Upsert, 204, r#"{"ok":true}"#).is_ok());
    }

    #[test]
    fn token_route_quotes_no_response_body() {
        for body in
            [r#"{"ok":true,"accessToken":"eyJhbGciOi"#, r#"{"ok":false,"accessToken":"eyJhbGciOi"}"#, "eyJhbGciOi"]
        {
            for status in [200, 500] {
                let error = read(Route::Token, status, body).unwrap_err();
                assert!(!format!("{error} {error:?}").contains("eyJ"), "{error:?}");
            }
        }
    }

    #[test]
    fn secrets_in_a_response_are_redacted() {
        for body in [r#"{"ok":false,"error":"hunter2","message":"you sent hunter2"}"#, "you sent hunter2"] {
            for status in [200, 302, 401, 422, 500] {
                let error = read(Route::Upsert, status, body).unwrap_err();
                assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
            }
        }
    }

    #[test]
    fn token_route_reports_wrong_credentials() {
        let body = r#"{"ok":false,"error":"invalid_credentials"}"#;
        for status in [401, 404, 422] {
            let error = read(Route::Token, status, body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongCredentials);
        }
        let elsewhere = read(Route::Token, 404, "<html>").unwrap_err();
        assert_eq!(elsewhere.kind(), ErrorKind::UnexpectedResponse);
    }
}
