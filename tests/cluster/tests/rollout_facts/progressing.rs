//! The condition Progressing: its reasons, its times, and the ReplicaSet that it names.

use anyhow::{Context, Result};
use cluster::clock::seconds_after;
use cluster::workload::probe_pod;
use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use crate::states::{reasons, revisions};
use crate::test_env::{TestEnv, Web};

#[tokio::test]
async fn reasons_of_a_rollout_name_its_replica_set() -> Result<()> {
    let mut env = TestEnv::with("reasons", &Web::default()).await?;
    env.apply(&Web::image("web:2")).await?;
    env.complete(2).await?;
    let set = env.replica_set("web:2").await?;
    let states = env.states()?;
    assert_eq!(
        reasons(&states),
        ["NewReplicaSetAvailable", "NewReplicaSetCreated", "ReplicaSetUpdated", "NewReplicaSetAvailable"]
    );
    for state in states.iter().filter(|state| state.revision == Some(2)) {
        let progress = state.progress()?;
        assert_eq!((progress.names(), progress.status.as_str()), (Some(set.name.as_str()), "True"), "{state:?}");
    }
    Ok(())
}

#[tokio::test]
async fn transition_time_does_not_change_after_a_success() -> Result<()> {
    let mut env = TestEnv::with("transition", &Web::default()).await?;
    let first = env.complete(1).await?;
    seconds_after(first.progress()?.updated, 0).await?;
    env.apply(&Web::image("web:2")).await?;
    let second = env.complete(2).await?;
    assert!(second.progress()?.updated > first.progress()?.updated);
    assert_eq!(second.progress()?.transitioned, first.progress()?.transitioned);
    Ok(())
}

#[tokio::test]
async fn time_of_completion_does_not_change_afterwards() -> Result<()> {
    let mut env = TestEnv::new("frozen").await?;
    env.open_gate().await?;
    env.apply(&env.gated(Web::default())).await?;
    let complete = env.complete(1).await?;
    let frozen = complete.progressing;
    seconds_after(frozen.as_ref().context("no condition")?.updated, 0).await?;

    env.close_gate().await?;
    env.kubectl(&["delete", "pods", "--all"]).await?;
    let without = env.until("nothing to be available", |state| state.available == 0).await?;
    assert_eq!(without.available_condition.context("no condition Available")?.status, "False");
    env.open_gate().await?;
    env.until("all to be available again", |state| {
        state.available == 2 && state.resource_version > without.resource_version
    })
    .await?;
    assert_eq!(env.reconciled().await?.progressing, frozen);
    assert!(env.states()?.iter().all(|state| state.progressing == frozen));

    env.close_gate().await?;
    env.kubectl(&["scale", "deployment/web", "--replicas=4"]).await?;
    // Meanwhile, the counts say that the rollout is in progress.
    env.until("the new pods to be created", |state| {
        (state.wanted, state.replicas, state.available) == (4, 4, 2) && state.is_observed()
    })
    .await?;
    env.open_gate().await?;
    env.rolled_out(1).await?;
    assert!(env.states()?.iter().all(|state| state.progressing == frozen && state.revision == Some(1)));
    Ok(())
}

#[tokio::test]
async fn time_of_the_last_progress_follows_each_pod() -> Result<()> {
    let mut env = TestEnv::with("moves", &Web::default()).await?;
    // An old pod is removed first, so that the controller reconciles at least once before the first new pod exists. A
    // new pod that it counts at its first reconciliation is not progress.
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    env.apply(&env.gated(Web { strategy, ..Web::image("web:2") })).await?;
    let first = env
        .until("the first pod to be counted", |state| state.reason() == Some("ReplicaSetUpdated") && state.updated == 1)
        .await?;
    seconds_after(first.progress()?.updated, 0).await?;
    env.open_gate().await?;
    let complete = env.complete(2).await?;
    let updated = env.states()?.into_iter().filter(|state| state.reason() == Some("ReplicaSetUpdated"));
    let mut times = updated.map(|state| Ok(state.progress()?.updated)).collect::<Result<Vec<_>>>()?;
    assert!(times.is_sorted(), "{times:?}");
    assert!(times.last() <= Some(&complete.progress()?.updated), "{times:?}");
    // Two pods, one after the other.
    times.dedup();
    assert!(times.len() >= 2, "{times:?}");
    Ok(())
}

#[tokio::test]
async fn deadline_counts_from_the_last_progress() -> Result<()> {
    let mut env = TestEnv::with("deadline", &Web::default()).await?;
    env.apply(&Web::broken()).await?;
    let failed = env.failed(2).await?;
    let failure = failed.progress()?;
    let states = env.states()?;
    let last = states.iter().rev().find(|state| state.reason() != Some("ProgressDeadlineExceeded"));
    let last = last.context("no state before")?.progress()?;
    assert!(failure.updated.duration_since(last.updated) >= SignedDuration::from_secs(2), "{last:?} {failure:?}");
    assert_eq!((failure.status.as_str(), failure.transitioned), ("False", failure.updated));
    assert_eq!(failure.names(), Some(env.replica_set("web:broken").await?.name.as_str()));
    Ok(())
}

#[tokio::test]
async fn failed_revision_can_still_succeed() -> Result<()> {
    let mut env = TestEnv::new("late").await?;
    env.apply(&env.gated(Web { deadline: 1, ..Web::default() })).await?;
    let failed = env
        .until("a failure with both pods", |state| {
            state.reason() == Some("ProgressDeadlineExceeded") && state.updated == 2
        })
        .await?;
    env.open_gate().await?;
    let complete = env.complete(1).await?;
    assert_eq!(failed.revision, Some(1));
    // The change from False to True is a transition.
    assert_eq!(failed.progress()?.status, "False");
    assert!(complete.progress()?.transitioned >= failed.progress()?.updated);
    Ok(())
}

#[tokio::test]
async fn old_success_stays_right_after_a_change() -> Result<()> {
    let mut env = TestEnv::with("stale-success", &Web::default()).await?;
    env.apply(&Web::image("web:2")).await?;
    env.complete(2).await?;
    let second = env.replica_set("web:2").await?;
    // The quota allows no further pod, so that none is counted even if the controller reconciles late.
    env.add_quota("pods=2", &probe_pod()).await?;
    // A ReplicaSet has this template, so only the revision changes.
    env.apply(&Web::default()).await?;
    let observed = env.until("observed", |state| state.revision == Some(3) && state.is_observed()).await?;
    let bumped = env.until("revision 3", |state| state.revision == Some(3)).await?;
    assert_eq!((bumped.reason(), bumped.is_observed()), (Some("NewReplicaSetAvailable"), false));
    assert_eq!(bumped.progress()?.names(), Some(second.name.as_str()));
    assert_eq!([bumped.replicas, bumped.updated, bumped.available], [2; 3], "all counts belong to revision 2");
    // The condition stays even when the generation is observed.
    assert_eq!((observed.progressing, observed.updated), (bumped.progressing, 0));
    env.remove_quota(&probe_pod()).await?;
    env.complete(3).await?;
    Ok(())
}

#[tokio::test]
async fn old_failure_stays_right_after_an_undo() -> Result<()> {
    // With one replica, the number of new pods is the same before and after the undo. A higher number would be
    // progress.
    let mut env = TestEnv::with("stale-failure", &Web { replicas: 1, ..Web::default() }).await?;
    env.apply(&Web { replicas: 1, ..Web::broken() }).await?;
    let failed = env.failed(2).await?;
    // Keep the pod, so that it still exists if the controller reconciles late.
    let broken = env.replica_set("web:broken").await?;
    env.deny_scaling(&broken.name).await?;
    env.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    let observed = env.until("observed", |state| state.revision == Some(3) && state.is_observed()).await?;
    let bumped = env.until("revision 3", |state| state.revision == Some(3)).await?;
    assert_eq!(bumped.progressing, failed.progressing);
    assert_eq!(observed.progressing, failed.progressing);
    env.allow_scaling(&broken.name).await?;
    env.complete(3).await?;
    assert!(!reasons(&env.states()?).contains(&"NewReplicaSetCreated"));
    Ok(())
}

#[tokio::test]
async fn without_a_deadline_there_is_no_condition() -> Result<()> {
    let endless = |image| Web { deadline: i32::MAX, ..Web::image(image) };
    let mut env = TestEnv::new("endless").await?;
    env.apply(&endless("web:1")).await?;
    env.rolled_out(1).await?;
    assert_eq!(env.reconciled().await?.progressing, None);
    env.apply(&endless("web:broken")).await?;
    let broken = env.until("a pod of revision 2", |state| state.revision == Some(2) && state.updated == 1).await?;
    assert_eq!((broken.progressing, broken.available), (None, 2));
    env.apply(&endless("web:3")).await?;
    env.rolled_out(3).await?;
    assert!(env.states()?.iter().all(|state| state.progressing.is_none()));
    Ok(())
}

#[tokio::test]
async fn restored_deadline_renews_the_time_of_the_revision() -> Result<()> {
    let mut env = TestEnv::with("given-back", &Web::default()).await?;
    let before = env.complete(1).await?;
    env.apply(&Web { deadline: i32::MAX, ..Web::default() }).await?;
    assert_eq!(env.reconciled().await?.progressing, None);
    seconds_after(before.progress()?.updated, 0).await?;
    env.apply(&Web::default()).await?;
    let after = env.complete(1).await?;
    assert_eq!(reasons(&env.states()?), ["FoundNewReplicaSet", "NewReplicaSetAvailable"]);
    assert!(after.progress()?.updated > before.progress()?.updated);
    assert_eq!(revisions(&env.states()?), [Some(1)]);
    Ok(())
}

#[tokio::test]
async fn scaled_failed_rollout_fails_a_second_time() -> Result<()> {
    let mut env = TestEnv::with("scale-failed", &Web::default()).await?;
    env.apply(&Web::broken()).await?;
    let failed = env.failed(2).await?;
    // A long deadline, so that the rollout doesn't fail before all pods are created.
    let scale = r#"{"spec": {"replicas": 6, "progressDeadlineSeconds": 600}}"#;
    env.kubectl(&["patch", "deployment/web", "--patch", scale]).await?;
    env.until("as many pods as there may be", |state| {
        (state.replicas, state.updated, state.available) == (8, 3, 5) && state.is_observed()
    })
    .await?;
    env.fail_now().await?;
    let again = env
        .until("a second failure", |state| {
            state.reason() == Some("ProgressDeadlineExceeded") && state.progressing != failed.progressing
        })
        .await?;
    assert_eq!(reasons(&env.states()?), ["ProgressDeadlineExceeded", "ReplicaSetUpdated", "ProgressDeadlineExceeded"]);
    assert!(again.progress()?.updated > failed.progress()?.updated);
    assert_eq!(again.revision, Some(2));
    Ok(())
}

#[tokio::test]
async fn failed_rollout_succeeds_when_scaled_to_zero() -> Result<()> {
    let mut env = TestEnv::with("zero-failed", &Web::default()).await?;
    env.apply(&Web::broken()).await?;
    env.failed(2).await?;
    env.kubectl(&["scale", "deployment/web", "--replicas=0"]).await?;
    let complete = env.complete(2).await?;
    assert_eq!((complete.wanted, complete.available), (0, 0));
    assert_eq!(complete.progress()?.names(), Some(env.replica_set("web:broken").await?.name.as_str()));
    Ok(())
}
