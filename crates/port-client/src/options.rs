//! The options of a client.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::CredentialSource;
use crate::base_url::BaseUrl;
use crate::http::CaFileError;
use crate::observer::Observer;
use crate::rate_limit::Limits;

/// The user agents of clients that delete every entity of theirs that they do not know. Port stores the User-Agent of a writer as the
/// `$datasource` of an entity, so these clients would delete the entities of whoever else writes under their names.
const RESERVED_USER_AGENTS: [&str; 2] = ["port-k8s-exporter", "port-ocean"];

/// The options of a [`Client`](crate::Client).
#[derive(Clone)]
pub struct ClientOptions {
    /// The address of Port's API.
    pub base_url: BaseUrl,
    /// The source of the client ID and the client secret.
    pub credentials: CredentialSource,
    /// The User-Agent of each request. Port shows it as the `$datasource` of the entities.
    pub user_agent: String,
    /// The longest time from the start of a request to the last byte of the response (default: 30 s).
    pub request_timeout: Duration,
    /// The longest time to open a connection (default: 10 s).
    pub connect_timeout: Duration,
    /// The longest time that a call waits for the end of a pause, or for its turn within Port's limits (default: 5 s). If it would have to
    /// wait longer, it returns [`Error::RateLimited`](crate::Error::RateLimited) at once and sends nothing. [`Duration::ZERO`] never
    /// waits, [`Duration::MAX`] always does.
    pub max_wait: Duration,
    /// The limits that the client itself keeps (default: 80 % of the limits that Port publishes).
    pub limits: Limits,
    /// A file with certificates of further authorities to trust in addition to Mozilla's, in PEM format (default: none): for a proxy that
    /// decrypts the traffic, or a gateway of the company. [`Client::new`](crate::Client::new) reads it.
    pub extra_ca: Option<PathBuf>,
    /// Observes each request (default: none).
    pub observer: Option<Arc<dyn Observer>>,
}

impl ClientOptions {
    /// These options, and the defaults for all others.
    pub fn new(base_url: BaseUrl, credentials: impl Into<CredentialSource>, user_agent: impl Into<String>) -> Self {
        Self {
            base_url,
            credentials: credentials.into(),
            user_agent: user_agent.into(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            max_wait: Duration::from_secs(5),
            limits: Limits::default(),
            extra_ca: None,
            observer: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), OptionsError> {
        let user_agent = &self.user_agent;
        let lower_case = user_agent.to_ascii_lowercase();
        if let Some(reserved) = RESERVED_USER_AGENTS.into_iter().find(|reserved| lower_case.contains(reserved)) {
            return Err(OptionsError::ReservedUserAgent { user_agent: user_agent.clone(), reserved });
        }
        let is_visible = |character: char| character == ' ' || character.is_ascii_graphic();
        if user_agent.trim().is_empty() || !user_agent.chars().all(is_visible) {
            return Err(OptionsError::InvalidUserAgent { user_agent: user_agent.clone() });
        }
        Ok(())
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            base_url,
            credentials,
            user_agent,
            request_timeout,
            connect_timeout,
            max_wait,
            limits,
            extra_ca,
            observer,
        } = self;
        formatter
            .debug_struct("ClientOptions")
            .field("base_url", base_url)
            .field("credentials", credentials)
            .field("user_agent", user_agent)
            .field("request_timeout", request_timeout)
            .field("connect_timeout", connect_timeout)
            .field("max_wait", max_wait)
            .field("limits", limits)
            .field("extra_ca", extra_ca)
            .field("observer", &observer.is_some())
            .finish()
    }
}

/// Why no client can be created with the options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The User-Agent is reserved by a client that would delete the entities written under it.
    #[error(
        "the User-Agent \"{user_agent}\" contains \"{reserved}\": the client of this name deletes entities that it does not know, so choose \
         another User-Agent"
    )]
    ReservedUserAgent {
        /// The User-Agent of the options.
        user_agent: String,
        /// The name of the other client.
        reserved: &'static str,
    },
    /// The User-Agent can't be sent.
    #[error("invalid User-Agent {user_agent:?}: expected visible ASCII characters and spaces")]
    InvalidUserAgent {
        /// The User-Agent of the options.
        user_agent: String,
    },
    /// The file with further authorities can't be used.
    #[error("the certificate authorities in the file {} can't be used: {problem}", .path.display())]
    ExtraCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: CaFileError,
    },
    /// The HTTP client can't be set up.
    #[error("the HTTP client for Port can't be set up: {0}")]
    Http(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;

    fn validate(user_agent: &str) -> Result<(), OptionsError> {
        let base_url = crate::DEFAULT_BASE_URL.parse().unwrap();
        let credentials = Credentials::new("my-id", "hunter2");
        let options = ClientOptions::new(base_url, credentials, user_agent);
        let text = format!("{options:?}");
        assert!(!text.contains("hunter2") && !text.contains("my-id"), "{text}");
        options.validate()
    }

    #[test]
    fn reserved_or_invalid_user_agent_is_rejected() {
        assert_eq!(validate("my-reporter/1.0 (my host)"), Ok(()));
        for user_agent in ["port-ocean/mine", "x Port-K8s-Exporter/1"] {
            let error = validate(user_agent).unwrap_err();
            assert!(matches!(error, OptionsError::ReservedUserAgent { .. }), "{error}");
        }
        for user_agent in ["", " ", "a\nb", "é"] {
            let error = validate(user_agent).unwrap_err();
            assert!(matches!(error, OptionsError::InvalidUserAgent { .. }), "{error}");
        }
    }
}
