//! The limits that Port sets, and how the client stays below them.

pub mod budget;
pub mod headers;
pub mod limits;
pub mod window;

pub use headers::{DEFAULT_PAUSE, LONGEST_PAUSE};
pub use limits::{Limit, Limits, RATE_LIMIT_PERIOD};
