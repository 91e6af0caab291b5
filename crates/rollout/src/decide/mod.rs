//! The decision: which records of a workload have to change.

mod changes;
mod conditions;
mod current;
mod evaluation;
mod missed;
mod previous;
mod rollback;
mod same_rollout;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::evaluation::Evaluation;
use crate::revision_history::RevisionHistory;
use crate::{Change, Observation, PastObservation, RecordedRevision, Revision, Source, Workload};

/// How long the decision about a deleted workload waits for revisions that the controller hasn't received.
const REVISION_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// What the controller observed of a workload.
#[derive(Clone, Copy)]
pub struct DecisionInput<'a> {
    /// The current state. `None` if the workload is deleted.
    pub current: Option<&'a Observation>,
    /// The last state at each previous revision that isn't recorded yet, oldest first.
    pub past: &'a [PastObservation],
    /// The revisions that the workload owns.
    pub revisions: &'a [Revision],
}

/// Rules for the decision that come from the settings and from the installation.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// When the controller first started in this cluster.
    pub installed: Timestamp,
    /// Which revisions from before the installation are recorded.
    pub history: History,
    /// How long a rollout without a progress deadline may make no progress before it has failed.
    pub fail_after: SignedDuration,
}

/// Which revisions from before the installation are recorded.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum History {
    /// None, except rollouts that had not ended.
    #[default]
    None,
    /// The current revision of each workload.
    Current,
    /// All revisions that still exist.
    All,
}

/// What to record, and when to decide again.
#[derive(Debug, Default)]
pub struct Decision<'a> {
    /// The changes, in the order in which they have to be written.
    pub changes: Vec<Change<'a>>,
    /// When to decide again if the workload doesn't change before: a rollout may have failed then, or the wait for a revision ends.
    pub requeue_at: Option<Timestamp>,
    /// Whether the controller hasn't received the revision of a state yet. Nothing can be decided before it has.
    pub is_behind: bool,
}

/// Decides what to record about a workload at the time `now`, if the revisions in `recorded` are recorded already.
///
/// `is_wanted` says whether a new record of a revision may start. Records that exist are always continued.
///
/// After the changes are written, the same input gives no further changes. So if the controller crashes between two writes, the next one
/// repeats the rest. An outcome changes only as [`Outcome::may_become`](crate::Outcome::may_become) allows: a failed rollout can recover, and
/// a complete one can be rolled back.
#[must_use]
pub fn decide<'a>(
    input: &DecisionInput<'a>,
    recorded: &[RecordedRevision],
    policy: &Policy,
    is_wanted: &dyn Fn(&Workload, &Revision) -> bool,
    now: Timestamp,
) -> Decision<'a> {
    let history = input.history();
    if let Some(decision) = wait_for_revision(input, &history, now) {
        return decision;
    }
    let mut evaluation = Evaluation::new(*input, history, recorded, policy, is_wanted);
    evaluation.finish_rollbacks();
    for past in input.past {
        // If the next state came from a list, there may have been progress after this one.
        let until = if past.next_source == Source::Watch { past.until } else { past.observation.last_progress };
        evaluation.evaluate(&past.observation, past.revision.as_ref(), until);
    }
    // Only the current rollout may fail later.
    evaluation.decision.requeue_at = None;
    match input.current {
        Some(observation) => evaluation.evaluate(observation, None, now),
        None => evaluation.finish_deleted(),
    }
    evaluation.decision
}

impl<'a> DecisionInput<'a> {
    /// The current state, or the last one before the workload was deleted.
    fn latest(&self) -> Option<&'a Observation> {
        self.current.or_else(|| self.past.last().map(|past| &past.observation))
    }

    fn history(&self) -> RevisionHistory<'a> {
        let past = self.past.iter().filter_map(|past| past.revision.as_ref());
        let workload = self.latest().map(|observation| &observation.workload);
        RevisionHistory::new(self.revisions.iter().chain(past), workload)
    }
}

/// The decision to wait, if the controller hasn't received a revision yet.
///
/// The watch on revisions may be behind the watch on workloads. The current revision, or one of a workload that was just deleted, may then be
/// missing.
fn wait_for_revision<'a>(
    input: &DecisionInput<'_>,
    history: &RevisionHistory<'_>,
    now: Timestamp,
) -> Option<Decision<'a>> {
    let is_missing =
        |observation: &Observation| observation.workload.revision.is_some_and(|number| history.get(number).is_none());
    let wait = Decision { is_behind: true, ..Decision::default() };
    match (input.current, input.past.last()) {
        (Some(current), _) => is_missing(current).then_some(wait),
        (None, Some(last)) => {
            let until = last.until.checked_add(REVISION_WAIT).ok().filter(|until| *until > now);
            let is_any_missing = input.past.iter().any(|past| is_missing(&past.observation));
            (until.is_some() && is_any_missing).then_some(Decision { requeue_at: until, ..wait })
        }
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests;
