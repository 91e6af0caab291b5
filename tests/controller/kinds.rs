//! What a rollout changed, from the pod templates of its ReplicaSet and of the one before.

use std::collections::BTreeSet;

use cluster::wait_for;
use serde_json::json;

use crate::TestResult;
use crate::fixture::DEADLINE;
use crate::objects::revision_of;
use crate::stage::{Stage, next_second, versions};
use crate::web::Web;

#[tokio::test(flavor = "multi_thread")]
async fn another_image_is_a_release_anything_else_a_config_and_an_older_template_a_rollback() -> TestResult {
    let stage = Stage::open("kinds").await?;
    let web = Web {
        pod: json!({
            "initContainers": [
                {"name": "migrate", "image": "migrate:v1"},
                {"name": "proxy", "image": "proxy:v1", "restartPolicy": "Always"},
            ],
        }),
        ..Web::default()
    };
    stage.apply(&web).await?;
    let mut expected = vec!["web:1 Initial Succeeded success"];
    stage.table(&expected).await?;
    for (command, row) in [
        ("set image deployment/web app=app:v2", "web:2 Release Succeeded success"),
        ("set image deployment/web migrate=migrate:v2", "web:3 Release Succeeded success"),
        ("set image deployment/web proxy=proxy:v2", "web:4 Release Succeeded success"),
        ("set env deployment/web COLOUR=red", "web:5 Config Succeeded success"),
        ("set resources deployment/web --limits=memory=1Gi", "web:6 Config Succeeded success"),
    ] {
        stage.kubectl(command).await?;
        expected.push(row);
        stage.table(&expected).await?;
    }
    stage.kubectl("rollout undo deployment/web").await?;
    expected[5] = "web:6 Config RolledBack rolled_back";
    expected.push("web:7 Rollback Succeeded success");
    stage.table(&expected).await?;
    // The old manifest does not take away what others have set, so this goes through `replace`.
    stage.kubectl_with_input("replace --filename=-", &web.manifest()).await?;
    expected[6] = "web:7 Rollback RolledBack rolled_back";
    expected.push("web:8 Rollback Succeeded success");
    let rows = stage.table(&expected).await?;
    let taken_back_by: Vec<_> = rows.iter().map(|row| row.record.spec.rolled_back_by).collect();
    assert_eq!(taken_back_by, [None, None, None, None, None, Some(7), Some(8), None]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_recorded_and_not_published_and_neither_is_taking_it_back() -> TestResult {
    let stage = Stage::open("restart").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.kubectl("rollout restart deployment/web").await?;
    let restarted = stage.table(&["web:1 Initial Succeeded success", "web:2 Restart Succeeded NotPublished"]).await?;
    let why = &restarted[1].record.status.as_ref().unwrap().conditions[0].message;
    assert!(why.contains("publish.changes.Restart"), "{why}");
    // A manifest without the annotation restartedAt, in full: the first ReplicaSet is used again, and the pods run what they ran.
    stage.kubectl_with_input("replace --filename=-", &Web::default().manifest()).await?;
    let replaced = stage
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Restart Succeeded NotPublished",
            "web:3 Restart Succeeded NotPublished",
        ])
        .await?;
    assert_eq!(versions(&replaced[..2]), versions(&restarted), "nothing was taken back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_over_a_restart_takes_back_what_was_restarted() -> TestResult {
    let stage = Stage::open("restarted").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply(&Web::image("app:v2")).await?;
    stage.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    stage.kubectl("rollout restart deployment/web").await?;
    let two = ["web:1 Initial Succeeded success", "web:2 Release Succeeded success"];
    stage.table(&[&two[..], &["web:3 Restart Succeeded NotPublished"]].concat()).await?;
    stage.kubectl("rollout undo deployment/web --to-revision=1").await?;
    stage
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release RolledBack rolled_back",
            "web:3 Restart RolledBack NotPublished",
            "web:4 Rollback Succeeded success",
        ])
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_at_0_replicas_are_recorded_and_not_published() -> TestResult {
    let stage = Stage::open("nothing").await?;
    stage.apply(&Web { replicas: 0, ..Web::default() }).await?;
    stage.table(&["web:1 Initial Succeeded NotPublished"]).await?;
    stage.apply(&Web { replicas: 0, ..Web::image("app:v2") }).await?;
    stage.table(&["web:1 Initial Succeeded NotPublished", "web:2 Release Succeeded NotPublished"]).await?;
    // The condition goes on naming the other ReplicaSet for ever.
    stage.kubectl("rollout undo deployment/web").await?;
    let rows = stage
        .table(&[
            "web:1 Initial Succeeded NotPublished",
            "web:2 Release RolledBack NotPublished",
            "web:3 Rollback Succeeded NotPublished",
        ])
        .await?;
    assert!(rows.iter().all(|row| row.record.spec.replicas == Some(0)));
    let why = &rows[2].record.status.as_ref().unwrap().conditions[0].message;
    assert!(why.contains("publish.zeroReplicas"), "{why}");

    // What is scaled up later is no rollout.
    stage.kubectl("scale deployment/web --replicas=2").await?;
    stage.complete(3).await?;
    stage.kubectl("set image deployment/web app=app:v3").await?;
    let all = stage
        .table(&[
            "web:1 Initial Succeeded NotPublished",
            "web:2 Release RolledBack NotPublished",
            "web:3 Rollback Succeeded NotPublished",
            "web:4 Release Succeeded success",
        ])
        .await?;
    assert_eq!(versions(&all[..3]), versions(&rows));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_set_that_is_deleted_by_hand_after_its_rollout_makes_a_restart_of_the_same_number() -> TestResult {
    let stage = Stage::open("deleted").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply(&Web::image("app:v2")).await?;
    let two = ["web:1 Initial Succeeded success", "web:2 Release Succeeded success"];
    stage.table(&two).await?;
    delete_replica_set(&stage, "app:v2").await?;
    let mut expected = [&two[..], &["web:2 Restart Succeeded NotPublished"]].concat();
    stage.table(&expected).await?;

    // Once no older one is left either, the numbers begin anew.
    delete_replica_set(&stage, "app:v1").await?;
    delete_replica_set(&stage, "app:v2").await?;
    expected.insert(1, "web:1 Restart Succeeded NotPublished");
    stage.table(&expected).await?;
    stage.apply(&Web::image("app:v3")).await?;
    expected.push("web:2 Release Succeeded success");
    let all = stage.table(&expected).await?;
    assert_eq!(revision_of(&stage.replica_set("app:v3").await?), Some(2));
    let sets: BTreeSet<&str> =
        all.iter().filter_map(|row| row.record.spec.revision.as_ref()).map(|revision| revision.uid.as_str()).collect();
    assert_eq!(sets.len(), all.len(), "each record is of another ReplicaSet");
    assert!(all.iter().all(|row| row.writes() <= 1), "no entity was used for two rollouts");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_on_in_its_record_when_its_replica_set_is_deleted_by_hand() -> TestResult {
    let stage = Stage::open("deleted-open").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply(&stage.gated(Web::image("app:v2"))).await?;
    let open = stage.table(&["web:1 Initial Succeeded success", "web:2 Release InProgress InProgress"]).await?;
    next_second().await?;
    delete_replica_set(&stage, "app:v2").await?;
    stage.open_gate().await?;
    let all = stage.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    assert_eq!(all[1].record.metadata.uid, open[1].record.metadata.uid);
    assert_eq!(all[1].started(), open[1].started());
    let set = stage.replica_set("app:v2").await?.metadata.uid;
    assert_eq!(all[1].record.spec.revision.as_ref().map(|revision| revision.uid.clone()), set);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_rollout_goes_on_in_its_record_when_its_replica_set_is_deleted_by_hand() -> TestResult {
    let stage = Stage::open("deleted-failed").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply_failing(&stage.gated(Web::image("app:v2"))).await?;
    let failed = stage.table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed"]).await?;
    stage.give_time().await?;
    delete_replica_set(&stage, "app:v2").await?;
    stage.open_gate().await?;
    let all = stage.table(&["web:1 Initial Succeeded success", "web:2 Release Recovered success"]).await?;
    assert_eq!(all[1].record.metadata.uid, failed[1].record.metadata.uid);
    assert_eq!(all[1].writes(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_a_failed_rollout_is_a_restart_that_fails() -> TestResult {
    let stage = Stage::open("restart-failed").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply_failing(&Web::broken()).await?;
    let two = ["web:1 Initial Succeeded success", "web:2 Release Failed failed"];
    let failed = stage.table(&two).await?;
    stage.give_time().await?;
    stage.kubectl("rollout restart deployment/web").await?;
    stage.until("revision 3", |web| (revision_of(web) == Some(3)).then_some(())).await?;
    stage.stands_still(&Web::broken(), 1).await?;
    stage.fail_now("web").await?;
    stage.table(&[&two[..], &["web:3 Restart Failed NotPublished"]].concat()).await?;
    stage.give_time().await?;
    stage.kubectl("rollout undo deployment/web --to-revision=1").await?;
    let three = ["web:3 Restart Failed NotPublished", "web:4 Rollback Succeeded success"];
    let all = stage.table(&[&two[..], &three[..]].concat()).await?;
    assert_eq!(versions(&all[..2]), versions(&failed), "neither was in effect and taken back");
    Ok(())
}

/// Deletes the ReplicaSet with this image, and waits until the Deployment controller has made it anew, if it is the current one.
async fn delete_replica_set(stage: &Stage<'_>, image: &str) -> TestResult {
    let lost = stage.replica_set(image).await?.metadata;
    let current = revision_of(&stage.web().await?);
    let is_current =
        current == lost.annotations.as_ref().and_then(|all| all.get("deployment.kubernetes.io/revision")?.parse().ok());
    next_second().await?;
    stage.kubectl(&format!("delete replicaset/{} --cascade=foreground", lost.name.unwrap())).await?;
    wait_for(format!("the ReplicaSet of {image} to be gone"), DEADLINE, async || {
        let is_done = match stage.replica_sets(image).await?.as_slice() {
            [] => !is_current,
            [set] => is_current && set.metadata.uid != lost.uid,
            _ => false,
        };
        Ok(is_done.then_some(()))
    })
    .await?;
    Ok(())
}
