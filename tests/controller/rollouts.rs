//! Each rollout is reported once, with the time from the cluster.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;

use crate::TestResult;
use crate::fixture::{Installation, deployment, text};
use crate::objects::last_progress;

/// The time of the last update of the condition Progressing, in the format of Port.
fn completion(deployment: &Deployment) -> String {
    format!("{:.3}", last_progress(deployment))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_template_changes_are_deployments() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("rollout").await?;
    let n = ["--namespace", &namespace];
    setup
        .kubectl(["label", "namespace", &namespace, "dora.port.io/group=all_teams", "dora.port.io/environment=unused"])
        .await?;
    let committed = Timestamp::now() - Duration::from_secs(7200);
    let commit = format!("dora.port.io/commit-time: '{committed}'");
    setup.apply_in(&namespace, &deployment("web", "app:v1", &commit, "dora.port.io/environment: staging")).await?;

    let first = setup.deployments(&namespace, &[("web:1", "success")]).await?.remove(0);
    let completed = completion(&setup.progressing(&namespace, "web", "NewReplicaSetAvailable").await?);
    assert_eq!(text(&first, "deployment_time"), completed);
    assert_eq!(text(&first, "environment"), "staging", "the pod template takes precedence over the namespace");
    assert_eq!(text(&first, "deployment_type"), "Kubernetes");
    assert_eq!(first.relations["group"], "all_teams");
    let hours = (completed.parse::<Timestamp>()? - committed).total(jiff::Unit::Second)? / 3600.0;
    let lead_time = first.properties["lead_time_hours"].as_f64().unwrap();
    assert!((lead_time - hours).abs() < 0.001, "{lead_time} instead of {hours}");
    assert!(first.datasource.starts_with("port-dora-controller/"), "{}", first.datasource);

    // Other changes are not deployments, and don't change the reported one.
    let kubectl = async |arguments: &[&str]| setup.kubectl(n.iter().copied().chain(arguments.iter().copied())).await;
    kubectl(&["scale", "deployment/web", "--replicas=3"]).await?;
    kubectl(&["rollout", "status", "deployment/web", "--timeout=240s"]).await?;
    kubectl(&["annotate", "deployment/web", "--overwrite", "dora.port.io/commit-time=2020-01-01T00:00:00Z"]).await?;
    kubectl(&["rollout", "pause", "deployment/web"]).await?;
    setup.progressing(&namespace, "web", "DeploymentPaused").await?;
    kubectl(&["rollout", "resume", "deployment/web"]).await?;
    setup.progressing(&namespace, "web", "NewReplicaSetAvailable").await?;

    kubectl(&["set", "image", "deployment/web", "app=app:v2"]).await?;
    let both = setup.deployments(&namespace, &[("web:1", "success"), ("web:2", "success")]).await?;
    assert_eq!(both[0], first, "the first deployment was written again");
    let completed = completion(&setup.progressing(&namespace, "web", "NewReplicaSetAvailable").await?);
    assert_eq!(text(&both[1], "deployment_time"), completed);
    let expected = [("web:1", "Succeeded"), ("web:2", "Succeeded")];
    let name = setup.outcomes(&namespace, &expected).await?[0].metadata.name.clone().unwrap();
    setup.condition(&namespace, &format!("ddep/{name}"), "Synced", "Delivered").await?;
    let records = setup.outcomes(&namespace, &expected).await?;
    let entity = records[0].status.as_ref().and_then(|status| status.entity.as_ref()).unwrap();
    assert_eq!(
        (entity.blueprint.as_str(), entity.identifier.as_str()),
        ("dora_deployment", both[0].identifier.as_str())
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_record_is_reported_as_a_deployment() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("applied").await?;
    setup
        .apply_in(
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
    setup.condition(&namespace, "ddep/payroll-2026-11", "Synced", "Delivered").await?;
    let entity = setup.port.entity("dora_deployment", "payroll/2026-11").unwrap();
    assert_eq!(entity.title.as_deref(), Some("Payroll, November"));
    assert_eq!(text(&entity, "deployment_time"), "2026-11-01T22:30:00.000Z");
    assert_eq!(entity.properties["lead_time_hours"], 12.5);
    assert_eq!(text(&entity, "environment"), "mainframe");

    let refused = setup
        .apply_in(&namespace, "{apiVersion: dora.port.io/v1alpha1, kind: DoraDeployment, metadata: {name: x}, spec: {outcome: Succeeded}}")
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("spec.finishedAt is required"), "{refused}");
    Ok(())
}
