//! `Recreate`, and rolling updates that remove the old pods first.
//!
//! If all old pods are removed before the first new pod exists, the number of replicas in the status always equals the
//! number of updated replicas. The controller takes this for "no rollout" as long as the condition has the last
//! success. Only the write of NewReplicaSetCreated replaces that success, and the write is lost if it conflicts with
//! another one. Therefore no test relies on it. The stale condition is kubernetes/kubernetes issue 115538, which was
//! closed without a fix.

use anyhow::{Context, Result};
use cluster::clock::seconds_after;
use cluster::workload::probe_pod;
use serde_json::{Value, json};

use crate::states::{reasons, revisions};
use crate::test_env::{TestEnv, Web};

fn recreate() -> Value {
    json!({"type": "Recreate"})
}

/// A rolling update that must remove the only pod before it creates another.
fn without_surge() -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}})
}

fn single(image: &'static str, strategy: Value) -> Web {
    Web { replicas: 1, strategy, ..Web::image(image) }
}

#[tokio::test]
async fn recreate_changes_the_revision_after_the_old_pods() -> Result<()> {
    let mut env = TestEnv::with("recreate", &single("web:1", recreate())).await?;
    let first = env.replica_set("web:1").await?;
    env.apply(&single("web:2", recreate())).await?;
    env.rolled_out(2).await?;
    let second = env.replica_set("web:2").await?;
    let states = env.states()?;
    assert_eq!(revisions(&states), [Some(1), Some(2)]);
    // Until then, the Deployment has the old revision and its success, although the change is observed.
    let early: Vec<_> = states.iter().filter(|state| state.is_observed() && state.revision == Some(1)).collect();
    let last = early.last().context("no state in between")?;
    assert_eq!(last.updated, 0);
    for state in early {
        assert_eq!(state.reason(), Some("NewReplicaSetAvailable"));
        assert_eq!(state.progress()?.names(), Some(first.name.as_str()));
    }
    let sets = env.replica_set_states().await?;
    let empty = sets.iter().find(|set| set.uid == first.uid && set.wanted == 0 && set.replicas == 0);
    let made = sets.iter().find(|set| set.uid == second.uid).context("the ReplicaSet was never created")?;
    assert!(empty.context("the ReplicaSet was never empty")?.resource_version < made.resource_version);
    Ok(())
}

#[tokio::test]
async fn recreate_rollback_changes_the_revision_at_once() -> Result<()> {
    let mut env = TestEnv::with("recreate-back", &single("web:1", recreate())).await?;
    env.apply(&single("web:2", recreate())).await?;
    env.rolled_out(2).await?;
    env.apply(&single("web:1", recreate())).await?;
    let moved = env.until("revision 3", |state| state.revision == Some(3)).await?;
    assert_eq!((moved.replicas, moved.updated, moved.is_observed()), (1, 1, false), "the pod belongs to revision 2");
    Ok(())
}

/// Rolls back with a strategy that removes the old pods first, and asserts that the condition doesn't change.
async fn assert_rollback_keeps_the_condition(prefix: &str, strategy: Value) -> Result<()> {
    let mut env = TestEnv::with(prefix, &single("web:1", strategy.clone())).await?;
    env.apply(&single("web:2", strategy.clone())).await?;
    env.rolled_out(2).await?;
    let before = env.reconciled().await?;
    assert_eq!(before.reason(), Some("NewReplicaSetAvailable"));
    seconds_after(before.progress()?.updated, 0).await?;
    // The quota delays the new pod until the old one is gone. A rolling update scales both ReplicaSets at once, so the
    // order of the counts would be random.
    env.add_quota("pods=0", &probe_pod()).await?;
    env.apply(&single("web:1", strategy)).await?;
    env.until("no pod to be left", |state| {
        state.revision == Some(3) && state.is_observed() && (state.replicas, state.updated) == (0, 0)
    })
    .await?;
    env.remove_quota(&probe_pod()).await?;
    env.rolled_out(3).await?;
    assert_eq!(env.replica_set("web:1").await?.replicas, 1);
    let after = env.reconciled().await?;
    assert_eq!(after.progressing, before.progressing, "neither the name nor the time changes");
    Ok(())
}

#[tokio::test]
async fn recreate_rollback_keeps_the_condition() -> Result<()> {
    assert_rollback_keeps_the_condition("recreate-undo", recreate()).await
}

#[tokio::test]
async fn rollback_without_surge_keeps_the_condition() -> Result<()> {
    assert_rollback_keeps_the_condition("surge-undo", without_surge()).await
}

#[tokio::test]
async fn broken_recreate_rollback_never_fails() -> Result<()> {
    let broken = || Web { deadline: 2, ..single("web:broken", recreate()) };
    let mut env = TestEnv::new("recreate-broken").await?;
    env.apply(&broken()).await?;
    env.failed(1).await?;
    env.apply(&single("web:1", recreate())).await?;
    let before = env.complete(2).await?;
    env.apply(&broken()).await?;
    let rolling = env
        .until("the broken pod", |state| state.revision == Some(3) && state.updated == 1 && state.available == 0)
        .await?;
    assert_eq!(rolling.progressing, before.progressing);
    // After the deadline and a reconciliation, the condition still has the success of revision 2.
    seconds_after(k8s_openapi::jiff::Timestamp::now(), 3).await?;
    assert_eq!(env.reconciled().await?.progressing, before.progressing);
    assert_eq!(reasons(&env.states()?), ["NewReplicaSetAvailable"]);
    Ok(())
}

#[tokio::test]
async fn recreate_after_a_failure_completes() -> Result<()> {
    let mut env = TestEnv::new("recreate-failed").await?;
    env.apply(&Web { deadline: 2, ..single("web:broken", recreate()) }).await?;
    env.failed(1).await?;
    env.apply(&single("web:1", recreate())).await?;
    // complete() requires a condition that names the ReplicaSet. Only an old success would prevent that.
    env.complete(2).await?;
    Ok(())
}
