//! What has to be written down: changes of the records of a Deployment.

use jiff::Timestamp;

use crate::{Accuracy, RecordedRevision, Revision};

/// A time, and where it comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeWithAccuracy {
    /// The time.
    pub at: Timestamp,
    /// Where it comes from.
    pub accuracy: Accuracy,
}

impl TimeWithAccuracy {
    /// A time that the cluster states.
    #[must_use]
    pub fn exact(at: Timestamp) -> Self {
        Self { at, accuracy: Accuracy::Exact }
    }

    /// A time at which something was seen.
    #[must_use]
    pub fn observed(at: Timestamp) -> Self {
        Self { at, accuracy: Accuracy::Observed }
    }

    /// The later of this and `other`: an end is not before its beginning, whatever the clocks say.
    #[must_use]
    pub fn not_before(self, other: Option<Timestamp>) -> Self {
        Self { at: other.map_or(self.at, |other| self.at.max(other)), ..self }
    }
}

/// What a change does to the record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// It is made. Its name has the number of the revision; if an older record of the same Deployment has that number already (the
    /// numbers begin anew when the only ReplicaSet is deleted by hand), also the UID of the ReplicaSet.
    Begin,
    /// It comes to an end, or to another one than recorded.
    End,
    /// The rollout is paused, or resumed.
    Pause,
    /// A later revision took it back.
    RollBack,
}

/// A change of the records of a Deployment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change<'a> {
    /// What is done.
    pub action: Action,
    /// What is known of the record afterwards.
    pub record: RecordedRevision,
    /// The ReplicaSet of the revision, for its metadata; present for [`Action::Begin`] and for the end of the present revision.
    pub replica_set: Option<&'a Revision>,
    /// Whether the annotations of the ReplicaSet are those of this revision: one that was re-used has those of its last.
    pub is_described: bool,
    /// When the revision began.
    pub started: Option<TimeWithAccuracy>,
    /// When it ended.
    pub finished: Option<TimeWithAccuracy>,
    /// Revisions between this one and the one before that left nothing.
    pub unseen: Option<i64>,
    /// The revision that took it back.
    pub rolled_back_by: Option<i64>,
}
