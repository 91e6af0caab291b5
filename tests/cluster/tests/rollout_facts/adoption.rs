//! ReplicaSets that the Deployment didn't make, and takes over since they match its selector.

use anyhow::Result;
use cluster::wait_for;
use serde_json::json;

use crate::stage::{SOON, Stage, Web, past};
use crate::states::{DeploymentState, REVISION, reasons};

/// The action that makes the stray one that matches the Deployment's selector.
const LABEL: [&str; 4] = ["label", "replicaset", "stray", "app=web"];

/// A ReplicaSet of nobody. Its pods match the Deployment's selector, and itself does after [`LABEL`].
fn stray(revision: &str, replicas: i32) -> String {
    let labels = json!({"app": "web", "stray": "yes"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "stray", "annotations": {REVISION: revision}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "stray:1"}]}},
        },
    })
    .to_string()
}

/// A Deployment at revision 2, and its state. Beside it is a stray ReplicaSet with all of its pods.
async fn with_stray(prefix: &str, revision: &str, replicas: i32) -> Result<(Stage<'static>, DeploymentState)> {
    let mut stage = Stage::with(prefix, &Web::default()).await?;
    stage.apply(&Web::image("web:2")).await?;
    let before = stage.complete(2).await?;
    past(before.progress()?.updated).await?;
    stage.input(&["apply", "--filename=-"], &stray(revision, replicas)).await?;
    wait_for("the stray's pods", SOON, async || {
        Ok((stage.replica_set("stray:1").await?.available == replicas).then_some(()))
    })
    .await?;
    Ok((stage, before))
}

#[tokio::test]
async fn stray_with_a_higher_revision_renumbers_the_current_replica_set_and_nothing_else_moves() -> Result<()> {
    let (mut stage, before) = with_stray("stray", "9", 0).await?;
    let current = stage.replica_set("web:2").await?;
    stage.kubectl(&LABEL).await?;
    let after = stage.complete(10).await?;
    assert_eq!((&after.progressing, after.generation), (&before.progressing, before.generation));
    assert_eq!(stage.settle().await?.progressing, before.progressing);

    let renumbered = stage.replica_set("web:2").await?;
    assert_eq!((renumbered.revision, renumbered.history.as_deref()), (Some(10), Some("2")));
    assert_eq!((renumbered.uid, renumbered.created), (current.uid, current.created));
    let adopted = stage.replica_set("stray:1").await?;
    assert_eq!((adopted.owner, adopted.revision), (Some(after.uid), Some(9)));
    Ok(())
}

#[tokio::test]
async fn stray_with_pods_moves_the_time_of_completion_as_well() -> Result<()> {
    let (mut stage, before) = with_stray("stray-pods", "9", 2).await?;
    // Its pods are counted before the controller takes them away. If they aren't, the time stays as it is.
    stage.hold("stray").await?;
    stage.kubectl(&LABEL).await?;
    stage.until_reason("ReplicaSetUpdated").await?;
    stage.release("stray").await?;
    let after = stage
        .until("the stray's pods to be gone and the condition to be new", |state| {
            state.revision == Some(10)
                && state.is_complete_by_counts()
                && state.reason() == Some("NewReplicaSetAvailable")
                && state.progressing != before.progressing
        })
        .await?;
    assert_eq!(
        reasons(&stage.states()?),
        ["NewReplicaSetAvailable", "ReplicaSetUpdated", "NewReplicaSetAvailable"],
        "as if there had been a rollout"
    );
    let current = stage.replica_set("web:2").await?;
    assert_eq!(after.progress()?.names(), Some(current.name.as_str()));
    assert_eq!((current.revision, current.history.as_deref()), (Some(10), Some("2")));
    assert_eq!(after.generation, before.generation);
    assert_eq!(stage.replica_set("stray:1").await?.wanted, 0);
    Ok(())
}

#[tokio::test]
async fn stray_with_a_lower_revision_changes_nothing() -> Result<()> {
    let (mut stage, before) = with_stray("stray-low", "1", 0).await?;
    stage.kubectl(&LABEL).await?;
    wait_for("the stray to be adopted", SOON, async || Ok(stage.replica_set("stray:1").await?.owner.map(drop))).await?;
    let after = stage.settle().await?;
    assert_eq!((after.revision, after.progressing), (Some(2), before.progressing));
    assert_eq!(stage.replica_set("web:2").await?.history, None);
    Ok(())
}
