//! Incidents: their times, the rollout that caused them, and the incidents that the controller opens itself.

pub mod automatic;
mod awaited;
mod cause;
mod cause_lookup;
mod groups;
mod times;

pub use awaited::AwaitedEntities;
pub use cause_lookup::{CauseContext, Lookup, look_up_cause};
pub use times::{IncidentTimes, IncidentTimesWarning};
