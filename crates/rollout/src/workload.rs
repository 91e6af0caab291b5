//! Workloads and revisions, reduced to the fields that the decisions depend on.
//!
//! The controller keeps one of these values for each workload and each revision in the cluster, so they are small.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{UnixSeconds, WorkloadKey, WorkloadKind};

/// UID of an object in the cluster.
pub type Uid = Arc<str>;

/// A hash of some content. Equal content has equal fingerprints, and different content has different ones, except by a chance of 1 in 2⁶⁴.
/// Fingerprints are comparable within one process only.
pub type Fingerprint = u64;

/// The annotations or labels of one object whose keys begin with [`KEY_PREFIX`](crate::KEY_PREFIX).
///
/// The keys are kept without the prefix. Most objects have none or few of them, so they are in a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Metadata(Vec<(Box<str>, Box<str>)>);

impl Metadata {
    /// The value of `key`, which has no prefix.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| &**name == key).map(|(_, value)| &**value)
    }

    /// Adds `value` under `key`, which has no prefix.
    pub fn insert(&mut self, key: &str, value: &str) {
        self.0.push((key.into(), value.into()));
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// The state of a workload.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact about the workload of its own")]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Workload {
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// UID of the workload.
    pub uid: Uid,
    /// Namespace of the workload.
    pub namespace: Arc<str>,
    /// Name of the workload.
    pub name: Box<str>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// Number of the current revision. For a Deployment, the annotation `deployment.kubernetes.io/revision`, which is absent until the
    /// Deployment controller has observed the Deployment.
    pub revision: Option<i64>,
    /// Numbers of pods.
    pub counts: PodCounts,
    /// Conditions in the status.
    pub conditions: Conditions,
    /// `spec.paused`.
    pub paused: bool,
    /// Whether `spec.strategy.type` is `Recreate`: Kubernetes deletes the old pods before it creates the new ReplicaSet.
    pub recreates: bool,
    /// `spec.progressDeadlineSeconds`. `None` stands for 2147483647, with which Kubernetes sets no deadline.
    pub progress_deadline: Option<i32>,
    /// Labels of the workload. For a Deployment, the annotations are in [`Revision::annotations`].
    pub labels: Metadata,
    /// Whether the settings select this workload.
    pub selected: bool,
    /// Whether a restore of a backup created this workload. For a Deployment: it has the label `velero.io/restore-name`.
    pub is_restored: bool,
}

/// Numbers of pods of a workload.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PodCounts {
    /// Pods that the workload asks for. For a Deployment: `spec.replicas`.
    pub desired: i32,
    /// Pods of all revisions. For a Deployment: `status.replicas`.
    pub total: i32,
    /// Pods of the current revision. For a Deployment: `status.updatedReplicas`.
    pub updated: i32,
    /// Available pods of all revisions. For a Deployment: `status.availableReplicas`.
    pub available: i32,
}

/// Conditions of a Deployment. The controllers of StatefulSets and DaemonSets set none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Conditions {
    /// The condition `Progressing`. Absent if the Deployment has no progress deadline.
    pub progressing: Option<Progressing>,
    /// The condition `Available`. Absent until the Deployment controller has set it.
    pub available: Option<Availability>,
    /// The message of the condition `ReplicaFailure` with the reason `FailedCreate`: why Kubernetes can't create pods.
    pub replica_failure: Option<Box<str>>,
}

/// The condition `Available` of a Deployment: whether the Deployment has as many available pods as its strategy requires.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Availability {
    /// Whether the status of the condition is `True`.
    pub is_available: bool,
    /// `lastTransitionTime` of the condition.
    pub since: UnixSeconds,
}

/// The condition `Progressing` of a Deployment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progressing {
    /// Reason of the condition.
    pub reason: ProgressReason,
    /// Name of the ReplicaSet in the message of the condition.
    pub replica_set: Option<Box<str>>,
    /// `lastUpdateTime` of the condition.
    pub updated: Option<Timestamp>,
}

/// Reason of the condition `Progressing`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProgressReason {
    /// `NewReplicaSetAvailable`: the rollout is complete.
    Complete,
    /// `ProgressDeadlineExceeded`: the rollout has failed. It may still become complete.
    DeadlineExceeded,
    /// `FoundNewReplicaSet`: the Deployment uses a ReplicaSet that existed already.
    Found,
    /// `DeploymentPaused`.
    Paused,
    /// `DeploymentResumed`.
    Resumed,
    /// Any other reason: the rollout is in progress.
    Other,
}

impl ProgressReason {
    /// Whether the reason states the end of a rollout.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Complete | Self::DeadlineExceeded)
    }
}

/// A revision of a workload. For a Deployment: a ReplicaSet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Revision {
    /// UID of the object that stores the revision.
    pub uid: Uid,
    /// Name of that object.
    pub name: Box<str>,
    /// Number of the revision. For a ReplicaSet: the annotation `deployment.kubernetes.io/revision`.
    pub revision: Option<i64>,
    /// Numbers that the revision had before a rollback gave it a new one. For a ReplicaSet: the annotation
    /// `deployment.kubernetes.io/revision-history`.
    pub earlier_revisions: Box<[i64]>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// Annotations of the object. The Deployment controller copies the annotations of the Deployment to the current ReplicaSet, so a
    /// ReplicaSet keeps those that the Deployment had at the time of the revision (`SetNewReplicaSetAnnotations` in
    /// `deployment_util.go`).
    pub annotations: Metadata,
    /// Fingerprint of the images in the pod template.
    pub images: Fingerprint,
    /// Fingerprint of the pod template, without the fields that only distinguish equal revisions: the annotation
    /// `kubectl.kubernetes.io/restartedAt` and the label `pod-template-hash`.
    pub template: Fingerprint,
    /// Annotations of the pod template.
    pub template_annotations: Metadata,
    /// Labels of the pod template.
    pub template_labels: Metadata,
    /// Whether a restore of a backup created this revision. For a ReplicaSet: it has the label `velero.io/restore-name`.
    pub is_restored: bool,
}

impl Workload {
    /// Its namespace, kind and name.
    #[must_use]
    pub fn key(&self) -> WorkloadKey {
        WorkloadKey { namespace: Arc::clone(&self.namespace), kind: self.kind, name: self.name.clone() }
    }
}

impl Revision {
    /// The number for which the revision was created.
    #[must_use]
    pub fn first_revision(&self) -> Option<i64> {
        self.earlier_revisions.iter().copied().chain(self.revision).min()
    }

    /// Whether the revision has, or had, the number `revision`.
    #[must_use]
    pub fn ran(&self, revision: i64) -> bool {
        self.revision == Some(revision) || self.earlier_revisions.contains(&revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Observation;

    #[test]
    fn rows_are_small() {
        assert!(size_of::<Workload>() <= 232, "{}", size_of::<Workload>());
        assert!(size_of::<Revision>() <= 184, "{}", size_of::<Revision>());
        assert!(size_of::<Observation>() <= 336, "{}", size_of::<Observation>());
    }
}
