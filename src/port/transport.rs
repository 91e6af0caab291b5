//! What can happen to a request before an answer is complete.

use std::error::Error as StdError;
use std::io;

use super::error::Error;
use super::kind::Kind;
use super::redact::Redactor;

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
    fn of(error: &reqwest::Error, chain: &[&(dyn StdError + 'static)]) -> Self {
        let any = |test: &dyn Fn(&(dyn StdError + 'static)) -> bool| chain.iter().any(|cause| test(*cause));
        let io_kind = |kind: io::ErrorKind| {
            any(&|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == kind))
        };
        let hyper_is =
            |test: fn(&hyper::Error) -> bool| any(&|cause| cause.downcast_ref::<hyper::Error>().is_some_and(test));
        if error.is_timeout() && error.is_connect() {
            Self::ConnectTimedOut
        } else if error.is_timeout() {
            Self::AnswerTimedOut
        } else if error.is_dns() {
            Self::NameNotFound
        // The type of these errors is private to hyper-util; its text is all there is.
        } else if any(&|cause| cause.to_string().starts_with("tunnel error")) {
            Self::Proxy
        } else if any(&|cause| cause.is::<rustls::Error>()) {
            Self::Tls
        } else if error.is_connect() && io_kind(io::ErrorKind::ConnectionRefused) {
            Self::ConnectionRefused
        } else if error.is_connect() {
            Self::NotConnected
        } else if hyper_is(hyper::Error::is_parse) {
            Self::NotHttp
        } else if error.is_request() || error.is_body() || error.is_decode() {
            Self::Dropped
        } else {
            Self::Other
        }
    }

    /// The kind of error that this is.
    pub(super) fn kind(self) -> Kind {
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
    pub(super) fn text(self, host: &str, detail: &str) -> String {
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
    pub(super) fn advice(self, host: &str) -> Option<String> {
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

/// Turns an error of the HTTP library into one of ours, without the address it was sent to (which a proxy's password may be part of).
pub(super) fn transport_error(error: reqwest::Error, host: String, redactor: &Redactor) -> Error {
    let error = error.without_url();
    let chain = causes(&error);
    let problem = TransportProblem::of(&error, &chain);
    // The innermost cause says the most ("Connection refused"); those around it only that a request failed.
    let innermost = chain.last().map_or_else(|| error.to_string(), ToString::to_string);
    Error::Transport { host, problem, detail: redactor.excerpt(&innermost, LONGEST_DETAIL) }
}

const LONGEST_DETAIL: usize = 300;

/// The error and its causes, outermost first. An `io::Error` hides the error that it wraps from `source`, so that is asked for separately.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_an_io_error_is_found() {
        let tls = rustls::Error::General("bad".into());
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert!(causes(&error).iter().any(|cause| cause.is::<rustls::Error>()));
    }
}
