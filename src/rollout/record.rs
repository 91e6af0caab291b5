//! What has to be recorded of a Deployment, given what is recorded already.

use jiff::Timestamp;

use super::{DeploymentRow, Ending, ReplicaSetRow, current_replica_set, ending};
use crate::resources::Outcome;

/// A recorded revision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Known {
    /// Number of the revision.
    pub revision: i64,
    /// How it is recorded to have ended.
    pub outcome: Outcome,
}

/// The moment of a decision, and since when rollouts are reported at all.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The present.
    pub now: Timestamp,
    /// When the controller first started in this cluster: what was complete before is not reported.
    pub installed: Timestamp,
}

/// A change of the records of a Deployment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change<'a> {
    /// The current revision is not recorded yet.
    Begin {
        /// The ReplicaSet that it runs.
        replica_set: &'a ReplicaSetRow,
        /// Number of the revision.
        revision: i64,
        /// When it began.
        started: Timestamp,
        /// How it stands.
        outcome: Outcome,
        /// When it ended, if it has.
        finished: Option<Timestamp>,
    },
    /// The current revision has come to an end, or to another one than recorded.
    End {
        /// The ReplicaSet that it runs.
        replica_set: &'a ReplicaSetRow,
        /// Number of the revision.
        revision: i64,
        /// How it ended.
        outcome: Outcome,
        /// When.
        finished: Timestamp,
    },
    /// An older revision, or one whose Deployment is gone, will never become complete.
    Close {
        /// Number of the revision.
        revision: i64,
        /// Why not.
        outcome: Outcome,
        /// When that was seen.
        finished: Timestamp,
    },
}

/// What has to be recorded: `deployment` (absent once it is deleted) with the ReplicaSets that it owns, against the
/// revisions that are recorded of it.
///
/// A recorded end is final but for two cases: a rollout in progress ends, and a failed one can recover.
#[must_use]
pub fn changes<'a>(
    deployment: Option<&DeploymentRow>,
    owned: &'a [ReplicaSetRow],
    known: &[Known],
    moment: Moment,
) -> Vec<Change<'a>> {
    let Some(deployment) = deployment else {
        return close_older(known, i64::MAX, Outcome::Abandoned, moment.now);
    };
    let (Some(revision), Some(current)) = (deployment.revision, current_replica_set(deployment, owned)) else {
        return Vec::new();
    };
    let begun = if current.reused { moment.now } else { current.created.unwrap_or(moment.now) };
    let mut changes = close_older(known, revision, Outcome::Superseded, begun);
    let end = ending(deployment, current);
    let recorded = known.iter().find(|known| known.revision == revision).map(|known| known.outcome);
    match (recorded, end) {
        (None, Ending::Open) => changes.push(Change::Begin {
            replica_set: current,
            revision,
            started: begun,
            outcome: Outcome::InProgress,
            finished: None,
        }),
        (None, Ending::Complete(at) | Ending::DeadlineExceeded(at)) => {
            let finished = at.unwrap_or(moment.now);
            let outcome = match end {
                Ending::DeadlineExceeded(_) => Outcome::Failed,
                Ending::Complete(_) | Ending::Open => Outcome::Succeeded,
            };
            if is_news(current, at, moment) {
                changes.push(Change::Begin {
                    replica_set: current,
                    revision,
                    started: begun.min(finished),
                    outcome,
                    finished: Some(finished),
                });
            }
        }
        (Some(Outcome::InProgress), Ending::DeadlineExceeded(at)) => changes.push(Change::End {
            replica_set: current,
            revision,
            outcome: Outcome::Failed,
            finished: at.unwrap_or(moment.now),
        }),
        (Some(recorded @ (Outcome::InProgress | Outcome::Failed)), Ending::Complete(at)) => {
            changes.push(Change::End {
                replica_set: current,
                revision,
                outcome: if recorded == Outcome::Failed { Outcome::Recovered } else { Outcome::Succeeded },
                finished: at.unwrap_or(moment.now),
            });
        }
        (Some(_), _) => {}
    }
    changes
}

/// Whether a revision that had ended when it was first seen ended after the controller was installed.
///
/// Pause and resume of a complete Deployment renew the time of its condition, so that time alone does not tell: a
/// ReplicaSet from before the installation must have been re-used since.
fn is_news(current: &ReplicaSetRow, finished: Option<Timestamp>, moment: Moment) -> bool {
    let made_since = current.created.is_some_and(|created| created >= moment.installed);
    let finished_since = finished.is_none_or(|finished| finished >= moment.installed);
    finished_since && (made_since || (current.reused && finished.is_some()))
}

fn close_older<'a>(known: &[Known], before: i64, outcome: Outcome, finished: Timestamp) -> Vec<Change<'a>> {
    known
        .iter()
        .filter(|known| known.revision < before && known.outcome == Outcome::InProgress)
        .map(|known| Change::Close { revision: known.revision, outcome, finished })
        .collect()
}

#[cfg(test)]
mod tests;
