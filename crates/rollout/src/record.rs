//! Recorded revisions, kept small because there are many of them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

use jiff::Timestamp;

use crate::{ChangeKind, Outcome, Revision};

/// A revision that is recorded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordedRevision {
    /// Number of the revision.
    pub revision: i64,
    /// Identifies the object that stores the revision.
    pub id: RevisionId,
    /// Whether the workload has an older record with the same number. The numbers start again if somebody deletes all ReplicaSets of a
    /// Deployment.
    pub repeated: bool,
    /// The recorded outcome.
    pub outcome: Outcome,
    /// The recorded kind of change.
    pub change: Option<ChangeKind>,
    /// When the rollout started.
    pub started: Option<UnixSeconds>,
    /// When the rollout ended.
    pub finished: Option<UnixSeconds>,
    /// Since when the rollout is paused.
    pub paused_at: Option<UnixSeconds>,
    /// Seconds of earlier pauses.
    pub paused_seconds: u32,
}

impl RecordedRevision {
    /// Whether this is the record of `revision` under this number.
    pub(crate) fn is_of(&self, number: i64, revision: &Revision) -> bool {
        self.revision == number && self.id.uid == RevisionId::short_uid(&revision.uid)
    }

    /// Seconds of all pauses until `time`.
    pub(crate) fn paused_seconds_until(&self, time: Timestamp) -> u32 {
        let current = self.paused_at.map_or(0, |since| time.as_second() - since.time().as_second());
        self.paused_seconds.saturating_add(u32::try_from(current.max(0)).unwrap_or(u32::MAX))
    }

    /// Seconds from start to end, without pauses. `None` if one of the times is unknown.
    #[must_use]
    pub fn duration_seconds(&self) -> Option<i64> {
        let total = self.finished?.time().as_second() - self.started?.time().as_second();
        Some((total - i64::from(self.paused_seconds)).max(0))
    }
}

/// Distinguishes the revisions of one workload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RevisionId {
    /// The first 8 hexadecimal digits of the UID, as a number.
    pub uid: u32,
    /// Fingerprint of the name. Kubernetes derives the name from the pod template, so a revision that was deleted and created again has the
    /// same name. Comparable within one process only.
    pub name: u32,
}

impl RevisionId {
    /// The identifier of the revision with this UID and name.
    #[must_use]
    pub fn new(uid: &str, name: &str) -> Self {
        Self { uid: Self::short_uid(uid), name: short_hash(name) }
    }

    /// The identifier of `revision`.
    #[must_use]
    pub fn of(revision: &Revision) -> Self {
        Self::new(&revision.uid, &revision.name)
    }

    fn short_uid(uid: &str) -> u32 {
        let first = uid.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        first.unwrap_or_else(|| short_hash(uid))
    }
}

fn short_hash(text: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    u32::try_from(hasher.finish() & u64::from(u32::MAX)).unwrap_or_default()
}

/// A time in whole seconds, as Kubernetes stores times, from 1970 to 2106.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixSeconds(NonZeroU32);

impl UnixSeconds {
    /// The second of `time`. `None` if it is out of range.
    #[must_use]
    pub fn of(time: Timestamp) -> Option<Self> {
        u32::try_from(time.as_second()).ok().and_then(NonZeroU32::new).map(Self)
    }

    /// The beginning of this second.
    #[must_use]
    pub fn time(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.0.get())).unwrap_or(Timestamp::MAX)
    }
}
