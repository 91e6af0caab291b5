//! When an incident was opened and resolved, which deployment is behind it, and the incidents that the controller opens.

pub mod automatic;
mod cause;
mod cause_lookup;
mod times;

pub use cause::{Question, Rollout, cause, was_under_way};
pub use cause_lookup::{LookedUp, Surroundings, with_cause};
pub use times::{IncidentTimes, times};
