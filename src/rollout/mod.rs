//! What each revision of a Deployment is and how it ended, from rows of cluster state.
//!
//! Pure: no clock, no I/O, no Kubernetes types. The rules and their traps are those of the Deployment controller
//! (`pkg/controller/deployment` of Kubernetes); each is named where it is used.

mod change;
mod decide;
mod ending;
#[cfg(test)]
pub(crate) mod example;
mod failure;
mod known;
mod pod_state;
mod rows;
mod sighting;
mod timeline;

pub use change::{Action, Change, Stamp};
pub use decide::{Decision, History, Policy, Scene, decide};
pub use ending::{CLOCK_MARGIN, Ending, Since, ending, is_complete};
pub use failure::{Deadline, POD_SAMPLE, failure};
pub use known::{Known, ReplicaSetMark, Second};
pub use pod_state::{Activity, ContainerRole, ContainerState, Explanation, PodState, Readiness, Termination};
pub use rows::{Availability, DeploymentRow, Fingerprint, Metadata, ProgressReason, Progressing, ReplicaSetRow, Uid};
pub use sighting::{Former, Sighting, Source};
pub use timeline::Timeline;
