//! Access tokens: a pair of client credentials has one active token.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::errors::ApiError;
use crate::server::App;
use crate::validation::{JsonBody, RouteSchema};

/// The accepted credentials and the active token.
#[derive(Debug)]
pub(crate) struct Auth {
    lifetime: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    client_id: String,
    client_secret: String,
    active: Option<Token>,
}

#[derive(Debug, Clone)]
struct Token {
    value: String,
    expires: Instant,
}

impl Auth {
    pub(crate) fn new(client_id: String, client_secret: String, lifetime: Duration) -> Self {
        Self { lifetime, inner: Mutex::new(Inner { client_id, client_secret, active: None }) }
    }

    /// The active token and its remaining lifetime. Further requests return the same token until it expires.
    fn token(&self, client_id: &str, client_secret: &str) -> Result<(String, Duration), ApiError> {
        let mut inner = self.inner.lock();
        if inner.client_id != client_id || inner.client_secret != client_secret {
            return Err(ApiError::unauthorized("Invalid client ID or client secret"));
        }
        let now = Instant::now();
        let token = match inner.active.take().filter(|token| token.expires > now) {
            Some(token) => token,
            None => Token { value: format!("port-sim.{}", Uuid::new_v4().simple()), expires: now + self.lifetime },
        };
        let left = token.expires.saturating_duration_since(now);
        let value = token.value.clone();
        inner.active = Some(token);
        Ok((value, left))
    }

    /// Accepts a request with the active token.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let sent = headers
            .get(header::AUTHORIZATION)
            .ok_or_else(|| ApiError::unauthorized("No authorization token was found"))?
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| ApiError::unauthorized("The Authorization header must be \"Bearer <token>\""))?;
        let inner = self.inner.lock();
        match &inner.active {
            Some(token) if token.value == sent => {
                if token.expires > Instant::now() {
                    Ok(())
                } else {
                    Err(ApiError::unauthorized("The access token has expired"))
                }
            }
            _ => Err(ApiError::unauthorized("The access token is not valid")),
        }
    }

    pub(crate) fn revoke(&self) {
        self.inner.lock().active = None;
    }

    /// Replaces the credentials, and revokes the token of the old ones.
    pub(crate) fn set_credentials(&self, client_id: String, client_secret: String) {
        *self.inner.lock() = Inner { client_id, client_secret, active: None };
    }
}

/// `POST /v1/auth/access_token`
pub(crate) async fn access_token(
    State(app): State<App>,
    Extension(body): Extension<JsonBody>,
) -> Result<Json<Value>, ApiError> {
    let body = body.checked(&app.schemas, RouteSchema::AccessToken)?;
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    let (token, left) = app.auth.token(text("clientId"), text("clientSecret"))?;
    Ok(Json(json!({
        "ok": true,
        "accessToken": token,
        "expiresIn": left.as_secs(),
        "tokenType": "Bearer",
    })))
}
