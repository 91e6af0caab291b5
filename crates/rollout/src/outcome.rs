//! Values that records contain: outcomes, kinds of changes, and where a time comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a deployment ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Outcome {
    /// The rollout has not ended.
    InProgress,
    /// The rollout became complete.
    Succeeded,
    /// The rollout made no progress within its deadline.
    Failed,
    /// The rollout failed and became complete later.
    Recovered,
    /// A newer revision started before the rollout was complete.
    Superseded,
    /// The rollout was complete, and a later rollback used an older revision again.
    RolledBack,
    /// The workload was deleted before the rollout was complete.
    Abandoned,
    /// The rollout ended while the controller was away, and the cluster doesn't show how.
    Unobserved,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 8] = [
        Self::InProgress,
        Self::Succeeded,
        Self::Failed,
        Self::Recovered,
        Self::Superseded,
        Self::RolledBack,
        Self::Abandoned,
        Self::Unobserved,
    ];

    /// The value in a `DoraDeployment`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Recovered => "Recovered",
            Self::Superseded => "Superseded",
            Self::RolledBack => "RolledBack",
            Self::Abandoned => "Abandoned",
            Self::Unobserved => "Unobserved",
        }
    }

    /// Whether the rollout may still become complete. A failed rollout may recover.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::InProgress | Self::Failed => true,
            Self::Succeeded
            | Self::Recovered
            | Self::Superseded
            | Self::RolledBack
            | Self::Abandoned
            | Self::Unobserved => false,
        }
    }

    /// Whether a record with this outcome may change to `next`. An outcome never changes back.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::InProgress => next != Self::InProgress,
            Self::Failed => next == Self::Recovered,
            Self::Succeeded | Self::Recovered => next == Self::RolledBack,
            Self::Superseded | Self::RolledBack | Self::Abandoned | Self::Unobserved => false,
        }
    }
}

/// What a rollout changed, compared with the pod template that ran before.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ChangeKind {
    /// The first revision of the workload.
    Initial,
    /// The image of a container or init container changed.
    Release,
    /// Another part of the pod template changed.
    Config,
    /// An older revision is used again.
    Rollback,
    /// The pod template is the same, after `kubectl rollout restart` or because somebody deleted the revision and Kubernetes created it again.
    Restart,
}

impl ChangeKind {
    /// The value in a `DoraDeployment`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "Initial",
            Self::Release => "Release",
            Self::Config => "Config",
            Self::Rollback => "Rollback",
            Self::Restart => "Restart",
        }
    }
}

/// Where a time comes from: the cluster states it (`Exact`), or the controller observed the event at that time (`Observed`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Accuracy {
    /// The cluster states the time.
    Exact,
    /// The controller observed the event at that time. The event may have happened a little earlier.
    Observed,
}
