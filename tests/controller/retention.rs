//! How long records are kept. Port keeps what it was told.

use cluster::wait_for;
use kube::Api;
use kube::api::ListParams;
use port_dora_controller::resources::DoraDeployment;
use port_sim::{Effect, Fault};

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation};
use crate::stage::Stage;
use crate::web::Web;

/// Rolls out new images of `web`, one after another.
async fn roll_out(stage: &Stage<'_>, revisions: std::ops::RangeInclusive<i64>) -> TestResult {
    for revision in revisions {
        stage.kubectl(&format!("set image deployment/web app=app:v{revision}")).await?;
        stage.complete(revision).await?;
    }
    Ok(())
}

/// Waits until only the records of these revisions are kept. The controller looks at the records of a Deployment when it changes, and
/// by itself once in an hour.
async fn kept(stage: &Stage<'_>, revisions: std::ops::RangeInclusive<i64>) -> TestResult {
    let api: Api<DoraDeployment> = Api::namespaced(stage.on.client().await?, &stage.namespace);
    let expected: Vec<i64> = revisions.collect();
    wait_for(format!("the records {expected:?}"), DEADLINE, async || {
        let records = api.list(&ListParams::default()).await?.items;
        let mut found: Vec<i64> =
            records.iter().filter_map(|record| Some(record.spec.revision.as_ref()?.number)).collect();
        found.sort_unstable();
        if found != expected {
            stage.settled().await?;
            Err(format!("{found:?}"))?;
        }
        Ok(Some(()))
    })
    .await?;
    Ok(())
}

/// The entities in Port as they should be: each revision up to `newest` told once.
async fn reported(stage: &Stage<'_>, newest: i64) -> TestResult {
    let names: Vec<String> = (1..=newest).map(|revision| format!("web:{revision}")).collect();
    let expected: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "success")).collect();
    let entities = stage.on.deployments(&stage.namespace, &expected).await?;
    let writes: Vec<u64> = entities.iter().map(|entity| entity.writes).collect();
    assert_eq!(writes, vec![1; writes.len()]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_delivered_records_are_kept_for_a_time() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller_with_settings("retention: {records: 2}").await?;
    // In a second namespace Port takes everything before the controller is to go on: what is deleted there tells that it has looked.
    let (stage, witness) = (Stage::on(&on, "kept").await?, Stage::on(&on, "witness").await?);
    witness.apply(&Web::default()).await?;
    on.delivered(&witness.namespace, "web:1").await?;
    stage.apply(&Web::default()).await?;
    stage.complete(1).await?;
    roll_out(&stage, 2..=4).await?;
    kept(&stage, 3..=4).await?;
    reported(&stage, 4).await?;

    // What Port does not take is kept, however much it is.
    let refusing = on.port.set_fault(Fault::new(Effect::status(503)).path_prefix("/v1/blueprints/dora_deployment/"))?;
    roll_out(&stage, 5..=7).await?;
    kept(&stage, 5..=7).await?;
    controller.process.terminate(DEADLINE).await?;
    let mut controller = on.start_controller_with_settings("retention: {records: 1, maxAge: 1s}").await?;
    roll_out(&stage, 8..=8).await?;
    on.outcomes(&stage.namespace, &["web:5", "web:6", "web:7", "web:8"].map(|rollout| (rollout, "Succeeded"))).await?;
    stage.settled().await?;
    roll_out(&witness, 2..=2).await?;
    kept(&witness, 2..=2).await?;
    kept(&stage, 5..=8).await?;
    assert!(on.port.clear_fault(refusing));
    reported(&stage, 8).await?;
    // The newest of a Deployment that lives tells that its revision was reported, however old it is.
    on.delivered(&stage.namespace, "web:8").await?;
    on.delivered(&witness.namespace, "web:2").await?;

    // The next start reports nothing again, though most of the records are gone and the ReplicaSets are not.
    controller.process.kill()?;
    let _controller = on.start_controller_with_settings("retention: {maxAge: 1s}").await?;
    roll_out(&witness, 3..=3).await?;
    kept(&witness, 3..=3).await?;
    on.outcomes(&stage.namespace, &[("web:8", "Succeeded")]).await?;
    reported(&stage, 8).await?;

    // Nothing has to be remembered of a Deployment that is gone.
    stage.kubectl("delete deployment/web").await?;
    on.outcomes(&stage.namespace, &[]).await?;
    on.outcomes(&witness.namespace, &[("web:3", "Succeeded")]).await?;
    reported(&stage, 8).await?;
    Ok(())
}
