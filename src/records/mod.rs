//! From rollouts to `DoraDeployment` resources: what has happened is written down before anybody is told.

mod labels;
mod manifest;
#[cfg(test)]
mod random_histories;
mod recorder;
mod retention;
mod store;

pub use manifest::{entity_identifier, record_name};
pub use recorder::{RecorderCallbacks, RolloutRecorder};
pub use store::{RecordState, RecordSummary, Records, WorkloadRecords};
