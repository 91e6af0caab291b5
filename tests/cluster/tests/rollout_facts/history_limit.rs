//! `revisionHistoryLimit`: which ReplicaSets are kept, and until when.

use anyhow::{Context, Result};
use cluster::wait_for;

use crate::stage::{SOON, Stage, Web};
use crate::states::ReplicaSetState;

const NONE: i32 = 0;

fn limited(web: Web) -> Web {
    Web { history_limit: NONE, ..web }
}

/// Waits until there is one ReplicaSet.
async fn only_one(stage: &Stage<'_>) -> Result<ReplicaSetState> {
    Ok(wait_for("one ReplicaSet to be left", SOON, async || {
        let mut all = stage.replica_sets().await?;
        if all.len() == 1 { Ok(all.pop()) } else { Err(format!("{all:?}"))? }
    })
    .await?)
}

#[tokio::test]
async fn old_replica_set_is_deleted_only_after_the_new_one_is_complete() -> Result<()> {
    let mut stage = Stage::with("limit", &limited(Web::default())).await?;
    for (revision, image) in [(2, "web:2"), (3, "web:3")] {
        stage.apply(&limited(Web::image(image))).await?;
        let complete = stage.complete(revision).await?;
        let left = only_one(&stage).await?;
        assert_eq!((left.revision, left.image.as_str()), (Some(revision), image), "numbers go up all the same");
        let all = stage.replica_set_states().await?;
        let deleted = all.iter().find(|set| set.deleted && set.revision == Some(revision - 1));
        let deleted = deleted.context("not deleted")?;
        assert!(deleted.resource_version > complete.resource_version, "{deleted:?} {complete:?}");
    }
    Ok(())
}

#[tokio::test]
async fn rollout_that_fails_keeps_the_old_replica_set_for_an_undo() -> Result<()> {
    let mut stage = Stage::with("limit-undo", &limited(Web::default())).await?;
    stage.apply(&limited(Web::broken())).await?;
    stage.failed(2).await?;
    assert_eq!(stage.settle().await?.revision, Some(2));
    assert_eq!(stage.replica_sets().await?.len(), 2);
    stage.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    stage.complete(3).await?;
    let left = only_one(&stage).await?;
    assert_eq!((left.image.as_str(), left.history.as_deref()), ("web:1", Some("1")));
    Ok(())
}

#[tokio::test]
async fn undo_of_a_complete_rollout_is_refused() -> Result<()> {
    let mut stage = Stage::with("limit-refused", &limited(Web::default())).await?;
    stage.apply(&limited(Web::image("web:2"))).await?;
    stage.complete(2).await?;
    only_one(&stage).await?;
    let error = stage.kubectl(&["rollout", "undo", "deployment/web"]).await.unwrap_err().to_string();
    assert!(error.contains("no rollout history found"), "{error}");
    // The old template by apply is a new ReplicaSet then, without a history: nothing shows that it is a rollback.
    stage.apply(&limited(Web::default())).await?;
    stage.complete(3).await?;
    let again = stage.replica_set("web:1").await?;
    assert_eq!((again.revision, again.history), (Some(3), None));
    Ok(())
}

#[tokio::test]
async fn replica_sets_beyond_the_limit_leave_a_gap_in_the_numbers() -> Result<()> {
    let limit = |image| Web { history_limit: 1, ..Web::image(image) };
    let mut stage = Stage::with("limit-gap", &limit("web:1")).await?;
    for (revision, image) in [(2, "web:2"), (3, "web:3")] {
        stage.apply(&limit(image)).await?;
        stage.complete(revision).await?;
    }
    let left = wait_for("the oldest to be deleted", SOON, async || {
        let all = stage.replica_sets().await?;
        if all.len() == 2 { Ok(Some(all)) } else { Err(format!("{all:?}"))? }
    })
    .await?;
    let revisions: Vec<_> = left.iter().map(|set| set.revision).collect();
    assert_eq!(revisions, [Some(2), Some(3)]);
    Ok(())
}
