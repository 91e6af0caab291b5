//! The access token: one request for all who need one, kept until shortly before it expires.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::auth::credentials::{CredentialError, CredentialSource, Credentials};
use crate::base_url::BaseUrl;
use crate::error::{Answer, Error};
use crate::http::exchange::{Request, Wire};
use crate::http::redact::Redactor;
use crate::observer::Route;

/// A token is renewed this long before it expires, or when a tenth of its life is left if that is later.
const LONGEST_MARGIN: Duration = Duration::from_mins(5);

/// A token that Port has just handed out is used for at least this long, whatever life Port says it has left. Port returns the same
/// token until it expires, so that asking for another one too early would become asking without end.
const SHORTEST_USE: Duration = Duration::from_secs(1);

/// Pause between attempts to renew a token that is still good.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// After a token that Port refused as soon as it had given it, another one is not asked for in this time: a proxy that removes the header,
/// or a region that does not know the organisation, would make each call three requests.
const PAUSE_AFTER_USELESS_TOKEN: Duration = Duration::from_mins(1);

/// Port's tokens live 3 hours; this only keeps arithmetic with times sane.
const LONGEST_LIFE: Duration = Duration::from_hours(7 * 24);

/// A token ready for use.
#[derive(Clone)]
pub(crate) struct AccessToken {
    /// The value of the `Authorization` header.
    pub(crate) authorization: HeaderValue,
    /// Knows the token and the client secret, to keep them out of texts.
    pub(crate) redactor: Arc<Redactor>,
    /// Counts the requests that gave a token: Port may return the same text again, so the text can't tell a new one from an old one.
    generation: u64,
}

struct Cached {
    token: AccessToken,
    credentials: Credentials,
    renew_at: Instant,
    expires_at: Instant,
}

#[derive(Default)]
struct State {
    cached: Option<Cached>,
    /// How the last request for a token failed, and with which credentials.
    failure: Option<(Credentials, Error)>,
    generation: u64,
}

/// Hands out access tokens to all clones of a client.
pub(crate) struct Tokens {
    source: Arc<CredentialSource>,
    base_url: BaseUrl,
    /// Requests for a token that have ended, well or badly.
    attempts: AtomicU64,
    /// Locked while a token is requested, so that there is one request at a time.
    state: Mutex<State>,
    /// The generation of the token that Port refused as soon as it had given it, and when it did.
    useless: std::sync::Mutex<Option<(u64, Instant)>>,
}

impl Tokens {
    pub(crate) fn new(source: CredentialSource, base_url: BaseUrl) -> Self {
        Self {
            source: Arc::new(source),
            base_url,
            attempts: AtomicU64::new(0),
            state: Mutex::default(),
            useless: std::sync::Mutex::default(),
        }
    }

    /// A token for the credentials as they are now, and another one than `rejected`, which Port has answered with 401.
    ///
    /// # Errors
    /// Without credentials, or as Port answers.
    pub(crate) async fn get(&self, wire: &Wire, rejected: Option<&AccessToken>) -> Result<AccessToken, Error> {
        let credentials = self.credentials().await?;
        let attempts_before = self.attempts.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if let Some(cached) = &state.cached
            && cached.credentials.same_as(&credentials)
            && rejected.is_none_or(|rejected| rejected.generation < cached.token.generation)
            && Instant::now() < cached.renew_at
        {
            return Ok(cached.token.clone());
        }
        // A request that ended while this call waited for the lock failed for this call as well; to repeat it at once, one waiting
        // call after the other, would be of no use to anybody.
        if self.attempts.load(Ordering::Acquire) != attempts_before
            && let Some((failed, error)) = &state.failure
            && failed.same_as(&credentials)
        {
            return Err(error.clone());
        }
        let outcome = self.request(wire, credentials.clone()).await;
        self.attempts.fetch_add(1, Ordering::Release);
        match outcome {
            Ok(mut cached) => {
                state.generation += 1;
                cached.token.generation = state.generation;
                state.failure = None;
                Ok(state.cached.insert(cached).token.clone())
            }
            Err(error) => {
                if let Some(cached) = &mut state.cached
                    && cached.is_still_good(&credentials, rejected)
                    && error.is_temporary()
                {
                    tracing::warn!(%error, "the access token for Port could not be renewed yet; the old one is still good");
                    cached.renew_at = cached.expires_at.min(Instant::now() + RENEWAL_PAUSE);
                    return Ok(cached.token.clone());
                }
                state.failure = Some((credentials, error.clone()));
                Err(error)
            }
        }
    }

    /// Whether a new token can help a call that was answered with 401.
    pub(crate) fn may_renew(&self, rejected: &AccessToken) -> bool {
        self.useless().is_none_or(|(generation, since)| {
            generation != rejected.generation || since.elapsed() >= PAUSE_AFTER_USELESS_TOKEN
        })
    }

    /// Port has refused a token that it gave for this very call.
    pub(crate) fn is_of_no_use(&self, token: &AccessToken) {
        *self.useless() = Some((token.generation, Instant::now()));
    }

    /// Port has accepted a token.
    pub(crate) fn is_of_use(&self, token: &AccessToken) {
        let mut useless = self.useless();
        if useless.is_some_and(|(generation, _)| generation == token.generation) {
            *useless = None;
        }
    }

    fn useless(&self) -> MutexGuard<'_, Option<(u64, Instant)>> {
        self.useless.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn credentials(&self) -> Result<Credentials, Error> {
        let source = Arc::clone(&self.source);
        let current = if source.has_files() {
            // A file system may hang; the runtime's own threads must not hang with it.
            tokio::task::spawn_blocking(move || source.current())
                .await
                .map_err(|error| CredentialError::Interrupted { problem: error.to_string() })?
        } else {
            source.current()
        };
        current?.ok_or(Error::NoCredentials)
    }

    async fn request(&self, wire: &Wire, credentials: Credentials) -> Result<Cached, Error> {
        match self.request_with(wire, credentials.clone()).await {
            Err(error @ Error::WrongCredentials(_)) => {
                // The two files may have been read while they were being replaced, one old and one new.
                let current = self.credentials().await?;
                if current.same_as(&credentials) { Err(error) } else { self.request_with(wire, current).await }
            }
            other => other,
        }
    }

    async fn request_with(&self, wire: &Wire, credentials: Credentials) -> Result<Cached, Error> {
        let body = serde_json::to_vec(&TokenRequest {
            client_id: &credentials.client_id,
            client_secret: credentials.client_secret.expose_secret(),
        })
        .map_err(|error| Error::NotSerializable(error.to_string()))?;
        let request = Request {
            route: Route::Token,
            method: Method::POST,
            url: self.base_url.route(&["v1", "auth", "access_token"], &[]),
            body: Some(body.into()),
        };
        let redactor = Redactor::new([credentials.client_secret.clone()]);
        // The life of the token counts from before the request: an answer that is slow must not make it seem longer.
        let asked_at = Instant::now();
        let reply = wire.exchange::<TokenAnswer>(&request, None, &redactor).await?;
        let authorization = authorization(&reply.value).map_err(|problem| {
            let answer = Answer::clone(&reply.answer);
            wire.reader(Route::Token, &redactor).unexpected(problem.to_owned(), answer)
        })?;
        let life = reply.value.life();
        Ok(Cached {
            token: AccessToken {
                authorization,
                redactor: Arc::new(Redactor::new([reply.value.access_token, credentials.client_secret.clone()])),
                generation: 0,
            },
            credentials,
            renew_at: renew_at(asked_at, Instant::now(), life),
            expires_at: asked_at + life,
        })
    }
}

impl Cached {
    fn is_still_good(&self, credentials: &Credentials, rejected: Option<&AccessToken>) -> bool {
        self.credentials.same_as(credentials)
            && rejected.is_none_or(|rejected| rejected.generation < self.token.generation)
            && Instant::now() < self.expires_at
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest<'a> {
    client_id: &'a str,
    client_secret: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenAnswer {
    access_token: SecretString,
    /// Seconds.
    expires_in: f64,
    token_type: Option<String>,
}

impl TokenAnswer {
    fn life(&self) -> Duration {
        let seconds = self.expires_in.clamp(0.0, LONGEST_LIFE.as_secs_f64());
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }
}

fn authorization(answer: &TokenAnswer) -> Result<HeaderValue, &'static str> {
    let token = answer.access_token.expose_secret();
    if token.is_empty() {
        return Err("one with an empty access token");
    }
    let token_type = answer.token_type.as_deref().unwrap_or("Bearer");
    let mut value = HeaderValue::try_from(format!("{token_type} {token}"))
        .map_err(|_| "one with an access token that can't be sent in a header")?;
    // Keeps it out of `Debug` output of the HTTP libraries.
    value.set_sensitive(true);
    Ok(value)
}

/// When a token that was asked for, and has just been received, is to be renewed.
fn renew_at(asked_at: Instant, received_at: Instant, life: Duration) -> Instant {
    let margin = LONGEST_MARGIN.min(life / 10);
    (asked_at + life - margin).max(received_at + SHORTEST_USE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str) -> TokenAnswer {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_token_is_renewed_five_minutes_or_a_tenth_of_its_life_early_and_never_at_once() {
        let asked = Instant::now();
        let received = asked + Duration::from_millis(100);
        for (life, renewed_after) in [
            (Duration::from_hours(3), Duration::from_mins(175)),
            (Duration::from_mins(1), Duration::from_secs(54)),
            (Duration::from_millis(500), Duration::from_millis(1_100)),
            (Duration::ZERO, Duration::from_millis(1_100)),
        ] {
            assert_eq!(renew_at(asked, received, life), asked + renewed_after, "{life:?}");
        }
    }

    #[test]
    fn a_life_that_makes_no_sense_does_no_harm() {
        for (expires_in, life) in [
            ("10800", Duration::from_secs(10_800)),
            ("0.5", Duration::from_millis(500)),
            ("-3", Duration::ZERO),
            ("1e300", LONGEST_LIFE),
        ] {
            let text = format!(r#"{{"accessToken":"a","expiresIn":{expires_in}}}"#);
            assert_eq!(answer(&text).life(), life, "{expires_in}");
        }
    }

    #[test]
    fn the_header_is_sensitive_and_what_can_not_be_sent_is_an_error() {
        let value = authorization(&answer(r#"{"accessToken":"abc","expiresIn":1}"#)).unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer abc");
        assert!(!format!("{value:?}").contains("abc"));
        for token in ["", "a\\nb"] {
            let text = format!(r#"{{"accessToken":"{token}","expiresIn":1,"tokenType":"Bearer"}}"#);
            assert!(authorization(&answer(&text)).is_err());
        }
    }
}
