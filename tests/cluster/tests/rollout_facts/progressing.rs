//! The condition Progressing: its reasons, its times, and of what it speaks.

use anyhow::{Context, Result};
use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use crate::stage::{Stage, Web, any_pod, past};
use crate::states::{reasons, revisions};

#[tokio::test]
async fn reasons_of_a_rollout_name_its_replica_set() -> Result<()> {
    let mut stage = Stage::with("reasons", &Web::default()).await?;
    stage.apply(&Web::image("web:2")).await?;
    stage.complete(2).await?;
    let set = stage.replica_set("web:2").await?;
    let states = stage.states()?;
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
async fn transition_time_stays_that_of_the_first_rollout() -> Result<()> {
    let mut stage = Stage::with("transition", &Web::default()).await?;
    let first = stage.complete(1).await?;
    past(first.progress()?.updated).await?;
    stage.apply(&Web::image("web:2")).await?;
    let second = stage.complete(2).await?;
    assert!(second.progress()?.updated > first.progress()?.updated);
    assert_eq!(second.progress()?.transitioned, first.progress()?.transitioned);
    Ok(())
}

#[tokio::test]
async fn time_of_completion_stands_whatever_happens_afterwards() -> Result<()> {
    let mut stage = Stage::open("frozen").await?;
    stage.open_gate().await?;
    stage.apply(&stage.gated(Web::default())).await?;
    let complete = stage.complete(1).await?;
    let frozen = complete.progressing;
    past(frozen.as_ref().context("no condition")?.updated).await?;

    stage.close_gate().await?;
    stage.kubectl(&["delete", "pods", "--all"]).await?;
    let without = stage.until("nothing to be available", |state| state.available == 0).await?;
    assert_eq!(without.available_condition.context("no condition Available")?.status, "False");
    stage.open_gate().await?;
    stage
        .until("all to be available again", |state| {
            state.available == 2 && state.resource_version > without.resource_version
        })
        .await?;
    assert_eq!(stage.settle().await?.progressing, frozen);
    assert!(stage.states()?.iter().all(|state| state.progressing == frozen));

    stage.close_gate().await?;
    stage.kubectl(&["scale", "deployment/web", "--replicas=4"]).await?;
    // Meanwhile the counts say "in progress".
    stage
        .until("the new pods to be awaited", |state| {
            (state.wanted, state.replicas, state.available) == (4, 4, 2) && state.is_observed()
        })
        .await?;
    stage.open_gate().await?;
    stage.rolled_out(1).await?;
    assert!(stage.states()?.iter().all(|state| state.progressing == frozen && state.revision == Some(1)));
    Ok(())
}

#[tokio::test]
async fn time_of_the_last_progress_moves_again_and_again() -> Result<()> {
    let mut stage = Stage::with("moves", &Web::default()).await?;
    // An old pod goes first, so that the controller looks at least once before the first new one is there: if it counts
    // that one at its first look after a change, it doesn't take it for progress.
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    stage.apply(&stage.gated(Web { strategy, ..Web::image("web:2") })).await?;
    let first = stage
        .until("the first pod to be counted", |state| state.reason() == Some("ReplicaSetUpdated") && state.updated == 1)
        .await?;
    past(first.progress()?.updated).await?;
    stage.open_gate().await?;
    let complete = stage.complete(2).await?;
    let updated = stage.states()?.into_iter().filter(|state| state.reason() == Some("ReplicaSetUpdated"));
    let mut times = updated.map(|state| Ok(state.progress()?.updated)).collect::<Result<Vec<_>>>()?;
    assert!(times.is_sorted(), "{times:?}");
    assert!(times.last() <= Some(&complete.progress()?.updated), "{times:?}");
    // Two pods, one after the other.
    times.dedup();
    assert!(times.len() >= 2, "{times:?}");
    Ok(())
}

#[tokio::test]
async fn deadline_exceeded_comes_a_deadline_after_the_last_progress() -> Result<()> {
    let mut stage = Stage::with("deadline", &Web::default()).await?;
    stage.apply(&Web::broken()).await?;
    let failed = stage.failed(2).await?;
    let failure = failed.progress()?;
    let states = stage.states()?;
    let last = states.iter().rev().find(|state| state.reason() != Some("ProgressDeadlineExceeded"));
    let last = last.context("no state before")?.progress()?;
    assert!(failure.updated.duration_since(last.updated) >= SignedDuration::from_secs(2), "{last:?} {failure:?}");
    assert_eq!((failure.status.as_str(), failure.transitioned), ("False", failure.updated));
    assert_eq!(failure.names(), Some(stage.replica_set("web:broken").await?.name.as_str()));
    Ok(())
}

#[tokio::test]
async fn failed_revision_can_still_succeed() -> Result<()> {
    let mut stage = Stage::open("late").await?;
    stage.apply(&stage.gated(Web { deadline: 1, ..Web::default() })).await?;
    let failed = stage
        .until("a failure with both pods", |state| {
            state.reason() == Some("ProgressDeadlineExceeded") && state.updated == 2
        })
        .await?;
    stage.open_gate().await?;
    let complete = stage.complete(1).await?;
    assert_eq!(failed.revision, Some(1));
    // The way back to True is a transition.
    assert_eq!(failed.progress()?.status, "False");
    assert!(complete.progress()?.transitioned >= failed.progress()?.updated);
    Ok(())
}

#[tokio::test]
async fn success_of_the_old_replica_set_stands_right_after_a_change() -> Result<()> {
    let mut stage = Stage::with("stale-success", &Web::default()).await?;
    stage.apply(&Web::image("web:2")).await?;
    stage.complete(2).await?;
    let second = stage.replica_set("web:2").await?;
    // No further pod can be made, so that none is counted when the controller looks late.
    stage.limit("pods=2", &any_pod()).await?;
    // Back to a template that a ReplicaSet holds: the revision moves alone.
    stage.apply(&Web::default()).await?;
    let observed = stage.until("observed", |state| state.revision == Some(3) && state.is_observed()).await?;
    let bumped = stage.until("revision 3", |state| state.revision == Some(3)).await?;
    assert_eq!((bumped.reason(), bumped.is_observed()), (Some("NewReplicaSetAvailable"), false));
    assert_eq!(bumped.progress()?.names(), Some(second.name.as_str()));
    assert_eq!([bumped.replicas, bumped.updated, bumped.available], [2; 3], "all counts are of revision 2");
    // And it stands even when everything is observed.
    assert_eq!((observed.progressing, observed.updated), (bumped.progressing, 0));
    stage.unlimit(&any_pod()).await?;
    stage.complete(3).await?;
    Ok(())
}

#[tokio::test]
async fn failure_of_the_old_replica_set_stands_right_after_an_undo() -> Result<()> {
    // With one replica, so that there are as many new pods after the undo as there were before it: more are progress.
    let mut stage = Stage::with("stale-failure", &Web { replicas: 1, ..Web::default() }).await?;
    stage.apply(&Web { replicas: 1, ..Web::broken() }).await?;
    let failed = stage.failed(2).await?;
    // Its pod stays for now, so that it isn't gone already when the controller looks late.
    let broken = stage.replica_set("web:broken").await?;
    stage.hold(&broken.name).await?;
    stage.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    let observed = stage.until("observed", |state| state.revision == Some(3) && state.is_observed()).await?;
    let bumped = stage.until("revision 3", |state| state.revision == Some(3)).await?;
    assert_eq!(bumped.progressing, failed.progressing);
    assert_eq!(observed.progressing, failed.progressing);
    stage.release(&broken.name).await?;
    stage.complete(3).await?;
    assert!(!reasons(&stage.states()?).contains(&"NewReplicaSetCreated"));
    Ok(())
}

#[tokio::test]
async fn without_a_deadline_there_is_no_condition_and_only_the_counts_tell() -> Result<()> {
    let endless = |image| Web { deadline: i32::MAX, ..Web::image(image) };
    let mut stage = Stage::open("endless").await?;
    stage.apply(&endless("web:1")).await?;
    stage.rolled_out(1).await?;
    assert_eq!(stage.settle().await?.progressing, None);
    stage.apply(&endless("web:broken")).await?;
    let broken = stage.until("a pod of revision 2", |state| state.revision == Some(2) && state.updated == 1).await?;
    assert_eq!((broken.progressing, broken.available), (None, 2));
    stage.apply(&endless("web:3")).await?;
    stage.rolled_out(3).await?;
    assert!(stage.states()?.iter().all(|state| state.progressing.is_none()));
    Ok(())
}

#[tokio::test]
async fn deadline_taken_away_and_given_back_makes_a_new_time_for_the_same_revision() -> Result<()> {
    let mut stage = Stage::with("given-back", &Web::default()).await?;
    let before = stage.complete(1).await?;
    stage.apply(&Web { deadline: i32::MAX, ..Web::default() }).await?;
    assert_eq!(stage.settle().await?.progressing, None);
    past(before.progress()?.updated).await?;
    stage.apply(&Web::default()).await?;
    let after = stage.complete(1).await?;
    assert_eq!(reasons(&stage.states()?), ["FoundNewReplicaSet", "NewReplicaSetAvailable"]);
    assert!(after.progress()?.updated > before.progress()?.updated);
    assert_eq!(revisions(&stage.states()?), [Some(1)]);
    Ok(())
}

#[tokio::test]
async fn scaling_a_failed_rollout_makes_it_fail_a_second_time() -> Result<()> {
    let mut stage = Stage::with("scale-failed", &Web::default()).await?;
    stage.apply(&Web::broken()).await?;
    let failed = stage.failed(2).await?;
    // With time enough for all of the pods: it must not fail between two of them.
    let scale = r#"{"spec": {"replicas": 6, "progressDeadlineSeconds": 600}}"#;
    stage.kubectl(&["patch", "deployment/web", "--patch", scale]).await?;
    stage
        .until("as many pods as there may be", |state| {
            (state.replicas, state.updated, state.available) == (8, 3, 5) && state.is_observed()
        })
        .await?;
    stage.fail_now().await?;
    let again = stage
        .until("a second failure", |state| {
            state.reason() == Some("ProgressDeadlineExceeded") && state.progressing != failed.progressing
        })
        .await?;
    assert_eq!(
        reasons(&stage.states()?),
        ["ProgressDeadlineExceeded", "ReplicaSetUpdated", "ProgressDeadlineExceeded"]
    );
    assert!(again.progress()?.updated > failed.progress()?.updated);
    assert_eq!(again.revision, Some(2));
    Ok(())
}

#[tokio::test]
async fn scaling_a_failed_rollout_to_zero_makes_it_a_success() -> Result<()> {
    let mut stage = Stage::with("zero-failed", &Web::default()).await?;
    stage.apply(&Web::broken()).await?;
    stage.failed(2).await?;
    stage.kubectl(&["scale", "deployment/web", "--replicas=0"]).await?;
    let complete = stage.complete(2).await?;
    assert_eq!((complete.wanted, complete.available), (0, 0));
    assert_eq!(complete.progress()?.names(), Some(stage.replica_set("web:broken").await?.name.as_str()));
    Ok(())
}
