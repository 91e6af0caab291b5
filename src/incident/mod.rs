//! The life of an incident: when it was opened, when it was resolved, how long that took, and which deployment is behind it.

mod cause;
mod life;

pub use cause::{Question, Rollout, cause, was_under_way};
pub use life::{Life, life};
