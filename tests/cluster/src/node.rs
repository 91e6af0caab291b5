//! The simulated node.

use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use crate::wait::NotYet;

/// The name of the node.
pub(crate) const NAME: &str = "kwok-0";

/// Whether the node accepts pods. KWOK sets the condition Ready. Then the controller manager removes the taint of new
/// nodes: a pod that is created before that fails to be scheduled, and the scheduler retries it only minutes later.
pub(crate) fn accepts_pods(node: &Node) -> Result<Option<()>, NotYet> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"))
        .is_some_and(|condition| condition.status == "True");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    match (ready, taints.first()) {
        (false, _) => Err("the node is not ready yet".into()),
        (true, Some(taint)) => Err(format!("the node has the taint {}", taint.key).into()),
        (true, None) => Ok(Some(())),
    }
}

/// The manifest of the node. KWOK recognises it by the annotation; a kubelet would report the rest.
pub(crate) fn manifest() -> serde_json::Value {
    let room = json!({ "cpu": "1k", "memory": "10Ti", "pods": "100k" });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": NAME,
            "annotations": { "kwok.x-k8s.io/node": "fake" },
            "labels": {
                "type": "kwok",
                "kubernetes.io/hostname": NAME,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
        "status": { "allocatable": room, "capacity": room },
    })
}
