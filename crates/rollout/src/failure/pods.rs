//! The state of the pods of a revision, reduced to the fields that explain why a pod isn't ready.

/// The state of a pod.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PodState {
    /// Whether the condition `Ready` of the pod is `True`.
    pub ready: bool,
    /// Why the pod failed for good (`status.phase: Failed`), for example `Evicted`. The ReplicaSet replaces such a pod, and the failed pod
    /// stays until Kubernetes deletes it.
    pub failed: Option<Explanation>,
    /// What the scheduler says, if the pod has no node yet. Empty if no scheduler has said anything.
    pub unscheduled: Option<Explanation>,
    /// Whether the condition `PodReadyToStartContainers` is `False`: the volumes or the network of the pod aren't set up.
    ///
    /// The kubelet mounts the volumes before it creates the sandbox that this condition is about.
    pub without_sandbox: bool,
    /// The message about readiness gates, if all containers are ready and a readiness gate isn't.
    pub readiness_gates: Option<String>,
    /// The containers in the order of the pod's specification, init containers first. Empty until the node has reported them.
    pub containers: Vec<ContainerState>,
}

/// A reason and a message from Kubernetes. Both may be empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Explanation {
    /// The reason in one word, such as `ImagePullBackOff`.
    pub reason: String,
    /// The message.
    pub message: String,
}

/// The state of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContainerState {
    /// Name of the container.
    pub name: String,
    /// Role of the container in its pod.
    pub role: ContainerRole,
    /// What the container is doing.
    pub activity: Activity,
    /// How the container terminated before its last restart.
    pub last_termination: Option<Termination>,
    /// Number of restarts.
    pub restarts: i32,
}

/// Role of a container in its pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ContainerRole {
    /// One of `initContainers`. It has to terminate before the next container starts.
    Init,
    /// One of `initContainers` with `restartPolicy: Always`. It keeps running beside the other containers.
    Sidecar,
    /// One of `containers`.
    Main,
}

/// What a container is doing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Activity {
    /// The container hasn't started, for this reason.
    Waiting(Explanation),
    /// The container is running.
    Running(Readiness),
    /// The container has terminated.
    Terminated(Termination),
}

/// Whether a running container is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// The container is ready.
    Ready,
    /// The container hasn't passed its startup probe.
    BehindStartupProbe,
    /// The container doesn't pass its readiness probe.
    BehindReadinessProbe,
    /// The container isn't ready, and has no probe that explains it.
    Unready,
}

/// How a container terminated.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Termination {
    /// The reason, such as `Error`, `OOMKilled`, `Completed` or `StartError`. May be empty.
    pub reason: String,
    /// The message. With the reason `StartError`, it comes from the container runtime, otherwise from the container.
    pub message: String,
    /// The exit code.
    pub exit_code: i32,
}
