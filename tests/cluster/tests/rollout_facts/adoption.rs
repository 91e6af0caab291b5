//! ReplicaSets that the Deployment didn't create, and adopts because they match its selector.

use anyhow::Result;
use cluster::clock::seconds_after;
use cluster::workload::stray_replica_set;
use cluster::{DEADLINE, wait_for};

use crate::states::{DeploymentState, reasons};
use crate::test_env::{TestEnv, Web};

/// The action that makes the stray ReplicaSet match the selector of the Deployment.
const LABEL: [&str; 4] = ["label", "replicaset", "stray", "app=web"];

/// A Deployment at revision 2 with its state, and a stray ReplicaSet with all of its pods.
async fn with_stray(prefix: &str, revision: i64, replicas: i32) -> Result<(TestEnv<'static>, DeploymentState)> {
    let mut env = TestEnv::with(prefix, &Web::default()).await?;
    env.apply(&Web::image("web:2")).await?;
    let before = env.complete(2).await?;
    seconds_after(before.progress()?.updated, 0).await?;
    env.input(&["apply", "--filename=-"], &stray_replica_set(revision, replicas).to_string()).await?;
    wait_for("the pods of the stray ReplicaSet", DEADLINE, async || {
        Ok((env.replica_set("stray:1").await?.available == replicas).then_some(()))
    })
    .await?;
    Ok((env, before))
}

#[tokio::test]
async fn adopted_higher_revision_renumbers_the_current_one() -> Result<()> {
    let (mut env, before) = with_stray("stray", 9, 0).await?;
    let current = env.replica_set("web:2").await?;
    env.kubectl(&LABEL).await?;
    let after = env.complete(10).await?;
    assert_eq!((&after.progressing, after.generation), (&before.progressing, before.generation));
    assert_eq!(env.reconciled().await?.progressing, before.progressing);

    let renumbered = env.replica_set("web:2").await?;
    assert_eq!((renumbered.revision, renumbered.history.as_deref()), (Some(10), Some("2")));
    assert_eq!((renumbered.uid, renumbered.created), (current.uid, current.created));
    let adopted = env.replica_set("stray:1").await?;
    assert_eq!((adopted.owner, adopted.revision), (Some(after.uid), Some(9)));
    Ok(())
}

#[tokio::test]
async fn adopted_pods_change_the_time_of_completion() -> Result<()> {
    let (mut env, before) = with_stray("stray-pods", 9, 2).await?;
    // The time changes only if the controller counts the pods before it removes them.
    env.deny_scaling("stray").await?;
    env.kubectl(&LABEL).await?;
    env.until_reason("ReplicaSetUpdated").await?;
    env.allow_scaling("stray").await?;
    let after = env
        .until("the stray pods to be gone and the condition to be new", |state| {
            state.revision == Some(10)
                && state.is_complete_by_counts()
                && state.reason() == Some("NewReplicaSetAvailable")
                && state.progressing != before.progressing
        })
        .await?;
    assert_eq!(
        reasons(&env.states()?),
        ["NewReplicaSetAvailable", "ReplicaSetUpdated", "NewReplicaSetAvailable"],
        "the conditions are those of a rollout"
    );
    let current = env.replica_set("web:2").await?;
    assert_eq!(after.progress()?.names(), Some(current.name.as_str()));
    assert_eq!((current.revision, current.history.as_deref()), (Some(10), Some("2")));
    assert_eq!(after.generation, before.generation);
    assert_eq!(env.replica_set("stray:1").await?.wanted, 0);
    Ok(())
}

#[tokio::test]
async fn adopted_lower_revision_changes_nothing() -> Result<()> {
    let (mut env, before) = with_stray("stray-low", 1, 0).await?;
    env.kubectl(&LABEL).await?;
    wait_for("the stray ReplicaSet to be adopted", DEADLINE, async || {
        Ok(env.replica_set("stray:1").await?.owner.map(drop))
    })
    .await?;
    let after = env.reconciled().await?;
    assert_eq!((after.revision, after.progressing), (Some(2), before.progressing));
    assert_eq!(env.replica_set("web:2").await?.history, None);
    Ok(())
}
