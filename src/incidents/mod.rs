//! Incidents: their times, the rollout that caused them, and the incidents that the controller opens itself.

pub mod automatic;
mod cause;
mod cause_lookup;
mod times;

pub use cause_lookup::{CauseContext, Lookup, look_up_cause};
pub use times::{IncidentTimes, IncidentTimesWarning};
