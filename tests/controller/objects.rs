//! Values read from Deployments, ReplicaSets, pods and records.

use cluster::workload::{is_scheduled, is_unschedulable};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use port_dora_controller::resources::{DoraDeployment, RevisionReference, WorkloadReference};

use crate::web::Web;

/// Whether a Deployment and its ReplicaSets have all the pods that they want, and the status of the Deployment counts
/// them.
pub fn is_stable(deployment: &Deployment, replica_sets: &[ReplicaSet]) -> bool {
    let is_complete = |set: &ReplicaSet| {
        let (wanted, status) = (set.spec.as_ref().and_then(|spec| spec.replicas), set.status.as_ref());
        let found = status.map(|status| status.replicas);
        wanted == found && status.and_then(|status| status.observed_generation) == set.metadata.generation
    };
    let total: i32 = replica_sets.iter().filter_map(|set| set.status.as_ref()).map(|status| status.replicas).sum();
    let status = deployment.status.clone().unwrap_or_default();
    let is_observed = status.observed_generation == deployment.metadata.generation;
    is_observed && replica_sets.iter().all(is_complete) && status.replicas.unwrap_or_default() == total
}

/// The number of pods of the current revision in the status of a Deployment.
pub fn updated_replicas(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.updated_replicas).unwrap_or_default()
}

/// The final state of the pods of a Deployment that can't get ready.
pub fn stalled_pod_state(web: &Web) -> (&'static str, fn(&Pod) -> bool) {
    match web.image.rsplit(':').next() {
        _ if web.pod.get("nodeSelector").is_some() => ("unschedulable", is_unschedulable),
        Some("broken") => ("without their image", |pod| is_waiting(pod, "ImagePullBackOff")),
        Some("crash") => ("crashing", |pod| is_waiting(pod, "CrashLoopBackOff")),
        _ => ("on their node", is_scheduled),
    }
}

/// Whether the first container of a pod is waiting for this reason, such as `ImagePullBackOff`.
fn is_waiting(pod: &Pod, reason: &str) -> bool {
    let first = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first());
    let waiting = first.and_then(|container| container.state.as_ref()?.waiting.as_ref());
    waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
}

/// The revision of a Deployment or ReplicaSet.
pub fn revision_of(object: &impl ResourceExt) -> Option<i64> {
    object.annotations().get("deployment.kubernetes.io/revision")?.parse().ok()
}

/// The creation timestamp of an object.
pub fn created(object: &impl ResourceExt) -> Timestamp {
    object.creation_timestamp().unwrap().0
}

/// The condition Progressing.
pub fn progressing(deployment: &Deployment) -> &DeploymentCondition {
    let conditions = deployment.status.as_ref().and_then(|status| status.conditions.as_ref()).unwrap();
    conditions.iter().find(|condition| condition.type_ == "Progressing").unwrap()
}

/// The time of the last update of the condition Progressing.
pub fn last_progress(deployment: &Deployment) -> Timestamp {
    progressing(deployment).last_update_time.as_ref().unwrap().0
}

/// The workload and the revision of a record, if the controller has written it.
pub fn rollout_of(record: &DoraDeployment) -> Option<(&WorkloadReference, &RevisionReference)> {
    record.spec.workload.as_ref().zip(record.spec.revision.as_ref())
}
