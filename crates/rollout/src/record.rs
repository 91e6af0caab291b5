//! What is known of a recorded revision: a few bytes, since there are many.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

use jiff::Timestamp;

use crate::{ChangeKind, Outcome, Revision};

/// A recorded revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordedRevision {
    /// Number of the revision.
    pub revision: i64,
    /// The ReplicaSet that it ran.
    pub replica_set: RevisionId,
    /// Whether an older record of the same Deployment has the same number (see [`Change::Begin`](crate::Change)).
    pub repeated: bool,
    /// How it is recorded to have ended.
    pub outcome: Outcome,
    /// What it changed.
    pub change: Option<ChangeKind>,
    /// When it began.
    pub started: Option<UnixSeconds>,
    /// When it ended.
    pub finished: Option<UnixSeconds>,
    /// Since when it is paused.
    pub paused_at: Option<UnixSeconds>,
    /// Seconds for which it was paused before that.
    pub paused_seconds: u32,
}

impl RecordedRevision {
    /// Whether this is the record of `revision` as `replica_set` ran it.
    #[must_use]
    pub fn is_of(&self, revision: i64, replica_set: &Revision) -> bool {
        self.revision == revision && self.replica_set.uid == RevisionId::of_uid(&replica_set.uid)
    }

    /// Seconds for which it was paused until `time`, if it is paused or over then.
    #[must_use]
    pub fn paused_until(&self, time: Timestamp) -> u32 {
        let now = self.paused_at.map_or(0, |since| time.as_second() - since.time().as_second());
        self.paused_seconds.saturating_add(u32::try_from(now.max(0)).unwrap_or(u32::MAX))
    }

    /// Seconds from its beginning to its end, without those in which it was paused.
    #[must_use]
    pub fn duration_seconds(&self) -> Option<i64> {
        let whole = self.finished?.time().as_second() - self.started?.time().as_second();
        Some((whole - i64::from(self.paused_seconds)).max(0))
    }
}

/// Tells one ReplicaSet of a Deployment from the others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RevisionId {
    /// The first 8 digits of its UID, as a number.
    pub uid: u32,
    /// Fingerprint of its name, which is made from its pod template. Comparable within one process only.
    pub name: u32,
}

impl RevisionId {
    /// The mark of a ReplicaSet with this UID and name.
    #[must_use]
    pub fn new(uid: &str, name: &str) -> Self {
        Self { uid: Self::of_uid(uid), name: short_hash(name) }
    }

    /// The mark of `row`.
    #[must_use]
    pub fn of(row: &Revision) -> Self {
        Self::new(&row.uid, &row.name)
    }

    /// Whether a ReplicaSet of this name has this mark.
    #[must_use]
    pub fn is_named(self, name: &str) -> bool {
        self.name == short_hash(name)
    }

    fn of_uid(uid: &str) -> u32 {
        let first = uid.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        first.unwrap_or_else(|| short_hash(uid))
    }
}

fn short_hash(text: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    u32::try_from(hasher.finish() & u64::from(u32::MAX)).unwrap_or_default()
}

/// A time in whole seconds, as Kubernetes keeps it, from 1970 to 2106.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixSeconds(NonZeroU32);

impl UnixSeconds {
    /// The second of `time`; `None` if it is out of range.
    #[must_use]
    pub fn of(time: Timestamp) -> Option<Self> {
        u32::try_from(time.as_second()).ok().and_then(NonZeroU32::new).map(Self)
    }

    /// This second as a time.
    #[must_use]
    pub fn time(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.0.get())).unwrap_or(Timestamp::MAX)
    }
}
