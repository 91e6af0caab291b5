//! The controller is killed, replaced and doubled: nothing is lost and nothing is reported twice.

use cluster::wait_for;

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation, SAME_POD, SHORT_LEASE, deployment};
use crate::stage::{Row, Stage, next_second};
use crate::web::Web;

fn writes(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(Row::writes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_complete_before_the_installation_is_not_reported() -> TestResult {
    let on = Installation::alone().await?;
    let stage = Stage::on(&on, "before").await?;
    let complete = async |name| on.progressing(&stage.namespace, name, "NewReplicaSetAvailable").await;
    stage.apply(&Web { name: "old", ..Web::default() }).await?;
    complete("old").await?;
    // The installation is counted in whole seconds, as all times of Kubernetes.
    next_second().await?;

    let mut controller = on.start_controller(&SAME_POD).await?;
    stage.apply(&Web { name: "new", ..Web::default() }).await?;
    stage.table(&["new:1 Initial Succeeded success"]).await?;
    let entities = || on.entities("dora_deployment", &stage.namespace);
    let reported = entities();

    // A rollout that is open when the controller dies, one that comes and ends while it is away, and one that is undone.
    stage.apply(&stage.gated(Web { name: "open", ..Web::default() })).await?;
    stage.table(&["new:1 Initial Succeeded success", "open:1 Initial InProgress InProgress"]).await?;
    controller.process.kill()?;
    stage.apply(&Web { name: "absent", ..Web::default() }).await?;
    stage.kubectl("set image deployment/new app=app:v2").await?;
    stage.open_gate().await?;
    for name in ["open", "absent", "new"] {
        complete(name).await?;
    }
    let mut controller = on.start_controller(&SAME_POD).await?;
    let mut expected = vec![
        "absent:1 Initial Succeeded success",
        "new:1 Initial Succeeded success",
        "new:2 Release Succeeded success",
        "open:1 Initial Succeeded success",
    ];
    stage.table(&expected).await?;
    let all = entities();
    assert_eq!(all[..1], reported[..], "a restart must not touch what was reported");

    // Another restart, in good order this time, and then something to wait for: nothing else may have been written.
    controller.process.terminate(DEADLINE).await?;
    let _controller = on.start_controller(&SAME_POD).await?;
    stage.kubectl("set image deployment/old app=app:v2").await?;
    expected.insert(3, "old:2 Release Succeeded success");
    stage.table(&expected).await?;
    assert_eq!(entities()[..4], all[..], "a restart must not touch what was reported");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_ready_and_takes_over_at_once_from_a_leader_that_ends() -> TestResult {
    let on = Installation::alone().await?;
    let stage = Stage::on(&on, "standby").await?;
    let mut leader = on.start_controller(&[]).await?;
    leader.logs("this replica leads").await?;
    let standby = on.start_controller(&[]).await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    assert!(!standby.process.log()?.contains("this replica leads"), "two replicas lead");
    let status = leader.process.terminate(DEADLINE).await?;
    assert!(status.success(), "{status}");
    // The lease lasts for longer than anything here is waited for: it can't have expired.
    let log = leader.process.log()?;
    assert!(log.contains("released leadership lease"), "{log}");
    standby.logs("this replica leads").await?;
    stage.kubectl("set image deployment/web app=app:v2").await?;
    let rows = stage.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    assert_eq!(writes(&rows), [1, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_leads_once_the_lease_has_expired() -> TestResult {
    let on = Installation::alone().await?;
    let stage = Stage::on(&on, "expired").await?;
    let mut leader = on.start_controller(&[SHORT_LEASE]).await?;
    leader.logs("this replica leads").await?;
    let standby = on.start_controller(&[SHORT_LEASE]).await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    leader.process.kill()?;
    let log = leader.process.log()?;
    assert!(!log.contains("released leadership lease"), "{log}");
    standby.logs("this replica leads").await?;
    stage.kubectl("set image deployment/web app=app:v2").await?;
    stage.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_watch_is_taken_up_again() -> TestResult {
    let on = Installation::on_own_cluster().await?;
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
        // What Port has accepted is sent once more if the API server ends before that is noted.
        let delivered: u64 = on.port.entities("dora_deployment").iter().map(|entity| entity.writes).sum();
        let (_, metrics) = controller.get("/metrics").await?;
        let line = format!("port_dora_resources_delivered_total{{kind=\"DoraDeployment\"}} {delivered}\n");
        Ok(metrics.contains(&line).then_some(()))
    })
    .await?;
    Ok(())
}
