//! How the current revision of a Deployment stands.

use jiff::Timestamp;

use super::{DeploymentRow, ProgressReason, ReplicaSetRow};

/// How the current revision of a Deployment stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Neither complete nor failed.
    Open,
    /// Complete. The time is that which the cluster states; `None` when it states none.
    Complete(Option<Timestamp>),
    /// It made no progress within its deadline; it may still become complete. The time as above.
    DeadlineExceeded(Option<Timestamp>),
}

/// The ReplicaSet that the current revision of `deployment` runs, if both have been seen in the same state.
///
/// The two come from separate watches: until the annotation of one of the owned ReplicaSets equals that of the
/// Deployment, one of the watches is behind, and nothing can be said yet.
#[must_use]
pub fn current_replica_set<'a>(deployment: &DeploymentRow, owned: &'a [ReplicaSetRow]) -> Option<&'a ReplicaSetRow> {
    let revision = deployment.revision?;
    owned.iter().find(|replica_set| replica_set.revision == Some(revision))
}

/// How the revision stands that `current` runs.
///
/// A condition is believed only if it names `current`: right after a change, and after an undo, the condition of the
/// former ReplicaSet still stands. The Deployment controller does not renew a `NewReplicaSetAvailable` while all
/// replicas are updated ones (`isCompleteDeployment` in its `progress.go`), so that at 0 replicas the condition goes on
/// naming the former ReplicaSet; and it sets no condition at all without a progress deadline. Then the counts
/// decide, by its own rule (`DeploymentComplete`), and the time is unknown.
#[must_use]
pub fn ending(deployment: &DeploymentRow, current: &ReplicaSetRow) -> Ending {
    let Some(progressing) = &deployment.progressing else {
        return by_counts(deployment);
    };
    let names_current = progressing.replica_set.as_deref() == Some(&*current.name);
    match progressing.reason {
        ProgressReason::Complete if names_current => Ending::Complete(progressing.updated),
        ProgressReason::Complete => by_counts(deployment),
        ProgressReason::DeadlineExceeded if names_current => Ending::DeadlineExceeded(progressing.updated),
        ProgressReason::DeadlineExceeded | ProgressReason::Other => Ending::Open,
    }
}

fn by_counts(deployment: &DeploymentRow) -> Ending {
    let complete = deployment.observed_generation >= deployment.generation
        && deployment.updated_replicas == deployment.replicas
        && deployment.current_replicas == deployment.replicas
        && deployment.available_replicas == deployment.replicas;
    if complete { Ending::Complete(None) } else { Ending::Open }
}
