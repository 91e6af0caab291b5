//! Deployments that want no pods.

use anyhow::Result;

use crate::stage::{Stage, Web, past, past_by};
use crate::states::reasons;

fn zero(image: &'static str) -> Web {
    Web { replicas: 0, ..Web::image(image) }
}

#[tokio::test]
async fn rollout_of_nothing_is_complete_at_once() -> Result<()> {
    let mut stage = Stage::with("zero", &zero("web:1")).await?;
    assert_eq!(reasons(&stage.states()?), ["NewReplicaSetCreated", "NewReplicaSetAvailable"]);
    stage.apply(&zero("web:broken")).await?;
    // complete() has the condition name the ReplicaSet.
    let complete = stage.complete(2).await?;
    assert_eq!((complete.replicas, complete.wanted), (0, 0));
    assert_eq!(reasons(&stage.states()?), ["NewReplicaSetAvailable", "NewReplicaSetCreated", "NewReplicaSetAvailable"]);
    Ok(())
}

#[tokio::test]
async fn undo_of_nothing_leaves_the_condition_with_the_other_replica_set_for_ever() -> Result<()> {
    let mut stage = Stage::with("zero-undo", &zero("web:1")).await?;
    stage.apply(&zero("web:2")).await?;
    let before = stage.complete(2).await?;
    past(before.progress()?.updated).await?;
    stage.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    stage.rolled_out(3).await?;
    assert_eq!(stage.settle().await?.progressing, before.progressing);
    // Not even pods change that.
    stage.kubectl(&["scale", "deployment/web", "--replicas=2"]).await?;
    stage.until("two pods to be ready", |state| state.is_complete_by_counts() && state.available == 2).await?;
    let after = stage.settle().await?;
    assert_eq!((after.revision, &after.progressing), (Some(3), &before.progressing));
    assert_eq!(after.progress()?.names(), Some(stage.replica_set("web:2").await?.name.as_str()));
    assert_eq!(stage.replica_set("web:1").await?.revision, Some(3));
    Ok(())
}

#[tokio::test]
async fn revision_rolled_out_with_nothing_never_fails_when_it_is_scaled_up() -> Result<()> {
    let broken = |replicas| Web { replicas, ..Web::broken() };
    let mut stage = Stage::with("zero-up", &broken(0)).await?;
    let before = stage.complete(1).await?;
    stage.apply(&broken(2)).await?;
    stage.until("two pods that aren't ready", |state| state.updated == 2 && state.available == 0).await?;
    past_by(before.progress()?.updated, 3).await?;
    assert_eq!(stage.settle().await?.progressing, before.progressing);
    Ok(())
}
