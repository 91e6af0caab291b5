//! The kinds of errors, as labels.

use std::fmt;

/// The kind of an error. The set is small and fixed, so that kinds can be metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The connection failed or broke.
    Unreachable,
    /// No response arrived in time.
    TimedOut,
    /// Port does not accept the access token.
    Unauthorized,
    /// Port does not accept the credentials.
    WrongCredentials,
    /// Usable credentials are missing.
    NoCredentials,
    /// Port denies access.
    Forbidden,
    /// A blueprint or an entity does not exist.
    NotFound,
    /// The resource already exists.
    Conflict,
    /// The request exceeds one of Port's size limits.
    TooLarge,
    /// The request does not match the blueprint or the API.
    Refused,
    /// The rate limit is reached.
    RateLimited,
    /// Port failed.
    ServerError,
    /// The response is not one of Port's.
    UnexpectedResponse,
}

impl ErrorKind {
    /// All kinds, for example to register metrics in advance.
    pub const ALL: [Self; 13] = [
        Self::Unreachable,
        Self::TimedOut,
        Self::Unauthorized,
        Self::WrongCredentials,
        Self::NoCredentials,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::Refused,
        Self::RateLimited,
        Self::ServerError,
        Self::UnexpectedResponse,
    ];

    /// The kind in CamelCase.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::TimedOut => "TimedOut",
            Self::Unauthorized => "Unauthorized",
            Self::WrongCredentials => "WrongCredentials",
            Self::NoCredentials => "NoCredentials",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::Conflict => "Conflict",
            Self::TooLarge => "TooLarge",
            Self::Refused => "Refused",
            Self::RateLimited => "RateLimited",
            Self::ServerError => "ServerError",
            Self::UnexpectedResponse => "UnexpectedResponse",
        }
    }

    /// Whether the same request is likely to succeed later without any change. Before an error of another kind can be resolved, a person
    /// has to change the credentials, the blueprint or the entity.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut | Self::RateLimited | Self::ServerError | Self::UnexpectedResponse => {
                true
            }
            Self::Unauthorized
            | Self::WrongCredentials
            | Self::NoCredentials
            | Self::Forbidden
            | Self::NotFound
            | Self::Conflict
            | Self::TooLarge
            | Self::Refused => false,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_unique_and_camel_case() {
        let mut reasons: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        for reason in &reasons {
            assert!(reason.chars().all(|character| character.is_ascii_alphanumeric()));
            assert!(reason.starts_with(|character: char| character.is_ascii_uppercase()));
        }
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), ErrorKind::ALL.len());
    }
}
