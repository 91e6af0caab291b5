//! The response to a request that failed.

use std::fmt;

/// The response of Port, or of a proxy in front of it, to a request that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The HTTP status. For an entity of a bulk write, the status that Port reports for this entity.
    pub status: u16,
    /// Port's error code (`error`), such as `not_found` or `invalid_request`.
    pub code: Option<String>,
    /// Port's message (`message`).
    pub message: Option<String>,
    /// Port's trace id (`X-Trace-Id`), by which its support finds the request.
    pub trace_id: Option<String>,
    /// The beginning of a body that is not an error of Port, such as a page of a proxy.
    pub excerpt: Option<String>,
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HTTP {}", self.status)?;
        if let Some(code) = &self.code {
            write!(formatter, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(formatter, ": {message}")?;
        }
        if let Some(excerpt) = &self.excerpt {
            write!(formatter, ", body “{excerpt}”")?;
        }
        if let Some(trace_id) = &self.trace_id {
            write!(formatter, " (trace id {trace_id})")?;
        }
        Ok(())
    }
}
