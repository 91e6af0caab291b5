//! `revisionHistoryLimit`: which ReplicaSets are kept, and for how long.

use anyhow::{Context, Result};
use cluster::{DEADLINE, wait_for};

use crate::states::ReplicaSetState;
use crate::test_env::{TestEnv, Web};

/// `web` without a history of ReplicaSets.
fn limited(web: Web) -> Web {
    Web { history_limit: 0, ..web }
}

/// Waits until there is only one ReplicaSet, and returns it.
async fn only_one(env: &TestEnv<'_>) -> Result<ReplicaSetState> {
    Ok(wait_for("one ReplicaSet to be left", DEADLINE, async || {
        let mut all = env.replica_sets().await?;
        if all.len() == 1 { Ok(all.pop()) } else { Err(format!("{all:?}"))? }
    })
    .await?)
}

#[tokio::test]
async fn old_replica_set_is_deleted_after_the_completion() -> Result<()> {
    let mut env = TestEnv::with("limit", &limited(Web::default())).await?;
    for (revision, image) in [(2, "web:2"), (3, "web:3")] {
        env.apply(&limited(Web::image(image))).await?;
        let complete = env.complete(revision).await?;
        let left = only_one(&env).await?;
        assert_eq!((left.revision, left.image.as_str()), (Some(revision), image), "the revisions still increase");
        let all = env.replica_set_states().await?;
        let deleted = all.iter().find(|set| set.deleted && set.revision == Some(revision - 1));
        let deleted = deleted.context("the old ReplicaSet was not deleted")?;
        assert!(deleted.resource_version > complete.resource_version, "{deleted:?} {complete:?}");
    }
    Ok(())
}

#[tokio::test]
async fn failed_rollout_keeps_the_old_replica_set() -> Result<()> {
    let mut env = TestEnv::with("limit-undo", &limited(Web::default())).await?;
    env.apply(&limited(Web::broken())).await?;
    env.failed(2).await?;
    assert_eq!(env.reconciled().await?.revision, Some(2));
    assert_eq!(env.replica_sets().await?.len(), 2);
    env.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    env.complete(3).await?;
    let left = only_one(&env).await?;
    assert_eq!((left.image.as_str(), left.history.as_deref()), ("web:1", Some("1")));
    Ok(())
}

#[tokio::test]
async fn undo_of_a_complete_rollout_is_refused() -> Result<()> {
    let mut env = TestEnv::with("limit-refused", &limited(Web::default())).await?;
    env.apply(&limited(Web::image("web:2"))).await?;
    env.complete(2).await?;
    only_one(&env).await?;
    let error = env.kubectl(&["rollout", "undo", "deployment/web"]).await.unwrap_err().to_string();
    assert!(error.contains("no rollout history found"), "{error}");
    // Applying the old template creates a new ReplicaSet without a history: nothing shows that it is a rollback.
    env.apply(&limited(Web::default())).await?;
    env.complete(3).await?;
    let again = env.replica_set("web:1").await?;
    assert_eq!((again.revision, again.history), (Some(3), None));
    Ok(())
}

#[tokio::test]
async fn only_replica_sets_within_the_limit_are_kept() -> Result<()> {
    let limit = |image| Web { history_limit: 1, ..Web::image(image) };
    let mut env = TestEnv::with("limit-gap", &limit("web:1")).await?;
    for (revision, image) in [(2, "web:2"), (3, "web:3")] {
        env.apply(&limit(image)).await?;
        env.complete(revision).await?;
    }
    let left = wait_for("the oldest ReplicaSet to be deleted", DEADLINE, async || {
        let all = env.replica_sets().await?;
        if all.len() == 2 { Ok(Some(all)) } else { Err(format!("{all:?}"))? }
    })
    .await?;
    let revisions: Vec<_> = left.iter().map(|set| set.revision).collect();
    assert_eq!(revisions, [Some(2), Some(3)]);
    Ok(())
}
