//! What can go wrong with Port: every case its own, with what Port said and what a person does about it.

mod answer;
mod kind;
pub mod missing;
mod transport_problem;

use std::time::Duration;

pub use self::answer::Answer;
pub use self::kind::Kind;
pub use self::missing::Missing;
pub use self::transport_problem::TransportProblem;
use crate::auth::CredentialError;
use crate::http::{MAX_BODY_BYTES, MAX_BULK_ENTITIES};

/// An error of the Port client. Its text never contains the client secret or the access token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither client ID nor client secret is there. Nothing was sent.
    #[error("no Port credentials are set, so nothing is sent to Port")]
    NoCredentials,
    /// The credentials can't be used. Nothing was sent.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// Port refused to give an access token for the credentials.
    #[error("Port does not accept the client ID and client secret: {0}")]
    WrongCredentials(Box<Answer>),
    /// 401, also with a new access token.
    #[error("Port does not accept the access token, not even a new one: {0}")]
    Unauthorized(Box<Answer>),
    /// 403: a missing permission, or an IP allow list.
    #[error("Port forbids this: {0}")]
    Forbidden(Box<Answer>),
    /// 404 in Port's own words: a blueprint, the entity or a related entity does not exist; the message says which.
    #[error("Port does not find something: {0}")]
    NotFound(Box<Answer>),
    /// 409.
    #[error("Port reports a conflict: {0}")]
    Conflict(Box<Answer>),
    /// 413.
    #[error("the request is too large for Port: {0}")]
    TooLarge(Box<Answer>),
    /// 422, or another 4xx in Port's own words: what was sent does not fit.
    #[error("Port refuses what was sent: {0}")]
    Refused(Box<Answer>),
    /// 429, or nothing was sent since the pause that a 429 began is longer than the caller wants to wait.
    #[error("Port's rate limit is reached; the next request may be sent in {} s{}", .retry_after.as_secs_f64().ceil(), answer_or_paused(.answer.as_deref()))]
    RateLimited {
        /// How long no client of this process sends anything.
        retry_after: Duration,
        /// Port's answer; `None` if nothing was sent.
        answer: Option<Box<Answer>>,
    },
    /// 408 or 5xx.
    #[error("Port, or a proxy before it, has a problem: {0}")]
    ServerError(Box<Answer>),
    /// No complete answer came.
    #[error("{}", .problem.text(host, detail))]
    Transport {
        /// Host of the base URL.
        host: String,
        /// What failed.
        problem: TransportProblem,
        /// What the library below said.
        detail: String,
    },
    /// An answer that Port does not give: no JSON, half of it, a redirect, another shape, a 404 of somebody else.
    #[error("{host} gave an answer that is not one of Port's, {problem}: {answer}")]
    UnexpectedAnswer {
        /// Host of the base URL.
        host: String,
        /// What is wrong with it.
        problem: String,
        /// What is known of it.
        answer: Box<Answer>,
    },
    /// The answer to a bulk write mentions this entity neither among the stored nor among the refused ones.
    #[error("Port's answer to a bulk write does not mention the entity {identifier}: {answer}")]
    NotAnswered {
        /// The entity.
        identifier: String,
        /// The answer as a whole.
        answer: Box<Answer>,
    },
    /// More entities than a bulk write takes. Nothing was sent.
    #[error("{count} entities in one bulk write: Port takes at most {MAX_BULK_ENTITIES}")]
    TooManyEntities {
        /// How many were given.
        count: usize,
    },
    /// A body that Port would refuse with 413. Nothing was sent.
    #[error("the request has {bytes} bytes: Port takes at most {MAX_BODY_BYTES}")]
    BodyTooLarge {
        /// Size of the body.
        bytes: usize,
    },
    /// A name that can't be part of a path. Nothing was sent.
    #[error("\"{value}\" can't be {what}: Port accepts neither an empty one nor \".\" or \"..\"")]
    InvalidName {
        /// What it was meant for.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// The entity can't be written as JSON. Nothing was sent.
    #[error("the entity can't be written as JSON: {0}")]
    NotSerializable(String),
}

impl Error {
    /// The kind of error.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoCredentials | Self::Credentials(_) => Kind::NoCredentials,
            Self::WrongCredentials(_) => Kind::WrongCredentials,
            Self::Unauthorized(_) => Kind::Unauthorized,
            Self::Forbidden(_) => Kind::Forbidden,
            Self::NotFound(_) => Kind::NotFound,
            Self::Conflict(_) => Kind::Conflict,
            Self::TooLarge(_) | Self::TooManyEntities { .. } | Self::BodyTooLarge { .. } => Kind::TooLarge,
            Self::Refused(_) | Self::InvalidName { .. } | Self::NotSerializable(_) => Kind::Refused,
            Self::RateLimited { .. } => Kind::RateLimited,
            Self::ServerError(answer) if answer.status == 408 => Kind::TimedOut,
            Self::ServerError(_) => Kind::ServerError,
            Self::Transport { problem, .. } => problem.kind(),
            Self::UnexpectedAnswer { .. } | Self::NotAnswered { .. } => Kind::UnexpectedAnswer,
        }
    }

    /// The kind in CamelCase, for condition reasons and metric labels.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.kind().as_str()
    }

    /// Whether the same request is likely to succeed later although nobody does anything. See [`Kind::is_temporary`].
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.kind().is_temporary()
    }

    /// Port's answer, if one came.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::WrongCredentials(answer)
            | Self::Unauthorized(answer)
            | Self::Forbidden(answer)
            | Self::NotFound(answer)
            | Self::Conflict(answer)
            | Self::TooLarge(answer)
            | Self::Refused(answer)
            | Self::ServerError(answer)
            | Self::UnexpectedAnswer { answer, .. }
            | Self::NotAnswered { answer, .. } => Some(answer),
            Self::RateLimited { answer, .. } => answer.as_deref(),
            Self::NoCredentials
            | Self::Credentials(_)
            | Self::Transport { .. }
            | Self::TooManyEntities { .. }
            | Self::BodyTooLarge { .. }
            | Self::InvalidName { .. }
            | Self::NotSerializable(_) => None,
        }
    }

    /// What does not exist, if this is a 404 and Port's words say so.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        match self {
            Self::NotFound(answer) => Missing::of(answer),
            _ => None,
        }
    }

    /// Port's trace id of the request, if an answer came with one.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.answer()?.trace_id.as_deref()
    }

    /// What a person does about it: a sentence to put behind the error's own text. `None` where waiting is all there is to do.
    ///
    /// It calls the settings `PORT_CLIENT_ID`, `PORT_CLIENT_SECRET` and `PORT_BASE_URL`, as Port's own clients do.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::NoCredentials => "Set PORT_CLIENT_ID and PORT_CLIENT_SECRET (in Port: the ... menu, Credentials).".into(),
            Self::Credentials(_) => "Correct PORT_CLIENT_ID and PORT_CLIENT_SECRET, or the files that hold them.".into(),
            Self::WrongCredentials(_) => "Check PORT_CLIENT_ID and PORT_CLIENT_SECRET (in Port: the ... menu, Credentials), and that PORT_BASE_URL \
                is the region of the organisation: https://api.port.io for the EU, https://api.us.port.io for the US."
                .into(),
            Self::Unauthorized(_) => "Check that PORT_BASE_URL is the region of the organisation and that no proxy removes the Authorization header.".into(),
            Self::Forbidden(_) => "Check that the credentials may write entities, and that Port's IP allow list contains the address from which the cluster reaches it.".into(),
            Self::NotFound(answer) => match Missing::of(answer) {
                Some(missing) => format!("Create {missing} in Port, or change the setting or annotation that names it."),
                None => "Create the blueprint or the related entity that Port names, or change the setting or annotation that names it.".into(),
            },
            Self::Conflict(_) => "This client only upserts, so this should not happen: please report it, with the trace id.".into(),
            Self::TooLarge(_) | Self::BodyTooLarge { .. } => "Shorten the longest texts of the entity, such as its description.".into(),
            Self::TooManyEntities { .. } => format!("Split them into parts of at most {MAX_BULK_ENTITIES}."),
            Self::Refused(_) => "Compare the entity with the blueprint in Port: types, enums, required properties and relations.".into(),
            Self::InvalidName { what, .. } => format!("Set {what} to letters, digits and @_.+:\\/=-."),
            Self::NotSerializable(_) => "This should not happen: please report it.".into(),
            Self::RateLimited { .. } | Self::ServerError(_) | Self::NotAnswered { .. } => return None,
            Self::Transport { host, problem, .. } => return problem.advice(host),
            Self::UnexpectedAnswer { host, .. } => format!(
                "Check that PORT_BASE_URL is the address of Port's API (https://api.port.io or https://api.us.port.io, not that of its web pages) \
                and that no proxy answers in place of {host}."
            ),
        };
        Some(advice)
    }
}

fn answer_or_paused(answer: Option<&Answer>) -> String {
    match answer {
        Some(answer) => format!(": {answer}"),
        None => "; nothing was sent".to_owned(),
    }
}
