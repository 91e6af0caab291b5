//! How each rollout went, judged by all that was seen, without a gap and after the fact.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rollout::{ChangeKind, Outcome};

use super::observer::{Course, Progressing, Seen, SeenReplicaSet, State};

/// One rollout: a ReplicaSet of a Deployment in effect, from when it is until another one is.
#[derive(Clone, Debug)]
pub struct Rollout<'a> {
    pub uid: &'a str,
    pub name: &'a str,
    pub revision: i64,
    pub replica_set: &'a SeenReplicaSet,
    pub change: ChangeKind,
    /// What changed against the ReplicaSet that has the number before, which may never have been rolled out.
    pub change_by_number: ChangeKind,
    pub began: Instant,
    /// When the next one began or the Deployment was deleted.
    pub left: Option<Instant>,
    pub is_deleted: bool,
    pub failed: Option<Instant>,
    pub completed: Option<Instant>,
    /// The times of completion that the conditions stated: several, if it was paused and resumed afterwards.
    pub completions: Vec<Timestamp>,
    /// The times in which it stood still where the Deployment controller keeps no deadline.
    pub untracked_standstills: Vec<(Instant, Instant)>,
    pub deadline: Duration,
    /// Whether its revision came while the Deployment was paused, as a mere number at first.
    pub was_numbered: bool,
    /// The times in which the condition told nothing of how it stands: the Deployment was paused or just resumed, or the Deployment
    /// controller did not follow it.
    pub unclear: Vec<(Instant, Instant)>,
}

impl Rollout<'_> {
    /// How it ended, apart from what came after it was over.
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

    /// When that was first certain.
    pub fn ended(&self) -> Option<Instant> {
        [self.failed, self.completed, self.left].into_iter().flatten().min()
    }
}

/// The rollouts of all Deployments, oldest first for each.
pub fn rollouts(seen: &Seen) -> Vec<Rollout<'_>> {
    let numbered = numbered_while_paused(seen);
    seen.deployments.iter().flat_map(|(uid, course)| of_deployment(seen, &numbered, uid, course)).collect()
}

/// When a revision of a Deployment was first seen, by the UID of the Deployment and the number.
pub type Numbered<'a> = BTreeMap<(&'a str, i64), Instant>;

/// When each revision was first seen that came while its Deployment was paused: it is only a number until the resume, but who was not
/// there can't know that nothing ran.
pub fn numbered_while_paused(seen: &Seen) -> Numbered<'_> {
    let mut numbered = BTreeMap::new();
    for (uid, course) in &seen.deployments {
        for pair in course.states.windows(2).filter(|pair| pair[0].revision != pair[1].revision && pair[1].paused) {
            if let Some(revision) = pair[1].revision {
                numbered.entry((uid.as_str(), revision)).or_insert(pair[1].at);
            }
        }
    }
    numbered
}

fn of_deployment<'a>(seen: &'a Seen, numbered: &Numbered<'a>, uid: &'a str, course: &'a Course) -> Vec<Rollout<'a>> {
    let mut rollouts: Vec<Rollout<'a>> = Vec::new();
    let mut judge = Judge::default();
    for (position, state) in course.states.iter().enumerate() {
        let former = position.checked_sub(1).map(|position| &course.states[position]);
        let Some((revision, replica_set)) =
            state.revision.and_then(|revision| Some((revision, seen.replica_set(uid, revision)?)))
        else {
            continue;
        };
        if let Some(former) = former.filter(|former| former.revision != state.revision) {
            judge.void = former.progressing.clone().filter(|_| former.revision.is_some());
        }
        let is_same = rollouts.last().is_some_and(|last| last.replica_set.uid == replica_set.uid);
        let was_numbered = numbered.contains_key(&(uid, revision));
        // While it is paused an undo only renumbers, and the template may change once more before it is resumed.
        let runs = state.is_observed && (state.updated > 0 || state.replicas == 0);
        if !is_same && (state.paused || was_numbered && !runs) {
            continue;
        }
        if !is_same {
            let ran_before = rollouts.last().map(|last| last.replica_set);
            let numbered_before = seen.replica_set(uid, revision - 1).or(ran_before);
            if let Some(last) = rollouts.last_mut() {
                last.left = Some(state.at);
            }
            judge = Judge { void: judge.void.take(), ..Judge::default() };
            rollouts.push(Rollout {
                uid,
                name: &course.name,
                revision,
                replica_set,
                change: change(revision, replica_set, ran_before),
                change_by_number: change(revision, replica_set, numbered_before),
                began: state.at,
                left: None,
                is_deleted: false,
                failed: None,
                completed: None,
                completions: Vec::new(),
                untracked_standstills: Vec::new(),
                deadline: Duration::ZERO,
                was_numbered,
                unclear: Vec::new(),
            });
        }
        let next = course.states.get(position + 1).map(|next| next.at).or(course.deleted).unwrap_or_else(Instant::now);
        if let Some(rollout) = rollouts.last_mut() {
            judge.look(rollout, state, next);
        }
    }
    if let (Some(last), Some(_)) = (rollouts.last_mut(), course.deleted) {
        last.left = course.deleted;
        last.is_deleted = true;
    }
    rollouts
}

/// What changed, against what ran before.
fn change(revision: i64, replica_set: &SeenReplicaSet, before: Option<&SeenReplicaSet>) -> ChangeKind {
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

/// Follows one rollout.
#[derive(Debug, Default)]
struct Judge {
    /// A condition that is not about this rollout: it stood when the rollout began, or came when nothing ran.
    void: Option<Progressing>,
    counts: Option<(i32, i32, i32, bool)>,
    moved: Option<Instant>,
}

impl Judge {
    fn look(&mut self, rollout: &mut Rollout<'_>, state: &State, next: Instant) {
        rollout.deadline = Duration::from_secs(u64::try_from(state.deadline_seconds).unwrap_or_default());
        let counts = (state.current, state.updated, state.available, state.paused);
        if self.counts.replace(counts) != Some(counts) {
            self.moved = Some(state.at);
        }
        if self.void != state.progressing {
            self.void = None;
        }
        let condition = state.progressing.as_ref().filter(|_| self.void.is_none());
        let reason = condition.map(|condition| condition.reason.as_str()).unwrap_or_default();
        let speaks_of_it = condition.is_some_and(|condition| condition.replica_set == rollout.replica_set.name);
        let is_end = ["NewReplicaSetAvailable", "ProgressDeadlineExceeded"].contains(&reason);
        match reason {
            "NewReplicaSetAvailable" if speaks_of_it => {
                if rollout.failed.is_some() && rollout.completed.is_none() && state.replicas == 0 {
                    // Scaled to nothing, what has failed is complete to the Deployment controller.
                    self.void.clone_from(&state.progressing);
                } else {
                    rollout.completed.get_or_insert(state.at);
                    rollout.completions.extend(condition.and_then(|condition| condition.updated));
                }
            }
            "ProgressDeadlineExceeded" if speaks_of_it && rollout.completed.is_none() => {
                rollout.failed.get_or_insert(state.at);
            }
            _ => {}
        }
        let is_paused = state.paused || ["DeploymentPaused", "DeploymentResumed"].contains(&reason);
        let is_tracked = condition.is_some() && (speaks_of_it || !is_end);
        let is_complete = state.is_observed && [state.current, state.updated, state.available] == [state.replicas; 3];
        // A failure stands while the Deployment is paused, whatever becomes of its pods.
        let is_counted = !is_tracked || reason == "ProgressDeadlineExceeded";
        if is_counted && is_complete && (rollout.failed.is_none() || state.replicas > 0) {
            rollout.completed.get_or_insert(state.at);
        }
        if is_paused || !is_tracked {
            rollout.unclear.push((state.at, next));
        }
        if let Some(moved) = self.moved.filter(|_| !is_tracked && !state.paused && rollout.completed.is_none()) {
            rollout.untracked_standstills.retain(|(since, _)| *since != moved);
            rollout.untracked_standstills.push((moved, next));
        }
    }
}

mod tests {
    use super::*;

    const UID: &str = "deployment-uid";

    /// A Deployment of one ReplicaSet, `web-1`, which went through these states.
    fn seen(states: Vec<State>) -> Seen {
        let replica_set = SeenReplicaSet {
            uid: "replica-set-uid".to_owned(),
            name: "web-1".to_owned(),
            owner: UID.to_owned(),
            created: None,
            revisions: [1].into(),
            images: Vec::new(),
            template: serde_json::Value::Null,
        };
        let mut seen = Seen::default();
        seen.deployments.insert(UID.to_owned(), Course { name: "web".to_owned(), states, deleted: None });
        seen.replica_sets.insert(replica_set.uid.clone(), replica_set);
        seen
    }

    /// A Deployment of three replicas of which none is available, with a condition that has this reason and names its ReplicaSet.
    fn state(reason: &str) -> State {
        State {
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
    fn failed_then_paused_and_scaled_to_nothing_is_failed() {
        let failed = || state("ProgressDeadlineExceeded");
        let paused = || State { paused: true, ..failed() };
        let nothing = || State { replicas: 0, current: 0, updated: 0, available: 0, ..paused() };
        let seen = seen(vec![
            state("ReplicaSetUpdated"),
            failed(),
            paused(),
            State { current: 3, updated: 3, is_observed: false, ..nothing() },
            nothing(),
        ]);
        let outcomes: Vec<_> = rollouts(&seen).iter().map(|rollout| (rollout.revision, rollout.outcome())).collect();
        assert_eq!(outcomes, [(1, Outcome::Failed)]);
    }

    #[test]
    fn failed_then_paused_and_complete_has_recovered() {
        let failed = || state("ProgressDeadlineExceeded");
        let paused = || State { paused: true, ..failed() };
        let seen = seen(vec![state("ReplicaSetUpdated"), failed(), paused(), State { available: 3, ..paused() }]);
        let outcomes: Vec<_> = rollouts(&seen).iter().map(|rollout| (rollout.revision, rollout.outcome())).collect();
        assert_eq!(outcomes, [(1, Outcome::Recovered)]);
    }
}
