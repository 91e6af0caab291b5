//! Workloads and revisions for tests.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that fails panics")]

use jiff::Timestamp;

use crate::{PodCounts, ProgressReason, Progressing, Revision, Workload};

/// The time that is `second` seconds after the beginning of 1970.
#[must_use]
pub fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A condition `Progressing` that was updated at second `updated` and names the ReplicaSet `name`.
#[must_use]
pub fn progressing(reason: ProgressReason, name: &str, updated: i64) -> Progressing {
    Progressing { reason, replica_set: Some(name.into()), updated: Some(time(updated)) }
}

/// The Deployment `web` at `revision`, with two available pods and without conditions.
#[must_use]
pub fn deployment(revision: i64) -> Workload {
    Workload {
        uid: "d".into(),
        namespace: "shop".into(),
        name: "web".into(),
        generation: 3,
        observed_generation: 3,
        revision: Some(revision),
        counts: PodCounts { desired: 2, total: 2, updated: 2, available: 2 },
        progress_deadline: Some(600),
        selected: true,
        ..Workload::default()
    }
}

/// A ReplicaSet with the UID `name`, created for `revision` at second `created`, with its own pod template and images.
#[must_use]
pub fn replica_set(name: &str, revision: i64, created: i64) -> Revision {
    let template = name.bytes().map(u64::from).sum();
    Revision {
        uid: name.into(),
        name: name.into(),
        revision: Some(revision),
        created: Some(time(created)),
        images: template,
        template,
        ..Revision::default()
    }
}

/// The same ReplicaSet after a rollback gave it the number `revision`.
#[must_use]
pub fn reused(replica_set: &Revision, revision: i64) -> Revision {
    let earlier_revisions = replica_set.earlier_revisions.iter().copied().chain(replica_set.revision).collect();
    Revision { revision: Some(revision), earlier_revisions, ..replica_set.clone() }
}
