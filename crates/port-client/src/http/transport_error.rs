//! Converts errors of the HTTP library.

use std::error::Error as StdError;
use std::io;

use crate::error::{Error, TransportProblem};
use crate::http::redact::Redactor;

const MAX_DETAIL_CHARACTERS: usize = 300;

/// Converts an error of the HTTP library, without its URL, which may contain the password of a proxy.
pub(crate) fn transport_error(error: reqwest::Error, host: String, redactor: &Redactor) -> Error {
    let error = error.without_url();
    let chain = causes(&error);
    let problem = classify(&error, &chain);
    // The innermost cause is the most specific ("Connection refused"); the outer ones only say that a request failed.
    let innermost = chain.last().map_or_else(|| error.to_string(), ToString::to_string);
    Error::Transport { host, problem, detail: redactor.excerpt(&innermost, MAX_DETAIL_CHARACTERS) }
}

fn classify(error: &reqwest::Error, chain: &[&(dyn StdError + 'static)]) -> TransportProblem {
    let any = |test: &dyn Fn(&(dyn StdError + 'static)) -> bool| chain.iter().any(|cause| test(*cause));
    let io_kind =
        |kind: io::ErrorKind| any(&|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == kind));
    let hyper_is =
        |test: fn(&hyper::Error) -> bool| any(&|cause| cause.downcast_ref::<hyper::Error>().is_some_and(test));
    if error.is_timeout() && error.is_connect() {
        TransportProblem::ConnectTimedOut
    } else if error.is_timeout() {
        TransportProblem::ResponseTimedOut
    } else if error.is_dns() {
        TransportProblem::NameNotFound
    // The type of this error is private to hyper-util, so only its text tells.
    } else if any(&|cause| cause.to_string().starts_with("tunnel error")) {
        TransportProblem::Proxy
    } else if any(&|cause| cause.is::<rustls::Error>()) {
        TransportProblem::Tls
    } else if error.is_connect() && io_kind(io::ErrorKind::ConnectionRefused) {
        TransportProblem::ConnectionRefused
    } else if error.is_connect() {
        TransportProblem::NotConnected
    } else if hyper_is(hyper::Error::is_parse) {
        TransportProblem::NotHttp
    } else if error.is_request() || error.is_body() || error.is_decode() {
        TransportProblem::Dropped
    } else {
        TransportProblem::Other
    }
}

/// The error and its causes, outermost first. `source` of an `io::Error` skips the error that it wraps, so `get_ref` is used there.
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
    fn error_wrapped_in_an_io_error_is_found() {
        let tls = rustls::Error::General("bad".into());
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert!(causes(&error).iter().any(|cause| cause.is::<rustls::Error>()));
    }
}
