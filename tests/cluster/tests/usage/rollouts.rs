//! Rollouts on a local cluster: the conditions of the real controllers, and the states of the pods that KWOK simulates.

use anyhow::{Context, Result};
use cluster::{DEADLINE, LocalCluster, wait_for};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::ListParams;

/// A `progressDeadlineSeconds` that no rollout exceeds on a slow machine.
const LONG: u32 = 600;

/// A `progressDeadlineSeconds` for rollouts that must fail.
const SHORT: u32 = 2;

/// The manifest of a Deployment.
fn deployment(name: &str, image: &str, deadline: u32, annotations: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 3
  progressDeadlineSeconds: {deadline}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {{{annotations}}}
    spec:
      containers:
      - {{name: app, image: "{image}"}}
      - {{name: sidecar, image: "sidecar:1"}}
"#
    )
}

async fn apply(cluster: &LocalCluster, namespace: &str, manifest: &str) -> Result<()> {
    cluster.kubectl_with_input(["apply", "--namespace", namespace, "--filename", "-"], manifest).await?;
    Ok(())
}

fn progressing(deployment: &Deployment) -> Option<&DeploymentCondition> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Progressing")
}

/// Waits until the condition Progressing has this reason, and returns that state of the Deployment.
async fn progressing_for(deployments: &Api<Deployment>, name: &str, reason: &str) -> Result<Deployment> {
    Ok(wait_for(format!("Deployment {name} to be Progressing={reason}"), DEADLINE, async || {
        let deployment = deployments.get(name).await?;
        let found = progressing(&deployment).and_then(|condition| condition.reason.clone());
        if found.as_deref() == Some(reason) { Ok(Some(deployment)) } else { Err(format!("reason {found:?}"))? }
    })
    .await?)
}

/// Waits until the first containers of all three pods fulfil a condition, and returns the pods.
async fn first_containers(
    pods: &Api<Pod>,
    what: &str,
    fulfilled: impl Fn(&ContainerStatus) -> bool,
) -> Result<Vec<Pod>> {
    Ok(wait_for(what, DEADLINE, async || {
        let list = pods.list(&ListParams::default()).await?.items;
        let all = list.len() == 3
            && list.iter().all(|pod| {
                let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
                statuses.and_then(|all| all.first()).is_some_and(&fulfilled)
            });
        if all { Ok(Some(list)) } else { Err(serde_json::to_string(&list)?)? }
    })
    .await?)
}

fn waiting_reason(status: &ContainerStatus) -> Option<&str> {
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

/// When a pod became ready, if it is ready.
fn became_ready(pod: &Pod) -> Option<Timestamp> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(ready.last_transition_time.as_ref()?.0)
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

#[tokio::test]
async fn deployment_is_rolled_out_by_the_real_controllers() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let namespace = cluster.namespace("rollout").await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client().await?, &namespace);
    apply(cluster, &namespace, &deployment("web", "web:1", LONG, "")).await?;
    let first = progressing_for(&deployments, "web", "NewReplicaSetAvailable").await?;
    let status = first.status.context("no status")?;
    assert_eq!((status.ready_replicas, status.updated_replicas), (Some(3), Some(3)));

    apply(cluster, &namespace, &deployment("web", "web:2", LONG, "")).await?;
    wait_for("revision 2 to be complete", DEADLINE, async || {
        let deployment = deployments.get("web").await?;
        let annotations = deployment.metadata.annotations.clone().unwrap_or_default();
        let revision = annotations.get("deployment.kubernetes.io/revision").cloned();
        let message = progressing(&deployment).and_then(|condition| condition.message.clone());
        let replicas = deployment.status.and_then(|status| status.replicas);
        let state = format!("revision {revision:?}, {replicas:?} replicas, {message:?}");
        let complete = revision.as_deref() == Some("2")
            && replicas == Some(3)
            && message.is_some_and(|message| message.contains("successfully progressed"));
        if complete { Ok(Some(())) } else { Err(state)? }
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn missing_image_exceeds_the_progress_deadline() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let namespace = cluster.namespace("broken").await?;
    let client = cluster.client().await?;
    apply(cluster, &namespace, &deployment("web", "web:broken", SHORT, "")).await?;
    let pods = first_containers(
        &Api::namespaced(client.clone(), &namespace),
        "three pods whose image can't be pulled",
        |status| waiting_reason(status) == Some("ImagePullBackOff"),
    )
    .await?;
    assert!(pods.iter().all(|pod| phase(pod) == Some("Pending")), "{pods:?}");
    let failed = progressing_for(&Api::namespaced(client, &namespace), "web", "ProgressDeadlineExceeded").await?;
    assert_eq!(progressing(&failed).map(|condition| condition.status.as_str()), Some("False"));
    Ok(())
}

#[tokio::test]
async fn crashing_container_backs_off_and_restarts() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let namespace = cluster.namespace("crash").await?;
    let client = cluster.client().await?;
    apply(cluster, &namespace, &deployment("web", "web:crash", SHORT, "")).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let crashing = |restarts: i32| {
        move |status: &ContainerStatus| {
            waiting_reason(status) == Some("CrashLoopBackOff") && status.restart_count >= restarts
        }
    };
    first_containers(&pods, "three pods whose container has crashed", crashing(1)).await?;
    let again = first_containers(&pods, "each to crash twice more", crashing(3)).await?;
    for pod in &again {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let [app, sidecar] = statuses.context("no statuses")?.as_slice() else {
            anyhow::bail!("not two containers: {pod:?}");
        };
        let last = app.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        assert_eq!(last.map(|terminated| terminated.exit_code), Some(1), "{pod:?}");
        assert!(sidecar.ready, "only the first container crashes: {pod:?}");
        assert_eq!(phase(pod), Some("Running"));
    }
    progressing_for(&Api::namespaced(client, &namespace), "web", "ProgressDeadlineExceeded").await?;
    Ok(())
}

#[tokio::test]
async fn pod_is_ready_after_the_annotated_duration() -> Result<()> {
    let cluster = LocalCluster::shared().await;
    let namespace = cluster.namespace("late").await?;
    let client = cluster.client().await?;
    apply(cluster, &namespace, &deployment("web", "web:1", LONG, r#"test/ready-after: "3s""#)).await?;
    progressing_for(&Api::namespaced(client.clone(), &namespace), "web", "NewReplicaSetAvailable").await?;
    let pods = Api::<Pod>::namespaced(client, &namespace).list(&ListParams::default()).await?.items;
    assert_eq!(pods.len(), 3);
    for pod in &pods {
        let created = pod.metadata.creation_timestamp.as_ref().context("not created")?;
        let ready = became_ready(pod).context("not ready")?;
        assert!(ready.duration_since(created.0) >= SignedDuration::from_secs(3), "{pod:?}");
    }
    Ok(())
}
