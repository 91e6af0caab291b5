//! Manifests of pods and ReplicaSets without an owner, and the result of the scheduler for a pod.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// The manifest of a pod without an owner, with a generated name.
#[must_use]
pub fn probe_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "probe-"},
        "spec": {"containers": [{"name": "app", "image": "probe:1"}]},
    })
}

/// The manifest of a ReplicaSet without an owner and without pods, with a generated name.
#[must_use]
pub fn probe_replica_set() -> Value {
    let labels = json!({"app": "probe"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"generateName": "probe-"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": probe_pod()["spec"]},
        },
    })
}

/// The manifest of the ReplicaSet `stray`, which has no owner. Its pods match the selector `app=web` of the Deployment
/// `web`, which adopts the ReplicaSet when it gets that label as well.
#[must_use]
pub fn stray_replica_set(revision: i64, replicas: i32) -> Value {
    let labels = json!({"app": "web", "stray": "yes"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "stray", "annotations": {"deployment.kubernetes.io/revision": revision.to_string()}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": "stray:1"}]},
            },
        },
    })
}

/// Whether a pod has a node.
#[must_use]
pub fn is_scheduled(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// Whether the scheduler has reported that no node accepts a pod.
#[must_use]
pub fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
}
