//! An access token, and the request and response that issue it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::http::redact::Redactor;

/// The longest lifetime that is believed. Port's tokens live 3 hours; the limit keeps the arithmetic with times safe.
const MAX_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// An access token that is ready for use.
#[derive(Clone)]
pub(crate) struct AccessToken {
    /// The value of the `Authorization` header.
    pub(crate) authorization: HeaderValue,
    /// Removes the token and the client secret from texts.
    pub(crate) redactor: Arc<Redactor>,
    /// Counts the requests that issued a token. Port may issue the same token again, so its text can't tell new from old.
    pub(crate) generation: u64,
}

/// The body of `POST /v1/auth/access_token`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenRequest<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a str,
}

/// The response to it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenResponse {
    pub(crate) access_token: SecretString,
    /// Seconds.
    expires_in: f64,
    token_type: Option<String>,
}

/// Why a token can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidToken {
    #[error("the access token is empty")]
    Empty,
    #[error("the access token can't be sent in a header")]
    NotAHeaderValue,
}

impl TokenResponse {
    /// How long the token is valid.
    pub(crate) fn lifetime(&self) -> Duration {
        let seconds = self.expires_in.clamp(0.0, MAX_LIFETIME.as_secs_f64());
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// The value of the `Authorization` header.
    pub(crate) fn authorization(&self) -> Result<HeaderValue, InvalidToken> {
        let token = self.access_token.expose_secret();
        if token.is_empty() {
            return Err(InvalidToken::Empty);
        }
        let token_type = self.token_type.as_deref().unwrap_or("Bearer");
        let mut value =
            HeaderValue::try_from(format!("{token_type} {token}")).map_err(|_| InvalidToken::NotAHeaderValue)?;
        // Keeps the token out of the `Debug` output of the HTTP libraries.
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(json: &str) -> TokenResponse {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn lifetime_is_clamped() {
        for (expires_in, lifetime) in [
            ("10800", Duration::from_secs(10_800)),
            ("0.5", Duration::from_millis(500)),
            ("-3", Duration::ZERO),
            ("1e300", MAX_LIFETIME),
        ] {
            let text = format!(r#"{{"accessToken":"a","expiresIn":{expires_in}}}"#);
            assert_eq!(response(&text).lifetime(), lifetime, "{expires_in}");
        }
    }

    #[test]
    fn header_is_sensitive_and_valid() {
        let value = response(r#"{"accessToken":"abc","expiresIn":1}"#).authorization().unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer abc");
        assert!(!format!("{value:?}").contains("abc"));
        for token in ["", "a\\nb"] {
            let text = format!(r#"{{"accessToken":"{token}","expiresIn":1,"tokenType":"Bearer"}}"#);
            assert!(response(&text).authorization().is_err());
        }
    }
}
