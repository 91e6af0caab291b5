//! What happened while no controller ran: found again as far as the cluster remembers, and never guessed.

use cluster::wait_for;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;
use port_dora_controller::resources::FIELD_MANAGER;
use rollout::Accuracy::{Exact, Observed};

use crate::TestResult;
use crate::fixture::{Controller, DEADLINE, Installation, RELEASE, SAME_POD, text};
use crate::objects::{created, progressed, progressing, revision_of};
use crate::stage::{Row, Stage, seconds_after, versions};
use crate::web::Web;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Progress deadlines in seconds, ever longer ones: of one a machine is fast enough to make a change before it is over.
const DEADLINES: [i32; 3] = [20, 60, 180];

/// `kubectl annotate` of the Deployment and a new image in one go, as a pipeline applies them.
async fn release(stage: &Stage<'_>, image: &str, commit: &str) -> TestResult {
    let patch = format!(
        r#"{{"metadata":{{"annotations":{{"dora.port.io/commit-sha":"{commit}"}}}},"spec":{{"template":{{"spec":{{"containers":[{{"name":"app","image":"{image}"}}]}}}}}}}}"#
    );
    stage.kubectl(&format!("patch deployment/web --patch={patch}")).await?;
    Ok(())
}

fn commits(rows: &[Row]) -> Vec<Option<&str>> {
    rows.iter().map(|row| row.record.spec.commit_sha.as_deref()).collect()
}

fn writes(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(Row::writes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_that_came_and_went_are_recorded_as_far_as_replica_sets_remember_them() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    let remembered = Stage::on(&on, "remembered").await?;
    let returned = Stage::on(&on, "returned").await?;
    let [none_kept, one_kept] = [Stage::on(&on, "none-kept").await?, Stage::on(&on, "one-kept").await?];
    for stage in [&remembered, &returned, &none_kept, &one_kept] {
        stage.apply(&Web::default()).await?;
    }
    for (stage, limit) in [(&none_kept, 0), (&one_kept, 1)] {
        let patch = format!(r#"{{"spec":{{"revisionHistoryLimit":{limit}}}}}"#);
        stage.kubectl(&format!("patch deployment/web --patch={patch}")).await?;
    }
    for stage in [&remembered, &returned, &none_kept, &one_kept] {
        stage.table(&["web:1 Initial Succeeded success"]).await?;
    }
    controller.process.kill()?;

    release(&remembered, "app:v2", "two").await?;
    remembered.complete(2).await?;
    release(&remembered, "other:broken", "three").await?;
    remembered.until("revision 3", |web| (revision_of(web) == Some(3)).then_some(())).await?;
    release(&remembered, "app:v4", "four").await?;
    // There and back, twice.
    returned.kubectl("set image deployment/web app=app:v2").await?;
    for revision in 2..=4 {
        returned.complete(revision).await?;
        if revision < 4 {
            returned.kubectl("rollout undo deployment/web").await?;
        }
    }
    for stage in [&none_kept, &one_kept] {
        for revision in 2..=5 {
            release(stage, &format!("app:v{revision}"), "unseen").await?;
            stage.complete(revision).await?;
        }
    }
    let last = remembered.complete(4).await?;
    let [second, third] = [remembered.replica_set("app:v2").await?, remembered.replica_set("other:broken").await?];
    none_kept.pruned(&["app:v1", "app:v2", "app:v3", "app:v4"]).await?;
    one_kept.pruned(&["app:v1", "app:v2", "app:v3"]).await?;
    let mut controller = on.start_controller(&SAME_POD).await?;

    let rows = remembered
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release Unobserved unknown",
            "web:3 Release Unobserved unknown",
            "web:4 Release Succeeded success",
        ])
        .await?;
    assert_eq!(commits(&rows), [None, Some("two"), Some("three"), Some("four")], "each from its own snapshot");
    assert_eq!([rows[1].started(), rows[2].started()], [(created(&second), Exact), (created(&third), Exact)]);
    assert_eq!([&rows[1].record.spec.finished_at, &rows[2].record.spec.finished_at], [&None, &None]);
    assert_eq!(rows[3].finished(), (progressed(&last), Exact), "not the time at which it was found");
    let rows_returned = returned
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release Unobserved unknown",
            // Neither when it began nor when it ended is known.
            "web:3 Rollback Unobserved NotPublished",
            "web:4 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!([&rows_returned[2].record.spec.started_at, &rows_returned[2].record.spec.finished_at], [&None, &None]);
    assert_eq!(rows_returned[3].record.spec.started_at, None);
    none_kept.table(&["web:1 Initial Succeeded success", "web:5 ? Succeeded success, 3 unseen before"]).await?;
    one_kept
        .table(&[
            "web:1 Initial Succeeded success",
            "web:4 ? Unobserved unknown, 2 unseen before",
            "web:5 Release Succeeded success",
        ])
        .await?;

    // Another absence in which nothing happens adds and changes nothing.
    controller.process.kill()?;
    let _controller = on.start_controller(&SAME_POD).await?;
    release(&remembered, "app:v5", "five").await?;
    let again = remembered
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release Unobserved unknown",
            "web:3 Release Unobserved unknown",
            "web:4 Release Succeeded success",
            "web:5 Release Succeeded success",
        ])
        .await?;
    assert_eq!(writes(&again), [1; 5]);
    assert_eq!(versions(&again[..4]), versions(&rows));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_was_open_ends_right() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    let [completes, fails, overtaken] =
        [Stage::on(&on, "completes").await?, Stage::on(&on, "fails").await?, Stage::on(&on, "overtaken").await?];
    let [stated, deleted] = [Stage::on(&on, "stated").await?, Stage::on(&on, "deleted").await?];
    stated.apply(&Web::default()).await?;
    stated.table(&["web:1 Initial Succeeded success"]).await?;
    stated.apply(&stated.gated(Web::image("app:v2"))).await?;
    stated.table(&["web:1 Initial Succeeded success", "web:2 Release InProgress InProgress"]).await?;
    completes.apply(&completes.gated(Web::default())).await?;
    for stage in [&fails, &overtaken, &deleted] {
        stage.apply_stuck(&Web::broken(), 1).await?;
    }
    for stage in [&completes, &fails, &overtaken, &deleted] {
        stage.table(&["web:1 Initial InProgress InProgress"]).await?;
    }
    controller.process.kill()?;

    overtaken.kubectl("set image deployment/web app=app:v2").await?;
    deleted.kubectl("delete deployment/web").await?;
    fails.fail_now("web").await?;
    completes.open_gate().await?;
    stated.named("app:v2").await?;
    stated.open_gate().await?;
    let finished = on.progressing(&completes.namespace, "web", "NewReplicaSetAvailable").await?;
    let failed = on.progressing(&fails.namespace, "web", "ProgressDeadlineExceeded").await?;
    let second = on.progressing(&stated.namespace, "web", "NewReplicaSetAvailable").await?;
    // With Recreate, the condition goes on telling how the revision before ended.
    stated.apply(&Web { recreate: true, ..Web::default() }).await?;
    let third = stated.complete(3).await?;
    assert_eq!(progressing(&third), progressing(&second));
    overtaken.complete(2).await?;
    seconds_after(progressed(&failed).max(progressed(&finished)), 1).await?;
    let _controller = on.start_controller(&SAME_POD).await?;

    let rows = completes.table(&["web:1 Initial Succeeded success"]).await?;
    assert_eq!(rows[0].finished(), (progressed(&finished), Exact));
    let rows = fails.table(&["web:1 Initial Failed failed"]).await?;
    assert_eq!(rows[0].finished(), (progressed(&failed), Exact));
    assert!(rows[0].failure().contains("app:broken"), "{}", rows[0].failure());
    let rows = overtaken.table(&["web:1 Initial Unobserved unknown", "web:2 Release Succeeded success"]).await?;
    assert_eq!(rows[0].record.spec.finished_at, None, "nobody knows");
    let rows = stated
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release RolledBack rolled_back",
            "web:3 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(rows[1].finished(), (progressed(&second), Exact));
    assert_eq!(rows[1].record.spec.rolled_back_by, Some(3));
    assert_eq!(rows[2].finished().1, Observed);
    deleted.table(&["web:1 Initial Unobserved unknown"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_comes_again_is_another_deployment() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    let [again, adopted] = [Stage::on(&on, "again").await?, Stage::on(&on, "adopted").await?];
    let mut first = None;
    for stage in [&again, &adopted] {
        stage.apply(&Web::default()).await?;
        let row = stage.table(&["web:1 Initial Succeeded success"]).await?.remove(0);
        first = Some(row.started().0);
    }
    controller.process.kill()?;
    again.kubectl("delete deployment/web --cascade=foreground").await?;
    again.apply(&Web::default()).await?;
    again.complete(1).await?;
    // Kubernetes' times are whole seconds: an adopted ReplicaSet is known by being clearly older than its Deployment.
    seconds_after(first.unwrap(), 3).await?;
    let former = adopted.web().await?;
    adopted.kubectl("delete deployment/web --cascade=orphan").await?;
    adopted.apply(&Web::default()).await?;
    let present = adopted.complete(1).await?;
    assert_ne!(present.metadata.uid, former.metadata.uid);
    let _controller = on.start_controller(&SAME_POD).await?;

    let rows = again.table(&["web:1 Initial Succeeded success", "web:1 Initial Succeeded success"]).await?;
    assert_eq!(writes(&rows), [1, 1]);
    let identifiers: Vec<String> = rows.iter().map(|row| row.entity.as_ref().unwrap().identifier.clone()).collect();
    assert_ne!(identifiers[0], identifiers[1]);
    // To take over a ReplicaSet is no rollout; what comes then is one, of the new Deployment.
    adopted.kubectl("set image deployment/web app=app:v2").await?;
    let rows = adopted.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    let uids = rows.iter().map(|row| row.record.spec.workload.as_ref().unwrap().uid.as_str());
    assert_eq!(
        uids.collect::<Vec<_>>(),
        [former.metadata.uid.as_deref().unwrap(), present.metadata.uid.as_deref().unwrap()]
    );
    assert_eq!(text(rows[0].entity.as_ref().unwrap(), "status"), "success");
    assert_eq!(writes(&rows), [1, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_rollout_found_paused_at_0_stays_failed() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    let stage = Stage::on(&on, "paused").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply_failing(&Web::broken()).await?;
    let two = ["web:1 Initial Succeeded success", "web:2 Release Failed failed"];
    stage.table(&two).await?;
    stage.kubectl("rollout pause deployment/web").await?;
    stage.record(2, "paused", |spec| spec.paused_at.is_some()).await?;
    stage.kubectl("scale deployment/web --replicas=0").await?;
    let nothing = stage
        .until("nothing to be left", |web| {
            let status = web.status.as_ref()?;
            let is_observed = status.observed_generation == web.metadata.generation;
            (is_observed && status.replicas.unwrap_or_default() == 0).then_some(())
        })
        .await?;
    assert_eq!(
        progressing(&nothing).reason.as_deref(),
        Some("ProgressDeadlineExceeded"),
        "it is complete to the counts alone"
    );
    let before = stage.table(&two).await?;
    controller.process.kill()?;
    let mut controller = on.start_controller(&SAME_POD).await?;

    // It is looked at before what comes later.
    stage.apply(&Web { name: "other", ..Web::default() }).await?;
    let three = [&["other:1 Initial Succeeded success"], &two[..]].concat();
    stage.table(&three).await?;
    // A controller that ends finishes what it writes.
    controller.process.terminate(DEADLINE).await?;
    let after = stage.table(&three).await?;
    assert_eq!(versions(&after[1..]), versions(&before));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_followed_knows_how_everything_ended_in_between() -> TestResult {
    let on = Installation::alone().await?;
    let mut leader = on.start_controller(&[]).await?;
    leader.logs("this replica leads").await?;
    let standby = on.start_controller(&[]).await?;
    let [stage, gone, undone] =
        [Stage::on(&on, "standby").await?, Stage::on(&on, "gone").await?, Stage::on(&on, "undone").await?];
    stage.apply_stuck(&Web::broken(), 1).await?;
    stage.table(&["web:1 Initial InProgress InProgress"]).await?;
    fail_and_mend(&undone).await?;
    undone.table(&["web:1 Initial Failed failed", "web:2 Release Succeeded success"]).await?;
    leader.process.kill()?;
    // As long as the lease is that of the dead leader, nobody writes.
    let (undone, over) = overtake_in_time(&on, &standby, undone).await?;
    stage.kubectl("set image deployment/web app=other:broken").await?;
    stage.until("revision 2", |web| (revision_of(web) == Some(2)).then_some(())).await?;
    stage.kubectl("set image deployment/web app=app:v3").await?;
    stage.complete(3).await?;
    gone.apply_stuck(&Web::broken(), 1).await?;
    gone.kubectl("delete deployment/web").await?;
    seconds_after(over, 1).await?;
    assert!(!standby.process.log()?.contains("this replica leads"), "it leads already");
    let release = r#"--patch={"spec":{"holderIdentity":null}}"#;
    on.kubectl(["--namespace", RELEASE, "patch", "lease", FIELD_MANAGER, "--type=merge", release]).await?;
    standby.logs("this replica leads").await?;
    stage
        .table(&[
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

/// A first revision that fails and a second one that succeeds.
async fn fail_and_mend(stage: &Stage<'_>) -> TestResult {
    stage.apply_failing(&Web { recreate: true, ..Web::broken() }).await?;
    stage.on.progressing(&stage.namespace, "web", "ProgressDeadlineExceeded").await?;
    stage.apply(&Web { recreate: true, ..Web::default() }).await?;
    stage.complete(2).await?;
    Ok(())
}

/// Goes back to the first revision of [`fail_and_mend`], and on to a fourth one before the deadline of the third is over; in the namespace
/// that is returned, if need be in another one with a longer deadline. The time is that at which the deadline is over.
///
/// With Recreate no condition follows a re-used `ReplicaSet`: the standby has to count the time itself, and to forget it again.
async fn overtake_in_time<'a>(
    on: &'a Installation,
    standby: &Controller,
    mut stage: Stage<'a>,
) -> Result<(Stage<'a>, Timestamp), Error> {
    for deadline in DEADLINES {
        let began = Timestamp::now();
        let broken = Web { deadline, recreate: true, ..Web::broken() };
        stage.apply(&broken).await?;
        stage.until("revision 3", |web| (revision_of(web) == Some(3)).then_some(())).await?;
        stage.stands_still(&broken, 1).await?;
        stage.apply(&Web { image: "app:v4", ..broken }).await?;
        stage.complete(4).await?;
        has_followed(on, standby).await?;
        let (ended, deadline) = (Timestamp::now(), SignedDuration::from_secs(deadline.into()));
        // Times are counted in whole seconds.
        if ended.duration_since(began) < deadline - SignedDuration::from_secs(1) {
            return Ok((stage, ended + deadline));
        }
        stage = Stage::on(on, "undone").await?;
        fail_and_mend(&stage).await?;
    }
    Err(format!("this machine can't make a change within {DEADLINES:?} seconds").into())
}

/// Waits until a standby has seen all that happened to Deployments so far: it sees them in order, and so another one last.
async fn has_followed(on: &Installation, standby: &Controller) -> TestResult {
    Stage::on(on, "last").await?.apply(&Web { replicas: 0, ..Web::default() }).await?;
    let all = Api::<Deployment>::all(on.client().await?).list(&ListParams::default()).await?.items.len();
    let line = format!("port_dora_indexed_deployments {all}\n");
    wait_for(format!("{line:?} in the metrics"), DEADLINE, async || {
        let (_, metrics) = standby.get("/metrics").await?;
        Ok(metrics.contains(&line).then_some(()))
    })
    .await?;
    Ok(())
}
