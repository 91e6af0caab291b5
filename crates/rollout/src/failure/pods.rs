//! What the pods of a revision show of their state, as far as it can explain why they aren't ready.

/// What a pod shows of its state.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PodState {
    /// Whether its condition `Ready` is true.
    pub ready: bool,
    /// Why it failed for good (`status.phase: Failed`), for example `Evicted`. Its ReplicaSet makes another in its
    /// place, and the failed one stays until it is collected.
    pub failed: Option<Explanation>,
    /// What the scheduler says, if no node has been found for it yet; empty when no scheduler has said anything.
    pub unscheduled: Option<Explanation>,
    /// Whether its node says that volumes and network are not set up yet (`PodReadyToStartContainers` is false: the
    /// kubelet mounts the volumes before it makes the sandbox that this condition speaks of).
    pub without_sandbox: bool,
    /// What is said of its readiness readiness, once all of its containers are ready and a gate is not.
    pub readiness_gates: Option<String>,
    /// Its containers, those of initialization first, in the order of the pod's specification; empty until its node
    /// has reported any.
    pub containers: Vec<ContainerState>,
}

/// A reason in one word and a message, as Kubernetes gives them. Both may be empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Explanation {
    /// The reason, such as `ImagePullBackOff`.
    pub reason: String,
    /// The message.
    pub message: String,
}

/// What a pod shows of one of its containers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContainerState {
    /// Its name.
    pub name: String,
    /// What it is in its pod.
    pub role: ContainerRole,
    /// What it is doing.
    pub activity: Activity,
    /// How it ended the last time, before it was started anew.
    pub last_termination: Option<Termination>,
    /// How often it was started anew.
    pub restarts: i32,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ContainerRole {
    /// One that has to end before the next is started.
    Init,
    /// One of `initContainers` with `restartPolicy: Always`: it goes on running beside the others.
    Sidecar,
    /// One of `containers`.
    Main,
}

/// What a container is doing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Activity {
    /// It is not started; why, as its node says.
    Waiting(Explanation),
    /// It runs.
    Running(Readiness),
    /// It has ended.
    Terminated(Termination),
}

/// Whether a running container is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// It is.
    Ready,
    /// Not yet: it has a startup probe, which it has not passed.
    BehindStartupProbe,
    /// Not now: it has a readiness probe, which it does not pass.
    BehindReadinessProbe,
    /// It is not, and it has no probe that would tell why.
    Unready,
}

/// How a container ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Termination {
    /// The reason, such as `Error`, `OOMKilled`, `Completed` or `StartError`; may be empty.
    pub reason: String,
    /// The message. That of a `StartError` is the container runtime's; otherwise it is the container's own.
    pub message: String,
    /// Its exit code.
    pub exit_code: i32,
}
