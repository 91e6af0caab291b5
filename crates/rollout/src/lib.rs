//! What each revision of a workload is and how it ended, from rows of cluster state.
//!
//! Pure: no clock, no I/O, no Kubernetes client. The rules and their traps are those of the Deployment controller
//! (`pkg/controller/deployment` of Kubernetes); each is named where it is used.

mod change;
mod decide;
mod failure;
mod kind;
mod metadata;
mod observation;
mod outcome;
mod record;
mod revision_history;
mod state;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;
mod workload;

pub use change::{Action, Change, TimeWithAccuracy};
pub use decide::{Decision, DecisionInput, History, Policy, decide};
pub use failure::{
    Activity, ContainerRole, ContainerState, Deadline, Explanation, POD_SAMPLE, PodState, Readiness, Termination,
    failure,
};
pub use kind::{WorkloadKey, WorkloadKind};
pub use metadata::{MetadataSources, RolloutMetadata, is_ignored, keys, read_metadata};
pub use observation::{Observation, PastObservation, Source};
pub use outcome::{Accuracy, ChangeKind, Outcome};
pub use record::{RecordedRevision, RevisionId, UnixSeconds};
pub use revision_history::RevisionHistory;
pub use state::{CLOCK_MARGIN, Ending, Since, ending, is_complete};
pub use workload::{Availability, Fingerprint, Metadata, ProgressReason, Progressing, Revision, Uid, Workload};

/// What the keys of all annotations and labels begin with that the controller reads, without the slash.
pub const PREFIX: &str = "dora.port.io";
