//! The failures of a request before its response is complete.

use std::fmt;

use crate::error::ErrorKind;

/// Why no complete response arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportProblem {
    /// The host name has no address.
    NameNotFound,
    /// Nothing listens at the address.
    ConnectionRefused,
    /// The connection failed for another reason.
    NotConnected,
    /// TLS failed: an untrusted certificate, another protocol, or a proxy that decrypts the traffic.
    Tls,
    /// The proxy from the environment variables refused the connection.
    Proxy,
    /// The connection was not established in time.
    ConnectTimedOut,
    /// The response was not complete in time.
    ResponseTimedOut,
    /// The connection ended before the response was complete. Port may have carried out the request.
    Dropped,
    /// The server does not speak HTTP.
    NotHttp,
    /// Any other failure.
    Other,
}

impl TransportProblem {
    /// The kind of this error.
    pub(crate) fn kind(self) -> ErrorKind {
        match self {
            Self::ConnectTimedOut | Self::ResponseTimedOut => ErrorKind::TimedOut,
            Self::NotHttp => ErrorKind::UnexpectedResponse,
            Self::NameNotFound
            | Self::ConnectionRefused
            | Self::NotConnected
            | Self::Tls
            | Self::Proxy
            | Self::Dropped
            | Self::Other => ErrorKind::Unreachable,
        }
    }

    /// What to do about it. `None` if it is only possible to wait.
    pub(crate) fn advice(self, host: &str) -> Option<String> {
        Some(match self {
            Self::NameNotFound => format!("Check PORT_BASE_URL, and that {host} can be resolved here."),
            Self::ConnectionRefused | Self::NotConnected => format!(
                "Check PORT_BASE_URL, and that firewalls, network policies and HTTPS_PROXY allow a connection to {host}."
            ),
            Self::Tls => format!(
                "Check that PORT_BASE_URL is an https address and that {host} has a certificate of a public authority. If a proxy decrypts \
                 the traffic, or the authority is your own, set PORT_CA_FILE to a file with its certificate."
            ),
            Self::Proxy => format!("Check HTTPS_PROXY and NO_PROXY, and that the proxy allows {host}."),
            Self::ConnectTimedOut => {
                format!("Check that firewalls, network policies and HTTPS_PROXY allow a connection to {host}.")
            }
            Self::NotHttp => "Check that PORT_BASE_URL is https://api.port.io or https://api.us.port.io.".to_owned(),
            Self::ResponseTimedOut | Self::Dropped | Self::Other => return None,
        })
    }
}

impl fmt::Display for TransportProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NameNotFound => "the host name has no address",
            Self::ConnectionRefused => "the connection was refused",
            Self::NotConnected => "the connection failed",
            Self::Tls => "the TLS handshake failed",
            Self::Proxy => "the proxy refused the connection",
            Self::ConnectTimedOut => "the connection was not established in time",
            Self::ResponseTimedOut => "the response was not complete in time",
            Self::Dropped => {
                "the connection ended before the response was complete, so Port may have carried out the request"
            }
            Self::NotHttp => "the server does not speak HTTP",
            Self::Other => "it could not be completed",
        })
    }
}
