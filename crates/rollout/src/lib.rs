//! Decides what to record about the rollouts of a workload.
//!
//! Kubernetes keeps no history of rollouts. It shows the current state of a workload, such as a Deployment, and the revisions that still
//! exist. This crate compares that state with the records that exist already, and returns the records that have to change.
//!
//! # No clock, no I/O
//!
//! The caller passes the time and everything that it knows about the cluster. Equal arguments give equal results, so every rule can be
//! tested without a cluster. The crate depends on neither a Kubernetes client nor an async runtime.
//!
//! # From the state of a workload to its records
//!
//! 1. The caller reduces each workload to a [`Workload`], and each of its revisions to a [`Revision`].
//! 2. An [`Observation`] follows the states of one workload. When the revision changes, [`Observation::update`] returns the last state at
//!    the previous revision. The caller keeps it as a [`PastObservation`] until it is recorded.
//! 3. [`decide`] compares a [`DecisionInput`] with the [`RecordedRevision`]s. It returns a [`Decision`]: the [`Change`]s in the order in
//!    which they have to be written, and the time at which the caller has to decide again.
//! 4. The caller writes the changes. [`read_metadata`] reads the annotations and labels for a record, and [`failure`] says in one sentence
//!    why a rollout failed.
//!
//! ```
//! use jiff::{SignedDuration, Timestamp};
//! use rollout::{
//!     Action, Conditions, DecisionInput, History, Observation, Outcome, PodCounts, Policy, ProgressReason, Progressing, Revision, Source,
//!     Workload, decide,
//! };
//!
//! # fn main() -> Result<(), jiff::Error> {
//! let revision = Revision {
//!     uid: "4b1c3d52-7f0e-4c7b-9a55-0d3c1f6f2a11".into(),
//!     name: "web-7679c567ff".into(),
//!     revision: Some(1),
//!     created: Some("2026-01-31T12:00:00Z".parse()?),
//!     ..Revision::default()
//! };
//! let complete = Progressing {
//!     reason: ProgressReason::Complete,
//!     replica_set: Some("web-7679c567ff".into()),
//!     updated: Some("2026-01-31T12:00:40Z".parse()?),
//! };
//! let workload = Workload {
//!     name: "web".into(),
//!     revision: Some(1),
//!     counts: PodCounts { desired: 2, total: 2, updated: 2, available: 2 },
//!     conditions: Conditions { progressing: Some(complete), ..Conditions::default() },
//!     ..Workload::default()
//! };
//! let policy = Policy {
//!     installed: "2026-01-01T00:00:00Z".parse()?,
//!     history: History::None,
//!     fail_after: SignedDuration::from_mins(15),
//! };
//! let now: Timestamp = "2026-01-31T12:01:00Z".parse()?;
//!
//! // The revision isn't recorded yet.
//! let observation = Observation::new(workload, Source::Watch, now);
//! let input = DecisionInput { current: Some(&observation), past: &[], revisions: &[revision] };
//! let decision = decide(&input, &[], &policy, &|_, _| true, now);
//! let change = &decision.changes[0];
//! assert_eq!(change.action, Action::Start);
//! assert_eq!(change.record.outcome, Outcome::Succeeded);
//! assert_eq!(change.record.duration_seconds(), Some(40));
//!
//! // With the record, nothing is left to do.
//! let recorded = [change.record.clone()];
//! assert!(decide(&input, &recorded, &policy, &|_, _| true, now).changes.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Kinds of workloads
//!
//! A workload of any [`WorkloadKind`] has revisions: the ReplicaSets of a Deployment, or the ControllerRevisions of a StatefulSet or a
//! DaemonSet. Where a rule comes from the Deployment controller (`pkg/controller/deployment` of Kubernetes), the documentation names its
//! function.

// Times and durations panic when they overflow: use `checked_*` and `saturating_*`. clippy.toml allows numbers.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod change;
mod decide;
mod failure;
mod kind;
mod metadata;
mod observation;
mod outcome;
mod record;
mod revision_history;
mod revision_number;
mod state;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;
mod time_bounds;
mod workload;

pub use change::{Action, Change, TimeWithAccuracy};
pub use decide::{Decision, DecisionInput, History, Policy, decide};
pub use failure::{
    Activity, ContainerRole, ContainerState, Deadline, Explanation, POD_SAMPLE, PodState, Readiness, Termination,
    failure,
};
pub use kind::{WorkloadKey, WorkloadKind};
pub use metadata::{KEY_PREFIX, MetadataSources, RolloutMetadata, is_ignored, keys, read_metadata};
pub use observation::{Observation, PastObservation, Source};
pub use outcome::{Accuracy, ChangeKind, Outcome};
pub use record::{RecordedRevision, RevisionId, UnixSeconds};
pub use revision_number::highest_number;
pub use state::is_complete;
pub use time_bounds::is_supported_time;
pub use workload::{
    Availability, Conditions, Fingerprint, Metadata, PodCounts, ProgressReason, Progressing, Revision, Uid, Workload,
};
