//! What was answered to a request that failed.

use std::fmt;

/// What Port, or something between here and Port, answered to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status; for an entity of a bulk write the status that Port gave that entity.
    pub status: u16,
    /// Port's `error`, such as `not_found` or `invalid_request`.
    pub code: Option<String>,
    /// Port's `message`, in its own words.
    pub message: Option<String>,
    /// Port's `X-Trace-Id`: its support finds the request by it.
    pub trace_id: Option<String>,
    /// The beginning of an answer that is not one of Port's errors, such as a proxy's page.
    pub excerpt: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HTTP {}", self.status)?;
        if let Some(code) = &self.code {
            write!(formatter, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(formatter, ": {message}")?;
        }
        if let Some(excerpt) = &self.excerpt {
            write!(formatter, ", with a body that is not Port's and begins with “{excerpt}”")?;
        }
        if let Some(trace_id) = &self.trace_id {
            write!(formatter, " (trace id {trace_id})")?;
        }
        Ok(())
    }
}
