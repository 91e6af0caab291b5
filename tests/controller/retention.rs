//! How long records are kept. Entities in Port are not affected.

use cluster::{DEADLINE, wait_for};
use kube::Api;
use kube::api::ListParams;
use port_dora_controller::resources::DoraDeployment;
use port_sim::{Effect, Fault};

use crate::TestResult;
use crate::fixture::Installation;
use crate::test_env::TestEnv;
use crate::web::Web;

/// Rolls out these revisions of `web`, one after another.
async fn roll_out(env: &TestEnv<'_>, revisions: std::ops::RangeInclusive<i64>) -> TestResult {
    for revision in revisions {
        env.kubectl(&format!("set image deployment/web app=app:v{revision}")).await?;
        env.complete(revision).await?;
    }
    Ok(())
}

/// Waits until only the records of these revisions are left. The controller checks the records of a Deployment when the
/// Deployment changes, and once per hour.
async fn kept(env: &TestEnv<'_>, revisions: std::ops::RangeInclusive<i64>) -> TestResult {
    let api: Api<DoraDeployment> = Api::namespaced(env.setup.client().await?, &env.namespace);
    let expected: Vec<i64> = revisions.collect();
    wait_for(format!("the records {expected:?}"), DEADLINE, async || {
        let records = api.list(&ListParams::default()).await?.items;
        let mut found: Vec<i64> =
            records.iter().filter_map(|record| Some(record.spec.revision.as_ref()?.number)).collect();
        found.sort_unstable();
        if found != expected {
            env.reconciled().await?;
            Err(format!("{found:?}"))?;
        }
        Ok(Some(()))
    })
    .await?;
    Ok(())
}

/// Asserts that Port has an entity of each revision up to `newest`, and that each was written once.
async fn reported(env: &TestEnv<'_>, newest: i64) -> TestResult {
    let names: Vec<String> = (1..=newest).map(|revision| format!("web:{revision}")).collect();
    let expected: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "success")).collect();
    let entities = env.setup.deployments(&env.namespace, &expected).await?;
    let writes: Vec<u64> = entities.iter().map(|entity| entity.writes).collect();
    assert_eq!(writes, vec![1; writes.len()]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_newest_delivered_records_are_kept() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller_with_settings("retention: {records: 2}").await?;
    // Deleted records in the second namespace show that the controller has checked the records.
    let (env, witness) = (TestEnv::on(&setup, "kept").await?, TestEnv::on(&setup, "witness").await?);
    witness.apply(&Web::default()).await?;
    setup.delivered(&witness.namespace, "web:1").await?;
    env.apply(&Web::default()).await?;
    env.complete(1).await?;
    roll_out(&env, 2..=4).await?;
    kept(&env, 3..=4).await?;
    reported(&env, 4).await?;

    // Undelivered records are kept, even above the limit.
    let refusing =
        setup.port.set_fault(Fault::new(Effect::status(503)).path_prefix("/v1/blueprints/dora_deployment/"))?;
    roll_out(&env, 5..=7).await?;
    kept(&env, 5..=7).await?;
    controller.process.terminate(DEADLINE).await?;
    let mut controller = setup.start_controller_with_settings("retention: {records: 1, maxAge: 1s}").await?;
    roll_out(&env, 8..=8).await?;
    setup.outcomes(&env.namespace, &["web:5", "web:6", "web:7", "web:8"].map(|rollout| (rollout, "Succeeded"))).await?;
    env.reconciled().await?;
    roll_out(&witness, 2..=2).await?;
    kept(&witness, 2..=2).await?;
    kept(&env, 5..=8).await?;
    assert!(setup.port.clear_fault(refusing));
    reported(&env, 8).await?;
    // The newest record of an existing Deployment is kept at any age, since it shows that its revision was reported.
    setup.delivered(&env.namespace, "web:8").await?;
    setup.delivered(&witness.namespace, "web:2").await?;

    // After a restart, nothing is reported again, although most records are gone and the ReplicaSets still exist.
    controller.process.kill()?;
    let _controller = setup.start_controller_with_settings("retention: {maxAge: 1s}").await?;
    roll_out(&witness, 3..=3).await?;
    kept(&witness, 3..=3).await?;
    setup.outcomes(&env.namespace, &[("web:8", "Succeeded")]).await?;
    reported(&env, 8).await?;

    // The records of a deleted Deployment are not needed any more.
    env.kubectl("delete deployment/web").await?;
    setup.outcomes(&env.namespace, &[]).await?;
    setup.outcomes(&witness.namespace, &[("web:3", "Succeeded")]).await?;
    reported(&env, 8).await?;
    Ok(())
}
