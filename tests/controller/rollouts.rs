//! A rollout reports itself: once, with the time that the cluster states, and whatever else happens to the Deployment.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;

use crate::TestResult;
use crate::fixture::{Installation, deployment, text};
use crate::objects::progressed;

/// When the condition Progressing was last renewed, as Port is to have it.
fn completion(deployment: &Deployment) -> String {
    format!("{:.3}", progressed(deployment))
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
    kubectl(&["rollout", "status", "deployment/web", "--timeout=240s"]).await?;
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
    let expected = [("web:1", "Succeeded"), ("web:2", "Succeeded")];
    let name = on.outcomes(&namespace, &expected).await?[0].metadata.name.clone().unwrap();
    on.condition(&namespace, &format!("ddep/{name}"), "Synced", "Delivered").await?;
    let records = on.outcomes(&namespace, &expected).await?;
    let entity = records[0].status.as_ref().and_then(|status| status.entity.as_ref()).unwrap();
    assert_eq!(
        (entity.blueprint.as_str(), entity.identifier.as_str()),
        ("dora_deployment", both[0].identifier.as_str())
    );
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
    assert!(refused.contains("spec.finishedAt is required"), "{refused}");
    Ok(())
}
