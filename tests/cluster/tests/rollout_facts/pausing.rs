//! Pause and resume.

use anyhow::{Context, Result};
use cluster::clock::seconds_after;

use crate::states::{reasons, revisions};
use crate::test_env::{TestEnv, Web};

const PAUSE: [&str; 3] = ["rollout", "pause", "deployment/web"];
const RESUME: [&str; 3] = ["rollout", "resume", "deployment/web"];

#[tokio::test]
async fn pause_and_resume_renew_the_time_of_completion() -> Result<()> {
    let mut env = TestEnv::with("pause-complete", &Web::default()).await?;
    let before = env.reconciled().await?;
    seconds_after(before.progress()?.updated, 0).await?;
    env.kubectl(&PAUSE).await?;
    let paused = env.until("the pause to be observed", |state| state.paused && state.is_observed()).await?;
    let pause = paused.progress()?;
    assert_eq!((pause.status.as_str(), pause.reason.as_str()), ("Unknown", "DeploymentPaused"));
    assert_eq!(pause.names(), None);
    assert!(pause.updated > before.progress()?.updated);

    seconds_after(pause.updated, 0).await?;
    env.kubectl(&RESUME).await?;
    let after = env.complete(1).await?;
    assert_eq!(reasons(&env.states()?), ["DeploymentPaused", "DeploymentResumed", "NewReplicaSetAvailable"]);
    assert!(after.progress()?.updated > pause.updated);
    assert!(after.progress()?.transitioned > pause.updated, "from Unknown to True");
    assert_eq!(revisions(&env.states()?), [Some(1)]);
    Ok(())
}

#[tokio::test]
async fn pause_during_a_rollout_stops_the_deadline() -> Result<()> {
    let mut env = TestEnv::with("pause-amid", &Web::default()).await?;
    let held = env.gated(Web::image("web:2"));
    env.apply(&held).await?;
    env.until("a pod of revision 2", |state| state.revision == Some(2) && state.updated == 1).await?;
    env.apply(&Web { paused: true, deadline: 1, ..held.clone() }).await?;
    let paused = env.until_reason("DeploymentPaused").await?;
    let pause = paused.progress()?.updated;
    // The existing pod gets ready, and no further pod is created.
    env.open_gate().await?;
    env.until("the pod to be ready", |state| state.available == 3).await?;
    seconds_after(pause, 2).await?;
    let still = env.reconciled().await?;
    assert_eq!((still.progressing, still.updated), (paused.progressing, 1));

    env.apply(&held).await?;
    let resumed = env.until_reason("DeploymentResumed").await?;
    assert!(resumed.progress()?.updated > pause);
    assert_eq!(resumed.progress()?.transitioned, pause, "both have the status Unknown");
    env.complete(2).await?;
    let states = env.states()?;
    let all = reasons(&states);
    assert_eq!(all.get(..3).context("too few")?, ["DeploymentPaused", "DeploymentResumed", "ReplicaSetUpdated"]);
    assert_eq!(all.last(), Some(&"NewReplicaSetAvailable"));
    Ok(())
}

#[tokio::test]
async fn pause_of_a_failed_rollout_keeps_its_condition() -> Result<()> {
    let mut env = TestEnv::with("pause-failed", &Web::default()).await?;
    env.apply(&Web::broken()).await?;
    let failed = env.failed(2).await?;
    env.kubectl(&PAUSE).await?;
    env.reconciled().await?;
    env.kubectl(&RESUME).await?;
    let after = env.reconciled().await?;
    assert_eq!(after.progressing, failed.progressing);
    assert_eq!(reasons(&env.states()?), ["ProgressDeadlineExceeded"]);
    Ok(())
}

#[tokio::test]
async fn without_a_deadline_only_the_spec_shows_a_pause() -> Result<()> {
    let mut env = TestEnv::new("pause-endless").await?;
    env.apply(&Web { deadline: i32::MAX, ..Web::default() }).await?;
    env.rolled_out(1).await?;
    env.kubectl(&PAUSE).await?;
    let paused = env.reconciled().await?;
    assert!(paused.paused);
    env.kubectl(&RESUME).await?;
    assert!(!env.reconciled().await?.paused);
    assert_eq!(reasons(&env.states()?), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn changes_while_paused_are_one_revision() -> Result<()> {
    let mut env = TestEnv::with("pause-changes", &Web::default()).await?;
    env.kubectl(&PAUSE).await?;
    for image in ["web:2", "web:3"] {
        env.apply(&Web { paused: true, ..Web::image(image) }).await?;
        // The controller reports that no pod has this template, and creates no ReplicaSet.
        let state = env.reconciled().await?;
        assert_eq!((state.revision, state.updated, state.reason()), (Some(1), 0, Some("DeploymentPaused")));
    }
    env.kubectl(&RESUME).await?;
    env.complete(2).await?;
    let images: Vec<_> = env.replica_sets().await?.into_iter().map(|set| set.image).collect();
    assert_eq!(images, ["web:1", "web:3"]);
    Ok(())
}

#[tokio::test]
async fn rollback_while_paused_only_renumbers_revisions() -> Result<()> {
    let mut env = TestEnv::with("pause-return", &Web::default()).await?;
    env.apply(&Web::image("web:2")).await?;
    env.complete(2).await?;
    env.kubectl(&PAUSE).await?;

    env.apply(&Web { paused: true, ..Web::default() }).await?;
    env.until("revision 3", |state| state.revision == Some(3)).await?;
    let there = env.reconciled().await?;
    assert_eq!((there.updated, there.replicas, there.reason()), (0, 2, Some("DeploymentPaused")));
    env.apply(&Web { paused: true, ..Web::image("web:2") }).await?;
    env.until("revision 4", |state| state.revision == Some(4)).await?;

    env.kubectl(&RESUME).await?;
    env.complete(4).await?;
    let (first, second) = (env.replica_set("web:1").await?, env.replica_set("web:2").await?);
    assert_eq!((first.revision, first.history.as_deref(), first.replicas), (Some(3), Some("1"), 0));
    assert_eq!((second.revision, second.history.as_deref(), second.replicas), (Some(4), Some("2"), 2));
    assert_eq!(reasons(&env.states()?), ["DeploymentPaused", "DeploymentResumed", "NewReplicaSetAvailable"]);
    let scaled = env
        .replica_set_states()
        .await?
        .into_iter()
        .any(|set| set.uid == first.uid && set.revision == Some(3) && set.wanted > 0);
    assert!(!scaled, "revision 3 must never have pods");
    Ok(())
}

#[tokio::test]
async fn deployment_created_paused_has_no_revision() -> Result<()> {
    let mut env = TestEnv::new("pause-born").await?;
    env.apply(&Web { paused: true, ..Web::default() }).await?;
    let paused = env.reconciled().await?;
    assert_eq!((paused.revision, paused.reason()), (None, Some("DeploymentPaused")));
    assert!(env.replica_sets().await?.is_empty());
    env.kubectl(&RESUME).await?;
    env.complete(1).await?;
    assert_eq!(revisions(&env.states()?), [None, Some(1)]);
    Ok(())
}

#[tokio::test]
async fn replica_set_of_a_resume_has_no_created_condition() -> Result<()> {
    let mut env = TestEnv::with("pause-created", &Web::default()).await?;
    env.apply(&Web { paused: true, ..Web::image("web:2") }).await?;
    env.reconciled().await?;
    env.kubectl(&RESUME).await?;
    env.complete(2).await?;
    // The controller writes DeploymentResumed and creates the ReplicaSet. Then its write of the condition conflicts,
    // since it has an old version of the Deployment. When it retries, the ReplicaSet already exists.
    let states = env.states()?;
    let first = env.until("revision 2", |state| state.revision == Some(2)).await?;
    assert_eq!(first.reason(), Some("DeploymentResumed"));
    assert!(!reasons(&states).contains(&"NewReplicaSetCreated"), "{:?}", reasons(&states));
    let second = env.replica_set("web:2").await?;
    assert!(second.created >= first.progress()?.updated);
    assert_eq!(second.history, None);
    Ok(())
}
