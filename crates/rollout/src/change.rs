//! Changes of the records of a workload.

use jiff::Timestamp;

use crate::{Accuracy, RecordedRevision, Revision};

/// A time, and where it comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeWithAccuracy {
    /// The time.
    pub at: Timestamp,
    /// Where the time comes from.
    pub accuracy: Accuracy,
}

impl TimeWithAccuracy {
    /// A time that the cluster states.
    #[must_use]
    pub fn exact(at: Timestamp) -> Self {
        Self { at, accuracy: Accuracy::Exact }
    }

    /// A time at which the controller observed something.
    #[must_use]
    pub fn observed(at: Timestamp) -> Self {
        Self { at, accuracy: Accuracy::Observed }
    }

    /// The later one of this time and `other`. A rollout doesn't end before it starts, even if clocks differ.
    #[must_use]
    pub fn not_before(self, other: Option<Timestamp>) -> Self {
        Self { at: other.map_or(self.at, |other| self.at.max(other)), ..self }
    }
}

/// What a [`Change`] does to a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Create the record. If [`RecordedRevision::repeated`] is set, the workload has an older record with the same number.
    Start,
    /// Record that the rollout ended, or that its outcome changed.
    Finish,
    /// Record that the rollout was paused or resumed.
    Pause,
    /// Record that a later revision rolled this one back.
    RollBack,
}

/// A change of the records of a workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change<'a> {
    /// What the change does.
    pub action: Action,
    /// The record after the change.
    pub record: RecordedRevision,
    /// The revision, for its metadata. Present for [`Action::Start`], and for [`Action::Finish`] of the current revision.
    pub revision: Option<&'a Revision>,
    /// Whether the annotations of the revision are those of this rollout. After a rollback, a ReplicaSet has the annotations of its latest
    /// rollout.
    pub is_described: bool,
    /// When the rollout started.
    pub started: Option<TimeWithAccuracy>,
    /// When the rollout ended.
    pub finished: Option<TimeWithAccuracy>,
    /// Number of revisions between this one and the one before that left no trace.
    pub unseen: Option<i64>,
    /// Number of the revision that rolled this one back.
    pub rolled_back_by: Option<i64>,
}
