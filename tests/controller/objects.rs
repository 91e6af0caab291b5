//! What Deployments, ReplicaSets and pods say of themselves.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use port_dora_controller::resources::{DoraDeployment, RevisionReference, WorkloadReference};

use crate::web::Web;

/// Whether all that a Deployment and its ReplicaSets want is there, and counted in the status of the Deployment.
pub fn is_counted(deployment: &Deployment, replica_sets: &[ReplicaSet]) -> bool {
    let is_complete = |set: &ReplicaSet| {
        let (wanted, status) = (set.spec.as_ref().and_then(|spec| spec.replicas), set.status.as_ref());
        let found = status.map(|status| status.replicas);
        wanted == found && status.and_then(|status| status.observed_generation) == set.metadata.generation
    };
    let there: i32 = replica_sets.iter().filter_map(|set| set.status.as_ref()).map(|status| status.replicas).sum();
    let status = deployment.status.clone().unwrap_or_default();
    let is_observed = status.observed_generation == deployment.metadata.generation;
    is_observed && replica_sets.iter().all(is_complete) && status.replicas.unwrap_or_default() == there
}

/// How many pods of the present revision a Deployment counts.
pub fn updated_replicas(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.updated_replicas).unwrap_or_default()
}

/// Where the pods of a Deployment stay that can't get ready.
pub fn obstacle(web: &Web) -> (&'static str, fn(&Pod) -> bool) {
    match web.image.rsplit(':').next() {
        _ if web.pod.get("nodeSelector").is_some() => ("without a node", is_unscheduled),
        Some("broken") => ("without their image", |pod| waits_for(pod, "ImagePullBackOff")),
        Some("crash") => ("crashing", |pod| waits_for(pod, "CrashLoopBackOff")),
        _ => ("on their node", is_on_node),
    }
}

/// Whether the first container of a pod waits for this reason, such as `ImagePullBackOff`.
fn waits_for(pod: &Pod, reason: &str) -> bool {
    let first = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first());
    let waiting = first.and_then(|container| container.state.as_ref()?.waiting.as_ref());
    waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
}

/// Whether the scheduler has said that no node takes a pod.
pub fn is_unscheduled(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
}

/// Whether a pod has a node.
pub fn is_on_node(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// The revision of a Deployment or ReplicaSet.
pub fn revision_of(object: &impl ResourceExt) -> Option<i64> {
    object.annotations().get("deployment.kubernetes.io/revision")?.parse().ok()
}

/// When an object was made.
pub fn created(object: &impl ResourceExt) -> Timestamp {
    object.creation_timestamp().unwrap().0
}

/// The condition Progressing.
pub fn progressing(deployment: &Deployment) -> &DeploymentCondition {
    let conditions = deployment.status.as_ref().and_then(|status| status.conditions.as_ref()).unwrap();
    conditions.iter().find(|condition| condition.type_ == "Progressing").unwrap()
}

/// When the condition Progressing was last renewed.
pub fn progressed(deployment: &Deployment) -> Timestamp {
    progressing(deployment).last_update_time.as_ref().unwrap().0
}

/// The workload and the revision of a record of the controller's own.
pub fn rollout_of(record: &DoraDeployment) -> Option<(&WorkloadReference, &RevisionReference)> {
    record.spec.workload.as_ref().zip(record.spec.revision.as_ref())
}
