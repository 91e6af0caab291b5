//! Port's rate limits, and how the client stays below them.

pub(crate) mod budget;
pub(crate) mod headers;
mod limits;
mod window;

pub use headers::{DEFAULT_PAUSE, MAX_PAUSE};
pub use limits::{Limit, Limits, RATE_LIMIT_PERIOD};
