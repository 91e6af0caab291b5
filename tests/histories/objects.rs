//! The objects of the simulated cluster, and the events by which a watch shows them.

use jiff::Timestamp;
use rollout::{ProgressReason, Revision, Uid, Workload};

/// Unix time of the first event.
pub const START: i64 = 1_700_000_000;

/// Pods of this image don't become ready until [`SimulatedCluster::broken_image_works`](super::model::SimulatedCluster)
/// is set.
pub const BROKEN_IMAGE: u8 = 3;

/// `spec.progressDeadlineSeconds` of a Deployment that has one.
pub const PROGRESS_DEADLINE: i32 = 6;

/// The time of this Unix second.
pub fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A pod template.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Template {
    pub image: u8,
    pub config: u8,
    /// The annotation `kubectl.kubernetes.io/restartedAt`.
    pub restarted_at: i64,
}

impl Template {
    /// Name of the ReplicaSet of this template.
    pub fn replica_set_name(self) -> String {
        format!("web-{}{}{}", self.image, self.config, self.restarted_at)
    }
}

/// The part of a Deployment's spec that stays the same.
#[derive(Clone, Copy, Debug)]
pub struct DeploymentOptions {
    /// Whether the strategy is `Recreate`.
    pub recreates: bool,
    pub has_deadline: bool,
    pub history_limit: usize,
    /// Replicas when it is created.
    pub replicas: i32,
    pub max_surge: i32,
    pub max_unavailable: i32,
}

/// Reasons of the condition `Progressing`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    NewReplicaSetCreated,
    FoundNewReplicaSet,
    ReplicaSetUpdated,
    NewReplicaSetAvailable,
    ProgressDeadlineExceeded,
    DeploymentPaused,
    DeploymentResumed,
}

impl Reason {
    /// The reason as the index keeps it.
    pub fn as_indexed(self) -> ProgressReason {
        match self {
            Self::NewReplicaSetCreated | Self::ReplicaSetUpdated => ProgressReason::Other,
            Self::FoundNewReplicaSet => ProgressReason::Found,
            Self::NewReplicaSetAvailable => ProgressReason::Complete,
            Self::ProgressDeadlineExceeded => ProgressReason::DeadlineExceeded,
            Self::DeploymentPaused => ProgressReason::Paused,
            Self::DeploymentResumed => ProgressReason::Resumed,
        }
    }
}

/// The condition `Progressing`, with facts that the real one doesn't state.
#[derive(Clone, Debug)]
pub struct Condition {
    pub reason: Reason,
    /// Name of the ReplicaSet in the message.
    pub replica_set_name: Option<Box<str>>,
    /// `lastUpdateTime`.
    pub updated: i64,
    /// The ReplicaSet of the template when the condition was set.
    pub replica_set: Option<Uid>,
    /// Position in the log of the event that shows the condition first.
    pub position: usize,
    /// Whether the Deployment had no replicas when the condition was set.
    pub at_zero_replicas: bool,
}

impl Condition {
    /// A condition of `reason`, without a ReplicaSet.
    pub fn new(reason: Reason, updated: i64, position: usize) -> Self {
        Self { reason, replica_set_name: None, updated, replica_set: None, position, at_zero_replicas: false }
    }

    /// Whether this takes the place of `present`. One with the same status and reason doesn't
    /// (`SetDeploymentCondition`).
    pub fn replaces(&self, present: Option<&Self>) -> bool {
        present.is_none_or(|present| present.reason != self.reason)
    }
}

/// A Deployment.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The Deployment as the index keeps it.
    pub object: Workload,
    pub template: Template,
    pub options: DeploymentOptions,
    pub condition: Option<Condition>,
    /// The object when it was last written.
    pub last_written: Option<Workload>,
}

/// A ReplicaSet and its pods.
#[derive(Clone, Debug)]
pub struct ReplicaSet {
    /// The ReplicaSet as the index keeps it.
    pub object: Revision,
    pub owner: Option<Uid>,
    pub template: Template,
    /// `spec.replicas`.
    pub spec_replicas: i32,
    /// The annotation `deployment.kubernetes.io/desired-replicas`.
    pub desired_replicas: i32,
    pub pods: i32,
    pub available_pods: i32,
}

/// What happened, as a watch shows it.
#[derive(Clone, Debug)]
pub enum EventKind {
    DeploymentApplied(Workload),
    DeploymentDeleted(Workload),
    ReplicaSetApplied {
        owner: Option<Uid>,
        object: Revision,
    },
    ReplicaSetDeleted(Uid),
    /// Nothing was written, but a second has passed.
    SecondPassed,
}

/// A write to the API server, and its time.
#[derive(Clone, Debug)]
pub struct Event {
    /// Unix time.
    pub at: i64,
    pub kind: EventKind,
}
