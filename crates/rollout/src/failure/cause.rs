//! Why one pod isn't ready, as far as its state shows.

use std::fmt;

use super::quote::one_line;
use crate::{Activity, ContainerRole, ContainerState, Explanation, PodState, Readiness, Termination};

/// What keeps a pod from being ready. Pods with equal causes are one group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause<'a> {
    /// The pod has failed for good, for this reason, which may be empty.
    Failed(&'a str),
    /// The pod has no node.
    Unscheduled,
    /// Kubernetes can't pull the image of this container.
    Image(Container<'a>),
    /// The configuration of this container refers to something that is missing or invalid.
    Configuration(Container<'a>),
    /// Kubernetes can't create or start this container, or its hook fails.
    Start(Container<'a>),
    /// This container is waiting for another reason.
    Waiting(Container<'a>),
    /// This container keeps terminating, in this way.
    Crash(Container<'a>, ExitStatus<'a>),
    /// This init container is still running.
    Initializing(Container<'a>),
    /// This container is running and isn't ready.
    Unready(Container<'a>, Readiness),
    /// All containers are ready, but a readiness gate isn't.
    ReadinessGate,
    /// The node hasn't set up volumes or network of the pod.
    WithoutSandbox,
    /// Kubernetes is creating the containers.
    Creating,
    /// The pod has a node, but the node hasn't reported any container.
    Unreported,
    /// The pod isn't ready, and its state doesn't show why.
    Unexplained,
}

/// A container, as a sentence names it.
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

/// How a container terminated, as a sentence names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExitStatus<'a> {
    reason: &'a str,
    /// `None` if Kubernetes doesn't show one.
    exit_code: Option<i32>,
}

impl ExitStatus<'_> {
    /// Whether the container terminated without an error. For a container that has to keep running, this is a problem too.
    pub fn is_success(&self) -> bool {
        self.exit_code == Some(0)
    }
}

impl fmt::Display for ExitStatus<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.reason, self.exit_code) {
            // The reason says nothing more than the exit code.
            ("" | "Error" | "Completed", Some(code)) => write!(formatter, "exit code {code}"),
            (reason, Some(code)) => write!(formatter, "{reason} (exit code {code})"),
            (_, None) => formatter.write_str("exit code unknown"),
        }
    }
}

/// The cause of one pod, with what may differ between pods of the same cause.
#[derive(Debug)]
pub struct Finding<'a> {
    pub cause: Cause<'a>,
    /// Reason and message from Kubernetes. A part that isn't quoted is empty.
    explanation: [&'a str; 2],
    /// Number of restarts of the container.
    pub restarts: i32,
    /// Whether the node waits before the next restart of the container.
    pub backing_off: bool,
    /// The readiness of the container while it runs between two restarts.
    pub readiness: Option<Readiness>,
}

impl<'a> Finding<'a> {
    fn new(cause: Cause<'a>) -> Self {
        Self { cause, explanation: ["", ""], restarts: 0, backing_off: false, readiness: None }
    }

    /// Reason and message from Kubernetes on one line. May be empty.
    pub fn quote(&self) -> String {
        let parts = self.explanation.map(one_line);
        parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    fn explained(cause: Cause<'a>, explanation: &'a Explanation) -> Self {
        Self { explanation: [&explanation.reason, &explanation.message], ..Self::new(cause) }
    }
}

/// Why `pod` isn't ready. `None` if it is.
pub fn finding(pod: &PodState) -> Option<Finding<'_>> {
    if let Some(failed) = &pod.failed {
        return Some(Finding { explanation: ["", &failed.message], ..Finding::new(Cause::Failed(&failed.reason)) });
    }
    if pod.ready {
        return None;
    }
    if let Some(unscheduled) = &pod.unscheduled {
        // The reason is only `Unschedulable` or `SchedulingGated`. The message says more.
        return Some(Finding { explanation: ["", &unscheduled.message], ..Finding::new(Cause::Unscheduled) });
    }
    if pod.containers.is_empty() {
        return Some(Finding::new(Cause::Unreported));
    }
    // Of containers with equal severity, the first: the others often only wait for it.
    let worst = pod.containers.iter().filter_map(container_finding).min_by_key(|(severity, _)| *severity);
    Some(match (worst, &pod.readiness_gates) {
        (Some((Severity::Creating, _)), _) if pod.without_sandbox => Finding::new(Cause::WithoutSandbox),
        (Some((_, finding)), _) => finding,
        (None, Some(readiness)) => Finding { explanation: ["", readiness], ..Finding::new(Cause::ReadinessGate) },
        (None, None) => Finding::new(Cause::Unexplained),
    })
}

/// How much the state of a container explains. The first variant explains most.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Severity {
    /// The state names an error.
    Error,
    /// The container is running after a restart.
    Restarted,
    /// The container is running.
    Running,
    /// Kubernetes is creating the container.
    Creating,
}

/// Why `container` isn't ready. `None` if it is, or if it is an init container that is done.
fn container_finding(container: &ContainerState) -> Option<(Severity, Finding<'_>)> {
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
                // An init container isn't expected to be ready while it runs.
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
        // The kubelet alternates between the failed start and the back-off. Both are one cause.
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
    let status = ExitStatus { reason, exit_code: termination.map(|termination| termination.exit_code) };
    // The message of the container itself may be a part of its log, which may contain secrets.
    let message = match termination {
        Some(termination) if matches!(reason, "StartError" | "ContainerCannotRun") => termination.message.as_str(),
        _ => "",
    };
    Finding { explanation: ["", message], restarts: container.restarts, ..Finding::new(Cause::Crash(named, status)) }
}
