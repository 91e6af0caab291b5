//! The pods of one ReplicaSet, read once to say why its rollout failed.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::resources::slim_metadata;
use rollout::{Activity, ContainerRole, ContainerState, Explanation, POD_SAMPLE, PodState, Readiness, Termination};

/// The label by which the Deployment controller tells the pods of its ReplicaSets apart.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// What the pods of the ReplicaSet with the UID `replica_set_uid` show, but for those that are being deleted; `None`
/// if the controller may not list pods there.
///
/// One request, for at most [`POD_SAMPLE`] pods with the label `pod-template-hash`: a sample explains enough. The
/// label alone does not tell whose they are, as equal templates have equal hashes.
///
/// # Errors
/// When the API server can't be reached, or refuses for another reason than missing rights.
pub async fn pods_of(
    client: &Client,
    namespace: &str,
    pod_template_hash: &str,
    replica_set_uid: &str,
) -> Result<Option<Vec<PodState>>, kube::Error> {
    let labelled = ListParams::default().labels(&format!("{POD_TEMPLATE_HASH}={pod_template_hash}"));
    let sample = ListParams { limit: u32::try_from(POD_SAMPLE).ok(), ..labelled };
    match Api::<SlimPod>::namespaced(client.clone(), namespace).list(&sample).await {
        Ok(pods) => Ok(Some(
            pods.items.into_iter().filter(|pod| pod.lives_in(replica_set_uid)).map(SlimPod::into_state).collect(),
        )),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A Pod with only what is read of it.
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

/// One of its fields is set; none stands for waiting.
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
    /// Whether it belongs to the ReplicaSet with this UID and is not being deleted.
    fn lives_in(&self, replica_set_uid: &str) -> bool {
        let mut owners = self.metadata.owner_references.iter().flatten();
        self.metadata.deletion_timestamp.is_none()
            && owners.any(|owner| owner.controller == Some(true) && owner.uid == replica_set_uid)
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
        let initial = containers(&spec.init_containers, init_container_statuses, |container| {
            // Under any other policy of its own, a container of initialization has to end (KEP 753).
            if container.restart_policy == "Always" { ContainerRole::Sidecar } else { ContainerRole::Init }
        });
        let main = containers(&spec.containers, container_statuses, |_| ContainerRole::Main);
        PodState {
            ready: is("Ready", "True"),
            failed: (phase == "Failed").then_some(Explanation { reason, message }),
            unscheduled,
            without_sandbox: is("PodReadyToStartContainers", "False"),
            readiness_gates,
            containers: initial.into_iter().chain(main).collect(),
        }
    }
}

/// The containers that have a status, in the order of the specification.
fn containers(
    specified: &[Container],
    mut statuses: Vec<ContainerStatus>,
    role: impl Fn(&Container) -> ContainerRole,
) -> Vec<ContainerState> {
    let mut containers = Vec::with_capacity(statuses.len());
    for container in specified {
        if let Some(place) = statuses.iter().position(|status| status.name == container.name) {
            let ContainerStatus { name, ready, started, restart_count, state, last_state } =
                statuses.swap_remove(place);
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

/// What is missing of a container while it runs.
///
/// The kubelet holds a container that has started and has no readiness probe for ready (`UpdatePodStatus` in its
/// `prober_manager.go`), so that of one that has a probe and isn't ready, the probe has not passed.
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
