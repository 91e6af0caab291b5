//! Backups that are restored, as Velero does it: objects get new UIDs and new times of creation. They keep names, labels
//! and annotations, and have neither a status nor owners at first.

use cluster::clock::next_second;
use serde_json::{Value, json};

use crate::fixture::{Installation, SAME_POD};
use crate::test_env::{TestEnv, writes};
use crate::web::Web;
use crate::{Error, TestResult};

/// The kinds in a backup, in the order in which Velero restores them.
const KINDS: [&str; 4] = ["pods", "replicasets.apps", "deployments.apps", "doradeployments.dora.port.io"];

/// The objects of these kinds in the namespace.
async fn back_up(env: &TestEnv<'_>, kinds: &[&str]) -> Result<Vec<Value>, Error> {
    let mut backup = Vec::new();
    for kind in kinds {
        let list: Value = serde_json::from_str(&env.kubectl(&format!("get {kind} --output=json")).await?)?;
        backup.extend(list["items"].as_array().into_iter().flatten().map(restorable));
    }
    Ok(backup)
}

/// The object as Velero creates it.
fn restorable(object: &Value) -> Value {
    let mut restored = object.clone();
    let kept = |field: &str| object["metadata"][field].clone();
    let mut labels = kept("labels");
    labels["velero.io/backup-name"] = json!("nightly");
    labels["velero.io/restore-name"] = json!("nightly-20260101000000");
    restored["metadata"] = json!({"name": kept("name"), "labels": labels, "annotations": kept("annotations")});
    if let Some(fields) = restored.as_object_mut() {
        fields.remove("status");
    }
    if let Some(spec) = restored["spec"].as_object_mut().filter(|_| object["kind"] == "Pod") {
        spec.remove("nodeName");
    }
    restored
}

/// Deletes everything of the Deployment, and restores the backup.
async fn restore(env: &TestEnv<'_>, backup: &[Value]) -> TestResult {
    env.kubectl("delete deployment/web --cascade=foreground").await?;
    env.kubectl("delete ddep --all").await?;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": backup});
    env.kubectl_with_input("create --filename=-", &list.to_string()).await?;
    Ok(())
}

/// Two rollouts, and the rows of their records.
const TWICE: [&str; 2] = ["web:1 Initial Succeeded success", "web:2 Release Succeeded success"];

async fn roll_out_twice(env: &TestEnv<'_>) -> TestResult {
    // The pods take a while to become ready, so a restore looks like a rollout in progress.
    env.apply(&Web { ready_after: "2s", replicas: 2, ..Web::default() }).await?;
    env.table(&TWICE[..1]).await?;
    env.apply(&Web { ready_after: "2s", replicas: 2, ..Web::image("app:v2") }).await?;
    env.table(&TWICE).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_backup_is_not_a_release() -> TestResult {
    let env = TestEnv::new("restored").await?;
    roll_out_twice(&env).await?;
    let backup = back_up(&env, &KINDS).await?;
    restore(&env, &backup).await?;
    env.complete(2).await?;
    // The restored records are delivered again, to the same entities.
    let rows = env.table(&TWICE).await?;
    assert_eq!(writes(&rows), [2, 2]);

    env.kubectl("set image deployment/web app=app:v3").await?;
    env.table(&[&TWICE[..], &["web:3 Release Succeeded success"]].concat()).await?;
    env.kubectl("rollout undo deployment/web").await?;
    let undone = ["web:3 Release RolledBack rolled_back", "web:4 Rollback Succeeded success"];
    env.table(&[&TWICE[..], &undone].concat()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_after_a_restore_is_a_rollback() -> TestResult {
    let env = TestEnv::new("restored-undo").await?;
    roll_out_twice(&env).await?;
    let backup = back_up(&env, &KINDS).await?;
    restore(&env, &backup).await?;
    env.complete(2).await?;
    env.kubectl("rollout undo deployment/web").await?;
    env.table(&[&TWICE[..], &["web:3 Rollback Succeeded success"]].concat()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_without_replica_sets_is_not_a_release() -> TestResult {
    let env = TestEnv::new("restored-bare").await?;
    roll_out_twice(&env).await?;
    let backup = back_up(&env, &["deployments.apps"]).await?;
    restore(&env, &backup).await?;
    env.complete(1).await?;
    env.kubectl("set image deployment/web app=app:v3").await?;
    env.complete(2).await?;
    let setup = env.setup;
    let records = setup.outcomes(&env.namespace, &[("web:2", "Succeeded")]).await?;
    assert_eq!(records[0].spec.change.map(rollout::ChangeKind::as_str), Some("Release"));
    setup.deployments(&env.namespace, &[("web:1", "success"), ("web:2", "success"), ("web:2", "success")]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deployment_applied_again_is_a_release() -> TestResult {
    let env = TestEnv::new("applied-again").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.kubectl("delete deployment/web --cascade=foreground").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"; 2]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_restored_in_a_downtime_is_not_a_release() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let env = TestEnv::on(&setup, "restored-away").await?;
    roll_out_twice(&env).await?;
    let backup = back_up(&env, &KINDS).await?;
    controller.process.kill()?;
    restore(&env, &backup).await?;
    env.complete(2).await?;
    next_second().await?;
    env.kubectl("set image deployment/web app=app:v3").await?;
    env.complete(3).await?;
    let _controller = setup.start_controller(&SAME_POD).await?;
    env.table(&[&TWICE[..], &["web:3 Release Succeeded success"]].concat()).await?;
    Ok(())
}
