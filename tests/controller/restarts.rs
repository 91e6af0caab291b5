//! The controller is killed, replaced and doubled: nothing is lost and nothing is reported twice.

use std::time::Duration;

use cluster::wait_for;

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation, deployment};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_complete_before_the_installation_is_not_reported() -> TestResult {
    let on = Installation::alone().await?;
    let namespace = on.namespace("before").await?;
    on.apply_in(&namespace, &deployment("old", "app:v1", "", "")).await?;
    on.progressing(&namespace, "old", "NewReplicaSetAvailable").await?;
    // The installation is counted in whole seconds, as all times of Kubernetes: let the next one begin.
    let before = jiff::Timestamp::now().as_second();
    wait_for("the next second", DEADLINE, async || Ok((jiff::Timestamp::now().as_second() > before).then_some(())))
        .await?;

    let mut controller = on.start_controller(&[]).await?;
    on.apply_in(&namespace, &deployment("new", "app:v1", "", "")).await?;
    let reported = on.deployments(&namespace, &[("new:1", "success")]).await?;
    on.delivered(&namespace, "new:1").await?;

    // A rollout that is open when the controller dies, one that comes and ends while it is away, and one that is undone.
    on.apply_in(&namespace, &deployment("open", "app:v1", "", "test/ready-after: 4s")).await?;
    on.outcomes(&namespace, &[("new:1", "Succeeded"), ("open:1", "InProgress")]).await?;
    controller.process.kill()?;
    on.apply_in(&namespace, &deployment("absent", "app:v1", "", "")).await?;
    on.kubectl(["--namespace", &namespace, "set", "image", "deployment/new", "app=app:v2"]).await?;
    for name in ["open", "absent", "new"] {
        on.progressing(&namespace, name, "NewReplicaSetAvailable").await?;
    }
    let mut controller = on.start_controller(&[]).await?;
    let expected = [("new:1", "success"), ("open:1", "success"), ("absent:1", "success"), ("new:2", "success")];
    let all = on.deployments(&namespace, &expected).await?;
    assert_eq!(all[0], reported[0], "a restart must not touch what was reported");

    // Another restart, in good order this time, and then something to wait for: nothing else may have been written.
    controller.process.terminate(Duration::from_secs(20)).await?;
    let _controller = on.start_controller(&[]).await?;
    on.kubectl(["--namespace", &namespace, "set", "image", "deployment/old", "app=app:v2"]).await?;
    let expected: Vec<_> = expected.into_iter().chain([("old:2", "success")]).collect();
    let after = on.deployments(&namespace, &expected).await?;
    assert_eq!(after[..4], all[..], "a restart must not touch what was reported");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_ready_and_takes_over_at_once_from_a_leader_that_ends() -> TestResult {
    let on = Installation::alone().await?;
    let namespace = on.namespace("standby").await?;
    let mut leader = on.start_controller(&[]).await?;
    leader.logs("leading:").await?;
    let standby = on.start_controller(&[]).await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;
    assert!(!standby.process.log()?.contains("leading:"), "two replicas lead");
    let status = leader.process.terminate(Duration::from_secs(20)).await?;
    assert!(status.success(), "{status}");
    standby.logs("leading:").await?;
    on.kubectl(["--namespace", &namespace, "set", "image", "deployment/web", "app=app:v2"]).await?;
    let entities = on.deployments(&namespace, &[("web:1", "success"), ("web:2", "success")]).await?;
    assert_eq!(entities.iter().map(|entity| entity.writes).collect::<Vec<_>>(), [1, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_watch_is_taken_up_again() -> TestResult {
    let on = Installation::alone().await?;
    let namespace = on.namespace("watch").await?;
    let controller = on.start_controller(&[]).await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;
    on.delivered(&namespace, "web:1").await?;
    on.restart_api_server().await?;
    on.kubectl(["--namespace", &namespace, "set", "image", "deployment/web", "app=app:v2"]).await?;
    on.deployments(&namespace, &[("web:1", "success"), ("web:2", "success")]).await?;
    assert_eq!(controller.get("/livez").await?.0, 200);
    wait_for("all deliveries in the metrics", DEADLINE, async || {
        // The rollout of the chart's own Deployment is one of them if it was not over when the controller first started.
        let delivered = on.port.entities("dora_deployment").len();
        let (_, metrics) = controller.get("/metrics").await?;
        let line = format!("port_dora_resources_delivered_total{{kind=\"DoraDeployment\"}} {delivered}\n");
        Ok(metrics.contains(&line).then_some(()))
    })
    .await?;
    Ok(())
}
