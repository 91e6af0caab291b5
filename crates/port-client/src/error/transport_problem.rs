//! What can happen to a request before an answer is complete.

use crate::error::Kind;

/// Why no complete answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportProblem {
    /// The host name has no address.
    NameNotFound,
    /// Nothing listens at the address.
    ConnectionRefused,
    /// The connection could not be opened for another reason.
    NotConnected,
    /// TLS failed: an untrusted certificate, another protocol, a proxy that decrypts.
    Tls,
    /// The proxy of the environment variables did not let the connection through.
    Proxy,
    /// The connection was not open in time.
    ConnectTimedOut,
    /// The answer was not complete in time.
    AnswerTimedOut,
    /// The connection ended before the answer was complete: whether Port carried out the request is unknown.
    Dropped,
    /// What answered does not speak HTTP.
    NotHttp,
    /// Anything else.
    Other,
}

impl TransportProblem {
    /// The kind of error that this is.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::ConnectTimedOut | Self::AnswerTimedOut => Kind::TimedOut,
            Self::NotHttp => Kind::UnexpectedAnswer,
            Self::NameNotFound
            | Self::ConnectionRefused
            | Self::NotConnected
            | Self::Tls
            | Self::Proxy
            | Self::Dropped
            | Self::Other => Kind::Unreachable,
        }
    }

    /// What happened.
    pub(crate) fn text(self, host: &str, detail: &str) -> String {
        let what = match self {
            Self::NameNotFound => "the host name has no address",
            Self::ConnectionRefused => "the connection was refused",
            Self::NotConnected => "no connection could be opened",
            Self::Tls => "no secure connection could be opened",
            Self::Proxy => "the proxy did not let the connection through",
            Self::ConnectTimedOut => "no connection was open in time",
            Self::AnswerTimedOut => "no complete answer came in time",
            Self::Dropped => {
                "the connection ended before the answer was complete, so whether Port carried out the request is unknown"
            }
            Self::NotHttp => "what answered there does not speak HTTP",
            Self::Other => "the request failed",
        };
        format!("Port is not reached at {host}: {what} ({detail})")
    }

    /// What a person does about it.
    pub(crate) fn advice(self, host: &str) -> Option<String> {
        Some(match self {
            Self::NameNotFound => {
                format!("Check PORT_BASE_URL and that {host} can be resolved where this runs.")
            }
            Self::ConnectionRefused | Self::NotConnected => format!(
                "Check PORT_BASE_URL and that a connection to {host} may be opened from where this runs (network policies, firewalls, HTTPS_PROXY)."
            ),
            Self::Tls => format!(
                "Check that PORT_BASE_URL names an https address with a certificate for {host} of a public authority. If a proxy decrypts the traffic, \
                 or the authority is your own, name the file with its certificate in PORT_CA_FILE."
            ),
            Self::Proxy => {
                format!("Check HTTPS_PROXY and NO_PROXY, and that the proxy allows {host}.")
            }
            Self::ConnectTimedOut => format!(
                "Check that a connection to {host} may be opened from where this runs (network policies, firewalls, HTTPS_PROXY)."
            ),
            Self::NotHttp => "Check that PORT_BASE_URL is https://api.port.io or https://api.us.port.io.".to_owned(),
            Self::AnswerTimedOut | Self::Dropped | Self::Other => {
                return None;
            }
        })
    }
}
