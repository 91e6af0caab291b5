//! The class of an HTTP status.

use std::fmt;

/// The class of the HTTP status of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatusClass {
    /// 200 to 299.
    Success,
    /// 300 to 399, which Port does not use, and 1xx.
    Redirect,
    /// 400 to 499.
    ClientError,
    /// 500 and above.
    ServerError,
    /// No complete response: a network error, a timeout, or a response that ended early.
    NoResponse,
}

impl StatusClass {
    /// All classes, for example to register metrics in advance.
    pub const ALL: [Self; 5] = [Self::Success, Self::Redirect, Self::ClientError, Self::ServerError, Self::NoResponse];

    /// The class of an HTTP status.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            0..=399 => Self::Redirect,
            400..=499 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// The class as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::NoResponse => "none",
        }
    }
}

impl fmt::Display for StatusClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
