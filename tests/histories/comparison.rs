//! Compares records with rollouts. Each becomes one line of text.

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use port_dora_controller::resources::{DoraDeploymentSpec, RevisionReference};
use rollout::{Accuracy, Outcome};

use super::Mismatch;
use super::model::SimulatedCluster;
use super::objects::START;
use super::observer::Observer;
use super::truth::{Moment, Rollout};

/// When the controller reconciles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timing {
    /// After every event.
    Prompt,
    /// After several events. The controller may miss a pause, and what only a clock or the counts of the status tell.
    Late,
}

/// UID of the workload of a record.
pub fn workload_uid(spec: &DoraDeploymentSpec) -> &str {
    &spec.workload.as_ref().unwrap().uid
}

/// The revision of a record.
pub fn revision(spec: &DoraDeploymentSpec) -> &RevisionReference {
    spec.revision.as_ref().unwrap()
}

/// Whether the record is about this rollout, under any number that the rollout ever had.
pub fn is_about(spec: &DoraDeploymentSpec, rollout: &Rollout) -> bool {
    let revision = revision(spec);
    *rollout.deployment == *workload_uid(spec)
        && *rollout.replica_set == *revision.uid
        && rollout.numbers.contains(&revision.number)
}

/// The line of a record.
pub fn recorded_line(spec: &DoraDeploymentSpec, with_pauses: bool) -> String {
    let moment = |time: &Option<Time>, accuracy: Option<Accuracy>| {
        let at = time.as_ref()?.0.as_second();
        Some(Moment { at, is_exact: accuracy == Some(Accuracy::Exact) })
    };
    let mut line = Line {
        deployment: workload_uid(spec),
        revision: revision(spec).number,
        replica_set: &revision(spec).uid,
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

/// The line that the record of a rollout must have.
pub fn expected_line(rollout: &Rollout, with_pauses: bool) -> String {
    let line = Line {
        deployment: &rollout.deployment,
        revision: rollout.number,
        replica_set: &rollout.replica_set,
        outcome: rollout.outcome(),
        started: Some(rollout.started),
        finished: rollout.progress.finished(),
        paused_seconds: rollout.pauses.seconds * i64::from(with_pauses),
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
        // A failed rollout may recover, so its pauses count up to then. Only a success has its final pauses.
        if paused_seconds > 0 && outcome == Outcome::Succeeded {
            write!(text, "{PAUSED}{paused_seconds}").unwrap();
        }
        if let Some(by) = rolled_back_by {
            write!(text, " rolled back by {by}").unwrap();
        }
        text
    }
}

/// What a line has before the seconds in which the rollout was paused.
const PAUSED: &str = " paused for ";

fn without_pauses(line: &str) -> Option<&str> {
    line.split(PAUSED).next()
}

/// Deployment, revision and ReplicaSet of a line.
fn subject(line: &str) -> Option<&str> {
    line.split(':').next()
}

/// Each rollout has one record, which says just what happened, and there are no other records.
pub fn check_records(cluster: &SimulatedCluster, observer: &Observer<'_>, timing: Timing) -> Result<(), Mismatch> {
    let with_pauses = timing == Timing::Prompt;
    let mut recorded: Vec<String> =
        observer.recorded().iter().map(|record| recorded_line(&record.spec, with_pauses)).collect();
    let all = recorded.join("\n  ");
    let mut missing = Vec::new();
    let rollouts = &cluster.truth.rollouts;
    for (position, rollout) in rollouts.iter().enumerate().filter(|(_, rollout)| !rollout.is_adopted) {
        let found = recorded.iter().position(|line| is_record(line, rollout, timing));
        let later = &rollouts[position + 1..];
        match found {
            Some(position) => drop(recorded.remove(position)),
            // Another rollout got the same number before the controller reconciled.
            None if timing == Timing::Late && later.iter().any(|later| has_same_number(rollout, later)) => {}
            None if timing == Timing::Late && rollout.was_ambiguous => {}
            None if !rollout.was_visible => {}
            None => missing.push(expected_line(rollout, with_pauses)),
        }
    }
    if missing.is_empty() && recorded.is_empty() {
        return Ok(());
    }
    Err(Mismatch(format!(
        "missing records:\n  {}\nunexpected records:\n  {}\nall records:\n  {all}",
        missing.join("\n  "),
        recorded.join("\n  "),
    )))
}

fn has_same_number(one: &Rollout, other: &Rollout) -> bool {
    one.deployment == other.deployment && one.number == other.number
}

/// Whether this is the line of the rollout's record.
fn is_record(line: &str, rollout: &Rollout, timing: Timing) -> bool {
    if line == expected_line(rollout, timing == Timing::Prompt) {
        return true;
    }
    let expected = expected_line(rollout, false);
    let is_same_subject = subject(line) == subject(&expected);
    if rollout.was_hidden && is_same_subject {
        return true;
    }
    match timing {
        // Two pauses without a write between them look like one. A pause has no clear end if the ReplicaSet gets
        // another number in it.
        Timing::Prompt if rollout.pauses.count > 1 || rollout.numbers.len() > 1 => {
            without_pauses(line) == without_pauses(&expected)
        }
        Timing::Prompt => {
            let progress = &rollout.progress;
            // Kubernetes calls a rollout without progress complete when it is scaled to zero.
            let is_scaled_up = progress.failed.is_some_and(|failed| !failed.is_exact) && progress.completed.is_some();
            (is_scaled_up || progress.is_complete_at_zero) && is_same_subject
        }
        Timing::Late => (rollout.was_ambiguous && is_same_subject) || is_late_record(line, rollout, is_same_subject),
    }
}

/// Whether a late controller may record the rollout with this line. `is_same_subject` tells that the line is about the
/// rollout.
fn is_late_record(line: &str, rollout: &Rollout, is_same_subject: bool) -> bool {
    let progress = &rollout.progress;
    // It made no progress for a while and then went on; or it failed, completed, and was paused and resumed.
    let may_hide_failure = progress.failed.is_some_and(|failed| !failed.is_exact || progress.completed.is_some());
    if may_hide_failure && line == expected_line(&rollout.without_failure(), false) {
        return true;
    }
    // A time that the cluster doesn't state is that of the reconciliation. A pause and a resume give a success a later
    // time.
    let has_observed_time = [progress.completed, progress.failed].into_iter().flatten().any(|moment| !moment.is_exact);
    (has_observed_time || progress.is_restated) && is_same_subject
}

/// Each record says what its rollout changed, if that can be known.
pub fn check_change_kinds(cluster: &SimulatedCluster, observer: &Observer<'_>) -> Result<(), Mismatch> {
    for record in observer.recorded() {
        let rollouts = &cluster.truth.rollouts;
        let Some(rollout) = rollouts.iter().find(|rollout| is_about(&record.spec, rollout)) else { continue };
        let (change, line) = (record.spec.change, recorded_line(&record.spec, true));
        if rollout.is_kind_known && change != Some(rollout.kind) {
            return Err(Mismatch(format!("{line} has change {change:?} instead of {:?}", rollout.kind)));
        }
    }
    Ok(())
}
