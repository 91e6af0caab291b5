//! Tables from what was observed of a workload to what has to be recorded.

mod absence;
mod numbers;
mod outcomes;
mod pauses;
mod revisions;

use std::fmt::Write;

use super::*;
use crate::ProgressReason::{Complete, DeadlineExceeded, Found, Other, Paused, Resumed};
use crate::test_support::{deployment, progressing, replica_set, reused, time};
use crate::{
    Accuracy, Action, ChangeKind, Conditions, Outcome, PodCounts, ProgressReason, RevisionId, TimeWithAccuracy,
    UnixSeconds,
};
use Outcome::{Failed, InProgress, Recovered, RolledBack, Succeeded, Superseded, Unobserved};

const INSTALLED: i64 = 1000;
const NOW: i64 = 2000;

/// What was observed of a Deployment, and what is recorded of it.
struct Case {
    current: Option<Observation>,
    past: Vec<PastObservation>,
    revisions: Vec<Revision>,
    recorded: Vec<RecordedRevision>,
    policy: Policy,
    is_wanted: bool,
    now: i64,
}

fn policy() -> Policy {
    Policy { installed: time(INSTALLED), history: History::None, fail_after: SignedDuration::from_secs(900) }
}

impl Case {
    /// A Deployment from a list.
    fn listed(workload: Workload, revisions: &[Revision]) -> Self {
        let current = Some(Observation::new(workload, Source::List, time(NOW)));
        let (revisions, policy) = (revisions.to_vec(), policy());
        Self { current, past: Vec::new(), revisions, recorded: Vec::new(), policy, is_wanted: true, now: NOW }
    }

    /// A Deployment that the watch followed from state to state, each with its second.
    fn followed(states: &[(i64, Workload)], revisions: &[Revision]) -> Self {
        let mut case = Self::listed(states[0].1.clone(), revisions);
        let mut current = Observation::new(states[0].1.clone(), Source::Watch, time(states[0].0));
        for (second, workload) in &states[1..] {
            if let Some(observation) = current.update(workload.clone(), Source::Watch, time(*second)) {
                case.past.push(PastObservation {
                    observation,
                    revision: None,
                    next_source: Source::Watch,
                    until: time(*second),
                });
            }
        }
        case.current = Some(current);
        case
    }

    /// The same after the past states were recorded.
    fn without_past(mut self) -> Self {
        self.past.clear();
        self
    }

    /// The same after the Deployment was deleted at this second.
    fn deleted(mut self, second: i64, next_source: Source) -> Self {
        if let Some(observation) = self.current.take() {
            self.past.push(PastObservation { observation, revision: None, next_source, until: time(second) });
        }
        self
    }

    fn recorded(mut self, recorded: &[RecordedRevision]) -> Self {
        self.recorded = recorded.to_vec();
        self
    }

    fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    fn decision(&self) -> Decision<'_> {
        self.decision_with(&self.recorded)
    }

    fn decision_with(&self, recorded: &[RecordedRevision]) -> Decision<'_> {
        let input = DecisionInput { current: self.current.as_ref(), past: &self.past, revisions: &self.revisions };
        decide(&input, recorded, &self.policy, &|_, _| self.is_wanted, time(self.now))
    }

    /// The changes as texts. Once they are written, there are no further ones.
    fn changes(&self) -> Vec<String> {
        let decision = self.decision();
        let mut recorded = self.recorded.clone();
        for change in &decision.changes {
            let is_same = |record: &&mut RecordedRevision| {
                record.revision == change.record.revision && record.repeated == change.record.repeated
            };
            match recorded.iter_mut().find(is_same) {
                Some(record) => {
                    let (before, after) = (record.outcome, change.record.outcome);
                    assert!(before == after || before.may_become(after), "{before:?} must not become {after:?}");
                    *record = change.record.clone();
                }
                None => recorded.push(change.record.clone()),
            }
        }
        let further = self.decision_with(&recorded).changes;
        assert!(further.is_empty(), "a second decision changes more: {further:#?}");
        decision.changes.iter().map(describe).collect()
    }
}

/// A change as `start 2 Release Succeeded 1600-1610`, with `~` before an observed time.
fn describe(change: &Change<'_>) -> String {
    let time = |time: Option<TimeWithAccuracy>| {
        time.map_or_else(
            || "?".to_owned(),
            |TimeWithAccuracy { at, accuracy }| {
                let mark = if accuracy == Accuracy::Observed { "~" } else { "" };
                format!("{mark}{}", at.as_second())
            },
        )
    };
    let RecordedRevision { revision, outcome, .. } = change.record;
    let outcome = outcome.as_str();
    let mut text = match change.action {
        Action::Start => {
            let kind = change.record.change.map_or("?", ChangeKind::as_str);
            format!("start {revision} {kind} {outcome} {}-{}", time(change.started), time(change.finished))
        }
        Action::Finish => format!("finish {revision} {outcome} {}", time(change.finished)),
        Action::Pause => format!("pause {revision} {:?}", change.record.paused_at.map(|at| at.time().as_second())),
        Action::RollBack => format!("mark {revision} {outcome}"),
    };
    if change.record.paused_seconds > 0 {
        let _ = write!(text, " paused {} s", change.record.paused_seconds);
    }
    if let Some(by) = change.rolled_back_by {
        let _ = write!(text, " by {by}");
    }
    if let Some(unseen) = change.unseen {
        let _ = write!(text, " after {unseen} unseen");
    }
    if change.record.repeated {
        text += " repeated";
    }
    text
}

/// The record of a rollout of the ReplicaSet `name`, which ended at second `finished`. With 0, it hasn't ended.
fn record(revision: i64, name: &str, outcome: Outcome, finished: i64) -> RecordedRevision {
    RecordedRevision {
        revision,
        id: RevisionId::new(name, name),
        repeated: false,
        outcome,
        change: None,
        started: UnixSeconds::of(time(1400 + 100 * revision)),
        finished: UnixSeconds::of(time(finished)),
        paused_at: None,
        paused_seconds: 0,
    }
}

/// The Deployment at `revision`, with a condition that names the ReplicaSet `name` and was updated at second `updated`.
fn stating(revision: i64, reason: ProgressReason, name: &str, updated: i64) -> Workload {
    let conditions = Conditions { progressing: Some(progressing(reason, name, updated)), ..Conditions::default() };
    Workload { conditions, ..deployment(revision) }
}

/// The same with other counts.
fn counting(workload: Workload, set: impl FnOnce(&mut PodCounts)) -> Workload {
    let mut counts = workload.counts;
    set(&mut counts);
    Workload { counts, ..workload }
}

/// The same with one pod that isn't updated.
fn incomplete(workload: Workload) -> Workload {
    counting(workload, |counts| (counts.updated, counts.available) = (1, 1))
}

/// The same at 0 replicas.
fn at_zero(workload: Workload) -> Workload {
    Workload { counts: PodCounts::default(), ..workload }
}

/// The same, paused.
fn paused(workload: Workload) -> Workload {
    Workload { paused: true, ..workload }
}

fn a() -> Revision {
    replica_set("a", 1, 1500)
}

fn b() -> Revision {
    replica_set("b", 2, 1600)
}
