//! Pause and resume.

use anyhow::{Context, Result};

use crate::stage::{Stage, Web, past, past_by};
use crate::states::{reasons, revisions};

const PAUSE: [&str; 3] = ["rollout", "pause", "deployment/web"];
const RESUME: [&str; 3] = ["rollout", "resume", "deployment/web"];

#[tokio::test]
async fn pause_and_resume_of_a_complete_deployment_give_its_revision_a_new_time() -> Result<()> {
    let mut stage = Stage::with("pause-complete", &Web::default()).await?;
    let before = stage.settle().await?;
    past(before.progress()?.updated).await?;
    stage.kubectl(&PAUSE).await?;
    let paused = stage.until("the pause to be observed", |state| state.paused && state.is_observed()).await?;
    let pause = paused.progress()?;
    assert_eq!((pause.status.as_str(), pause.reason.as_str()), ("Unknown", "DeploymentPaused"));
    assert_eq!(pause.names(), None);
    assert!(pause.updated > before.progress()?.updated);

    past(pause.updated).await?;
    stage.kubectl(&RESUME).await?;
    let after = stage.complete(1).await?;
    assert_eq!(reasons(&stage.states()?), ["DeploymentPaused", "DeploymentResumed", "NewReplicaSetAvailable"]);
    assert!(after.progress()?.updated > pause.updated);
    assert!(after.progress()?.transitioned > pause.updated, "from Unknown to True");
    assert_eq!(revisions(&stage.states()?), [Some(1)]);
    Ok(())
}

#[tokio::test]
async fn pause_amid_a_rollout_stops_the_deadline_but_not_the_pods() -> Result<()> {
    let mut stage = Stage::with("pause-amid", &Web::default()).await?;
    let held = stage.gated(Web::image("web:2"));
    stage.apply(&held).await?;
    stage.until("a pod of revision 2", |state| state.revision == Some(2) && state.updated == 1).await?;
    stage.apply(&Web { paused: true, deadline: 1, ..held.clone() }).await?;
    let paused = stage.until_reason("DeploymentPaused").await?;
    let pause = paused.progress()?.updated;
    // The pod that is there gets ready; no further one is made.
    stage.open_gate().await?;
    stage.until("the pod to be ready", |state| state.available == 3).await?;
    past_by(pause, 2).await?;
    let still = stage.settle().await?;
    assert_eq!((still.progressing, still.updated), (paused.progressing, 1));

    stage.apply(&held).await?;
    let resumed = stage.until_reason("DeploymentResumed").await?;
    assert!(resumed.progress()?.updated > pause);
    assert_eq!(resumed.progress()?.transitioned, pause, "both are Unknown");
    stage.complete(2).await?;
    let states = stage.states()?;
    let all = reasons(&states);
    assert_eq!(all.get(..3).context("too few")?, ["DeploymentPaused", "DeploymentResumed", "ReplicaSetUpdated"]);
    assert_eq!(all.last(), Some(&"NewReplicaSetAvailable"));
    Ok(())
}

#[tokio::test]
async fn pause_and_resume_of_a_failed_rollout_leave_its_condition_alone() -> Result<()> {
    let mut stage = Stage::with("pause-failed", &Web::default()).await?;
    stage.apply(&Web::broken()).await?;
    let failed = stage.failed(2).await?;
    stage.kubectl(&PAUSE).await?;
    stage.settle().await?;
    stage.kubectl(&RESUME).await?;
    let after = stage.settle().await?;
    assert_eq!(after.progressing, failed.progressing);
    assert_eq!(reasons(&stage.states()?), ["ProgressDeadlineExceeded"]);
    Ok(())
}

#[tokio::test]
async fn without_a_deadline_only_the_specification_tells_of_a_pause() -> Result<()> {
    let mut stage = Stage::open("pause-endless").await?;
    stage.apply(&Web { deadline: i32::MAX, ..Web::default() }).await?;
    stage.rolled_out(1).await?;
    stage.kubectl(&PAUSE).await?;
    let paused = stage.settle().await?;
    assert!(paused.paused);
    stage.kubectl(&RESUME).await?;
    assert!(!stage.settle().await?.paused);
    assert_eq!(reasons(&stage.states()?), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn changes_while_paused_make_one_revision_at_the_resume() -> Result<()> {
    let mut stage = Stage::with("pause-changes", &Web::default()).await?;
    stage.kubectl(&PAUSE).await?;
    for image in ["web:2", "web:3"] {
        stage.apply(&Web { paused: true, ..Web::image(image) }).await?;
        // Seen by the controller, which reports that no pod has this template, and makes no ReplicaSet.
        let seen = stage.settle().await?;
        assert_eq!((seen.revision, seen.updated, seen.reason()), (Some(1), 0, Some("DeploymentPaused")));
    }
    stage.kubectl(&RESUME).await?;
    stage.complete(2).await?;
    let images: Vec<_> = stage.replica_sets().await?.into_iter().map(|set| set.image).collect();
    assert_eq!(images, ["web:1", "web:3"]);
    Ok(())
}

#[tokio::test]
async fn return_to_an_old_template_while_paused_makes_revisions_that_roll_nothing_out() -> Result<()> {
    let mut stage = Stage::with("pause-return", &Web::default()).await?;
    stage.apply(&Web::image("web:2")).await?;
    stage.complete(2).await?;
    stage.kubectl(&PAUSE).await?;

    stage.apply(&Web { paused: true, ..Web::default() }).await?;
    stage.until("revision 3", |state| state.revision == Some(3)).await?;
    let there = stage.settle().await?;
    assert_eq!((there.updated, there.replicas, there.reason()), (0, 2, Some("DeploymentPaused")));
    stage.apply(&Web { paused: true, ..Web::image("web:2") }).await?;
    stage.until("revision 4", |state| state.revision == Some(4)).await?;

    stage.kubectl(&RESUME).await?;
    stage.complete(4).await?;
    let (first, second) = (stage.replica_set("web:1").await?, stage.replica_set("web:2").await?);
    assert_eq!((first.revision, first.history.as_deref(), first.replicas), (Some(3), Some("1"), 0));
    assert_eq!((second.revision, second.history.as_deref(), second.replicas), (Some(4), Some("2"), 2));
    assert_eq!(reasons(&stage.states()?), ["DeploymentPaused", "DeploymentResumed", "NewReplicaSetAvailable"]);
    let scaled = stage
        .replica_set_states()
        .await?
        .into_iter()
        .any(|set| set.uid == first.uid && set.revision == Some(3) && set.wanted > 0);
    assert!(!scaled, "no pod of revision 3 was ever asked for");
    Ok(())
}

#[tokio::test]
async fn deployment_created_paused_has_no_revision_and_no_replica_set() -> Result<()> {
    let mut stage = Stage::open("pause-born").await?;
    stage.apply(&Web { paused: true, ..Web::default() }).await?;
    let paused = stage.settle().await?;
    assert_eq!((paused.revision, paused.reason()), (None, Some("DeploymentPaused")));
    assert!(stage.replica_sets().await?.is_empty());
    stage.kubectl(&RESUME).await?;
    stage.complete(1).await?;
    assert_eq!(revisions(&stage.states()?), [None, Some(1)]);
    Ok(())
}

#[tokio::test]
async fn replica_set_made_at_the_resume_is_never_said_to_be_created() -> Result<()> {
    let mut stage = Stage::with("pause-created", &Web::default()).await?;
    stage.apply(&Web { paused: true, ..Web::image("web:2") }).await?;
    stage.settle().await?;
    stage.kubectl(&RESUME).await?;
    stage.complete(2).await?;
    // The controller writes DeploymentResumed, makes the ReplicaSet, and fails to write that with the version of the
    // Deployment from before; when it tries again, the ReplicaSet is there already.
    let states = stage.states()?;
    let first = stage.until("revision 2", |state| state.revision == Some(2)).await?;
    assert_eq!(first.reason(), Some("DeploymentResumed"));
    assert!(!reasons(&states).contains(&"NewReplicaSetCreated"), "{:?}", reasons(&states));
    let second = stage.replica_set("web:2").await?;
    assert!(second.created >= first.progress()?.updated);
    assert_eq!(second.history, None);
    Ok(())
}
