//! The client.

mod blueprints;
mod bulk;
mod entities;

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub use blueprints::BlueprintCreation;

use crate::auth::token::AccessToken;
use crate::auth::token_cache::TokenCache;
use crate::auth::{CredentialError, Credentials};
use crate::base_url::BaseUrl;
use crate::error::Error;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::transport::Transport;
use crate::options::{ClientOptions, OptionsError};

/// A client of Port's API. Clones are cheap, and share the access token, the connections and the rate limits.
///
/// The client does not retry, with one exception: it sends a call that Port answers with 401 once more, with a new token. If Port rejects
/// the new token as well, the client requests no further one during the next minute. [`Error::is_temporary`] tells the caller whether a
/// retry can help.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    base_url: BaseUrl,
    tokens: TokenCache,
    transport: Transport,
}

impl Client {
    /// Creates a client. It sends nothing yet, and the credentials may still be missing.
    ///
    /// # Errors
    /// If the User-Agent is invalid, the file of certificate authorities can't be used, or TLS can't be set up.
    pub fn new(options: ClientOptions) -> Result<Self, OptionsError> {
        options.validate()?;
        let transport = Transport::new(&options)?;
        let ClientOptions { base_url, credentials, .. } = options;
        let tokens = TokenCache::new(credentials, base_url.clone());
        Ok(Self { inner: Arc::new(Inner { base_url, tokens, transport }) })
    }

    /// When the pause that Port asked for with a 429 ends; `None` if there is no pause.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.inner.transport.budget.paused_until()
    }

    /// Reads the current credentials; `None` if there are none. Nothing is sent.
    ///
    /// # Errors
    /// If only one of the two values is set, or if a file can't be read or does not contain a credential.
    pub async fn credentials(&self) -> Result<Option<Credentials>, CredentialError> {
        self.inner.tokens.current_credentials().await
    }

    /// Sends a request with the access token. Returns the token too, since its redactor is needed to read the rest of the response.
    async fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<(Response<T>, AccessToken), Error> {
        let Inner { tokens, transport, .. } = &*self.inner;
        let mut token = tokens.get(transport, None).await?;
        let send = async |token: &AccessToken| {
            transport.send(request, Some(token.authorization.clone()), &token.redactor).await
        };
        let mut result = send(&token).await;
        if matches!(result, Err(Error::Unauthorized(_))) && tokens.may_renew(&token) {
            token = tokens.get(transport, Some(&token)).await?;
            result = send(&token).await;
            if matches!(result, Err(Error::Unauthorized(_))) {
                tokens.mark_rejected(&token);
            }
        }
        if matches!(result, Ok(_) | Err(Error::NotFound(_) | Error::Refused(_) | Error::Conflict(_))) {
            tokens.mark_accepted(&token);
        }
        Ok((result?, token))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("base_url", &self.inner.base_url).finish_non_exhaustive()
    }
}

/// Rejects an identifier that would change the path: dots alone move to another path, however they are encoded, and an empty identifier
/// is another route.
fn check_identifier(what: &'static str, value: &str) -> Result<(), Error> {
    if matches!(value, "" | "." | "..") {
        return Err(Error::InvalidIdentifier { what, value: value.to_owned() });
    }
    Ok(())
}

const BLUEPRINT_IDENTIFIER: &str = "blueprint identifier";
const ENTITY_IDENTIFIER: &str = "entity identifier";
