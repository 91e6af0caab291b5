//! Settings of a client, and why they can be unusable.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::credentials::CredentialSource;
use crate::base_url::BaseUrl;
use crate::observer::Observer;
use crate::rate_limit::limits::Limits;

/// User agents that belong to clients of Port which delete every entity of theirs that they do not know.
/// Port keeps a writer's User-Agent as an entity's `$datasource`, so whoever writes under one of these loses what they wrote.
const FOREIGN_USER_AGENTS: [&str; 2] = ["port-k8s-exporter", "port-ocean"];

/// Settings of a [`Client`](crate::Client).
#[derive(Clone)]
pub struct ClientOptions {
    /// Where Port is.
    pub base_url: BaseUrl,
    /// Client ID and client secret.
    pub credentials: CredentialSource,
    /// Sent with each request; Port shows it as the `$datasource` of the entities.
    pub user_agent: String,
    /// Longest time from opening a connection to the last byte of the answer (default: 30 s).
    pub request_timeout: Duration,
    /// Longest time to open a connection (default: 10 s).
    pub connect_timeout: Duration,
    /// Longest part of a pause that Port asked for which a call waits through; if more is left, it returns
    /// [`Error::RateLimited`](crate::Error::RateLimited) at once and sends nothing (default: 5 s). [`Duration::ZERO`] never waits,
    /// [`Duration::MAX`] always does.
    pub longest_wait: Duration,
    /// The most that is sent (default: 80 % of what Port publishes).
    pub limits: Limits,
    /// A file with certificates of further authorities to trust, besides Mozilla's, in PEM format (default: none): for a proxy that decrypts,
    /// or a gateway of the company. It is read when the client is made.
    pub extra_ca: Option<PathBuf>,
    /// Is told about each request.
    pub observer: Option<Arc<dyn Observer>>,
}

impl ClientOptions {
    /// The given settings, and the defaults for all others.
    pub fn new(base_url: BaseUrl, credentials: impl Into<CredentialSource>, user_agent: impl Into<String>) -> Self {
        Self {
            base_url,
            credentials: credentials.into(),
            user_agent: user_agent.into(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            longest_wait: Duration::from_secs(5),
            limits: Limits::default(),
            extra_ca: None,
            observer: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let user_agent = &self.user_agent;
        if let Some(foreign) =
            FOREIGN_USER_AGENTS.iter().find(|foreign| user_agent.to_ascii_lowercase().contains(*foreign))
        {
            return Err(OptionsError::ForeignUserAgent { user_agent: user_agent.clone(), foreign });
        }
        let readable = |character: char| character == ' ' || character.is_ascii_graphic();
        if user_agent.trim().is_empty() || !user_agent.chars().all(readable) {
            return Err(OptionsError::UserAgent { user_agent: user_agent.clone() });
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
            longest_wait,
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
            .field("longest_wait", longest_wait)
            .field("limits", limits)
            .field("extra_ca", extra_ca)
            .field("observer", &observer.is_some())
            .finish()
    }
}

/// Why no client can be made of the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The User-Agent is one of another client that would delete what is written under it.
    #[error(
        "the User-Agent \"{user_agent}\" contains \"{foreign}\": that client of Port deletes entities written under its name, \
         so choose another User-Agent"
    )]
    ForeignUserAgent {
        /// What was given.
        user_agent: String,
        /// The name of the other client.
        foreign: &'static str,
    },
    /// The User-Agent can't be sent.
    #[error("the User-Agent {user_agent:?} is empty or contains characters other than visible ASCII ones and spaces")]
    UserAgent {
        /// What was given.
        user_agent: String,
    },
    /// The file with further authorities can't be used.
    #[error("the certificates of the authorities to trust can't be read from the file {}: {problem}", .path.display())]
    ExtraCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The HTTP client can't be set up.
    #[error("the HTTP client for Port can't be set up: {0}")]
    Http(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::credentials::Credentials;

    fn check(user_agent: &str) -> Result<(), OptionsError> {
        let base_url = crate::DEFAULT_BASE_URL.parse().unwrap();
        let credentials = Credentials::new("my-id", "hunter2");
        let options = ClientOptions::new(base_url, credentials, user_agent);
        let text = format!("{options:?}");
        assert!(!text.contains("hunter2") && !text.contains("my-id"), "{text}");
        options.check()
    }

    #[test]
    fn a_user_agent_that_would_cost_the_entities_is_refused() {
        assert_eq!(check("port-dora-controller/1.0 (my cluster)"), Ok(()));
        for user_agent in ["port-ocean/mine", "x Port-K8s-Exporter/1"] {
            let error = check(user_agent).unwrap_err();
            assert!(matches!(error, OptionsError::ForeignUserAgent { .. }), "{error}");
        }
        for user_agent in ["", " ", "a\nb", "é"] {
            let error = check(user_agent).unwrap_err();
            assert!(matches!(error, OptionsError::UserAgent { .. }), "{error}");
        }
    }
}
