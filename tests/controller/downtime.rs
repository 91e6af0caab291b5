//! Rollouts while no controller is running: they are recorded as far as the cluster shows them, and never guessed.

use cluster::clock::seconds_after;
use cluster::{DEADLINE, wait_for};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;
use port_dora_controller::resources::FIELD_MANAGER;
use rollout::Accuracy::{Exact, Observed};

use crate::fixture::{Controller, Installation, RELEASE, SAME_POD, text};
use crate::objects::{created, last_progress, progressing, revision_of};
use crate::test_env::{Row, TestEnv, versions, writes};
use crate::web::Web;
use crate::{Error, TestResult};

/// Progress deadlines in seconds. A slow machine that can't make a change within one of them gets the next, longer one.
const DEADLINES: [i32; 3] = [20, 60, 180];

/// Sets the commit annotation of the Deployment and a new image in one request, like a pipeline.
async fn release(env: &TestEnv<'_>, image: &str, commit: &str) -> TestResult {
    let patch = format!(
        r#"{{"metadata":{{"annotations":{{"dora.port.io/commit-sha":"{commit}"}}}},"spec":{{"template":{{"spec":{{"containers":[{{"name":"app","image":"{image}"}}]}}}}}}}}"#
    );
    env.kubectl(&format!("patch deployment/web --patch={patch}")).await?;
    Ok(())
}

fn commits(rows: &[Row]) -> Vec<Option<&str>> {
    rows.iter().map(|row| row.record.spec.commit_sha.as_deref()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_revisions_are_recorded_from_replica_sets() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let remembered = with_history_limit(&setup, "remembered", 10).await?;
    let returned = with_history_limit(&setup, "returned", 10).await?;
    let none_kept = with_history_limit(&setup, "none-kept", 0).await?;
    let one_kept = with_history_limit(&setup, "one-kept", 1).await?;
    controller.process.kill()?;

    release(&remembered, "app:v2", "two").await?;
    remembered.complete(2).await?;
    release(&remembered, "other:broken", "three").await?;
    remembered.until("revision 3", |web| (revision_of(web) == Some(3)).then_some(())).await?;
    release(&remembered, "app:v4", "four").await?;
    roll_back_twice(&returned).await?;
    for env in [&none_kept, &one_kept] {
        for revision in 2..=5 {
            release(env, &format!("app:v{revision}"), "unseen").await?;
            env.complete(revision).await?;
        }
    }
    let last = remembered.complete(4).await?;
    let [second, third] = [remembered.replica_set("app:v2").await?, remembered.replica_set("other:broken").await?];
    none_kept.pruned(&["app:v1", "app:v2", "app:v3", "app:v4"]).await?;
    one_kept.pruned(&["app:v1", "app:v2", "app:v3"]).await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;

    let expected = [
        "web:1 Initial Succeeded success",
        "web:2 Release Unobserved unknown",
        "web:3 Release Unobserved unknown",
        "web:4 Release Succeeded success",
    ];
    let rows = remembered.table(&expected).await?;
    assert_eq!(commits(&rows), [None, Some("two"), Some("three"), Some("four")], "each from its ReplicaSet");
    assert_eq!([rows[1].started(), rows[2].started()], [(created(&second), Exact), (created(&third), Exact)]);
    assert_eq!([&rows[1].record.spec.finished_at, &rows[2].record.spec.finished_at], [&None, &None]);
    assert_eq!(rows[3].finished(), (last_progress(&last), Exact), "the time is not that of the discovery");
    check_rollbacks(&returned).await?;
    none_kept.table(&["web:1 Initial Succeeded success", "web:5 ? Succeeded success, 3 unseen before"]).await?;
    one_kept
        .table(&[
            "web:1 Initial Succeeded success",
            "web:4 ? Unobserved unknown, 2 unseen before",
            "web:5 Release Succeeded success",
        ])
        .await?;

    // Another downtime without changes adds and changes nothing.
    controller.process.kill()?;
    let _controller = setup.start_controller(&SAME_POD).await?;
    release(&remembered, "app:v5", "five").await?;
    let again = remembered.table(&[&expected[..], &["web:5 Release Succeeded success"]].concat()).await?;
    assert_eq!(writes(&again), [1; 5]);
    assert_eq!(versions(&again[..4]), versions(&rows));
    Ok(())
}

/// An environment in which revision 1 is delivered, with this `revisionHistoryLimit`.
async fn with_history_limit<'a>(setup: &'a Installation, prefix: &str, limit: u32) -> Result<TestEnv<'a>, Error> {
    let env = TestEnv::on(setup, prefix).await?;
    env.apply(&Web::default()).await?;
    let patch = format!(r#"{{"spec":{{"revisionHistoryLimit":{limit}}}}}"#);
    env.kubectl(&format!("patch deployment/web --patch={patch}")).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    Ok(env)
}

/// Rolls out revision 2, and rolls back twice.
async fn roll_back_twice(env: &TestEnv<'_>) -> TestResult {
    env.kubectl("set image deployment/web app=app:v2").await?;
    for revision in 2..=4 {
        env.complete(revision).await?;
        if revision < 4 {
            env.kubectl("rollout undo deployment/web").await?;
        }
    }
    Ok(())
}

/// Checks the records after [`roll_back_twice`] during a downtime.
async fn check_rollbacks(env: &TestEnv<'_>) -> TestResult {
    let rows = env
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release Unobserved unknown",
            // Neither start nor end is known.
            "web:3 Rollback Unobserved NotPublished",
            "web:4 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!([&rows[2].record.spec.started_at, &rows[2].record.spec.finished_at], [&None, &None]);
    assert_eq!(rows[3].record.spec.started_at, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn open_rollout_is_finished_after_a_restart() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let [completes, fails, overtaken] = [
        TestEnv::on(&setup, "completes").await?,
        TestEnv::on(&setup, "fails").await?,
        TestEnv::on(&setup, "overtaken").await?,
    ];
    let [stated, deleted] = [TestEnv::on(&setup, "stated").await?, TestEnv::on(&setup, "deleted").await?];
    stated.apply(&Web::default()).await?;
    stated.table(&["web:1 Initial Succeeded success"]).await?;
    stated.apply(&stated.gated(Web::image("app:v2"))).await?;
    stated.table(&["web:1 Initial Succeeded success", "web:2 Release InProgress InProgress"]).await?;
    completes.apply(&completes.gated(Web::default())).await?;
    for env in [&fails, &overtaken, &deleted] {
        env.apply_stalled(&Web::broken(), 1).await?;
    }
    for env in [&completes, &fails, &overtaken, &deleted] {
        env.table(&["web:1 Initial InProgress InProgress"]).await?;
    }
    controller.process.kill()?;

    overtaken.kubectl("set image deployment/web app=app:v2").await?;
    deleted.kubectl("delete deployment/web").await?;
    fails.fail_now("web").await?;
    completes.open_gate().await?;
    stated.condition_names("app:v2").await?;
    stated.open_gate().await?;
    let finished = setup.progressing(&completes.namespace, "web", "NewReplicaSetAvailable").await?;
    let failed = setup.progressing(&fails.namespace, "web", "ProgressDeadlineExceeded").await?;
    let second = setup.progressing(&stated.namespace, "web", "NewReplicaSetAvailable").await?;
    // With Recreate, the condition still describes the revision before.
    stated.apply(&Web { recreate: true, ..Web::default() }).await?;
    let third = stated.complete(3).await?;
    assert_eq!(progressing(&third), progressing(&second));
    overtaken.complete(2).await?;
    seconds_after(last_progress(&failed).max(last_progress(&finished)), 1).await?;
    let _controller = setup.start_controller(&SAME_POD).await?;

    let rows = completes.table(&["web:1 Initial Succeeded success"]).await?;
    assert_eq!(rows[0].finished(), (last_progress(&finished), Exact));
    let rows = fails.table(&["web:1 Initial Failed failed"]).await?;
    assert_eq!(rows[0].finished(), (last_progress(&failed), Exact));
    assert!(rows[0].failure().contains("app:broken"), "{}", rows[0].failure());
    let rows = overtaken.table(&["web:1 Initial Unobserved unknown", "web:2 Release Succeeded success"]).await?;
    assert_eq!(rows[0].record.spec.finished_at, None, "the end is unknown");
    let rows = stated
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release RolledBack rolled_back",
            "web:3 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(rows[1].finished(), (last_progress(&second), Exact));
    assert_eq!(rows[1].record.spec.rolled_back_by, Some(3));
    assert_eq!(rows[2].finished().1, Observed);
    deleted.table(&["web:1 Initial Unobserved unknown"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn recreated_deployment_is_another_workload() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let [again, adopted] = [TestEnv::on(&setup, "again").await?, TestEnv::on(&setup, "adopted").await?];
    let mut first = None;
    for env in [&again, &adopted] {
        env.apply(&Web::default()).await?;
        let row = env.table(&["web:1 Initial Succeeded success"]).await?.remove(0);
        first = Some(row.started().0);
    }
    controller.process.kill()?;
    again.kubectl("delete deployment/web --cascade=foreground").await?;
    again.apply(&Web::default()).await?;
    again.complete(1).await?;
    // Times are whole seconds, so an adopted ReplicaSet must be clearly older than its new Deployment.
    seconds_after(first.unwrap(), 3).await?;
    let old = adopted.web().await?;
    adopted.kubectl("delete deployment/web --cascade=orphan").await?;
    adopted.apply(&Web::default()).await?;
    let new = adopted.complete(1).await?;
    assert_ne!(new.metadata.uid, old.metadata.uid);
    let _controller = setup.start_controller(&SAME_POD).await?;

    let rows = again.table(&["web:1 Initial Succeeded success", "web:1 Initial Succeeded success"]).await?;
    assert_eq!(writes(&rows), [1, 1]);
    let identifiers: Vec<String> = rows.iter().map(|row| row.entity.as_ref().unwrap().identifier.clone()).collect();
    assert_ne!(identifiers[0], identifiers[1]);
    // Adopting a ReplicaSet is not a rollout. The next change is a rollout of the new Deployment.
    adopted.kubectl("set image deployment/web app=app:v2").await?;
    let rows = adopted.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    let uids = rows.iter().map(|row| row.record.spec.workload.as_ref().unwrap().uid.as_str());
    assert_eq!(uids.collect::<Vec<_>>(), [old.metadata.uid.as_deref().unwrap(), new.metadata.uid.as_deref().unwrap()]);
    assert_eq!(text(rows[0].entity.as_ref().unwrap(), "status"), "success");
    assert_eq!(writes(&rows), [1, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_rollout_found_paused_at_0_stays_failed() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let env = TestEnv::on(&setup, "paused").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply_failing(&Web::broken()).await?;
    let two = ["web:1 Initial Succeeded success", "web:2 Release Failed failed"];
    env.table(&two).await?;
    env.kubectl("rollout pause deployment/web").await?;
    env.record(2, "paused", |spec| spec.paused_at.is_some()).await?;
    env.kubectl("scale deployment/web --replicas=0").await?;
    let nothing = env
        .until("nothing to be left", |web| {
            let status = web.status.as_ref()?;
            let is_observed = status.observed_generation == web.metadata.generation;
            (is_observed && status.replicas.unwrap_or_default() == 0).then_some(())
        })
        .await?;
    assert_eq!(
        progressing(&nothing).reason.as_deref(),
        Some("ProgressDeadlineExceeded"),
        "only the counts say that the rollout is complete"
    );
    let before = env.table(&two).await?;
    controller.process.kill()?;
    let mut controller = setup.start_controller(&SAME_POD).await?;

    // The controller handles the first Deployment before this one.
    env.apply(&Web { name: "other", ..Web::default() }).await?;
    let three = [&["other:1 Initial Succeeded success"], &two[..]].concat();
    env.table(&three).await?;
    // A controller finishes its writes before it ends.
    controller.process.terminate(DEADLINE).await?;
    let after = env.table(&three).await?;
    assert_eq!(versions(&after[1..]), versions(&before));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_records_what_happened_without_a_leader() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut leader = setup.start_controller(&[]).await?;
    leader.leads().await?;
    let standby = setup.start_controller(&[]).await?;
    let [env, gone, undone] = [
        TestEnv::on(&setup, "standby").await?,
        TestEnv::on(&setup, "gone").await?,
        TestEnv::on(&setup, "undone").await?,
    ];
    env.apply_stalled(&Web::broken(), 1).await?;
    env.table(&["web:1 Initial InProgress InProgress"]).await?;
    fail_and_fix(&undone).await?;
    undone.table(&["web:1 Initial Failed failed", "web:2 Release Succeeded success"]).await?;
    leader.process.kill()?;
    // Until the lease of the dead leader expires, nothing is written.
    let (undone, deadline) = overtake_in_time(&setup, &standby, undone).await?;
    env.kubectl("set image deployment/web app=other:broken").await?;
    env.until("revision 2", |web| (revision_of(web) == Some(2)).then_some(())).await?;
    env.kubectl("set image deployment/web app=app:v3").await?;
    env.complete(3).await?;
    gone.apply_stalled(&Web::broken(), 1).await?;
    gone.kubectl("delete deployment/web").await?;
    seconds_after(deadline, 1).await?;
    assert!(!standby.is_leading()?, "the standby must not lead yet");
    let release = r#"--patch={"spec":{"holderIdentity":null}}"#;
    setup.kubectl(["--namespace", RELEASE, "patch", "lease", FIELD_MANAGER, "--type=merge", release]).await?;
    standby.leads().await?;
    env.table(&[
        "web:1 Initial Superseded cancelled",
        "web:2 Release Superseded cancelled",
        "web:3 Release Succeeded success",
    ])
    .await?;
    gone.table(&["web:1 Initial Abandoned NotPublished"]).await?;
    undone
        .table(&[
            "web:1 Initial Failed failed",
            "web:2 Release RolledBack rolled_back",
            "web:3 Rollback Superseded cancelled",
            "web:4 Release Succeeded success",
        ])
        .await?;
    Ok(())
}

/// Rolls out a first revision that fails and a second revision that succeeds.
async fn fail_and_fix(env: &TestEnv<'_>) -> TestResult {
    env.apply_failing(&Web { recreate: true, ..Web::broken() }).await?;
    env.setup.progressing(&env.namespace, "web", "ProgressDeadlineExceeded").await?;
    env.apply(&Web { recreate: true, ..Web::default() }).await?;
    env.complete(2).await?;
    Ok(())
}

/// Rolls back to the first revision of [`fail_and_fix`], and rolls out a fourth revision before the deadline of the
/// third one passes. If the machine is too slow for that, tries again in another namespace with a longer deadline.
/// Returns the last environment, and the time when the deadline has passed.
///
/// With Recreate, no condition describes a re-used `ReplicaSet`. So the standby measures the time itself, and must
/// forget it when the rollout is superseded.
async fn overtake_in_time<'a>(
    setup: &'a Installation,
    standby: &Controller,
    mut env: TestEnv<'a>,
) -> Result<(TestEnv<'a>, Timestamp), Error> {
    for deadline in DEADLINES {
        let start = Timestamp::now();
        let broken = Web { deadline, recreate: true, ..Web::broken() };
        env.apply(&broken).await?;
        env.until("revision 3", |web| (revision_of(web) == Some(3)).then_some(())).await?;
        env.stalled(&broken, 1).await?;
        env.apply(&Web { image: "app:v4", ..broken }).await?;
        env.complete(4).await?;
        wait_until_followed(setup, standby).await?;
        let (ended, deadline) = (Timestamp::now(), SignedDuration::from_secs(deadline.into()));
        // The controller counts whole seconds.
        if ended.duration_since(start) < deadline - SignedDuration::from_secs(1) {
            return Ok((env, ended + deadline));
        }
        env = TestEnv::on(setup, "undone").await?;
        fail_and_fix(&env).await?;
    }
    Err(format!("this machine is too slow to make a change within {DEADLINES:?} seconds").into())
}

/// Waits until a standby has seen all changes of Deployments so far. It sees changes in order, so this creates another
/// Deployment and waits for it.
async fn wait_until_followed(setup: &Installation, standby: &Controller) -> TestResult {
    TestEnv::on(setup, "last").await?.apply(&Web { replicas: 0, ..Web::default() }).await?;
    let all = Api::<Deployment>::all(setup.client().await?).list(&ListParams::default()).await?.items.len();
    let line = format!("port_dora_indexed_workloads {all}\n");
    wait_for(format!("{line:?} in the metrics"), DEADLINE, async || {
        let (_, metrics) = standby.get("/metrics").await?;
        Ok(metrics.contains(&line).then_some(()))
    })
    .await?;
    Ok(())
}
