//! Records beside rollouts, each in a line.

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::model::{Cluster, START};
use super::observer::Observer;
use super::truth::{Moment, Rollout};
use crate::resources::{DoraDeploymentSpec, RevisionReference};
use rollout::{Accuracy, Outcome};

/// When the controller looked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Looks {
    /// After every event.
    Prompt,
    /// When much had happened: what only a clock or the counts tell may have escaped, and so may a pause.
    Late,
}

/// UID of the Deployment of a record.
pub fn workload_uid(spec: &DoraDeploymentSpec) -> &str {
    &spec.workload.as_ref().unwrap().uid
}

/// The revision of a record.
pub fn reference(spec: &DoraDeploymentSpec) -> &RevisionReference {
    spec.revision.as_ref().unwrap()
}

/// Whether the record is of this rollout, under any number that it ever had.
pub fn is_of(rollout: &Rollout, spec: &DoraDeploymentSpec) -> bool {
    let revision = reference(spec);
    *rollout.deployment == *workload_uid(spec)
        && *rollout.replica_set == *revision.uid
        && rollout.numbers.contains(&revision.number)
}

/// A record in a line.
pub fn recorded_line(spec: &DoraDeploymentSpec, with_pauses: bool) -> String {
    let moment = |time: &Option<Time>, accuracy: Option<Accuracy>| {
        let at = time.as_ref()?.0.as_second();
        Some(Moment { at, is_exact: accuracy == Some(Accuracy::Exact) })
    };
    let mut line = Line {
        deployment: workload_uid(spec),
        revision: reference(spec).number,
        replica_set: &reference(spec).uid,
        outcome: spec.outcome,
        started: moment(&spec.started_at, spec.started_at_accuracy),
        finished: moment(&spec.finished_at, spec.finished_at_accuracy),
        paused_seconds: spec.paused_seconds.unwrap_or(0) * i64::from(with_pauses),
        rolled_back_by: spec.rolled_back_by,
    }
    .text();
    if let Some(unseen) = spec.unseen_revisions {
        write!(line, " after {unseen} unseen").unwrap();
    }
    line
}

/// The line that the record of a rollout has to be.
pub fn expected_line(rollout: &Rollout, with_pauses: bool) -> String {
    let line = Line {
        deployment: &rollout.deployment,
        revision: rollout.number,
        replica_set: &rollout.replica_set,
        outcome: rollout.outcome(),
        started: Some(rollout.started),
        finished: rollout.finished(),
        paused_seconds: rollout.paused_seconds * i64::from(with_pauses),
        rolled_back_by: rollout.rolled_back_by,
    };
    line.text()
}

struct Line<'a> {
    deployment: &'a str,
    revision: i64,
    replica_set: &'a str,
    outcome: Outcome,
    started: Option<Moment>,
    finished: Option<Moment>,
    paused_seconds: i64,
    rolled_back_by: Option<i64>,
}

impl Line<'_> {
    fn text(self) -> String {
        let Self { deployment, revision, replica_set, outcome, started, finished, paused_seconds, rolled_back_by } =
            self;
        let moment = |moment: Option<Moment>| match moment {
            Some(Moment { at, is_exact: true }) => format!("{}", at - START),
            Some(Moment { at, is_exact: false }) => format!("~{}", at - START),
            None => "-".to_owned(),
        };
        let (deployment, replica_set) = (&deployment[..8], &replica_set[..8]);
        let (started, finished) = (moment(started), moment(finished));
        let mut text =
            format!("{deployment} revision {revision} of {replica_set}: {outcome:?} from {started} to {finished}");
        // A pause after a failure counts as well, for when it recovers: only a success has it as it is in the end.
        if paused_seconds > 0 && outcome == Outcome::Succeeded {
            write!(text, " but for {paused_seconds}").unwrap();
        }
        if let Some(by) = rolled_back_by {
            write!(text, " taken back by {by}").unwrap();
        }
        text
    }
}

/// Every rollout has one record, which says just what happened, and there is no other.
pub fn check_all(cluster: &Cluster, observer: &Observer<'_>, looks: Looks) -> Result<(), String> {
    let with_pauses = looks == Looks::Prompt;
    let mut recorded: Vec<String> =
        observer.recorded().iter().map(|record| recorded_line(&record.spec, with_pauses)).collect();
    let all = recorded.join("\n  ");
    let mut missing = Vec::new();
    let rollouts = &cluster.truth.rollouts;
    for (position, rollout) in rollouts.iter().enumerate().filter(|(_, rollout)| !rollout.is_taken_over) {
        let found = recorded.iter().position(|line| is_record(line, rollout, looks));
        let later = &rollouts[position + 1..];
        match found {
            Some(position) => drop(recorded.remove(position)),
            // The same number was given again before the look.
            None if looks == Looks::Late && later.iter().any(|later| is_same_number(rollout, later)) => {}
            None if !rollout.has_shown => {}
            None => missing.push(expected_line(rollout, with_pauses)),
        }
    }
    if missing.is_empty() && recorded.is_empty() {
        return Ok(());
    }
    Err(format!(
        "missing:\n  {}\ntoo much:\n  {}\nof all that is recorded:\n  {all}",
        missing.join("\n  "),
        recorded.join("\n  "),
    ))
}

fn is_same_number(one: &Rollout, other: &Rollout) -> bool {
    one.deployment == other.deployment && one.number == other.number
}

/// Whether this line is the record of the rollout.
fn is_record(line: &str, rollout: &Rollout, looks: Looks) -> bool {
    if line == expected_line(rollout, looks == Looks::Prompt) {
        return true;
    }
    // Two pauses with nothing written in between look like one, and one that is numbered anew meanwhile has no clear end.
    if looks == Looks::Prompt && (rollout.pauses > 1 || rollout.numbers.len() > 1) {
        return line.split(" but for").next() == expected_line(rollout, false).split(" but for").next();
    }
    let begins_alike = line.split(':').next() == expected_line(rollout, false).split(':').next();
    if looks == Looks::Prompt {
        // What stood still and was then scaled to nothing is complete to Kubernetes from then.
        let is_scaled_up = rollout.failed.is_some_and(|failed| !failed.is_exact) && rollout.completed.is_some();
        return (is_scaled_up || rollout.is_complete_at_nothing) && begins_alike;
    }
    // Stood still for a while, and then not; or failed, completed, paused and resumed.
    let may_hide_failure = rollout.failed.is_some_and(|failed| !failed.is_exact || rollout.completed.is_some());
    if may_hide_failure && line == expected_line(&rollout.without_failure(), false) {
        return true;
    }
    // When what has no stated time was seen depends on the look, and a pause and resume states a success anew.
    let is_told_by_looking = [rollout.completed, rollout.failed].into_iter().flatten().any(|moment| !moment.is_exact);
    (is_told_by_looking || rollout.is_restated) && begins_alike
}

/// What each record says that its rollout changed.
pub fn check_kinds(cluster: &Cluster, observer: &Observer<'_>) -> Result<(), String> {
    for record in observer.recorded() {
        let rollouts = &cluster.truth.rollouts;
        let Some(rollout) = rollouts.iter().find(|rollout| is_of(rollout, &record.spec)) else { continue };
        let (said, line) = (record.spec.change, recorded_line(&record.spec, true));
        if rollout.is_kind_known && said != Some(rollout.kind) {
            return Err(format!("{line} is said to be {said:?}, and is {:?}", rollout.kind));
        }
    }
    Ok(())
}
