//! The kind of change of a rollout, from the pod templates of its ReplicaSet and of the one before.

use std::collections::BTreeSet;

use cluster::clock::next_second;
use cluster::{DEADLINE, wait_for};
use serde_json::json;

use crate::TestResult;
use crate::objects::revision_of;
use crate::test_env::{TestEnv, versions};
use crate::web::Web;

#[tokio::test(flavor = "multi_thread")]
async fn change_kind_follows_from_the_pod_template() -> TestResult {
    let env = TestEnv::new("kinds").await?;
    let web = Web {
        pod: json!({
            "initContainers": [
                {"name": "migrate", "image": "migrate:v1"},
                {"name": "proxy", "image": "proxy:v1", "restartPolicy": "Always"},
            ],
        }),
        ..Web::default()
    };
    env.apply(&web).await?;
    let mut expected = vec!["web:1 Initial Succeeded success"];
    env.table(&expected).await?;
    for (command, row) in [
        ("set image deployment/web app=app:v2", "web:2 Release Succeeded success"),
        ("set image deployment/web migrate=migrate:v2", "web:3 Release Succeeded success"),
        ("set image deployment/web proxy=proxy:v2", "web:4 Release Succeeded success"),
        ("set env deployment/web COLOUR=red", "web:5 Config Succeeded success"),
        ("set resources deployment/web --limits=memory=1Gi", "web:6 Config Succeeded success"),
    ] {
        env.kubectl(command).await?;
        expected.push(row);
        env.table(&expected).await?;
    }
    env.kubectl("rollout undo deployment/web").await?;
    expected[5] = "web:6 Config RolledBack rolled_back";
    expected.push("web:7 Rollback Succeeded success");
    env.table(&expected).await?;
    // `apply` would not remove fields that other commands have set, so this uses `replace`.
    env.kubectl_with_input("replace --filename=-", &web.manifest()).await?;
    expected[6] = "web:7 Rollback RolledBack rolled_back";
    expected.push("web:8 Rollback Succeeded success");
    let rows = env.table(&expected).await?;
    let rolled_back_by: Vec<_> = rows.iter().map(|row| row.record.spec.rolled_back_by).collect();
    assert_eq!(rolled_back_by, [None, None, None, None, None, Some(7), Some(8), None]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_is_recorded_but_not_published() -> TestResult {
    let env = TestEnv::new("restart").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.kubectl("rollout restart deployment/web").await?;
    let restarted = env.table(&["web:1 Initial Succeeded success", "web:2 Restart Succeeded NotPublished"]).await?;
    let why = &restarted[1].record.status.as_ref().unwrap().conditions[0].message;
    assert!(why.contains("publish.changes.Restart"), "{why}");
    // A complete manifest without the annotation restartedAt: the first ReplicaSet is re-used, and nothing else
    // changes.
    env.kubectl_with_input("replace --filename=-", &Web::default().manifest()).await?;
    let replaced = env
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Restart Succeeded NotPublished",
            "web:3 Restart Succeeded NotPublished",
        ])
        .await?;
    assert_eq!(versions(&replaced[..2]), versions(&restarted), "nothing was rolled back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_reverts_the_restarted_revision() -> TestResult {
    let env = TestEnv::new("restarted").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply(&Web::image("app:v2")).await?;
    env.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    env.kubectl("rollout restart deployment/web").await?;
    let two = ["web:1 Initial Succeeded success", "web:2 Release Succeeded success"];
    env.table(&[&two[..], &["web:3 Restart Succeeded NotPublished"]].concat()).await?;
    env.kubectl("rollout undo deployment/web --to-revision=1").await?;
    env.table(&[
        "web:1 Initial Succeeded success",
        "web:2 Release RolledBack rolled_back",
        "web:3 Restart RolledBack NotPublished",
        "web:4 Rollback Succeeded success",
    ])
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_at_0_replicas_are_not_published() -> TestResult {
    let env = TestEnv::new("nothing").await?;
    env.apply(&Web { replicas: 0, ..Web::default() }).await?;
    env.table(&["web:1 Initial Succeeded NotPublished"]).await?;
    env.apply(&Web { replicas: 0, ..Web::image("app:v2") }).await?;
    env.table(&["web:1 Initial Succeeded NotPublished", "web:2 Release Succeeded NotPublished"]).await?;
    // The condition always names the other ReplicaSet.
    env.kubectl("rollout undo deployment/web").await?;
    let rows = env
        .table(&[
            "web:1 Initial Succeeded NotPublished",
            "web:2 Release RolledBack NotPublished",
            "web:3 Rollback Succeeded NotPublished",
        ])
        .await?;
    assert!(rows.iter().all(|row| row.record.spec.replicas == Some(0)));
    let why = &rows[2].record.status.as_ref().unwrap().conditions[0].message;
    assert!(why.contains("publish.zeroReplicas"), "{why}");

    // Scaling up later is not a rollout.
    env.kubectl("scale deployment/web --replicas=2").await?;
    env.complete(3).await?;
    env.kubectl("set image deployment/web app=app:v3").await?;
    let all = env
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
async fn deleted_replica_set_is_recorded_as_a_restart() -> TestResult {
    let env = TestEnv::new("deleted").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply(&Web::image("app:v2")).await?;
    let two = ["web:1 Initial Succeeded success", "web:2 Release Succeeded success"];
    env.table(&two).await?;
    delete_replica_set(&env, "app:v2").await?;
    let mut expected = [&two[..], &["web:2 Restart Succeeded NotPublished"]].concat();
    env.table(&expected).await?;

    // When no older ReplicaSet is left, the numbers start again at 1.
    delete_replica_set(&env, "app:v1").await?;
    delete_replica_set(&env, "app:v2").await?;
    expected.insert(1, "web:1 Restart Succeeded NotPublished");
    env.table(&expected).await?;
    env.apply(&Web::image("app:v3")).await?;
    expected.push("web:2 Release Succeeded success");
    let all = env.table(&expected).await?;
    assert_eq!(revision_of(&env.replica_set("app:v3").await?), Some(2));
    let sets: BTreeSet<&str> =
        all.iter().filter_map(|row| row.record.spec.revision.as_ref()).map(|revision| revision.uid.as_str()).collect();
    assert_eq!(sets.len(), all.len(), "each record has another ReplicaSet");
    assert!(all.iter().all(|row| row.writes() <= 1), "no entity belongs to two rollouts");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn open_rollout_survives_a_deleted_replica_set() -> TestResult {
    let env = TestEnv::new("deleted-open").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply(&env.gated(Web::image("app:v2"))).await?;
    let open = env.table(&["web:1 Initial Succeeded success", "web:2 Release InProgress InProgress"]).await?;
    next_second().await?;
    delete_replica_set(&env, "app:v2").await?;
    env.open_gate().await?;
    let all = env.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    assert_eq!(all[1].record.metadata.uid, open[1].record.metadata.uid);
    assert_eq!(all[1].started(), open[1].started());
    let set = env.replica_set("app:v2").await?.metadata.uid;
    assert_eq!(all[1].record.spec.revision.as_ref().map(|revision| revision.uid.clone()), set);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_rollout_survives_a_deleted_replica_set() -> TestResult {
    let env = TestEnv::new("deleted-failed").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply_failing(&env.gated(Web::image("app:v2"))).await?;
    let failed = env.table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed"]).await?;
    env.extend_deadline().await?;
    delete_replica_set(&env, "app:v2").await?;
    env.open_gate().await?;
    let all = env.table(&["web:1 Initial Succeeded success", "web:2 Release Recovered success"]).await?;
    assert_eq!(all[1].record.metadata.uid, failed[1].record.metadata.uid);
    assert_eq!(all[1].writes(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_of_a_failed_rollout_fails() -> TestResult {
    let env = TestEnv::new("restart-failed").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply_failing(&Web::broken()).await?;
    let two = ["web:1 Initial Succeeded success", "web:2 Release Failed failed"];
    let failed = env.table(&two).await?;
    env.extend_deadline().await?;
    env.kubectl("rollout restart deployment/web").await?;
    env.until("revision 3", |web| (revision_of(web) == Some(3)).then_some(())).await?;
    env.stalled(&Web::broken(), 1).await?;
    env.fail_now("web").await?;
    env.table(&[&two[..], &["web:3 Restart Failed NotPublished"]].concat()).await?;
    env.extend_deadline().await?;
    env.kubectl("rollout undo deployment/web --to-revision=1").await?;
    let three = ["web:3 Restart Failed NotPublished", "web:4 Rollback Succeeded success"];
    let all = env.table(&[&two[..], &three[..]].concat()).await?;
    assert_eq!(versions(&all[..2]), versions(&failed), "neither was in effect, so neither was rolled back");
    Ok(())
}

/// Deletes the ReplicaSet with this image. If it is the current one, waits until the Deployment controller has created
/// it again.
async fn delete_replica_set(env: &TestEnv<'_>, image: &str) -> TestResult {
    let deleted = env.replica_set(image).await?.metadata;
    let current = revision_of(&env.web().await?);
    let is_current = current
        == deleted.annotations.as_ref().and_then(|all| all.get("deployment.kubernetes.io/revision")?.parse().ok());
    next_second().await?;
    env.kubectl(&format!("delete replicaset/{} --cascade=foreground", deleted.name.unwrap())).await?;
    wait_for(format!("the ReplicaSet of {image} to be gone"), DEADLINE, async || {
        let is_done = match env.replica_sets(image).await?.as_slice() {
            [] => !is_current,
            [set] => is_current && set.metadata.uid != deleted.uid,
            _ => false,
        };
        Ok(is_done.then_some(()))
    })
    .await?;
    Ok(())
}
