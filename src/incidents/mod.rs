//! Incidents: their times, the rollout that caused them, and the incidents that the controller opens itself.

pub mod automatic;
mod awaited;
mod cause;
mod cause_lookup;
mod groups;
mod identity;
mod times;

pub use awaited::AwaitedEntities;
pub use cause_lookup::{CauseContext, Lookup, look_up_cause};
pub use identity::{backup_annotations, incident_identifier, invalid_annotations, is_own_identifier};
pub use times::{IncidentTimes, IncidentTimesWarning};
