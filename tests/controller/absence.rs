//! What happened while no controller ran: found again as far as the cluster remembers, and never guessed.

use cluster::wait_for;
use port_dora_controller::resources::Accuracy::{Exact, Observed};

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation, SAME_POD, text};
use crate::stage::{Row, Stage, Web, created, progressed, revision_of, seconds_after};

/// A progress deadline that passes before a standby leads, and that a change is made well before.
const UNDONE_SECONDS: i32 = 8;

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
    // The Deployment controller removes what is beyond the limit after the completion.
    for (stage, image) in [(&none_kept, "app:v4"), (&one_kept, "app:v3")] {
        wait_for(format!("the ReplicaSet of {image} to be gone"), DEADLINE, async || {
            Ok(stage.replica_set(image).await.is_err().then_some(()))
        })
        .await?;
    }
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
    let versions = |rows: &[Row]| rows.iter().map(|row| row.version().to_owned()).collect::<Vec<_>>();
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
    let recreated = Web { recreate: true, ..Web::default() };
    stated.apply(&recreated).await?;
    stated.table(&["web:1 Initial Succeeded success"]).await?;
    stated.apply(&Web { image: "app:v2", ready_after: "5s", ..recreated.clone() }).await?;
    stated.table(&["web:1 Initial Succeeded success", "web:2 Release InProgress InProgress"]).await?;
    completes.apply(&Web { ready_after: "5s", ..Web::default() }).await?;
    fails.apply(&Web { deadline: 5, ..Web::broken() }).await?;
    for stage in [&overtaken, &deleted] {
        stage.apply(&Web { deadline: 600, ..Web::broken() }).await?;
    }
    for stage in [&completes, &fails, &overtaken, &deleted] {
        stage.table(&["web:1 Initial InProgress InProgress"]).await?;
    }
    controller.process.kill()?;

    overtaken.kubectl("set image deployment/web app=app:v2").await?;
    deleted.kubectl("delete deployment/web").await?;
    let finished = completes.complete(1).await?;
    let failed = on.progressing(&fails.namespace, "web", "ProgressDeadlineExceeded").await?;
    let second = stated.complete(2).await?;
    // With Recreate, the condition goes on telling how the revision before ended.
    stated.apply(&recreated).await?;
    stated.complete(3).await?;
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
    let uids = rows.iter().map(|row| row.record.spec.deployment.as_ref().unwrap().uid.as_str());
    assert_eq!(
        uids.collect::<Vec<_>>(),
        [former.metadata.uid.as_deref().unwrap(), present.metadata.uid.as_deref().unwrap()]
    );
    assert_eq!(text(rows[0].entity.as_ref().unwrap(), "status"), "success");
    assert_eq!(writes(&rows), [1, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_followed_knows_how_everything_ended_in_between() -> TestResult {
    let on = Installation::alone().await?;
    let mut leader = on.start_controller(&[]).await?;
    leader.logs("leading:").await?;
    let standby = on.start_controller(&[]).await?;
    let [stage, gone, undone] =
        [Stage::on(&on, "standby").await?, Stage::on(&on, "gone").await?, Stage::on(&on, "undone").await?];
    stage.apply(&Web { deadline: 600, ..Web::broken() }).await?;
    stage.table(&["web:1 Initial InProgress InProgress"]).await?;
    let recreated = Web { deadline: UNDONE_SECONDS, recreate: true, ..Web::default() };
    undone.apply(&Web { recreate: true, ..Web::broken() }).await?;
    undone.table(&["web:1 Initial Failed failed"]).await?;
    undone.apply(&recreated).await?;
    undone.table(&["web:1 Initial Failed failed", "web:2 Release Succeeded success"]).await?;
    leader.process.kill()?;
    // Until the lease expires nobody writes.
    stage.kubectl("set image deployment/web app=other:broken").await?;
    stage.until("revision 2", |web| (revision_of(web) == Some(2)).then_some(())).await?;
    stage.kubectl("set image deployment/web app=app:v3").await?;
    stage.complete(3).await?;
    // With Recreate no condition follows a re-used ReplicaSet: the standby has to count the time itself, and to forget it again.
    undone.apply(&Web { deadline: UNDONE_SECONDS, recreate: true, ..Web::broken() }).await?;
    undone.until("revision 3", |web| (revision_of(web) == Some(3)).then_some(())).await?;
    undone.apply(&Web { image: "app:v4", ..recreated }).await?;
    undone.complete(4).await?;
    gone.apply(&Web { deadline: 600, ..Web::broken() }).await?;
    gone.until("revision 1", |web| (revision_of(web) == Some(1)).then_some(())).await?;
    gone.kubectl("delete deployment/web").await?;
    assert!(!standby.process.log()?.contains("leading:"), "the lease is too short for this test");
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
