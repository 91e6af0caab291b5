//! The life of an incident: when it was opened, when it was resolved, how long that took.

mod life;

pub use life::{Life, life};
