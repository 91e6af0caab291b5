//! The access token that all clones of a client share: requested once, and renewed shortly before it expires.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::auth::token::{AccessToken, TokenRequest, TokenResponse};
use crate::auth::{CredentialError, CredentialReader, CredentialSource, Credentials};
use crate::base_url::BaseUrl;
use crate::error::Error;
use crate::http::redact::Redactor;
use crate::http::request::{Request, json_body};
use crate::http::route::Route;
use crate::http::transport::Transport;
use crate::instant::later;

/// The client renews a token this long before it expires, or when a tenth of its lifetime is left if that is later.
const MAX_RENEWAL_MARGIN: Duration = Duration::from_mins(5);

/// The client uses a new token for at least this long, whatever lifetime Port reports. Port issues the same token until it expires, so
/// an earlier renewal would be repeated without end.
const MIN_USE: Duration = Duration::from_secs(1);

/// Wait after a failed renewal while the old token is still valid.
const RENEWAL_RETRY: Duration = Duration::from_secs(10);

/// Wait before another renewal after Port rejected a token that it had just issued. Without it, a proxy that removes the header, or the
/// region of another organisation, would turn each call into three requests.
const REJECTED_TOKEN_PAUSE: Duration = Duration::from_mins(1);

/// Issues access tokens to all clones of a client.
pub(crate) struct TokenCache {
    reader: CredentialReader,
    base_url: BaseUrl,
    /// Token requests that have ended, successfully or not.
    attempts: AtomicU64,
    /// Locked during a token request, so that there is one request at a time.
    state: tokio::sync::Mutex<State>,
    /// The last new token that Port rejected.
    rejection: parking_lot::Mutex<Option<Rejection>>,
}

#[derive(Default)]
struct State {
    cached: Option<CachedToken>,
    /// How the last token request failed, and with which credentials.
    failure: Option<(Credentials, Error)>,
    generation: u64,
}

struct CachedToken {
    token: AccessToken,
    credentials: Credentials,
    renew_at: Instant,
    expires_at: Instant,
}

/// Port rejected a token that was issued for the same call.
struct Rejection {
    generation: u64,
    at: Instant,
}

impl TokenCache {
    pub(crate) fn new(source: CredentialSource, base_url: BaseUrl) -> Self {
        Self {
            reader: CredentialReader::new(source),
            base_url,
            attempts: AtomicU64::new(0),
            state: tokio::sync::Mutex::default(),
            rejection: parking_lot::Mutex::default(),
        }
    }

    /// A token for the current credentials, and a newer one than `rejected`, which Port has answered with 401.
    ///
    /// # Errors
    /// If credentials are missing or unusable, and the errors of the token request.
    pub(crate) async fn get(
        &self,
        transport: &Transport,
        rejected: Option<&AccessToken>,
    ) -> Result<AccessToken, Error> {
        let credentials = self.credentials().await?;
        let attempts_before = self.attempts.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if let Some(cached) = &state.cached
            && cached.is_for(&credentials, rejected)
            && Instant::now() < cached.renew_at
        {
            return Ok(cached.token.clone());
        }
        // A token request that failed while this call waited for the lock has failed for this call as well. Otherwise each waiting call
        // would repeat it.
        if self.attempts.load(Ordering::Acquire) != attempts_before
            && let Some((failed, error)) = &state.failure
            && failed.equals(&credentials)
        {
            return Err(error.clone());
        }
        let result = self.request(transport, credentials.clone()).await;
        self.attempts.fetch_add(1, Ordering::Release);
        match result {
            Ok(mut cached) => {
                state.generation += 1;
                cached.token.generation = state.generation;
                state.failure = None;
                Ok(state.cached.insert(cached).token.clone())
            }
            Err(error) => {
                if let Some(cached) = &mut state.cached
                    && cached.is_for(&credentials, rejected)
                    && Instant::now() < cached.expires_at
                    && error.is_temporary()
                {
                    tracing::warn!(%error, "failed to renew the access token for Port; using the old one until it expires");
                    cached.renew_at = cached.expires_at.min(later(Instant::now(), RENEWAL_RETRY));
                    return Ok(cached.token.clone());
                }
                state.failure = Some((credentials, error.clone()));
                Err(error)
            }
        }
    }

    /// Whether a new token may help a call that Port answered with 401.
    pub(crate) fn may_renew(&self, rejected: &AccessToken) -> bool {
        self.rejection.lock().as_ref().is_none_or(|rejection| {
            rejection.generation != rejected.generation || rejection.at.elapsed() >= REJECTED_TOKEN_PAUSE
        })
    }

    /// Port rejected a token that was issued for the same call.
    pub(crate) fn mark_rejected(&self, token: &AccessToken) {
        *self.rejection.lock() = Some(Rejection { generation: token.generation, at: Instant::now() });
    }

    /// Port accepted a token.
    pub(crate) fn mark_accepted(&self, token: &AccessToken) {
        self.rejection.lock().take_if(|rejection| rejection.generation == token.generation);
    }

    async fn credentials(&self) -> Result<Credentials, Error> {
        self.current_credentials().await?.ok_or(Error::NoCredentials)
    }

    /// The credentials; `None` if there are none.
    pub(crate) async fn current_credentials(&self) -> Result<Option<Credentials>, CredentialError> {
        self.reader.current().await
    }

    async fn request(&self, transport: &Transport, credentials: Credentials) -> Result<CachedToken, Error> {
        match self.request_with(transport, credentials.clone()).await {
            Err(error @ Error::WrongCredentials(_)) => {
                // A rotation replaces the two files one after the other, so one of them may have been read too early.
                let current = self.credentials().await?;
                if current.equals(&credentials) { Err(error) } else { self.request_with(transport, current).await }
            }
            other => other,
        }
    }

    async fn request_with(&self, transport: &Transport, credentials: Credentials) -> Result<CachedToken, Error> {
        let body = json_body(&TokenRequest {
            client_id: &credentials.client_id,
            client_secret: credentials.client_secret.expose_secret(),
        })?;
        let request = Request {
            route: Route::Token,
            method: Method::POST,
            url: self.base_url.route(&["v1", "auth", "access_token"], &[]),
            body: Some(body),
        };
        let redactor = Redactor::new([credentials.client_secret.clone()]);
        // The lifetime counts from before the request, so that a slow response does not make it seem longer.
        let requested_at = Instant::now();
        let response = transport.send::<TokenResponse>(&request, None, &redactor).await?;
        let authorization = response.value.authorization().map_err(|problem| {
            transport.reader(Route::Token, &redactor).unexpected(problem.to_string(), response.details.clone())
        })?;
        let lifetime = response.value.lifetime();
        Ok(CachedToken {
            token: AccessToken {
                authorization,
                redactor: Arc::new(Redactor::new([response.value.access_token, credentials.client_secret.clone()])),
                generation: 0,
            },
            credentials,
            renew_at: renew_at(requested_at, Instant::now(), lifetime),
            expires_at: later(requested_at, lifetime),
        })
    }
}

impl CachedToken {
    /// Whether the token was issued for these credentials, after `rejected`.
    fn is_for(&self, credentials: &Credentials, rejected: Option<&AccessToken>) -> bool {
        self.credentials.equals(credentials)
            && rejected.is_none_or(|rejected| rejected.generation < self.token.generation)
    }
}

/// When to renew a token.
fn renew_at(requested_at: Instant, received_at: Instant, lifetime: Duration) -> Instant {
    let margin = MAX_RENEWAL_MARGIN.min(lifetime.checked_div(10).unwrap_or_default());
    later(requested_at, lifetime.saturating_sub(margin)).max(later(received_at, MIN_USE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_renewed_early_but_never_at_once() {
        let requested = Instant::now();
        let received = requested + Duration::from_millis(100);
        for (lifetime, renewed_after) in [
            (Duration::from_hours(3), Duration::from_mins(175)),
            (Duration::from_mins(1), Duration::from_secs(54)),
            (Duration::from_millis(500), Duration::from_millis(1_100)),
            (Duration::ZERO, Duration::from_millis(1_100)),
        ] {
            assert_eq!(renew_at(requested, received, lifetime), requested + renewed_after, "{lifetime:?}");
        }
    }
}
