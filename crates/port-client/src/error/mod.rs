//! The errors of the client.

mod advice;
mod kind;
pub(crate) mod missing_resource;
mod response;
mod transport_problem;

use std::time::Duration;

pub use kind::ErrorKind;
pub use missing_resource::MissingResource;
pub use response::ErrorResponse;
pub use transport_problem::TransportProblem;

use crate::auth::CredentialError;
use crate::http::{MAX_BODY_BYTES, MAX_BULK_ENTITIES};

/// An error of the client. Its text never contains the client secret or the access token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Client ID and client secret are both missing. Nothing was sent.
    #[error("no Port credentials are set, so nothing is sent to Port")]
    NoCredentials,
    /// The credentials can't be used. Nothing was sent.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// Port did not issue an access token for the credentials.
    #[error("Port does not accept the client ID and client secret: {0}")]
    WrongCredentials(Box<ErrorResponse>),
    /// HTTP 401, even with a new access token.
    #[error("Port does not accept the access token, even a new one: {0}")]
    Unauthorized(Box<ErrorResponse>),
    /// HTTP 403: a missing permission, or an IP allow list.
    #[error("Port denied access: {0}")]
    Forbidden(Box<ErrorResponse>),
    /// HTTP 404 from Port: a blueprint, the entity or a related entity does not exist. See [`Error::missing_resource`].
    #[error("a resource does not exist in Port: {0}")]
    NotFound(Box<ErrorResponse>),
    /// HTTP 409 from Port.
    #[error("Port reported a conflict: {0}")]
    Conflict(Box<ErrorResponse>),
    /// HTTP 413.
    #[error("the request is too large for Port: {0}")]
    TooLarge(Box<ErrorResponse>),
    /// HTTP 422, or another 4xx from Port: the request does not match the blueprint or the API.
    #[error("Port refused the request: {0}")]
    Refused(Box<ErrorResponse>),
    /// HTTP 429. Without a response: the request was not sent, since the wait would be longer than
    /// [`ClientOptions::max_wait`](crate::ClientOptions::max_wait).
    #[error("Port's rate limit is reached; retry in {} s{}", .retry_after.as_secs_f64().ceil(), response_or_not_sent(.response.as_deref()))]
    RateLimited {
        /// How long no clone of the client can send a request.
        retry_after: Duration,
        /// Port's response; `None` if the request was not sent.
        response: Option<Box<ErrorResponse>>,
    },
    /// HTTP 408 or 5xx.
    #[error("Port, or a proxy in front of it, failed: {0}")]
    ServerError(Box<ErrorResponse>),
    /// No complete response arrived.
    #[error("the request to Port at {host} failed: {problem} ({detail})")]
    Transport {
        /// The host of the base URL.
        host: String,
        /// What failed.
        problem: TransportProblem,
        /// The innermost error of the HTTP library.
        detail: String,
    },
    /// A response that is not one of Port's: not JSON, incomplete, a redirect, or an error of a proxy.
    #[error("{host} returned an unexpected response ({problem}): {response}")]
    UnexpectedResponse {
        /// The host of the base URL.
        host: String,
        /// What is unexpected.
        problem: String,
        /// The response.
        response: Box<ErrorResponse>,
    },
    /// The response to a bulk write lists the entity neither as stored nor as refused.
    #[error("Port's response to a bulk write has no result for the entity {identifier}: {response}")]
    MissingResult {
        /// The identifier of the entity.
        identifier: String,
        /// The response to the bulk write.
        response: Box<ErrorResponse>,
    },
    /// More entities than one bulk write may have. Nothing was sent.
    #[error("{count} entities in one bulk write: Port accepts at most {MAX_BULK_ENTITIES}")]
    TooManyEntities {
        /// The number of entities.
        count: usize,
    },
    /// The body is larger than Port accepts. Nothing was sent.
    #[error("the request body has {bytes} bytes: Port accepts at most {MAX_BODY_BYTES}")]
    BodyTooLarge {
        /// The size of the body.
        bytes: usize,
    },
    /// An identifier that can't be part of a path. Nothing was sent.
    #[error("invalid {what} \"{value}\": expected an identifier that is not empty, \".\" or \"..\"")]
    InvalidIdentifier {
        /// What it identifies, such as `blueprint identifier`.
        what: &'static str,
        /// The identifier.
        value: String,
    },
    /// The request can't be written as JSON. Nothing was sent.
    #[error("the request can't be written as JSON: {0}")]
    NotSerializable(String),
}

impl Error {
    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoCredentials | Self::Credentials(_) => ErrorKind::NoCredentials,
            Self::WrongCredentials(_) => ErrorKind::WrongCredentials,
            Self::Unauthorized(_) => ErrorKind::Unauthorized,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::TooLarge(_) | Self::TooManyEntities { .. } | Self::BodyTooLarge { .. } => ErrorKind::TooLarge,
            Self::Refused(_) | Self::InvalidIdentifier { .. } | Self::NotSerializable(_) => ErrorKind::Refused,
            Self::RateLimited { .. } => ErrorKind::RateLimited,
            Self::ServerError(response) if response.status == 408 => ErrorKind::TimedOut,
            Self::ServerError(_) => ErrorKind::ServerError,
            Self::Transport { problem, .. } => problem.kind(),
            Self::UnexpectedResponse { .. } | Self::MissingResult { .. } => ErrorKind::UnexpectedResponse,
        }
    }

    /// The kind in CamelCase, for example as a metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.kind().as_str()
    }

    /// Whether the same request is likely to succeed later without any change. See [`ErrorKind::is_temporary`].
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.kind().is_temporary()
    }

    /// The response, if one arrived.
    #[must_use]
    pub fn response(&self) -> Option<&ErrorResponse> {
        match self {
            Self::WrongCredentials(response)
            | Self::Unauthorized(response)
            | Self::Forbidden(response)
            | Self::NotFound(response)
            | Self::Conflict(response)
            | Self::TooLarge(response)
            | Self::Refused(response)
            | Self::ServerError(response)
            | Self::UnexpectedResponse { response, .. }
            | Self::MissingResult { response, .. } => Some(response),
            Self::RateLimited { response, .. } => response.as_deref(),
            Self::NoCredentials
            | Self::Credentials(_)
            | Self::Transport { .. }
            | Self::TooManyEntities { .. }
            | Self::BodyTooLarge { .. }
            | Self::InvalidIdentifier { .. }
            | Self::NotSerializable(_) => None,
        }
    }

    /// The resource that does not exist, if this is a 404 and Port's message names it.
    #[must_use]
    pub fn missing_resource(&self) -> Option<MissingResource> {
        match self {
            Self::NotFound(response) => MissingResource::parse(response),
            _ => None,
        }
    }

    /// Port's trace id of the request, if the response has one.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.response()?.trace_id.as_deref()
    }
}

fn response_or_not_sent(response: Option<&ErrorResponse>) -> String {
    match response {
        Some(response) => format!(": {response}"),
        None => "; the request was not sent".to_owned(),
    }
}
