//! The rows that the decision about a rollout is made from: what is kept of a Deployment and of a ReplicaSet.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{UnixSeconds, WorkloadKind};

/// UID of an object in the cluster.
pub type Uid = Arc<str>;

/// A number that differs where the content differs, but for one case in 2⁶⁴. Comparable within one process only.
pub type Fingerprint = u64;

/// The annotations or labels of one object that begin with `dora.port.io/`, under the rest of their key.
///
/// Nearly always empty or tiny, hence a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Metadata(Vec<(Box<str>, Box<str>)>);

impl Metadata {
    /// The value under `key` (without the prefix).
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| &**name == key).map(|(_, value)| &**value)
    }

    /// Keeps `value` under `key` (without the prefix).
    pub fn insert(&mut self, key: &str, value: &str) {
        self.0.push((key.into(), value.into()));
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// What is kept of a Deployment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its UID.
    pub uid: Uid,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// The annotation `deployment.kubernetes.io/revision`. Absent until the Deployment controller has seen it.
    pub revision: Option<i64>,
    /// `spec.replicas`.
    pub replicas: i32,
    /// `status.replicas`.
    pub current_replicas: i32,
    /// `status.updatedReplicas`.
    pub updated_replicas: i32,
    /// `status.availableReplicas`.
    pub available_replicas: i32,
    /// `spec.paused`.
    pub paused: bool,
    /// Whether `spec.strategy` is `Recreate`: the old pods go before the new ReplicaSet is made.
    pub recreates: bool,
    /// `spec.progressDeadlineSeconds`; `None` for 2147483647, which Kubernetes takes for none.
    pub progress_deadline: Option<i32>,
    /// The condition `Progressing`. Absent without a progress deadline.
    pub progressing: Option<Progressing>,
    /// The condition `Available`. Absent until the Deployment controller has set it.
    pub available: Option<Availability>,
    /// Message of the condition `ReplicaFailure` with the reason `FailedCreate`: why pods can't be created.
    pub refusal: Option<Box<str>>,
    /// Labels of the Deployment (its annotations are read from the ReplicaSet's snapshot of them).
    pub labels: Metadata,
    /// Whether the settings name it among those to report.
    pub selected: bool,
}

/// The condition `Available` of a Deployment: whether as many replicas are available as its strategy asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Availability {
    /// Whether it is `True`.
    pub is_available: bool,
    /// Its `lastTransitionTime`.
    pub since: UnixSeconds,
}

/// The condition `Progressing` of a Deployment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progressing {
    /// Its reason, as far as it matters.
    pub reason: ProgressReason,
    /// The ReplicaSet that its message names.
    pub replica_set: Option<Box<str>>,
    /// Its `lastUpdateTime`.
    pub updated: Option<Timestamp>,
}

/// Reasons of the condition `Progressing` that decide about a rollout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProgressReason {
    /// `NewReplicaSetAvailable`: complete.
    Complete,
    /// `ProgressDeadlineExceeded`: failed, so far.
    DeadlineExceeded,
    /// `FoundNewReplicaSet`: one that existed was taken over.
    Found,
    /// `DeploymentPaused`.
    Paused,
    /// `DeploymentResumed`.
    Resumed,
    /// Any other: on the way.
    Other,
}

/// What is kept of a ReplicaSet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revision {
    /// Its UID.
    pub uid: Uid,
    /// Its name.
    pub name: Box<str>,
    /// The annotation `deployment.kubernetes.io/revision`.
    pub revision: Option<i64>,
    /// Its earlier revisions (`deployment.kubernetes.io/revision-history`): a rollback that re-uses it gives it a new one.
    pub earlier_revisions: Box<[i64]>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// Annotations of the ReplicaSet: the Deployment controller copies those of the Deployment to the current
    /// ReplicaSet, so they are a snapshot of the Deployment's at the time of this revision.
    pub annotations: Metadata,
    /// Fingerprint of the images in its pod template.
    pub images: Fingerprint,
    /// Fingerprint of its pod template, without what only tells one rollout from another of the same
    /// (`kubectl.kubernetes.io/restartedAt`, `pod-template-hash`).
    pub template: Fingerprint,
    /// Annotations of its pod template.
    pub template_annotations: Metadata,
    /// Labels of its pod template.
    pub template_labels: Metadata,
}

impl Revision {
    /// Number of the revision for which it was made.
    #[must_use]
    pub fn first_revision(&self) -> Option<i64> {
        self.earlier_revisions.iter().copied().chain(self.revision).min()
    }

    /// Whether it is or was the ReplicaSet of this revision.
    #[must_use]
    pub fn ran(&self, revision: i64) -> bool {
        self.revision == Some(revision) || self.earlier_revisions.contains(&revision)
    }
}
