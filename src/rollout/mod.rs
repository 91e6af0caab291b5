//! What each revision of a Deployment is and how it ended, from rows of cluster state.
//!
//! Pure: no clock, no I/O, no Kubernetes types. The rules and their traps are those of the Deployment controller
//! (`pkg/controller/deployment` of Kubernetes); each is named where it is used.

mod ending;
mod record;
mod rows;

pub use ending::{Ending, current_replica_set, ending};
pub use record::{Change, Known, Moment, changes};
pub use rows::{DeploymentRow, Metadata, ProgressReason, Progressing, ReplicaSetRow, Uid};
