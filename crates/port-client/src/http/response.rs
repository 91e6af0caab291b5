//! From what came over the wire to a value or a typed error. Pure: no clock, no network.

use jiff::Timestamp;
use reqwest::header::{HeaderMap, LOCATION};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Answer, Error, missing};
use crate::http::redact::Redactor;
use crate::observer::Route;
use crate::rate_limit::headers::retry_after;

const LONGEST_MESSAGE: usize = 2_000;
const LONGEST_EXCERPT: usize = 120;
const LONGEST_LABEL: usize = 128;

/// A complete answer, before anyone has looked at it.
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What is needed to read an answer, apart from the answer itself.
pub(crate) struct Reader<'a> {
    pub(crate) route: Route,
    pub(crate) host: &'a str,
    pub(crate) redactor: &'a Redactor,
    pub(crate) now: Timestamp,
}

impl Reader<'_> {
    /// The value of a 2xx answer, or the error that any other answer stands for.
    pub(crate) fn read<T: DeserializeOwned>(&self, raw: &RawAnswer) -> Result<(T, Answer), Error> {
        let json = serde_json::from_slice::<Value>(&raw.body);
        let answer = self.describe(raw, json.as_ref().ok());
        if !is_success(raw.status) {
            let from_port = json.is_ok_and(|json| json.get("ok") == Some(&Value::Bool(false)));
            return Err(self.error(raw, answer, from_port));
        }
        let json = json.map_err(|error| self.unexpected(not_json(&raw.body, &error), answer.clone()))?;
        if !self.says_ok(&json) {
            return Err(self.unexpected("which lacks \"ok\": true".to_owned(), answer));
        }
        match serde_json::from_value(json) {
            Ok(value) => Ok((value, answer)),
            Err(error) => {
                // serde repeats values in its text, and one of a token answer could be the token.
                let problem = match self.route {
                    Route::Token => "which lacks accessToken or expiresIn".to_owned(),
                    _ => format!(
                        "of another shape than documented ({})",
                        self.redactor.excerpt(&error.to_string(), LONGEST_EXCERPT)
                    ),
                };
                Err(self.unexpected(problem, answer))
            }
        }
    }

    /// The error that Port gives one entity of a bulk write.
    pub(crate) fn entity_error(&self, answer: Answer, headers: &HeaderMap) -> Error {
        let raw = RawAnswer { status: answer.status, headers: headers.clone(), body: Vec::new() };
        self.error(&raw, answer, true)
    }

    fn trace_id(&self, headers: &HeaderMap) -> Option<String> {
        let text = headers.get("x-trace-id")?.to_str().ok()?;
        Some(self.label(text)).filter(|text| !text.is_empty())
    }

    /// A code of Port's, safe to show.
    pub(crate) fn label(&self, text: &str) -> String {
        self.redactor.excerpt(text, LONGEST_LABEL)
    }

    /// A message of Port's, safe to show.
    pub(crate) fn message(&self, text: &str) -> String {
        self.redactor.excerpt(text, LONGEST_MESSAGE)
    }

    pub(crate) fn unexpected(&self, problem: String, answer: Answer) -> Error {
        Error::UnexpectedAnswer { host: self.host.to_owned(), problem, answer: Box::new(answer) }
    }

    /// A bulk write that is stored in part may well say `"ok": false`; its lists are what counts.
    fn says_ok(&self, json: &Value) -> bool {
        self.route == Route::UpsertBulk || json.get("ok") == Some(&Value::Bool(true))
    }

    fn describe(&self, raw: &RawAnswer, json: Option<&Value>) -> Answer {
        let field = |name: &str| json?.get(name)?.as_str().filter(|text| !text.is_empty());
        let is_fine = is_success(raw.status) && json.is_some_and(|json| self.says_ok(json));
        let code = field("error").filter(|_| !is_fine).map(|code| self.label(code));
        let details = json.and_then(|json| json.get("details"));
        let message = missing::with_details(field("message"), details).filter(|_| !is_fine);
        let message = message.map(|message| self.message(&message));
        // The answer to a token request may hold a token that nobody knows yet, and half of one just as well.
        let may_be_shown = self.route != Route::Token && code.is_none() && message.is_none();
        let excerpt = if may_be_shown && !is_fine {
            Some(self.redactor.excerpt(&String::from_utf8_lossy(&raw.body), LONGEST_EXCERPT))
                .filter(|text| !text.is_empty())
        } else {
            None
        };
        Answer { status: raw.status, code, message, trace_id: self.trace_id(&raw.headers), excerpt }
    }

    /// What a status means. A 4xx speaks of our request only if it is Port that says so (`"ok": false`), except for those that
    /// firewalls and proxies use in the same sense: somebody else's 404 must never pass for "does not exist".
    fn error(&self, raw: &RawAnswer, answer: Answer, from_port: bool) -> Error {
        match raw.status {
            // Port's specification lists all three for this route, whose only input are the credentials.
            401 if self.route == Route::Token => Error::WrongCredentials(Box::new(answer)),
            404 | 422 if self.route == Route::Token && from_port => Error::WrongCredentials(Box::new(answer)),
            401 => Error::Unauthorized(Box::new(answer)),
            403 => Error::Forbidden(Box::new(answer)),
            404 if from_port => Error::NotFound(Box::new(answer)),
            408 | 500.. => Error::ServerError(Box::new(answer)),
            409 if from_port => Error::Conflict(Box::new(answer)),
            413 => Error::TooLarge(Box::new(answer)),
            429 => {
                Error::RateLimited { retry_after: retry_after(&raw.headers, self.now), answer: Some(Box::new(answer)) }
            }
            400..=499 if from_port => Error::Refused(Box::new(answer)),
            407 => self.unexpected("from a proxy that wants a password".to_owned(), answer),
            400..=499 => self.unexpected("an error of somebody else".to_owned(), answer),
            _ => {
                let target = raw.headers.get(LOCATION).and_then(|location| location.to_str().ok());
                let problem = match target {
                    // Without its query, which is where redirects carry what is nobody's business.
                    Some(target) => format!(
                        "a redirect to {}",
                        self.redactor.excerpt(target.split(['?', '#']).next().unwrap_or_default(), LONGEST_EXCERPT)
                    ),
                    None => "a status that Port does not use".to_owned(),
                };
                self.unexpected(problem, answer)
            }
        }
    }
}

fn is_success(status: u16) -> bool {
    (200..=299).contains(&status)
}

fn not_json(body: &[u8], error: &serde_json::Error) -> String {
    if body.iter().all(u8::is_ascii_whitespace) {
        "an empty one".to_owned()
    } else if error.is_eof() {
        "one that ends in the middle".to_owned()
    } else {
        "which is not JSON".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn read(route: Route, status: u16, body: &str) -> Result<Value, Error> {
        let redactor = Redactor::new(["hunter2".into()]);
        let reader = Reader { route, host: "api.port.io", redactor: &redactor, now: Timestamp::UNIX_EPOCH };
        let mut headers = HeaderMap::new();
        headers.insert("x-trace-id", "trace-1".parse().unwrap());
        let raw = RawAnswer { status, headers, body: body.into() };
        reader.read(&raw).map(|(value, _)| value)
    }

    #[test]
    fn each_status_is_the_kind_of_error_that_port_means() {
        let body = r#"{"ok":false,"error":"some_code","message":"some words"}"#;
        for (status, kind) in [
            (400, Kind::Refused),
            (401, Kind::Unauthorized),
            (403, Kind::Forbidden),
            (404, Kind::NotFound),
            (408, Kind::TimedOut),
            (409, Kind::Conflict),
            (413, Kind::TooLarge),
            (418, Kind::Refused),
            (422, Kind::Refused),
            (429, Kind::RateLimited),
            (500, Kind::ServerError),
            (503, Kind::ServerError),
            (599, Kind::ServerError),
        ] {
            let error = read(Route::Upsert, status, body).unwrap_err();
            assert_eq!(error.kind(), kind, "{status}");
            let answer = error.answer().unwrap();
            assert_eq!(answer.status, status);
            assert_eq!(answer.code.as_deref(), Some("some_code"));
            assert_eq!(answer.message.as_deref(), Some("some words"));
            assert_eq!(error.trace_id(), Some("trace-1"));
            let text = error.to_string();
            for part in [&status.to_string(), "some_code", "some words", "trace-1"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }

    #[test]
    fn what_somebody_else_says_is_taken_for_port_only_where_the_meaning_is_the_same() {
        let page = "<html><h1>Nothing here</h1></html>";
        for (status, kind) in [
            (301, Kind::UnexpectedAnswer),
            (400, Kind::UnexpectedAnswer),
            (401, Kind::Unauthorized),
            (403, Kind::Forbidden),
            (404, Kind::UnexpectedAnswer),
            (407, Kind::UnexpectedAnswer),
            (409, Kind::UnexpectedAnswer),
            (413, Kind::TooLarge),
            (422, Kind::UnexpectedAnswer),
            (429, Kind::RateLimited),
            (502, Kind::ServerError),
        ] {
            let error = read(Route::DeleteEntity, status, page).unwrap_err();
            assert_eq!(error.kind(), kind, "{status}");
            assert!(error.to_string().contains("Nothing here"), "{error}");
        }
    }

    #[test]
    fn a_success_without_ports_body_is_no_success() {
        for (body, part) in [
            ("", "an empty one"),
            (r#"{"ok":true,"entity":{"iden"#, "ends in the middle"),
            ("<html>Welcome to the wifi</html>", "not JSON"),
            ("[]", "lacks"),
            ("{}", "lacks"),
            (r#"{"ok":false,"error":"oops","message":"words"}"#, "oops: words"),
        ] {
            let error = read(Route::Upsert, 200, body).unwrap_err();
            assert_eq!(error.kind(), Kind::UnexpectedAnswer, "{body}");
            assert!(error.is_temporary());
            assert!(error.to_string().contains(part), "{body}: {error}");
        }
        assert!(read(Route::Upsert, 204, r#"{"ok":true}"#).is_ok());
    }

    #[test]
    fn the_token_route_shows_no_part_of_an_answer_that_is_not_an_error_of_port() {
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
    fn secrets_that_are_repeated_to_us_are_redacted() {
        for body in [r#"{"ok":false,"error":"hunter2","message":"you sent hunter2"}"#, "you sent hunter2"] {
            for status in [200, 302, 401, 422, 500] {
                let error = read(Route::Upsert, status, body).unwrap_err();
                assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
            }
        }
    }

    #[test]
    fn the_credentials_are_wrong_if_the_token_route_says_so() {
        let body = r#"{"ok":false,"error":"invalid_credentials"}"#;
        for status in [401, 404, 422] {
            let error = read(Route::Token, status, body).unwrap_err();
            assert_eq!(error.kind(), Kind::WrongCredentials);
        }
        let elsewhere = read(Route::Token, 404, "<html>").unwrap_err();
        assert_eq!(elsewhere.kind(), Kind::UnexpectedAnswer);
    }
}
