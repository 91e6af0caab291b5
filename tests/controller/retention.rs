//! How long records are kept. Entities in Port are not affected.

use cluster::clock::next_second;
use cluster::{DEADLINE, wait_for};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use port_dora_controller::resources::{DoraDeployment, FIELD_MANAGER};
use port_sim::{Effect, Fault};

use crate::TestResult;
use crate::fixture::{Controller, Installation, RELEASE, SAME_POD};
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

/// Waits until only the records of these revisions are left. The controller looks for expired records when a Deployment has
/// too many of them, and once per hour.
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

    // Undelivered records are kept, even above the limit of those that are delivered.
    let refusing =
        setup.port.set_fault(Fault::new(Effect::status(503)).path_prefix("/v1/blueprints/dora_deployment/"))?;
    roll_out(&env, 5..=7).await?;
    kept(&env, 5..=7).await?;
    controller.process.terminate(DEADLINE).await?;
    let mut controller = setup.start_controller_with_settings("retention: {records: 1}").await?;
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

/// Applies the record of a deployment outside Kubernetes that ended in 2020.
async fn apply_record(env: &TestEnv<'_>, name: &str) -> TestResult {
    let manifest = format!(
        "{{apiVersion: dora.port.io/v1alpha1, kind: DoraDeployment, metadata: {{name: {name}}}, \
         spec: {{outcome: Succeeded, finishedAt: '2020-01-01T00:00:00Z'}}}}"
    );
    env.setup.apply_in(&env.namespace, &manifest).await?;
    Ok(())
}

/// Waits until this number of records have expired undelivered, by the metric of this controller.
async fn expired_undelivered(controller: &Controller, count: u64) -> TestResult {
    let line = format!("port_dora_records_expired_total{{delivered=\"false\"}} {count}\n");
    wait_for(format!("{line:?} in the metrics"), DEADLINE, async || {
        let (_, metrics) = controller.get("/metrics").await?;
        Ok(metrics.contains(&line).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_never_delivered_expire() -> TestResult {
    let setup = Installation::exclusive().await?;
    let env = TestEnv::on(&setup, "undelivered").await?;
    let start = async |settings: &str| {
        let file = setup.file("settings.yaml");
        std::fs::write(&file, settings)?;
        let file = file.to_string_lossy().into_owned();
        let without_credentials = [("PORT_CLIENT_ID", ""), ("PORT_CLIENT_SECRET", "")];
        setup
            .start_controller(&[without_credentials[0], without_credentials[1], ("CONFIG_FILE", &file), SAME_POD[0]])
            .await
    };
    let mut controller = start("retention: {undeliveredRecords: 2, appliedRecords: 2}").await?;
    controller.leads().await?;
    env.apply(&Web::default()).await?;
    env.complete(1).await?;
    roll_out(&env, 2..=4).await?;
    kept(&env, 3..=4).await?;
    expired_undelivered(&controller, 2).await?;
    let note = setup.event(RELEASE, FIELD_MANAGER, "UndeliveredRecordsExpired").await?;
    assert!(note.contains("retention.undeliveredRecords") && note.contains("kubectl get ddep"), "{note}");

    for name in ["first", "second", "third"] {
        apply_record(&env, name).await?;
        next_second().await?;
    }
    let api: Api<DoraDeployment> = Api::namespaced(setup.client().await?, &env.namespace);
    let applied = async |expected: &[&str]| {
        wait_for(format!("the applied records {expected:?}"), DEADLINE, async || {
            let records = api.list(&ListParams::default()).await?.items;
            let found: Vec<String> =
                records.iter().filter(|record| record.spec.workload.is_none()).map(ResourceExt::name_any).collect();
            if found == expected { Ok(Some(())) } else { Err(format!("{found:?}"))? }
        })
        .await
    };
    applied(&["second", "third"]).await?;
    expired_undelivered(&controller, 3).await?;

    // The newest record of an existing Deployment stays at any age.
    controller.process.terminate(DEADLINE).await?;
    let _controller = start("retention: {maxAge: 1s}").await?;
    kept(&env, 4..=4).await?;
    applied(&[]).await?;
    env.kubectl("delete deployment/web").await?;
    setup.outcomes(&env.namespace, &[]).await?;
    assert!(setup.port.requests().is_empty());
    Ok(())
}
