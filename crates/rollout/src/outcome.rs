//! The words of the domain that the custom resources use too: how a deployment ended, what it changed, where a time comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a deployment ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Outcome {
    /// It has not ended yet.
    InProgress,
    /// It became complete.
    Succeeded,
    /// It did not become complete within its deadline.
    Failed,
    /// It failed, and became complete after all.
    Recovered,
    /// A newer revision came before it was complete.
    Superseded,
    /// It had become complete, and a later revision took it back by re-using an older ReplicaSet.
    RolledBack,
    /// The Deployment was deleted before it was complete.
    Abandoned,
    /// It ended while nobody watched, and the cluster can't tell how.
    Unobserved,
}

impl Outcome {
    /// All of them.
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

    /// The word for it in the resource.
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

    /// Whether the rollout may still become complete: a failed one can recover.
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

    /// Whether a record may go from this outcome to `next`: none ever moves backwards.
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

/// What a rollout changed, from the pod templates of its ReplicaSet and of the one before.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ChangeKind {
    /// The first revision of a Deployment.
    Initial,
    /// The image of a container.
    Release,
    /// Something else of the pod template.
    Config,
    /// An older ReplicaSet was re-used.
    Rollback,
    /// Nothing: `kubectl rollout restart`, or a ReplicaSet that was deleted by hand and made again.
    Restart,
}

impl ChangeKind {
    /// The word for it in the resource.
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

/// Where a time comes from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Accuracy {
    /// The cluster states it.
    Exact,
    /// The controller saw it at that time: it may have happened a little earlier.
    Observed,
}
