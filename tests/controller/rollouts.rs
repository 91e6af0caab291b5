//! A rollout reports itself: once, with the time that the cluster states, and whatever else happens to the Deployment.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;

use crate::TestResult;
use crate::fixture::{Installation, deployment, text};

/// When the condition Progressing was last renewed, as Port is to have it.
fn completion(deployment: &Deployment) -> String {
    let conditions = deployment.status.as_ref().and_then(|status| status.conditions.as_ref()).unwrap();
    let progressing = conditions.iter().find(|condition| condition.type_ == "Progressing").unwrap();
    format!("{:.3}", progressing.last_update_time.as_ref().unwrap().0)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_the_template_is_one_deployment_and_nothing_else_is() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("rollout").await?;
    let n = ["--namespace", &namespace];
    on.kubectl(["label", "namespace", &namespace, "dora.port.io/group=all_teams", "dora.port.io/environment=unused"])
        .await?;
    let committed = Timestamp::now() - Duration::from_secs(7200);
    let commit = format!("dora.port.io/commit-time: '{committed}'");
    on.apply_in(&namespace, &deployment("web", "app:v1", &commit, "dora.port.io/environment: staging")).await?;

    let first = on.deployments(&namespace, &[("web:1", "success")]).await?.remove(0);
    let completed = completion(&on.progressing(&namespace, "web", "NewReplicaSetAvailable").await?);
    assert_eq!(text(&first, "deployment_time"), completed);
    assert_eq!(text(&first, "environment"), "staging", "the template is nearer to the pod than the namespace");
    assert_eq!(text(&first, "deployment_type"), "Kubernetes");
    assert_eq!(first.relations["group"], "all_teams");
    let hours = (completed.parse::<Timestamp>()? - committed).total(jiff::Unit::Second)? / 3600.0;
    let lead_time = first.properties["lead_time_hours"].as_f64().unwrap();
    assert!((lead_time - hours).abs() < 0.001, "{lead_time} instead of {hours}");
    assert!(first.datasource.starts_with("port-dora-controller/"), "{}", first.datasource);

    // What is no change of the template is no deployment, and does not touch the one that is reported.
    let kubectl = async |arguments: &[&str]| on.kubectl(n.iter().copied().chain(arguments.iter().copied())).await;
    kubectl(&["scale", "deployment/web", "--replicas=3"]).await?;
    kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    kubectl(&["annotate", "deployment/web", "--overwrite", "dora.port.io/commit-time=2020-01-01T00:00:00Z"]).await?;
    kubectl(&["rollout", "pause", "deployment/web"]).await?;
    on.progressing(&namespace, "web", "DeploymentPaused").await?;
    kubectl(&["rollout", "resume", "deployment/web"]).await?;
    on.progressing(&namespace, "web", "NewReplicaSetAvailable").await?;

    kubectl(&["set", "image", "deployment/web", "app=app:v2"]).await?;
    let both = on.deployments(&namespace, &[("web:1", "success"), ("web:2", "success")]).await?;
    assert_eq!(both[0], first, "the first deployment was written again");
    let completed = completion(&on.progressing(&namespace, "web", "NewReplicaSetAvailable").await?);
    assert_eq!(text(&both[1], "deployment_time"), completed);
    let records = on.outcomes(&namespace, &[("web:1", "Succeeded"), ("web:2", "Succeeded")]).await?;
    let entity = records[0].status.as_ref().and_then(|status| status.entity.as_ref()).unwrap();
    assert_eq!(
        (entity.blueprint.as_str(), entity.identifier.as_str()),
        ("dora_deployment", both[0].identifier.as_str())
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_past_its_deadline_has_failed_and_its_success_corrects_the_same_entity() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("recover").await?;
    // It makes no progress for 12 seconds, and its deadline is 2.
    let late = deployment("web", "app:v1", "", "test/ready-after: 12s")
        .replace("replicas: 1", "replicas: 1\n  progressDeadlineSeconds: 2");
    on.apply_in(&namespace, &late).await?;
    let failed = on.deployments(&namespace, &[("web:1", "failed")]).await?.remove(0);
    on.outcomes(&namespace, &[("web:1", "Failed")]).await?;
    let recovered = on.deployments(&namespace, &[("web:1", "success")]).await?.remove(0);
    on.outcomes(&namespace, &[("web:1", "Recovered")]).await?;
    assert_eq!(recovered.identifier, failed.identifier);
    assert_eq!((failed.writes, recovered.writes), (1, 2));
    let completed = completion(&on.progressing(&namespace, "web", "NewReplicaSetAvailable").await?);
    assert_eq!(text(&recovered, "deployment_time"), completed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_after_a_failure_is_a_deployment_of_its_own() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("undo").await?;
    let manifest =
        |image| deployment("web", image, "", "").replace("replicas: 1", "replicas: 1\n  progressDeadlineSeconds: 3");
    on.apply_in(&namespace, &manifest("app:v1")).await?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;
    on.apply_in(&namespace, &manifest("app:broken")).await?;
    let failed = on.deployments(&namespace, &[("web:1", "success"), ("web:2", "failed")]).await?;
    on.kubectl(["--namespace", &namespace, "rollout", "undo", "deployment/web"]).await?;
    let all = on.deployments(&namespace, &[("web:1", "success"), ("web:2", "failed"), ("web:3", "success")]).await?;
    assert_eq!(all[..2], failed[..], "what was reported has not changed");
    let completed = completion(&on.progressing(&namespace, "web", "NewReplicaSetAvailable").await?);
    assert_eq!(
        text(&all[2], "deployment_time"),
        completed,
        "not the time of the condition that named another ReplicaSet"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_never_ends_is_recorded_and_not_reported() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("unended").await?;
    on.apply_in(&namespace, &deployment("web", "app:broken", "", "")).await?;
    on.outcomes(&namespace, &[("web:1", "InProgress")]).await?;
    on.kubectl(["--namespace", &namespace, "set", "image", "deployment/web", "app=other:broken"]).await?;
    on.outcomes(&namespace, &[("web:1", "Superseded"), ("web:2", "InProgress")]).await?;
    on.kubectl(["--namespace", &namespace, "delete", "deployment/web"]).await?;
    on.outcomes(&namespace, &[("web:1", "Superseded"), ("web:2", "Abandoned")]).await?;

    // The same name once more is another Deployment, with its own revision 1.
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;
    let listed = on.kubectl(["--namespace", &namespace, "get", "ddep", "--no-headers"]).await?;
    assert_eq!(listed.lines().filter(|line| line.contains("NotPublished")).count(), 2, "{listed}");
    assert_eq!(listed.lines().filter(|line| line.contains("Delivered")).count(), 1, "{listed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_condition_of_a_former_replica_set_is_not_believed() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("recreate").await?;
    // With Recreate the old NewReplicaSetAvailable stands while no pod of the new ReplicaSet exists.
    let manifest = |image: &str| {
        deployment("web", image, "", "test/ready-after: 2s")
            .replace("replicas: 1", "replicas: 1\n  strategy: {type: Recreate}")
    };
    on.apply_in(&namespace, &manifest("app:v1")).await?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;
    on.apply_in(&namespace, &manifest("app:v2")).await?;
    let both = on.deployments(&namespace, &[("web:1", "success"), ("web:2", "success")]).await?;
    let completed = completion(&on.progressing(&namespace, "web", "NewReplicaSetAvailable").await?);
    assert_eq!(text(&both[1], "deployment_time"), completed);
    assert_ne!(text(&both[0], "deployment_time"), completed);

    // At 0 replicas an undo completes while the condition goes on naming the other ReplicaSet.
    on.kubectl(["--namespace", &namespace, "scale", "deployment/web", "--replicas=0"]).await?;
    on.kubectl(["--namespace", &namespace, "rollout", "undo", "deployment/web"]).await?;
    on.deployments(&namespace, &[("web:1", "success"), ("web:2", "success"), ("web:3", "success")]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_deadline_the_counts_decide() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("no-deadline").await?;
    let manifest = deployment("web", "app:v1", "", "test/ready-after: 1s")
        .replace("replicas: 1", "replicas: 2\n  progressDeadlineSeconds: 2147483647");
    on.apply_in(&namespace, &manifest).await?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_outside_of_kubernetes_is_reported_by_applying_it() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("applied").await?;
    on.apply_in(
        &namespace,
        r"
apiVersion: dora.port.io/v1alpha1
kind: DoraDeployment
metadata: {name: payroll-2026-11}
spec:
  outcome: Succeeded
  commitTime: 2026-11-01T10:00:00Z
  finishedAt: 2026-11-01T22:30:00Z
  environment: mainframe
  identifier: payroll/2026-11
  title: Payroll, November
",
    )
    .await?;
    on.condition(&namespace, "ddep/payroll-2026-11", "Synced", "Delivered").await?;
    let entity = on.port.entity("dora_deployment", "payroll/2026-11").unwrap();
    assert_eq!(entity.title.as_deref(), Some("Payroll, November"));
    assert_eq!(text(&entity, "deployment_time"), "2026-11-01T22:30:00.000Z");
    assert_eq!(entity.properties["lead_time_hours"], 12.5);
    assert_eq!(text(&entity, "environment"), "mainframe");

    let refused = on
        .apply_in(&namespace, "{apiVersion: dora.port.io/v1alpha1, kind: DoraDeployment, metadata: {name: x}, spec: {outcome: Succeeded}}")
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("set spec.finishedAt"), "{refused}");
    Ok(())
}
