//! Why a rollout failed, in one sentence that a person understands.
//!
//! The sentence says what the cluster shows and no more: a refusal to make pods, what the pods of the failed revision
//! wait for, or else only that time has passed. Messages of Kubernetes are quoted as they are, on one line.

mod cause;
mod pods;
mod quote;

use jiff::SignedDuration;

use self::cause::{Cause, Finding, finding};
pub use self::pods::{Activity, ContainerRole, ContainerState, Explanation, PodState, Readiness, Termination};
use self::quote::{most_frequent, one_line, shortened};

/// Most characters of a reason.
pub const LONGEST_REASON: usize = 500;

/// Most pods of a revision that are looked at: more would hardly explain more.
pub const POD_SAMPLE: usize = 100;

/// Causes that are told; the pods that have others are counted.
const CAUSES_TOLD: usize = 2;

/// How long a rollout made no progress before it counted as failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deadline {
    /// `spec.progressDeadlineSeconds` of the Deployment.
    Own(SignedDuration),
    /// The controller's timeout for Deployments that have no deadline.
    Timeout(SignedDuration),
}

/// Why a rollout failed: one sentence of at most 500 characters, without line breaks.
///
/// `refusal` is the message of the Deployment's condition `ReplicaFailure` with the reason `FailedCreate`, by which a
/// quota or an admission check refuses pods. `pods` are those of the failed revision, at most [`POD_SAMPLE`]; `None`
/// if they may not be listed, which makes the reason shorter.
#[must_use]
pub fn failure(refusal: Option<&str>, deadline: Deadline, pods: Option<&[PodState]>) -> String {
    let groups = groups(pods.unwrap_or_default());
    let present = Present::of(pods.unwrap_or_default());
    let told = CAUSES_TOLD - usize::from(refusal.is_some());
    let mut clauses: Vec<Clause> = refusal.map(|refusal| refused(refusal, present)).into_iter().collect();
    clauses.extend(groups.iter().take(told).map(|group| group.clause(present)));
    if clauses.is_empty() {
        return shortened(&no_cause(deadline, pods.map(|_| present)), LONGEST_REASON);
    }
    let untold: usize = groups.iter().skip(told).map(|group| group.findings.len()).sum();
    sentence(&clauses, untold)
}

/// How many pods there are, but for those that have failed for good: their ReplicaSet no longer counts them.
#[derive(Clone, Copy)]
struct Present {
    count: usize,
    /// Whether there may be more than were looked at.
    sampled: bool,
}

impl Present {
    fn of(pods: &[PodState]) -> Self {
        let count = pods.iter().filter(|pod| pod.failed.is_none()).count();
        Self { count, sampled: pods.len() >= POD_SAMPLE }
    }

    /// `count` of these pods, as the subject of a sentence whose verb is the same for one and for many.
    fn part(self, count: usize) -> String {
        match self {
            Self { count: 1, sampled: false } => "the only pod".to_owned(),
            Self { count: all, sampled: false } => format!("{count} of {all} pods"),
            Self { count: all, sampled: true } => format!("{count} of {all} pods looked at"),
        }
    }
}

/// A part of the sentence: what we say, and what Kubernetes says. Only the latter is shortened.
struct Clause {
    statement: String,
    /// May be empty.
    quote: String,
}

impl Clause {
    fn new(statement: &str, quote: &str) -> Self {
        // What follows a clause is not a new sentence.
        let quote = quote.strip_suffix('.').unwrap_or(quote);
        Self { statement: one_line(statement), quote: quote.to_owned() }
    }
}

fn refused(message: &str, present: Present) -> Clause {
    let statement = if present.count == 0 { "pods can't be created" } else { "further pods can't be created" };
    Clause::new(statement, without_pod_name(&one_line(message)))
}

/// The refusal of the API server without the name that the ReplicaSet had made up for the pod.
///
/// Such as `pods "web-7679c567ff-x8zqj" is forbidden: exceeded quota: …` (`NewForbidden` and `NewInvalid` in
/// `apimachinery/pkg/api/errors`).
fn without_pod_name(message: &str) -> &str {
    ["pods \"", "Pod \""]
        .iter()
        .find_map(|beginning| message.strip_prefix(beginning)?.split_once('"'))
        .and_then(|(_, rest)| rest.strip_prefix(" is forbidden: ").or_else(|| rest.strip_prefix(" is invalid: ")))
        .unwrap_or(message)
}

fn no_cause(deadline: Deadline, present: Option<Present>) -> String {
    let waited = match deadline {
        Deadline::Own(waited) => format!("no progress for {} s (progressDeadlineSeconds)", waited.as_secs()),
        Deadline::Timeout(waited) => format!(
            "no progress for {} s (the controller's timeout for Deployments without progressDeadlineSeconds)",
            waited.as_secs()
        ),
    };
    match present {
        None => waited,
        Some(Present { count: 0, .. }) => format!("{waited}, and there is no pod"),
        Some(present) => format!(
            "{waited}, though {} became ready; a pod counts as available only after minReadySeconds",
            present.part(present.count)
        ),
    }
}

/// The pods that have one cause.
struct Group<'a> {
    cause: Cause<'a>,
    findings: Vec<Finding<'a>>,
}

/// The causes of `pods`, the most common first.
fn groups(pods: &[PodState]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for finding in pods.iter().filter_map(finding) {
        match groups.iter_mut().find(|group| group.cause == finding.cause) {
            Some(group) => group.findings.push(finding),
            None => groups.push(Group { cause: finding.cause, findings: vec![finding] }),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.findings.len()));
    groups
}

impl Group<'_> {
    fn clause(&self, present: Present) -> Clause {
        let pods = present.part(self.findings.len());
        let quote = most_frequent(self.findings.iter().map(Finding::quote)).unwrap_or_default();
        let statement = match self.cause {
            Cause::Failed(reason) => {
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                format!("{} failed{reason}", counted(self.findings.len(), "pod"))
            }
            Cause::Unscheduled if quote.is_empty() => format!("{pods} got no node, and no scheduler says why"),
            Cause::Unscheduled => format!("{pods} can't be scheduled"),
            Cause::Image(container) => format!("{pods} can't pull the image of {container}"),
            Cause::Configuration(container) => format!("{pods}: the configuration of {container} can't be used"),
            Cause::Start(container) => format!("{pods}: {container} can't be started"),
            Cause::Waiting(container) => format!("{pods}: {container} is waiting"),
            Cause::Crash(container, ending) => format!("{pods}: {container} {}", self.crash(&ending)),
            Cause::Initializing(container) => format!("{pods}: {container} is still running"),
            Cause::Unready(container, readiness) => format!("{pods}: {container} runs, but {}", missing(readiness)),
            Cause::ReadinessGate => format!("{pods}: all containers are ready, but a readiness gate isn't open"),
            Cause::WithoutSandbox => {
                format!("{pods}: the node hasn't set up the volumes or the network (ContainerCreating)")
            }
            Cause::Creating => format!("{pods}: containers are still being created (ContainerCreating)"),
            Cause::Unreported => format!("{pods} got a node, which hasn't reported any container"),
            Cause::Unexplained => format!("{pods}: all containers are ready, but the pod isn't"),
        };
        Clause::new(&statement, &quote)
    }

    fn crash(&self, ending: &cause::Ending<'_>) -> String {
        let fewest = self.findings.iter().map(|finding| finding.restarts).min().unwrap_or_default();
        let most = self.findings.iter().map(|finding| finding.restarts).max().unwrap_or_default();
        let restarts = if fewest == most {
            counted(most.unsigned_abs() as usize, "restart")
        } else {
            format!("{fewest} to {most} restarts")
        };
        let readiness = self.findings.first().and_then(|first| first.readiness);
        let alike = self.findings.iter().all(|finding| finding.readiness == readiness);
        match readiness.filter(|_| alike) {
            _ if self.findings.iter().any(|finding| finding.backing_off) => {
                let verb = if ending.is_success() { "ending" } else { "crashing" };
                format!("keeps {verb} (CrashLoopBackOff): {ending}, {restarts}")
            }
            Some(readiness) => format!("runs after {ending} and {restarts}, but {}", missing(readiness)),
            None => format!("doesn't stay up: {ending}, {restarts}"),
        }
    }
}

fn missing(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::BehindStartupProbe => "hasn't passed its startup probe",
        Readiness::BehindReadinessProbe => "doesn't pass its readiness probe",
        Readiness::Ready | Readiness::Unready => "isn't ready",
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Joins the clauses; quotes share the room that is left, and what one does not need is the next one's.
fn sentence(clauses: &[Clause], untold: usize) -> String {
    const BETWEEN_CLAUSES: &str = "; ";
    const BEFORE_QUOTE: &str = ": ";
    let rest = if untold == 0 { String::new() } else { format!("; other causes: {}", counted(untold, "pod")) };
    let said: usize = clauses.iter().map(|clause| clause.statement.chars().count()).sum();
    let joints = clauses.len() * (BETWEEN_CLAUSES.len() + BEFORE_QUOTE.len());
    let mut room = LONGEST_REASON.saturating_sub(said + joints + rest.chars().count());
    let mut quotes_left = clauses.iter().filter(|clause| !clause.quote.is_empty()).count();
    let mut parts = Vec::new();
    for Clause { statement, quote } in clauses {
        if quote.is_empty() {
            parts.push(statement.clone());
            continue;
        }
        let quote = shortened(quote, room / quotes_left);
        room -= quote.chars().count();
        quotes_left -= 1;
        parts.push(format!("{statement}{BEFORE_QUOTE}{quote}"));
    }
    // Names that Kubernetes bounds fit; this is for what it may not have bounded.
    shortened(&(parts.join(BETWEEN_CLAUSES) + &rest), LONGEST_REASON)
}

#[cfg(test)]
mod tests;
