//! How a revision of a Deployment stands.

use jiff::{SignedDuration, Timestamp};

use crate::{Observation, ProgressReason, Progressing, Revision, TimeWithAccuracy, Workload};

/// How a revision of a Deployment stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Neither complete nor failed. Without a progress deadline it counts as failed from `fails`, unless it moves before.
    Open {
        /// When it will count as failed.
        fails: Option<Timestamp>,
    },
    /// Complete.
    Complete {
        /// When.
        at: TimeWithAccuracy,
        /// Whether it failed before.
        after_failure: bool,
    },
    /// It made no progress within its deadline; it may still become complete.
    Failed(TimeWithAccuracy),
}

/// The clocks of the programs that state times may differ by this much.
pub const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// From when on a condition that names a ReplicaSet speaks of its present revision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Since {
    /// Any does.
    Any,
    /// One from this time on.
    Time(Timestamp),
    /// Nobody can tell: it ran before, and nobody knows until when.
    Never,
}

impl Since {
    /// Whether a condition of this time does.
    #[must_use]
    pub fn includes(self, updated: Option<Timestamp>) -> bool {
        match self {
            Self::Any => true,
            Self::Time(time) => updated.is_none_or(|updated| updated >= time),
            Self::Never => false,
        }
    }
}

/// How the revision stands that `replica_set` runs, as `observation` was at `now`.
///
/// A condition is believed only if it names that ReplicaSet and speaks of this revision of it. Right after a change, and
/// after an undo, the condition of the former revision still stands; and the Deployment controller renews neither a
/// `NewReplicaSetAvailable` while all replicas are updated ones (`syncRolloutStatus` in its `progress.go`: a re-used ReplicaSet with the strategy
/// `Recreate`, or at 0 replicas) nor a `ProgressDeadlineExceeded` before something moves, and sets no condition without a progress
/// deadline. In these cases the counts decide, by its own rule (`DeploymentComplete`), and the time is that at which they were seen; and
/// a rollout that stands still has failed after its own deadline, or after `fail_after` if it has none.
///
/// `since` tells which conditions that name the ReplicaSet speak of this revision.
#[must_use]
pub fn ending(
    observation: &Observation,
    replica_set: &Revision,
    since: Since,
    fail_after: SignedDuration,
    now: Timestamp,
) -> Ending {
    let Observation { row, progressed, void, passed, counted, .. } = observation;
    let speaks_of_this = |condition: &&Progressing| {
        condition.replica_set.as_deref() == Some(&*replica_set.name)
            && void.as_deref() != Some(*condition)
            && since.includes(condition.updated)
    };
    let [passed, present] =
        [passed.as_deref(), row.progressing.as_ref()].map(|condition| condition.filter(speaks_of_this));
    let of = |reason: ProgressReason| {
        let conditions = [passed, present].into_iter().flatten();
        conditions.filter(|condition| condition.reason == reason).find_map(|condition| condition.updated)
    };
    let failed = of(ProgressReason::DeadlineExceeded);
    let after_failure = failed.is_some() || observation.had_failed;
    let stated = of(ProgressReason::Complete);
    // What was complete before it was paused is stated once more when it is resumed.
    let counts = |counted: &Timestamp| {
        let is_of_this = match since {
            Since::Time(time) => counted.duration_since(time) >= -CLOCK_MARGIN,
            Since::Any | Since::Never => true,
        };
        let is_earlier =
            |stated: Timestamp| observation.was_paused_since && stated.duration_since(*counted) > CLOCK_MARGIN;
        is_of_this && stated.is_none_or(is_earlier)
    };
    if let Some(at) = counted.filter(counts) {
        return Ending::Complete { at: TimeWithAccuracy::observed(at), after_failure };
    }
    if let Some(at) = stated {
        return Ending::Complete { at: TimeWithAccuracy::exact(at), after_failure };
    }
    let is_tracked = present.is_some()
        || row.progressing.as_ref().is_some_and(|condition| {
            !matches!(condition.reason, ProgressReason::Complete | ProgressReason::DeadlineExceeded)
        });
    if let Some(at) = failed {
        return Ending::Failed(TimeWithAccuracy::exact(at));
    }
    if is_tracked || row.paused {
        return Ending::Open { fails: None };
    }
    let fail_after = row.progress_deadline.map_or(fail_after, |seconds| SignedDuration::from_secs(seconds.into()));
    match progressed.checked_add(fail_after) {
        Ok(fails) if fails <= now => Ending::Failed(TimeWithAccuracy::observed(fails)),
        Ok(fails) => Ending::Open { fails: Some(fails) },
        Err(_) => Ending::Open { fails: None },
    }
}

/// Whether the counts say that all replicas are updated and available: `DeploymentComplete` of the Deployment controller
/// (`pkg/controller/deployment/util/deployment_util.go`).
#[must_use]
pub fn is_complete(row: &Workload) -> bool {
    row.observed_generation >= row.generation
        && row.updated_replicas == row.replicas
        && row.current_replicas == row.replicas
        && row.available_replicas == row.replicas
}
