//! Why one pod isn't ready, as far as it shows.

use std::fmt;

use super::quote::one_line;
use crate::{Activity, ContainerRole, ContainerState, Explanation, PodState, Readiness, Termination};

/// What keeps a pod from being ready. Pods with equal causes are counted together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause<'a> {
    /// It has failed for good, for this reason (may be empty).
    Failed(&'a str),
    /// No node was found for it.
    Unscheduled,
    /// The image of this container can't be pulled.
    Image(Container<'a>),
    /// What the configuration of this container refers to is missing or of no use.
    Configuration(Container<'a>),
    /// This container can't be made or started, or its hook fails.
    Start(Container<'a>),
    /// This container waits for another reason, which it names.
    Waiting(Container<'a>),
    /// This container does not stay up; how it ends.
    Crash(Container<'a>, Ending<'a>),
    /// This init container has not ended yet.
    Initializing(Container<'a>),
    /// This container runs and isn't ready.
    Unready(Container<'a>, Readiness),
    /// Its containers are ready, but a readiness gate isn't open.
    ReadinessGate,
    /// Its node has not set up its volumes and network.
    WithoutSandbox,
    /// It is being created.
    Creating,
    /// It has a node, which has reported no container.
    Unreported,
    /// It isn't ready, and shows nothing of why.
    Unexplained,
}

/// A container as it is named in a sentence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Container<'a> {
    role: ContainerRole,
    name: &'a str,
}

impl fmt::Display for Container<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            ContainerRole::Init => "init container",
            ContainerRole::Sidecar => "sidecar container",
            ContainerRole::Main => "container",
        };
        write!(formatter, "{role} {}", self.name)
    }
}

/// How a container ends, as it is named in a sentence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ending<'a> {
    reason: &'a str,
    /// `None` when no end of it is on record.
    exit_code: Option<i32>,
}

impl Ending<'_> {
    /// Whether it ends without an error, which is wrong too for what is meant to go on running.
    pub fn is_success(&self) -> bool {
        self.exit_code == Some(0)
    }
}

impl fmt::Display for Ending<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.reason, self.exit_code) {
            // Nothing that the exit code does not say.
            ("" | "Error" | "Completed", Some(code)) => write!(formatter, "exit code {code}"),
            (reason, Some(code)) => write!(formatter, "{reason} (exit code {code})"),
            (_, None) => formatter.write_str("its exit code is unknown"),
        }
    }
}

/// A cause, with what is not the same in each pod that has it.
#[derive(Debug)]
pub struct Finding<'a> {
    pub cause: Cause<'a>,
    /// What Kubernetes says of it: reason and message, as far as they are to be quoted.
    explanation: [&'a str; 2],
    /// How often the container was started anew.
    pub restarts: i32,
    /// Whether the node waits before it starts the container again.
    pub backing_off: bool,
    /// What is missing while the container runs, between two of its ends.
    pub readiness: Option<Readiness>,
}

impl<'a> Finding<'a> {
    fn new(cause: Cause<'a>) -> Self {
        Self { cause, explanation: ["", ""], restarts: 0, backing_off: false, readiness: None }
    }

    /// What Kubernetes says of it, on one line; may be empty.
    pub fn quote(&self) -> String {
        let parts = self.explanation.map(one_line);
        parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    fn explained(cause: Cause<'a>, explanation: &'a Explanation) -> Self {
        Self { explanation: [&explanation.reason, &explanation.message], ..Self::new(cause) }
    }
}

/// Why `pod` isn't ready; `None` if it is.
pub fn finding(pod: &PodState) -> Option<Finding<'_>> {
    if let Some(failed) = &pod.failed {
        return Some(Finding { explanation: ["", &failed.message], ..Finding::new(Cause::Failed(&failed.reason)) });
    }
    if pod.ready {
        return None;
    }
    if let Some(unscheduled) = &pod.unscheduled {
        // The reason is `Unschedulable` or `SchedulingGated`: the message says it better.
        return Some(Finding { explanation: ["", &unscheduled.message], ..Finding::new(Cause::Unscheduled) });
    }
    if pod.containers.is_empty() {
        return Some(Finding::new(Cause::Unreported));
    }
    // Of equally telling containers, the first: the others often only wait for it.
    let worst = pod.containers.iter().filter_map(trouble).min_by_key(|(severity, _)| *severity);
    Some(match (worst, &pod.readiness_gates) {
        (Some((Severity::Creating, _)), _) if pod.without_sandbox => Finding::new(Cause::WithoutSandbox),
        (Some((_, finding)), _) => finding,
        (None, Some(readiness)) => Finding { explanation: ["", readiness], ..Finding::new(Cause::ReadinessGate) },
        (None, None) => Finding::new(Cause::Unexplained),
    })
}

/// How much the state of a container explains, most first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Severity {
    /// It names an error.
    Error,
    /// It runs, but was started anew before.
    Restarted,
    /// It runs.
    Running,
    /// It is about to be made.
    Creating,
}

fn trouble(container: &ContainerState) -> Option<(Severity, Finding<'_>)> {
    let named = Container { role: container.role, name: &container.name };
    match &container.activity {
        Activity::Waiting(explanation) => Some(waiting(container, named, explanation)),
        Activity::Terminated(termination) if container.role == ContainerRole::Init && termination.exit_code == 0 => {
            None
        }
        Activity::Terminated(termination) => Some((Severity::Error, crash(container, named, Some(termination)))),
        Activity::Running(Readiness::Ready) if container.role != ContainerRole::Init => None,
        Activity::Running(readiness) => Some(match (container.role, &container.last_termination) {
            (_, Some(termination)) if container.restarts > 0 => {
                let crash = crash(container, named, Some(termination));
                // An init container is not meant to be ready while it runs.
                let readiness = (container.role != ContainerRole::Init).then_some(*readiness);
                (Severity::Restarted, Finding { readiness, ..crash })
            }
            (ContainerRole::Init, _) => (Severity::Running, Finding::new(Cause::Initializing(named))),
            _ => (Severity::Running, Finding::new(Cause::Unready(named, *readiness))),
        }),
    }
}

fn waiting<'a>(
    container: &'a ContainerState,
    named: Container<'a>,
    explanation: &'a Explanation,
) -> (Severity, Finding<'a>) {
    let cause = match explanation.reason.as_str() {
        "" | "ContainerCreating" | "PodInitializing" => return (Severity::Creating, Finding::new(Cause::Creating)),
        "CrashLoopBackOff" => {
            let crash = crash(container, named, container.last_termination.as_ref());
            return (Severity::Error, Finding { backing_off: true, ..crash });
        }
        // The kubelet shows the failed start and the back-off after it in turns: they are one cause.
        "RunContainerError" if container.last_termination.is_some() => {
            return (Severity::Error, crash(container, named, container.last_termination.as_ref()));
        }
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "InvalidImageName"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Cause::Image(named),
        "CreateContainerConfigError" => Cause::Configuration(named),
        "CreateContainerError"
        | "RunContainerError"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "PostStartHookError" => Cause::Start(named),
        _ => Cause::Waiting(named),
    };
    (Severity::Error, Finding::explained(cause, explanation))
}

fn crash<'a>(container: &ContainerState, named: Container<'a>, termination: Option<&'a Termination>) -> Finding<'a> {
    let reason = termination.map_or("", |termination| termination.reason.as_str());
    let ending = Ending { reason, exit_code: termination.map(|termination| termination.exit_code) };
    // A container's own message may be a part of its log, which is not ours to pass on.
    let message = match termination {
        Some(termination) if matches!(reason, "StartError" | "ContainerCannotRun") => termination.message.as_str(),
        _ => "",
    };
    Finding { explanation: ["", message], restarts: container.restarts, ..Finding::new(Cause::Crash(named, ending)) }
}
