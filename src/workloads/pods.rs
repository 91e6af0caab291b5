//! The pods of one revision, read once to explain why its rollout failed.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, Client, Resource};
use rollout::{
    Activity, ContainerRole, ContainerState, Explanation, POD_SAMPLE, PodState, Readiness, Revision, Termination, Uid,
    Workload,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::kinds::Kind;
use crate::resources::slim_metadata;

/// How the pods of one revision are found.
#[derive(Clone, Debug)]
pub struct PodSelector {
    /// Label selector that the pods match. Pods of other workloads can match it too, because equal templates have equal hashes.
    pub labels: String,
    /// UID of the object that controls the pods.
    pub controller: Uid,
}

/// Reads the states of the pods of a revision, without those that are being deleted; `None` if the controller may not list pods in the
/// namespace.
///
/// This is one request for at most [`POD_SAMPLE`] pods: a sample is enough to explain a failure.
///
/// # Errors
/// If the API server can't be reached, or refuses for another reason than missing rights.
pub async fn pods_of_revision(
    client: &Client,
    workload: &Workload,
    revision: &Revision,
) -> Result<Option<Vec<PodState>>, kube::Error> {
    match Kind::of(workload.kind) {
        Some(kind) => list_pods(client, &workload.namespace, &(kind.pods_of_revision)(workload, revision)).await,
        None => Ok(None),
    }
}

async fn list_pods(
    client: &Client,
    namespace: &str,
    selector: &PodSelector,
) -> Result<Option<Vec<PodState>>, kube::Error> {
    let PodSelector { labels, controller } = selector;
    let sample = ListParams { limit: u32::try_from(POD_SAMPLE).ok(), ..ListParams::default().labels(labels) };
    match Api::<SlimPod>::namespaced(client.clone(), namespace).list(&sample).await {
        Ok(pods) => {
            let pods = pods.items.into_iter().filter(|pod| pod.is_controlled_by(controller));
            Ok(Some(pods.map(SlimPod::into_state).collect()))
        }
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A Pod with only the fields that the controller reads.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Pod)]
struct SlimPod {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    init_containers: Vec<Container>,
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: String,
    startup_probe: Option<IgnoredAny>,
    readiness_probe: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    reason: String,
    message: String,
    conditions: Vec<PodCondition>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    ready: bool,
    started: Option<bool>,
    restart_count: i32,
    state: State,
    last_state: State,
}

/// The state of a container. One field is set. If no field is set, the container is waiting.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    running: Option<IgnoredAny>,
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    reason: String,
    message: String,
    exit_code: i32,
}

impl SlimPod {
    /// Whether the object with this UID controls the pod, and the pod is not being deleted.
    fn is_controlled_by(&self, controller: &str) -> bool {
        let mut owners = self.metadata.owner_references.iter().flatten();
        self.metadata.deletion_timestamp.is_none()
            && owners.any(|owner| owner.controller == Some(true) && owner.uid == controller)
    }

    fn into_state(self) -> PodState {
        let Self { metadata: _, spec, status } = self;
        let PodStatus { phase, reason, message, conditions, init_container_statuses, container_statuses } = status;
        let condition = |kind: &str| conditions.iter().find(|condition| condition.kind == kind);
        let is = |kind: &str, expected: &str| condition(kind).is_some_and(|condition| condition.status == expected);
        let unscheduled = spec.node_name.is_empty().then(|| {
            condition("PodScheduled").map_or_else(Explanation::default, |condition| Explanation {
                reason: condition.reason.clone(),
                message: condition.message.clone(),
            })
        });
        let readiness_gates = condition("Ready")
            .filter(|condition| condition.reason == "ReadinessGatesNotReady")
            .map(|condition| condition.message.clone());
        let init = containers(&spec.init_containers, init_container_statuses, |container| {
            // With any other restart policy, an init container has to end (KEP 753).
            if container.restart_policy == "Always" { ContainerRole::Sidecar } else { ContainerRole::Init }
        });
        let main = containers(&spec.containers, container_statuses, |_| ContainerRole::Main);
        PodState {
            ready: is("Ready", "True"),
            failed: (phase == "Failed").then_some(Explanation { reason, message }),
            unscheduled,
            without_sandbox: is("PodReadyToStartContainers", "False"),
            readiness_gates,
            containers: init.into_iter().chain(main).collect(),
        }
    }
}

/// The containers that have a status, in the order of the spec.
fn containers(
    spec: &[Container],
    mut statuses: Vec<ContainerStatus>,
    role: impl Fn(&Container) -> ContainerRole,
) -> Vec<ContainerState> {
    let mut containers = Vec::with_capacity(statuses.len());
    for container in spec {
        if let Some(position) = statuses.iter().position(|status| status.name == container.name) {
            let ContainerStatus { name, ready, started, restart_count, state, last_state } =
                statuses.swap_remove(position);
            let readiness = readiness(container, ready, started);
            containers.push(ContainerState {
                name,
                role: role(container),
                activity: state.activity(readiness),
                last_termination: last_state.terminated.map(Terminated::into_termination),
                restarts: restart_count,
            });
        }
    }
    containers
}

/// Whether a running container is ready, and which probe it waits for otherwise.
///
/// A container that has started and has no readiness probe is ready to the kubelet (`UpdatePodStatus` in its `prober_manager.go`). So if
/// a container has a readiness probe and is not ready, the probe has not passed.
fn readiness(container: &Container, ready: bool, started: Option<bool>) -> Readiness {
    let started = started.unwrap_or(true);
    if ready {
        Readiness::Ready
    } else if !started && container.startup_probe.is_some() {
        Readiness::BehindStartupProbe
    } else if started && container.readiness_probe.is_some() {
        Readiness::BehindReadinessProbe
    } else {
        Readiness::Unready
    }
}

impl State {
    fn activity(self, readiness: Readiness) -> Activity {
        match self {
            Self { terminated: Some(terminated), .. } => Activity::Terminated(terminated.into_termination()),
            Self { running: Some(_), .. } => Activity::Running(readiness),
            Self { waiting, .. } => {
                let Waiting { reason, message } = waiting.unwrap_or_default();
                Activity::Waiting(Explanation { reason, message })
            }
        }
    }
}

impl Terminated {
    fn into_termination(self) -> Termination {
        let Self { reason, message, exit_code } = self;
        Termination { reason, message, exit_code }
    }
}

#[cfg(test)]
mod tests;
