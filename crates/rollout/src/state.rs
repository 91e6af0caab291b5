//! The state of the rollout of one revision.

use jiff::{SignedDuration, Timestamp};

use crate::{Observation, ProgressReason, Progressing, Revision, TimeWithAccuracy, Workload};

/// Clocks in the cluster, such as those of two API servers, may differ by this much.
pub(crate) const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// The state of the rollout of one revision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RolloutState {
    /// The rollout is neither complete nor failed.
    InProgress {
        /// When the rollout will count as failed, unless there is progress before. `None` if Kubernetes will state the failure.
        fails_at: Option<Timestamp>,
    },
    /// The rollout is complete.
    Complete {
        /// When the rollout became complete.
        at: TimeWithAccuracy,
        /// Whether the rollout had failed before.
        after_failure: bool,
    },
    /// The rollout made no progress within its deadline. It may still become complete.
    Failed(TimeWithAccuracy),
}

/// Which of the conditions that name a revision describe its rollout under its current number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ValidConditions {
    /// All of them.
    All,
    /// Those that Kubernetes updated at this time or later.
    Since(Timestamp),
    /// None of them for certain: the revision ran under an earlier number, and it is unknown until when.
    None,
}

impl ValidConditions {
    /// Whether a condition with this `lastUpdateTime` is valid.
    pub(crate) fn include(self, updated: Option<Timestamp>) -> bool {
        match self {
            Self::All => true,
            Self::Since(time) => updated.is_none_or(|updated| updated >= time),
            Self::None => false,
        }
    }
}

/// The conditions that describe one rollout.
struct StatedProgress<'a> {
    first_end: Option<&'a Progressing>,
    current: Option<&'a Progressing>,
}

impl<'a> StatedProgress<'a> {
    /// The conditions of `observation` that describe the rollout of `revision`.
    ///
    /// A condition counts only if it names the revision and is valid: right after a change or an undo, the condition still describes the
    /// previous revision.
    fn new(observation: &'a Observation, revision: &Revision, valid: ValidConditions) -> Self {
        let describes_revision = |condition: &&Progressing| {
            condition.replica_set.as_deref() == Some(&*revision.name)
                && observation.stale.as_deref() != Some(*condition)
                && valid.include(condition.updated)
        };
        Self {
            first_end: observation.first_end.as_deref().filter(describes_revision),
            current: observation.workload.conditions.progressing.as_ref().filter(describes_revision),
        }
    }

    /// When Kubernetes stated this reason first.
    fn time_of(&self, reason: ProgressReason) -> Option<Timestamp> {
        let conditions = [self.first_end, self.current].into_iter().flatten();
        conditions.filter(|condition| condition.reason == reason).find_map(|condition| condition.updated)
    }
}

/// The state of the rollout of `revision` at the time `now`, when the workload was as in `observation`.
///
/// The conditions decide, if they describe this rollout. In some cases the Deployment controller never updates the condition:
/// - It doesn't replace `NewReplicaSetAvailable` while all pods are updated (`syncRolloutStatus` in `progress.go`): if an older ReplicaSet is
///   used again with the strategy `Recreate`, or at 0 replicas.
/// - It doesn't replace `ProgressDeadlineExceeded` before there is progress.
/// - It sets no condition if there is no progress deadline.
///
/// In these cases the counts decide, as in [`is_complete`], and the time is the time of the observation. Without progress, the rollout has
/// failed after its own deadline, or after `fail_after` if it has none.
pub(crate) fn rollout_state(
    observation: &Observation,
    revision: &Revision,
    valid: ValidConditions,
    fail_after: SignedDuration,
    now: Timestamp,
) -> RolloutState {
    let stated = StatedProgress::new(observation, revision, valid);
    let (complete, failed) =
        (stated.time_of(ProgressReason::Complete), stated.time_of(ProgressReason::DeadlineExceeded));
    let after_failure = failed.is_some() || observation.had_failed;
    if let Some(at) = time_by_counts(observation, valid, complete) {
        return RolloutState::Complete { at: TimeWithAccuracy::observed(at), after_failure };
    }
    if let Some(at) = complete {
        return RolloutState::Complete { at: TimeWithAccuracy::exact(at), after_failure };
    }
    if let Some(at) = failed {
        return RolloutState::Failed(TimeWithAccuracy::exact(at));
    }
    let workload = &observation.workload;
    let is_in_progress = workload.conditions.progressing.as_ref().is_some_and(|condition| !condition.reason.is_end());
    if stated.current.is_some() || is_in_progress || workload.paused {
        return RolloutState::InProgress { fails_at: None };
    }
    let deadline = workload.progress_deadline.map_or(fail_after, |seconds| SignedDuration::from_secs(seconds.into()));
    match observation.last_progress.checked_add(deadline) {
        Ok(fails_at) if fails_at <= now => RolloutState::Failed(TimeWithAccuracy::observed(fails_at)),
        Ok(fails_at) => RolloutState::InProgress { fails_at: Some(fails_at) },
        Err(_) => RolloutState::InProgress { fails_at: None },
    }
}

/// When the rollout became complete by its counts, if they decide. `stated` is when it became complete by its condition.
fn time_by_counts(observation: &Observation, valid: ValidConditions, stated: Option<Timestamp>) -> Option<Timestamp> {
    let counted = observation.counted_complete?;
    let is_of_rollout = match valid {
        ValidConditions::Since(time) => counted.duration_since(time) >= -CLOCK_MARGIN,
        ValidConditions::All | ValidConditions::None => true,
    };
    // If a complete rollout is paused and resumed, Kubernetes states its completion again, with a later time.
    let is_stated_again =
        |stated: Timestamp| observation.paused_since_complete && stated.duration_since(counted) > CLOCK_MARGIN;
    (is_of_rollout && stated.is_none_or(is_stated_again)).then_some(counted)
}

/// Whether all pods are updated and available, and no other pods are left.
///
/// This is the rule of the Deployment controller (`DeploymentComplete` in `pkg/controller/deployment/util/deployment_util.go`).
#[must_use]
pub fn is_complete(workload: &Workload) -> bool {
    let counts = workload.counts;
    workload.observed_generation >= workload.generation
        && counts.updated == counts.desired
        && counts.total == counts.desired
        && counts.available == counts.desired
}
