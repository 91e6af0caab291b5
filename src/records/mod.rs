//! Rollouts become `DoraDeployment` resources: the controller records a rollout before it sends anything to Port.

mod applied;
mod expiry;
mod failure;
pub mod labels;
pub mod manifest;
mod names;
mod recorder;
mod retention;
mod retries;
mod store;
mod taken_names;
mod writer;

pub use names::{entity_identifier, object_name, record_name};
pub use recorder::{OnReconciled, RecorderCallbacks, RolloutRecorder};
pub use store::{IncidentDetails, RecordState, RecordSummary, Records};
pub use writer::OnWritten;
