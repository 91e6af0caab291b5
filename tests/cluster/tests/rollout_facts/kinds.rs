//! Kinds of change, as the templates of ReplicaSets show them: rollbacks and restarts.

use anyhow::Result;

use crate::stage::{Stage, Web, past};
use crate::states::{reasons, revisions};

const UNDO: [&str; 3] = ["rollout", "undo", "deployment/web"];
const RESTART: [&str; 3] = ["rollout", "restart", "deployment/web"];

/// Asserts that the ReplicaSet of revision 1, with this UID, becomes current again as revision 3, and that the one of
/// revision 2 is as it was.
async fn assert_first_replica_set_is_used_again(stage: &Stage<'_>, uid: &str) -> Result<()> {
    stage.complete(3).await?;
    let all = stage.replica_sets().await?;
    let [second, first] = all.as_slice() else { anyhow::bail!("not two ReplicaSets: {all:?}") };
    assert_eq!((first.uid.as_str(), first.revision, first.history.as_deref()), (uid, Some(3), Some("1")));
    assert_eq!((second.revision, second.history.as_deref(), second.wanted), (Some(2), None, 0));
    assert!(!reasons(&stage.states()?).contains(&"NewReplicaSetCreated"));
    Ok(())
}

#[tokio::test]
async fn undo_uses_the_old_replica_set_again_and_moves_its_number_to_the_history() -> Result<()> {
    let mut stage = Stage::with("undo", &Web::default()).await?;
    let first = stage.replica_set("web:1").await?;
    stage.apply(&Web::image("web:2")).await?;
    stage.complete(2).await?;
    stage.kubectl(&UNDO).await?;
    assert_first_replica_set_is_used_again(&stage, &first.uid).await?;
    assert_eq!(stage.replica_set("web:1").await?.created, first.created);
    assert_eq!(revisions(&stage.states()?), [Some(2), Some(3)]);

    // Back and forth, each number stays in one history.
    stage.kubectl(&UNDO).await?;
    stage.complete(4).await?;
    stage.kubectl(&UNDO).await?;
    stage.complete(5).await?;
    assert_eq!(stage.replica_set("web:1").await?.history.as_deref(), Some("1,3"));
    assert_eq!(stage.replica_set("web:2").await?.history.as_deref(), Some("2"));
    Ok(())
}

#[tokio::test]
async fn undo_of_a_failed_rollout_uses_the_old_replica_set_again() -> Result<()> {
    let mut stage = Stage::with("undo-failed", &Web::default()).await?;
    let first = stage.replica_set("web:1").await?;
    stage.apply(&Web::broken()).await?;
    stage.failed(2).await?;
    stage.kubectl(&UNDO).await?;
    assert_first_replica_set_is_used_again(&stage, &first.uid).await
}

#[tokio::test]
async fn apply_of_the_old_manifest_is_a_rollback_as_well() -> Result<()> {
    let mut stage = Stage::with("apply-old", &Web::default()).await?;
    let first = stage.replica_set("web:1").await?;
    stage.apply(&Web::image("web:2")).await?;
    stage.complete(2).await?;
    stage.apply(&Web::default()).await?;
    assert_first_replica_set_is_used_again(&stage, &first.uid).await
}

#[tokio::test]
async fn restart_is_a_revision_with_the_same_image_that_no_apply_takes_back() -> Result<()> {
    let mut stage = Stage::with("restart", &Web::default()).await?;
    stage.kubectl(&RESTART).await?;
    stage.complete(2).await?;
    let images: Vec<_> = stage.replica_sets().await?.into_iter().map(|set| set.image).collect();
    assert_eq!(images, ["web:1", "web:1"]);

    // The annotation restartedAt isn't in the manifest, and belongs to another field manager.
    stage.apply(&Web::default()).await?;
    assert_eq!(stage.settle().await?.revision, Some(2));
    let server_side = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
    stage.kubectl_with(&server_side, &Web::default()).await?;
    assert_eq!(stage.settle().await?.revision, Some(2));
    assert_eq!(stage.replica_sets().await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn restart_that_a_replace_takes_back_is_a_rollback() -> Result<()> {
    let mut stage = Stage::with("restart-back", &Web::default()).await?;
    let first = stage.replica_set("web:1").await?;
    stage.kubectl(&RESTART).await?;
    stage.complete(2).await?;
    stage.kubectl_with(&["replace", "--filename=-"], &Web::default()).await?;
    assert_first_replica_set_is_used_again(&stage, &first.uid).await?;
    assert!(revisions(&stage.states()?).ends_with(&[None, Some(3)]));
    Ok(())
}

#[tokio::test]
async fn second_restart_is_a_revision_of_its_own() -> Result<()> {
    let mut stage = Stage::with("restarts", &Web::default()).await?;
    let first = stage.complete(1).await?;
    for revision in 2..=3 {
        // Two within a second are one: the annotation has whole seconds.
        let last = stage.replica_sets().await?.last().map_or(first.progress()?.updated, |set| set.created);
        past(last).await?;
        stage.kubectl(&RESTART).await?;
        stage.complete(revision).await?;
    }
    assert_eq!(stage.replica_sets().await?.len(), 3);
    Ok(())
}
