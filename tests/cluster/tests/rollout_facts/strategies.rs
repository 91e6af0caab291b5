//! `Recreate`, and rolling updates that take the old pods away first.
//!
//! Where all old pods go before the first new one comes, the controller's status has as many replicas as updated ones
//! at all times, which it takes for "no rollout" as long as the last success stands in the condition. Only the write
//! that a new ReplicaSet was created takes that success away, and the write is lost when it conflicts with another:
//! therefore no test here relies on it. The stale condition is kubernetes/kubernetes issue 115538, closed without a fix.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::stage::{Stage, Web, any_pod, past, past_by};
use crate::states::{reasons, revisions};

fn recreate() -> Value {
    json!({"type": "Recreate"})
}

/// A rolling update that must take the only pod away before it makes another.
fn without_surge() -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}})
}

fn single(image: &'static str, strategy: Value) -> Web {
    Web { replicas: 1, strategy, ..Web::image(image) }
}

#[tokio::test]
async fn recreate_moves_the_revision_only_after_the_old_pods_are_gone() -> Result<()> {
    let mut stage = Stage::with("recreate", &single("web:1", recreate())).await?;
    let first = stage.replica_set("web:1").await?;
    stage.apply(&single("web:2", recreate())).await?;
    stage.rolled_out(2).await?;
    let second = stage.replica_set("web:2").await?;
    let states = stage.states()?;
    assert_eq!(revisions(&states), [Some(1), Some(2)]);
    // Until then: the old revision and its success, though the change is observed.
    let early: Vec<_> = states.iter().filter(|state| state.is_observed() && state.revision == Some(1)).collect();
    let last = early.last().context("no state in between")?;
    assert_eq!(last.updated, 0);
    for state in early {
        assert_eq!(state.reason(), Some("NewReplicaSetAvailable"));
        assert_eq!(state.progress()?.names(), Some(first.name.as_str()));
    }
    let sets = stage.replica_set_states().await?;
    let empty = sets.iter().find(|set| set.uid == first.uid && set.wanted == 0 && set.replicas == 0);
    let made = sets.iter().find(|set| set.uid == second.uid).context("never made")?;
    assert!(empty.context("never empty")?.resource_version < made.resource_version);
    Ok(())
}

#[tokio::test]
async fn recreate_moves_the_revision_of_a_used_replica_set_before_the_old_pods_are_gone() -> Result<()> {
    let mut stage = Stage::with("recreate-back", &single("web:1", recreate())).await?;
    stage.apply(&single("web:2", recreate())).await?;
    stage.rolled_out(2).await?;
    stage.apply(&single("web:1", recreate())).await?;
    let moved = stage.until("revision 3", |state| state.revision == Some(3)).await?;
    assert_eq!((moved.replicas, moved.updated, moved.is_observed()), (1, 1, false), "the pod is that of revision 2");
    Ok(())
}

/// Rolls out a used ReplicaSet where the old pods go first.
async fn assert_condition_never_speaks_of_a_used_replica_set(prefix: &str, strategy: Value) -> Result<()> {
    let mut stage = Stage::with(prefix, &single("web:1", strategy.clone())).await?;
    stage.apply(&single("web:2", strategy.clone())).await?;
    stage.rolled_out(2).await?;
    let before = stage.settle().await?;
    assert_eq!(before.reason(), Some("NewReplicaSetAvailable"));
    past(before.progress()?.updated).await?;
    // The old pod is no more counted when the new one comes. A rolling update has both ReplicaSets scaled at once, and
    // what is counted first is a matter of chance.
    stage.limit("pods=0", &any_pod()).await?;
    stage.apply(&single("web:1", strategy)).await?;
    stage
        .until("no pod to be left", |state| {
            state.revision == Some(3) && state.is_observed() && (state.replicas, state.updated) == (0, 0)
        })
        .await?;
    stage.unlimit(&any_pod()).await?;
    stage.rolled_out(3).await?;
    assert_eq!(stage.replica_set("web:1").await?.replicas, 1);
    let after = stage.settle().await?;
    assert_eq!(after.progressing, before.progressing, "neither the name nor the time has moved");
    Ok(())
}

#[tokio::test]
async fn recreate_of_a_used_replica_set_with_one_replica_leaves_no_trace_in_the_condition() -> Result<()> {
    assert_condition_never_speaks_of_a_used_replica_set("recreate-undo", recreate()).await
}

#[tokio::test]
async fn rolling_update_without_surge_to_a_used_replica_set_leaves_no_trace_in_the_condition() -> Result<()> {
    assert_condition_never_speaks_of_a_used_replica_set("surge-undo", without_surge()).await
}

#[tokio::test]
async fn recreate_of_a_used_replica_set_that_is_broken_never_fails() -> Result<()> {
    let broken = || Web { deadline: 2, ..single("web:broken", recreate()) };
    let mut stage = Stage::open("recreate-broken").await?;
    stage.apply(&broken()).await?;
    stage.failed(1).await?;
    stage.apply(&single("web:1", recreate())).await?;
    let before = stage.complete(2).await?;
    stage.apply(&broken()).await?;
    let rolling = stage
        .until("the broken pod", |state| state.revision == Some(3) && state.updated == 1 && state.available == 0)
        .await?;
    assert_eq!(rolling.progressing, before.progressing);
    // The deadline passes, the controller looks, and the condition still speaks of the success of revision 2.
    past_by(k8s_openapi::jiff::Timestamp::now(), 3).await?;
    assert_eq!(stage.settle().await?.progressing, before.progressing);
    assert_eq!(reasons(&stage.states()?), ["NewReplicaSetAvailable"]);
    Ok(())
}

#[tokio::test]
async fn recreate_after_a_failure_is_seen_to_complete() -> Result<()> {
    let mut stage = Stage::open("recreate-failed").await?;
    stage.apply(&Web { deadline: 2, ..single("web:broken", recreate()) }).await?;
    stage.failed(1).await?;
    stage.apply(&single("web:1", recreate())).await?;
    // complete() has the condition name the ReplicaSet: only a standing success hides that of another.
    stage.complete(2).await?;
    Ok(())
}
