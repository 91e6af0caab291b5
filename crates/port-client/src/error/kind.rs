//! The kinds of errors, as labels.

use std::fmt;

/// The kinds of errors: few and fixed, so that they make good condition reasons and metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// No connection, or one that broke.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The access token is not accepted.
    Unauthorized,
    /// The credentials are not accepted.
    WrongCredentials,
    /// There are no usable credentials.
    NoCredentials,
    /// Not allowed.
    Forbidden,
    /// A blueprint or an entity does not exist.
    NotFound,
    /// Exists already.
    Conflict,
    /// Over Port's size limits.
    TooLarge,
    /// Does not fit the blueprint or the API.
    Refused,
    /// Over the rate limit.
    RateLimited,
    /// Port has a problem.
    ServerError,
    /// Not an answer of Port's.
    UnexpectedAnswer,
}

impl Kind {
    /// All kinds, for those who register metrics ahead of time.
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
        Self::UnexpectedAnswer,
    ];

    /// The kind in CamelCase, as reasons of Kubernetes conditions are written.
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
            Self::UnexpectedAnswer => "UnexpectedAnswer",
        }
    }

    /// Whether the same request is likely to succeed later although nobody does anything.
    /// The others wait for a person: the credentials, the blueprint or the entity has to change first.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut | Self::RateLimited | Self::ServerError | Self::UnexpectedAnswer => true,
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

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_a_camel_case_reason_of_its_own() {
        let mut reasons: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        for reason in &reasons {
            assert!(reason.chars().all(|character| character.is_ascii_alphanumeric()));
            assert!(reason.starts_with(|character: char| character.is_ascii_uppercase()));
        }
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), Kind::ALL.len());
    }
}
