//! What was seen against what has to be recorded.

mod absence;
mod endings;
mod numbers;
mod pauses;
mod revisions;

use std::fmt::Write;

use super::*;
use crate::Accuracy;
use crate::ProgressReason::{Complete, DeadlineExceeded, Found, Other, Paused, Resumed};
use crate::test_support::{deployment, progressing, replica_set, reused, time};
use Outcome::{Failed, InProgress, Recovered, RolledBack, Succeeded, Superseded, Unobserved};

const INSTALLED: i64 = 1000;
const NOW: i64 = 2000;

/// What has been seen of a Deployment, and what is recorded of it.
struct Case {
    deployment: Option<Observation>,
    former: Vec<PastObservation>,
    owned: Vec<Revision>,
    known: Vec<RecordedRevision>,
    policy: Policy,
    is_wanted: bool,
    now: i64,
}

fn policy() -> Policy {
    Policy { installed: time(INSTALLED), history: History::None, fail_after: SignedDuration::from_secs(900) }
}

impl Case {
    /// A Deployment that was found in a list.
    fn listed(row: Workload, owned: &[Revision]) -> Self {
        let deployment = Some(Observation::new(row, Source::List, time(NOW)));
        let (owned, policy) = (owned.to_vec(), policy());
        Self { deployment, former: Vec::new(), owned, known: Vec::new(), policy, is_wanted: true, now: NOW }
    }

    /// A Deployment that the watch followed from state to state, each with its second.
    fn followed(states: &[(i64, Workload)], owned: &[Revision]) -> Self {
        let mut case = Self::listed(states[0].1.clone(), owned);
        let mut observation = Observation::new(states[0].1.clone(), Source::Watch, time(states[0].0));
        for (second, row) in &states[1..] {
            if let Some(former) = observation.update(row.clone(), Source::Watch, time(*second)) {
                case.former.push(PastObservation {
                    observation: former,
                    replica_set: None,
                    left: Source::Watch,
                    until: time(*second),
                });
            }
        }
        case.deployment = Some(observation);
        case
    }

    /// Nothing that was seen before is kept any more.
    fn acknowledged(mut self) -> Self {
        self.former.clear();
        self
    }

    /// It is deleted at this second.
    fn deleted(mut self, second: i64, left: Source) -> Self {
        if let Some(observation) = self.deployment.take() {
            self.former.push(PastObservation { observation, replica_set: None, left, until: time(second) });
        }
        self
    }

    fn known(mut self, known: &[RecordedRevision]) -> Self {
        self.known = known.to_vec();
        self
    }

    fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    fn decided(&self) -> Decision<'_> {
        let scene = DecisionInput { deployment: self.deployment.as_ref(), former: &self.former, owned: &self.owned };
        decide(&scene, &self.known, &self.policy, &|_, _| self.is_wanted, time(self.now))
    }

    /// The changes, in words; and once they are written, there are no more.
    fn changes(&self) -> Vec<String> {
        let decision = self.decided();
        let mut known = self.known.clone();
        for change in &decision.changes {
            let is_same = |record: &&mut RecordedRevision| {
                record.revision == change.record.revision && record.repeated == change.record.repeated
            };
            match known.iter_mut().find(is_same) {
                Some(record) => {
                    let (before, after) = (record.outcome, change.record.outcome);
                    assert!(before == after || before.may_become(after), "{before:?} must not become {after:?}");
                    *record = change.record.clone();
                }
                None => known.push(change.record.clone()),
            }
        }
        let scene = DecisionInput { deployment: self.deployment.as_ref(), former: &self.former, owned: &self.owned };
        let again = decide(&scene, &known, &self.policy, &|_, _| self.is_wanted, time(self.now)).changes;
        assert!(again.is_empty(), "not the same a second time: {again:#?}");
        decision.changes.iter().map(words).collect()
    }
}

/// A change as `begin 2 Release Succeeded 1600-1610`, with `~` before a time that was only observed.
fn words(change: &Change<'_>) -> String {
    let stamp = |stamp: Option<TimeWithAccuracy>| {
        stamp.map_or_else(
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
        Action::Begin => {
            let kind = change.record.change.map_or("?", ChangeKind::as_str);
            format!("begin {revision} {kind} {outcome} {}-{}", stamp(change.started), stamp(change.finished))
        }
        Action::End => format!("end {revision} {outcome} {}", stamp(change.finished)),
        Action::Pause => format!("pause {revision} {:?}", change.record.paused_at.map(|at| at.time().as_second())),
        Action::RollBack => format!("end {revision} {outcome}"),
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

/// A record of `revision`, run by the ReplicaSet `named`, that ended at second `finished` (0: it has not).
fn known(revision: i64, named: &str, outcome: Outcome, finished: i64) -> RecordedRevision {
    RecordedRevision {
        revision,
        replica_set: RevisionId::new(named, named),
        repeated: false,
        outcome,
        change: None,
        started: UnixSeconds::of(time(1400 + 100 * revision)),
        finished: UnixSeconds::of(time(finished)),
        paused_at: None,
        paused_seconds: 0,
    }
}

/// The Deployment at `revision` with a condition that names `named` and is of second `updated`.
fn stating(revision: i64, reason: ProgressReason, named: &str, updated: i64) -> Workload {
    Workload { progressing: Some(progressing(reason, named, updated)), ..deployment(revision) }
}

/// The same with replicas that are not updated yet.
fn on_its_way(row: Workload) -> Workload {
    Workload { updated_replicas: 1, available_replicas: 1, ..row }
}

fn a() -> Revision {
    replica_set("a", 1, 1500)
}

fn b() -> Revision {
    replica_set("b", 2, 1600)
}
