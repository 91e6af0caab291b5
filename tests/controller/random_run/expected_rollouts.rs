//! The expected rollouts and their outcomes, derived from all observed states after the run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rollout::{ChangeKind, Outcome};

use super::observer::{DeploymentHistory, DeploymentState, Observations, ObservedReplicaSet, Progressing};

/// One rollout: the time during which a ReplicaSet is the current one of its Deployment.
#[derive(Clone, Debug)]
pub struct ExpectedRollout<'a> {
    pub uid: &'a str,
    pub name: &'a str,
    pub revision: i64,
    pub replica_set: &'a ObservedReplicaSet,
    pub change: ChangeKind,
    /// The change compared with the ReplicaSet of the revision before, which may never have been rolled out.
    pub change_by_number: ChangeKind,
    pub started: Instant,
    /// When the next rollout started or the Deployment was deleted.
    pub left: Option<Instant>,
    pub is_deleted: bool,
    pub failed: Option<Instant>,
    pub completed: Option<Instant>,
    /// The times of completion in the conditions. There are several if the Deployment was paused and resumed
    /// afterwards.
    pub completions: Vec<Timestamp>,
    /// The times without progress for which the Deployment controller measures no deadline.
    pub untracked_stalls: Vec<(Instant, Instant)>,
    pub deadline: Duration,
    /// The times during which the condition doesn't show the state of the rollout: the Deployment is paused or was just
    /// resumed, or the Deployment controller doesn't track the rollout.
    pub unclear: Vec<(Instant, Instant)>,
    /// The times of `unclear` during which all pods were updated and available. A controller that starts to watch then can
    /// only believe the counts.
    pub complete_while_unclear: Vec<(Instant, Instant)>,
}

impl<'a> ExpectedRollout<'a> {
    /// A rollout that has just started. `changes` are the fields `change` and `change_by_number`.
    fn new(
        (uid, name): (&'a str, &'a str),
        revision: i64,
        replica_set: &'a ObservedReplicaSet,
        [change, change_by_number]: [ChangeKind; 2],
        started: Instant,
    ) -> Self {
        Self {
            uid,
            name,
            revision,
            replica_set,
            change,
            change_by_number,
            started,
            left: None,
            is_deleted: false,
            failed: None,
            completed: None,
            completions: Vec::new(),
            untracked_stalls: Vec::new(),
            deadline: Duration::ZERO,
            unclear: Vec::new(),
            complete_while_unclear: Vec::new(),
        }
    }

    /// The outcome, before a later rollback.
    pub fn outcome(&self) -> Outcome {
        match (self.completed, self.failed, self.left) {
            (Some(_), Some(_), _) => Outcome::Recovered,
            (Some(_), None, _) => Outcome::Succeeded,
            (None, Some(_), _) => Outcome::Failed,
            (None, None, Some(_)) if self.is_deleted => Outcome::Abandoned,
            (None, None, Some(_)) => Outcome::Superseded,
            (None, None, None) => Outcome::InProgress,
        }
    }

    /// When the outcome was first known.
    pub fn ended(&self) -> Option<Instant> {
        [self.failed, self.completed, self.left].into_iter().flatten().min()
    }
}

/// The rollouts of all Deployments, oldest first for each Deployment.
pub fn expected_rollouts(observed: &Observations) -> Vec<ExpectedRollout<'_>> {
    let numbered = numbered_while_paused(observed);
    observed.deployments.iter().flat_map(|(uid, history)| of_deployment(observed, &numbered, uid, history)).collect()
}

/// When each revision was first observed, by UID of the Deployment and revision.
pub type Numbered<'a> = BTreeMap<(&'a str, i64), Instant>;

/// When the revisions that appeared while their Deployment was paused were first observed. Such a revision has no pods
/// until the resume, but a controller that was down can't know that.
pub fn numbered_while_paused(observed: &Observations) -> Numbered<'_> {
    let mut numbered = BTreeMap::new();
    for (uid, history) in &observed.deployments {
        for pair in history.states.windows(2).filter(|pair| pair[0].revision != pair[1].revision && pair[1].paused) {
            if let Some(revision) = pair[1].revision {
                numbered.entry((uid.as_str(), revision)).or_insert(pair[1].at);
            }
        }
    }
    numbered
}

fn of_deployment<'a>(
    observed: &'a Observations,
    numbered: &Numbered<'a>,
    uid: &'a str,
    history: &'a DeploymentHistory,
) -> Vec<ExpectedRollout<'a>> {
    let mut rollouts: Vec<ExpectedRollout<'a>> = Vec::new();
    let mut tracker = RolloutTracker::default();
    for (index, state) in history.states.iter().enumerate() {
        let previous = index.checked_sub(1).map(|index| &history.states[index]);
        let Some((revision, replica_set)) =
            state.revision.and_then(|revision| Some((revision, observed.replica_set(uid, revision)?)))
        else {
            continue;
        };
        if let Some(previous) = previous.filter(|previous| previous.revision != state.revision) {
            tracker.outdated = previous.progressing.clone().filter(|_| previous.revision.is_some());
        }
        let is_same = rollouts.last().is_some_and(|last| last.replica_set.uid == replica_set.uid);
        let was_numbered = numbered.contains_key(&(uid, revision));
        // While the Deployment is paused, an undo only changes the numbers, and the template may change again before
        // the resume.
        let has_pods = state.is_observed && (state.updated > 0 || state.replicas == 0);
        if !is_same && (state.paused || was_numbered && !has_pods) {
            continue;
        }
        if !is_same {
            let ran_before = rollouts.last().map(|last| last.replica_set);
            let numbered_before = observed.replica_set(uid, revision - 1).or(ran_before);
            if let Some(last) = rollouts.last_mut() {
                last.left = Some(state.at);
            }
            tracker = RolloutTracker { outdated: tracker.outdated.take(), ..RolloutTracker::default() };
            let changes = [ran_before, numbered_before].map(|before| change(revision, replica_set, before));
            rollouts.push(ExpectedRollout::new((uid, &history.name), revision, replica_set, changes, state.at));
        }
        let next = history.states.get(index + 1).map(|next| next.at).or(history.deleted).unwrap_or_else(Instant::now);
        if let Some(rollout) = rollouts.last_mut() {
            tracker.update(rollout, state, next);
        }
    }
    if let (Some(last), Some(_)) = (rollouts.last_mut(), history.deleted) {
        last.left = history.deleted;
        last.is_deleted = true;
    }
    rollouts
}

/// The kind of change, compared with the ReplicaSet before.
fn change(revision: i64, replica_set: &ObservedReplicaSet, before: Option<&ObservedReplicaSet>) -> ChangeKind {
    let Some(before) = before else { return ChangeKind::Initial };
    if before.template == replica_set.template {
        ChangeKind::Restart
    } else if replica_set.revisions.first().is_some_and(|first| *first < revision) {
        ChangeKind::Rollback
    } else if before.images == replica_set.images {
        ChangeKind::Config
    } else {
        ChangeKind::Release
    }
}

/// Follows the states of one rollout.
#[derive(Debug, Default)]
struct RolloutTracker {
    /// A condition that is not about this rollout: it is older than the rollout, or was set without any pods.
    outdated: Option<Progressing>,
    counts: Option<(i32, i32, i32, bool)>,
    moved: Option<Instant>,
}

impl RolloutTracker {
    /// Applies a state that lasts until `next`.
    fn update(&mut self, rollout: &mut ExpectedRollout<'_>, state: &DeploymentState, next: Instant) {
        rollout.deadline = Duration::from_secs(u64::try_from(state.deadline_seconds).unwrap_or_default());
        let counts = (state.current, state.updated, state.available, state.paused);
        if self.counts.replace(counts) != Some(counts) {
            self.moved = Some(state.at);
        }
        if self.outdated != state.progressing {
            self.outdated = None;
        }
        let condition = state.progressing.as_ref().filter(|_| self.outdated.is_none());
        let reason = condition.map(|condition| condition.reason.as_str()).unwrap_or_default();
        let names_it = condition.is_some_and(|condition| condition.replica_set == rollout.replica_set.name);
        let is_end = ["NewReplicaSetAvailable", "ProgressDeadlineExceeded"].contains(&reason);
        match reason {
            "NewReplicaSetAvailable" if names_it => {
                if rollout.failed.is_some() && rollout.completed.is_none() && state.replicas == 0 {
                    // For the Deployment controller, a failed rollout is complete when it is scaled to 0.
                    self.outdated.clone_from(&state.progressing);
                } else {
                    rollout.completed.get_or_insert(state.at);
                    rollout.completions.extend(condition.and_then(|condition| condition.updated));
                }
            }
            "ProgressDeadlineExceeded" if names_it && rollout.completed.is_none() => {
                rollout.failed.get_or_insert(state.at);
            }
            _ => {}
        }
        let is_paused = state.paused || ["DeploymentPaused", "DeploymentResumed"].contains(&reason);
        let is_tracked = condition.is_some() && (names_it || !is_end);
        let is_complete = state.is_observed && [state.current, state.updated, state.available] == [state.replicas; 3];
        // While the Deployment is paused, the condition keeps the failure, so only the counts show a completion.
        let is_counted = !is_tracked || reason == "ProgressDeadlineExceeded";
        if is_counted && is_complete && (rollout.failed.is_none() || state.replicas > 0) {
            rollout.completed.get_or_insert(state.at);
        }
        if is_paused || !is_tracked {
            rollout.unclear.push((state.at, next));
            if is_complete && state.replicas > 0 {
                rollout.complete_while_unclear.push((state.at, next));
            }
        }
        if let Some(moved) = self.moved.filter(|_| !is_tracked && !state.paused && rollout.completed.is_none()) {
            rollout.untracked_stalls.retain(|(since, _)| *since != moved);
            rollout.untracked_stalls.push((moved, next));
        }
    }
}

mod tests {
    use super::*;

    const UID: &str = "deployment-uid";

    /// The observation of a Deployment with one ReplicaSet, `web-1`, and these states.
    fn observe(states: Vec<DeploymentState>) -> Observations {
        let replica_set = ObservedReplicaSet {
            uid: "replica-set-uid".to_owned(),
            name: "web-1".to_owned(),
            owner: UID.to_owned(),
            created: None,
            revisions: [1].into(),
            images: Vec::new(),
            template: serde_json::Value::Null,
        };
        let mut observed = Observations::default();
        observed
            .deployments
            .insert(UID.to_owned(), DeploymentHistory { name: "web".to_owned(), states, deleted: None });
        observed.replica_sets.insert(replica_set.uid.clone(), replica_set);
        observed
    }

    /// A Deployment with three unavailable replicas, and a condition that has this reason and names the ReplicaSet.
    fn state(reason: &str) -> DeploymentState {
        DeploymentState {
            at: Instant::now(),
            revision: Some(1),
            is_observed: true,
            replicas: 3,
            current: 3,
            updated: 3,
            available: 0,
            paused: false,
            deadline_seconds: 2,
            progressing: Some(Progressing {
                reason: reason.to_owned(),
                replica_set: "web-1".to_owned(),
                updated: None,
            }),
        }
    }

    #[test]
    fn paused_failure_scaled_to_zero_stays_failed() {
        let failed = || state("ProgressDeadlineExceeded");
        let paused = || DeploymentState { paused: true, ..failed() };
        let empty = || DeploymentState { replicas: 0, current: 0, updated: 0, available: 0, ..paused() };
        let observed = observe(vec![
            state("ReplicaSetUpdated"),
            failed(),
            paused(),
            DeploymentState { current: 3, updated: 3, is_observed: false, ..empty() },
            empty(),
        ]);
        let outcomes: Vec<_> =
            expected_rollouts(&observed).iter().map(|rollout| (rollout.revision, rollout.outcome())).collect();
        assert_eq!(outcomes, [(1, Outcome::Failed)]);
    }

    #[test]
    fn paused_failure_that_completes_has_recovered() {
        let failed = || state("ProgressDeadlineExceeded");
        let paused = || DeploymentState { paused: true, ..failed() };
        let observed =
            observe(vec![state("ReplicaSetUpdated"), failed(), paused(), DeploymentState { available: 3, ..paused() }]);
        let outcomes: Vec<_> =
            expected_rollouts(&observed).iter().map(|rollout| (rollout.revision, rollout.outcome())).collect();
        assert_eq!(outcomes, [(1, Outcome::Recovered)]);
    }

    #[test]
    fn completion_hidden_by_a_pause_is_noted() {
        let paused = || DeploymentState { paused: true, ..state("DeploymentPaused") };
        let complete = || DeploymentState { available: 3, ..paused() };
        let observed = observe(vec![
            state("ProgressDeadlineExceeded"),
            DeploymentState { available: 1, ..state("ReplicaSetUpdated") },
            paused(),
            complete(),
        ]);
        let rollouts = expected_rollouts(&observed);
        assert_eq!(rollouts[0].outcome(), Outcome::Failed, "the condition doesn't state the completion");
        assert_eq!(rollouts[0].complete_while_unclear.len(), 1);
    }
}
