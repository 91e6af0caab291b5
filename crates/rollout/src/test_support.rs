//! Rows for tests.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that fails panics")]

use jiff::Timestamp;

use crate::{Metadata, ProgressReason, Progressing, Revision, Workload, WorkloadKind};

/// The time `second` seconds after 1970.
#[must_use]
pub fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A condition of second `updated` that names the ReplicaSet `named`.
#[must_use]
pub fn progressing(reason: ProgressReason, named: &str, updated: i64) -> Progressing {
    Progressing { reason, replica_set: Some(named.into()), updated: Some(time(updated)) }
}

/// The Deployment `web` of two replicas, all of them available, at `revision`, without a condition.
#[must_use]
pub fn deployment(revision: i64) -> Workload {
    Workload {
        kind: WorkloadKind::Deployment,
        uid: "d".into(),
        namespace: "shop".into(),
        name: "web".into(),
        created: None,
        generation: 3,
        observed_generation: 3,
        revision: Some(revision),
        replicas: 2,
        current_replicas: 2,
        updated_replicas: 2,
        available_replicas: 2,
        paused: false,
        recreates: false,
        progress_deadline: Some(600),
        progressing: None,
        available: None,
        refusal: None,
        labels: Metadata::default(),
        selected: true,
    }
}

/// A ReplicaSet whose UID is its name, made for `revision` at second `created`, with images and a template of its own.
#[must_use]
pub fn replica_set(name: &str, revision: i64, created: i64) -> Revision {
    let template = name.bytes().map(u64::from).sum();
    Revision {
        uid: name.into(),
        name: name.into(),
        revision: Some(revision),
        earlier_revisions: Box::default(),
        created: Some(time(created)),
        annotations: Metadata::default(),
        images: template,
        template,
        template_annotations: Metadata::default(),
        template_labels: Metadata::default(),
    }
}

/// The same ReplicaSet after a rollback gave it `revision`.
#[must_use]
pub fn reused(row: &Revision, revision: i64) -> Revision {
    let earlier_revisions = row.earlier_revisions.iter().copied().chain(row.revision).collect();
    Revision { revision: Some(revision), earlier_revisions, ..row.clone() }
}
