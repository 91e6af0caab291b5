//! Deployments with 0 replicas.

use anyhow::Result;
use cluster::clock::seconds_after;

use crate::states::reasons;
use crate::test_env::{TestEnv, Web};

fn zero(image: &'static str) -> Web {
    Web { replicas: 0, ..Web::image(image) }
}

#[tokio::test]
async fn rollout_of_zero_replicas_completes_at_once() -> Result<()> {
    let mut env = TestEnv::with("zero", &zero("web:1")).await?;
    assert_eq!(reasons(&env.states()?), ["NewReplicaSetCreated", "NewReplicaSetAvailable"]);
    env.apply(&zero("web:broken")).await?;
    // complete() requires a condition that names the ReplicaSet.
    let complete = env.complete(2).await?;
    assert_eq!((complete.replicas, complete.wanted), (0, 0));
    assert_eq!(reasons(&env.states()?), ["NewReplicaSetAvailable", "NewReplicaSetCreated", "NewReplicaSetAvailable"]);
    Ok(())
}

#[tokio::test]
async fn undo_at_zero_replicas_keeps_the_condition() -> Result<()> {
    let mut env = TestEnv::with("zero-undo", &zero("web:1")).await?;
    env.apply(&zero("web:2")).await?;
    let before = env.complete(2).await?;
    seconds_after(before.progress()?.updated, 0).await?;
    env.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    env.rolled_out(3).await?;
    assert_eq!(env.reconciled().await?.progressing, before.progressing);
    // The condition stays even when there are pods.
    env.kubectl(&["scale", "deployment/web", "--replicas=2"]).await?;
    env.until("two pods to be ready", |state| state.is_complete_by_counts() && state.available == 2).await?;
    let after = env.reconciled().await?;
    assert_eq!((after.revision, &after.progressing), (Some(3), &before.progressing));
    assert_eq!(after.progress()?.names(), Some(env.replica_set("web:2").await?.name.as_str()));
    assert_eq!(env.replica_set("web:1").await?.revision, Some(3));
    Ok(())
}

#[tokio::test]
async fn revision_scaled_up_from_zero_never_fails() -> Result<()> {
    let broken = |replicas| Web { replicas, ..Web::broken() };
    let mut env = TestEnv::with("zero-up", &broken(0)).await?;
    let before = env.complete(1).await?;
    env.apply(&broken(2)).await?;
    env.until("two pods that aren't ready", |state| state.updated == 2 && state.available == 0).await?;
    seconds_after(before.progress()?.updated, 3).await?;
    assert_eq!(env.reconciled().await?.progressing, before.progressing);
    Ok(())
}
