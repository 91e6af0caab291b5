//! The controller is killed, replaced, and run twice: nothing is lost, and nothing is reported twice.

use cluster::clock::next_second;
use cluster::{DEADLINE, wait_for};

use crate::TestResult;
use crate::fixture::{Installation, SAME_POD, SHORT_LEASE, deployment};
use crate::test_env::{TestEnv, writes};
use crate::web::Web;

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_before_the_installation_are_not_reported() -> TestResult {
    let setup = Installation::exclusive().await?;
    let env = TestEnv::on(&setup, "before").await?;
    let complete = async |name| setup.progressing(&env.namespace, name, "NewReplicaSetAvailable").await;
    env.apply(&Web { name: "old", ..Web::default() }).await?;
    complete("old").await?;
    // The time of the installation is in whole seconds, like all times of Kubernetes.
    next_second().await?;

    let mut controller = setup.start_controller(&SAME_POD).await?;
    env.apply(&Web { name: "new", ..Web::default() }).await?;
    env.table(&["new:1 Initial Succeeded success"]).await?;
    let entities = || setup.entities("dora_deployment", &env.namespace);
    let reported = entities();

    // One rollout is open when the controller is killed, and two start and end while it is down.
    env.apply(&env.gated(Web { name: "open", ..Web::default() })).await?;
    env.table(&["new:1 Initial Succeeded success", "open:1 Initial InProgress InProgress"]).await?;
    controller.process.kill()?;
    env.apply(&Web { name: "absent", ..Web::default() }).await?;
    env.kubectl("set image deployment/new app=app:v2").await?;
    env.open_gate().await?;
    for name in ["open", "absent", "new"] {
        complete(name).await?;
    }
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let mut expected = vec![
        "absent:1 Initial Succeeded success",
        "new:1 Initial Succeeded success",
        "new:2 Release Succeeded success",
        "open:1 Initial Succeeded success",
    ];
    env.table(&expected).await?;
    let all = entities();
    assert_eq!(all[..1], reported[..], "a restart must not write reported entities");

    // After a graceful restart and another rollout, nothing else may have been written.
    controller.process.terminate(DEADLINE).await?;
    let _controller = setup.start_controller(&SAME_POD).await?;
    env.kubectl("set image deployment/old app=app:v2").await?;
    expected.insert(3, "old:2 Release Succeeded success");
    env.table(&expected).await?;
    assert_eq!(entities()[..4], all[..], "a restart must not write reported entities");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_takes_over_from_a_leader_that_ends() -> TestResult {
    let setup = Installation::exclusive().await?;
    let env = TestEnv::on(&setup, "standby").await?;
    let mut leader = setup.start_controller(&[]).await?;
    leader.leads().await?;
    let standby = setup.start_controller(&[]).await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    assert!(!standby.is_leading()?, "two replicas are leading");
    let status = leader.process.terminate(DEADLINE).await?;
    assert!(status.success(), "{status}");
    // The lease lasts longer than all waits of this test, so it can't have expired.
    let log = leader.process.log()?;
    assert!(log.contains("released leadership lease"), "{log}");
    standby.leads().await?;
    env.kubectl("set image deployment/web app=app:v2").await?;
    let rows = env.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    assert_eq!(writes(&rows), [1, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_leads_once_the_lease_has_expired() -> TestResult {
    let setup = Installation::exclusive().await?;
    let env = TestEnv::on(&setup, "expired").await?;
    let mut leader = setup.start_controller(&[SHORT_LEASE]).await?;
    leader.leads().await?;
    let standby = setup.start_controller(&[SHORT_LEASE]).await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    leader.process.kill()?;
    let log = leader.process.log()?;
    assert!(!log.contains("released leadership lease"), "{log}");
    standby.leads().await?;
    env.kubectl("set image deployment/web app=app:v2").await?;
    env.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_watch_is_resumed() -> TestResult {
    let setup = Installation::on_own_cluster().await?;
    let namespace = setup.namespace("watch").await?;
    let controller = setup.start_controller(&[]).await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    setup.deployments(&namespace, &[("web:1", "success")]).await?;
    setup.delivered(&namespace, "web:1").await?;
    setup.restart_api_server().await?;
    setup.kubectl(["--namespace", &namespace, "set", "image", "deployment/web", "app=app:v2"]).await?;
    setup.deployments(&namespace, &[("web:1", "success"), ("web:2", "success")]).await?;
    assert_eq!(controller.get("/livez").await?.0, 200);
    wait_for("all deliveries in the metrics", DEADLINE, async || {
        // These include the rollout of the Deployment of the chart, if it was open when the controller started. They
        // also include entities that were sent twice, because the API server ended before their status was written.
        let delivered: u64 = setup.port.entities("dora_deployment").iter().map(|entity| entity.writes).sum();
        let (_, metrics) = controller.get("/metrics").await?;
        let line = format!("port_dora_resources_delivered_total{{kind=\"DoraDeployment\"}} {delivered}\n");
        Ok(metrics.contains(&line).then_some(()))
    })
    .await?;
    Ok(())
}
