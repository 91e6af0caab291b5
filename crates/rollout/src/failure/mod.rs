//! Why a rollout failed, in one sentence for people.
//!
//! The sentence says only what the cluster shows: that Kubernetes can't create pods, or why the pods of the failed revision aren't ready. If the
//! cluster shows neither, the sentence says how long there was no progress. It quotes messages of Kubernetes on one line.

mod cause;
mod pods;
mod quote;

use jiff::SignedDuration;

use self::cause::{Cause, ExitStatus, Finding, finding};
pub use self::pods::{Activity, ContainerRole, ContainerState, Explanation, PodState, Readiness, Termination};
use self::quote::{most_frequent, one_line, shortened};

/// Most characters of a failure reason.
const MAX_REASON_CHARACTERS: usize = 500;

/// Most pods of a revision that are checked. More pods would hardly explain more.
pub const POD_SAMPLE: usize = 100;

/// Most causes that a failure reason names. Pods with other causes are only counted.
const MAX_CAUSES: usize = 2;

/// How long a rollout made no progress before it counted as failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deadline {
    /// `spec.progressDeadlineSeconds` of the Deployment.
    Own(SignedDuration),
    /// The setting `rollouts.failAfter`, for workloads without a progress deadline.
    Timeout(SignedDuration),
}

/// Why a rollout failed, in one sentence of at most 500 characters without line breaks.
///
/// - `replica_failure` is the message of the condition `ReplicaFailure` with the reason `FailedCreate`. Kubernetes sets this condition if a
///   quota or an admission webhook refuses pods.
/// - `pods` are the pods of the failed revision, at most [`POD_SAMPLE`]. It is `None` if the controller may not list pods.
#[must_use]
pub fn failure(replica_failure: Option<&str>, deadline: Deadline, pods: Option<&[PodState]>) -> String {
    let groups = groups(pods.unwrap_or_default());
    let counted = CountedPods::of(pods.unwrap_or_default());
    let named = MAX_CAUSES - usize::from(replica_failure.is_some());
    let mut clauses: Vec<Clause> =
        replica_failure.map(|message| no_pods_created(message, counted)).into_iter().collect();
    clauses.extend(groups.iter().take(named).map(|group| group.clause(counted)));
    if clauses.is_empty() {
        return shortened(&no_progress(deadline, pods.map(|_| counted)), MAX_REASON_CHARACTERS);
    }
    let others: usize = groups.iter().skip(named).map(|group| group.findings.len()).sum();
    sentence(&clauses, others)
}

/// The number of pods, without those that have failed for good. Their ReplicaSet doesn't count them either.
#[derive(Clone, Copy)]
struct CountedPods {
    count: usize,
    /// Whether the revision may have more pods than were checked.
    sampled: bool,
}

impl CountedPods {
    fn of(pods: &[PodState]) -> Self {
        let count = pods.iter().filter(|pod| pod.failed.is_none()).count();
        Self { count, sampled: pods.len() >= POD_SAMPLE }
    }

    /// `count` of these pods, as the subject of a sentence. The verb has to be the same for one pod and for several, such as "can't".
    fn part(self, count: usize) -> String {
        match self {
            Self { count: 1, sampled: false } => "the only pod".to_owned(),
            Self { count: all, sampled: false } => format!("{count} of {all} pods"),
            Self { count: all, sampled: true } => format!("{count} of {all} checked pods"),
        }
    }
}

/// A part of the sentence: a statement, and a quotation from Kubernetes. Only the quotation is shortened.
struct Clause {
    statement: String,
    /// May be empty.
    quote: String,
}

impl Clause {
    fn new(statement: &str, quote: &str) -> Self {
        // The next clause isn't a new sentence.
        let quote = quote.strip_suffix('.').unwrap_or(quote);
        Self { statement: one_line(statement), quote: quote.to_owned() }
    }
}

fn no_pods_created(message: &str, pods: CountedPods) -> Clause {
    let statement = if pods.count == 0 { "pods can't be created" } else { "further pods can't be created" };
    Clause::new(statement, without_pod_name(&one_line(message)))
}

/// The message of the API server without the generated name of the pod.
///
/// An example is `pods "web-7679c567ff-x8zqj" is forbidden: exceeded quota: …` (`NewForbidden` and `NewInvalid` in
/// `apimachinery/pkg/api/errors`).
fn without_pod_name(message: &str) -> &str {
    ["pods \"", "Pod \""]
        .iter()
        .find_map(|beginning| message.strip_prefix(beginning)?.split_once('"'))
        .and_then(|(_, rest)| rest.strip_prefix(" is forbidden: ").or_else(|| rest.strip_prefix(" is invalid: ")))
        .unwrap_or(message)
}

fn no_progress(deadline: Deadline, pods: Option<CountedPods>) -> String {
    let waited = match deadline {
        Deadline::Own(waited) => format!("no progress for {} s (progressDeadlineSeconds)", waited.as_secs()),
        Deadline::Timeout(waited) => format!(
            "no progress for {} s (rollouts.failAfter, since the workload has no progress deadline)",
            waited.as_secs()
        ),
    };
    match pods {
        None => waited,
        Some(CountedPods { count: 0, .. }) => format!("{waited}, and there are no pods"),
        Some(pods) => format!(
            "{waited}, although {} became ready; a pod counts as available only after minReadySeconds",
            pods.part(pods.count)
        ),
    }
}

/// The pods with one cause.
struct Group<'a> {
    cause: Cause<'a>,
    findings: Vec<Finding<'a>>,
}

/// The causes of `pods`, the most frequent first.
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
    fn clause(&self, counted_pods: CountedPods) -> Clause {
        let pods = counted_pods.part(self.findings.len());
        let quote = most_frequent(self.findings.iter().map(Finding::quote)).unwrap_or_default();
        let statement = match self.cause {
            Cause::Failed(reason) => {
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                format!("{} failed{reason}", counted(self.findings.len(), "pod"))
            }
            Cause::Unscheduled if quote.is_empty() => format!("{pods}: no scheduler has assigned a node"),
            Cause::Unscheduled => format!("{pods} can't be scheduled"),
            Cause::Image(container) => format!("{pods} can't pull the image of {container}"),
            Cause::Configuration(container) => format!("{pods}: the configuration of {container} can't be used"),
            Cause::Start(container) => format!("{pods}: {container} can't be started"),
            Cause::Waiting(container) => format!("{pods}: {container} is waiting"),
            Cause::Crash(container, status) => format!("{pods}: {container} {}", self.crash(&status)),
            Cause::Initializing(container) => format!("{pods}: {container} is still running"),
            Cause::Unready(container, readiness) => format!("{pods}: {container} runs, but {}", missing(readiness)),
            Cause::ReadinessGate => format!("{pods}: all containers are ready, but a readiness gate isn't"),
            Cause::WithoutSandbox => {
                format!("{pods}: the node hasn't set up the volumes or the network (ContainerCreating)")
            }
            Cause::Creating => format!("{pods}: containers are still being created (ContainerCreating)"),
            Cause::Unreported => format!("{pods}: the node hasn't reported any container"),
            Cause::Unexplained => format!("{pods}: all containers are ready, but the pod isn't"),
        };
        Clause::new(&statement, &quote)
    }

    fn crash(&self, status: &ExitStatus<'_>) -> String {
        let fewest = self.findings.iter().map(|finding| finding.restarts).min().unwrap_or_default();
        let most = self.findings.iter().map(|finding| finding.restarts).max().unwrap_or_default();
        let restarts = if fewest == most {
            counted(most.unsigned_abs() as usize, "restart")
        } else {
            format!("{fewest} to {most} restarts")
        };
        let readiness = self.findings.first().and_then(|first| first.readiness);
        let is_equal = self.findings.iter().all(|finding| finding.readiness == readiness);
        match readiness.filter(|_| is_equal) {
            _ if self.findings.iter().any(|finding| finding.backing_off) => {
                let verb = if status.is_success() { "exiting" } else { "crashing" };
                format!("keeps {verb} (CrashLoopBackOff): {status}, {restarts}")
            }
            Some(readiness) => format!("runs again after {status} and {restarts}, but {}", missing(readiness)),
            None => format!("doesn't stay up: {status}, {restarts}"),
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

/// Joins the clauses. `others` pods have other causes.
///
/// The quotations share the characters that are left. What one quotation doesn't need is free for the next one.
fn sentence(clauses: &[Clause], others: usize) -> String {
    const BETWEEN_CLAUSES: &str = "; ";
    const BEFORE_QUOTE: &str = ": ";
    let rest = if others == 0 { String::new() } else { format!("; other causes: {}", counted(others, "pod")) };
    let statements: usize = clauses.iter().map(|clause| clause.statement.chars().count()).sum();
    let joints = clauses.len() * (BETWEEN_CLAUSES.len() + BEFORE_QUOTE.len());
    let mut room = MAX_REASON_CHARACTERS.saturating_sub(statements + joints + rest.chars().count());
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
    // Names are within the limits of Kubernetes and fit. This is for names without a limit.
    shortened(&(parts.join(BETWEEN_CLAUSES) + &rest), MAX_REASON_CHARACTERS)
}

#[cfg(test)]
mod tests;
