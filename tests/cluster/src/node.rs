//! The simulated node.

use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use crate::wait::NotYet;

/// Its name.
pub(crate) const NAME: &str = "kwok-0";

/// Whether pods are scheduled to the node. The condition comes from KWOK. The controller manager then takes away the
/// taint that new nodes have, without which a pod is scheduled only minutes later, after a failed attempt.
pub(crate) fn takes_pods(node: &Node) -> Result<Option<()>, NotYet> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"))
        .is_some_and(|condition| condition.status == "True");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    match (ready, taints.first()) {
        (false, _) => Err("KWOK hasn't made the node ready".into()),
        (true, Some(taint)) => Err(format!("the node has the taint {}", taint.key).into()),
        (true, None) => Ok(Some(())),
    }
}

/// The node as it is created: KWOK knows it by the annotation, and the rest is what a kubelet would say of itself.
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
