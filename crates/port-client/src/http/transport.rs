//! Errors of the HTTP library, as errors of the client.

use std::error::Error as StdError;
use std::io;

use crate::error::{Error, TransportProblem};
use crate::http::redact::Redactor;

/// Turns an error of the HTTP library into one of ours, without the address it was sent to (which a proxy's password may be part of).
pub(crate) fn transport_error(error: reqwest::Error, host: String, redactor: &Redactor) -> Error {
    let error = error.without_url();
    let chain = causes(&error);
    let problem = classify(&error, &chain);
    // The innermost cause says the most ("Connection refused"); those around it only that a request failed.
    let innermost = chain.last().map_or_else(|| error.to_string(), ToString::to_string);
    Error::Transport { host, problem, detail: redactor.excerpt(&innermost, LONGEST_DETAIL) }
}

const LONGEST_DETAIL: usize = 300;

fn classify(error: &reqwest::Error, chain: &[&(dyn StdError + 'static)]) -> TransportProblem {
    let any = |test: &dyn Fn(&(dyn StdError + 'static)) -> bool| chain.iter().any(|cause| test(*cause));
    let io_kind =
        |kind: io::ErrorKind| any(&|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == kind));
    let hyper_is =
        |test: fn(&hyper::Error) -> bool| any(&|cause| cause.downcast_ref::<hyper::Error>().is_some_and(test));
    if error.is_timeout() && error.is_connect() {
        TransportProblem::ConnectTimedOut
    } else if error.is_timeout() {
        TransportProblem::AnswerTimedOut
    } else if error.is_dns() {
        TransportProblem::NameNotFound
    // The type of these errors is private to hyper-util; its text is all there is.
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
