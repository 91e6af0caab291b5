//! The life of an incident: when it was opened, when it was resolved, how long that took, and which deployment is behind it; and the
//! incidents that open themselves.

mod cause;
mod life;
mod open_incidents;
mod opener;
mod opening;
mod scene;
mod write;

pub use cause::{Question, Rollout, cause, was_under_way};
pub use life::{Life, life};
pub use open_incidents::{OpenIncidents, Place};
pub use opener::Opener;
pub use opening::OpenedBy;
pub use write::OPENED_BY;
