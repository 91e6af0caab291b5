//! Rollbacks and restarts, as the pod templates of ReplicaSets show them.

use anyhow::Result;
use cluster::clock::seconds_after;

use crate::states::{reasons, revisions};
use crate::test_env::{TestEnv, Web};

const UNDO: [&str; 3] = ["rollout", "undo", "deployment/web"];
const RESTART: [&str; 3] = ["rollout", "restart", "deployment/web"];

/// Asserts that the ReplicaSet of revision 1, which has this UID, becomes revision 3, and that the ReplicaSet of
/// revision 2 doesn't change.
async fn assert_first_replica_set_is_used_again(env: &TestEnv<'_>, uid: &str) -> Result<()> {
    env.complete(3).await?;
    let all = env.replica_sets().await?;
    let [second, first] = all.as_slice() else { anyhow::bail!("not two ReplicaSets: {all:?}") };
    assert_eq!((first.uid.as_str(), first.revision, first.history.as_deref()), (uid, Some(3), Some("1")));
    assert_eq!((second.revision, second.history.as_deref(), second.wanted), (Some(2), None, 0));
    assert!(!reasons(&env.states()?).contains(&"NewReplicaSetCreated"));
    Ok(())
}

#[tokio::test]
async fn undo_reuses_the_old_replica_set() -> Result<()> {
    let mut env = TestEnv::with("undo", &Web::default()).await?;
    let first = env.replica_set("web:1").await?;
    env.apply(&Web::image("web:2")).await?;
    env.complete(2).await?;
    env.kubectl(&UNDO).await?;
    assert_first_replica_set_is_used_again(&env, &first.uid).await?;
    assert_eq!(env.replica_set("web:1").await?.created, first.created);
    assert_eq!(revisions(&env.states()?), [Some(2), Some(3)]);

    // After several rollbacks, each number is in the history of one ReplicaSet.
    env.kubectl(&UNDO).await?;
    env.complete(4).await?;
    env.kubectl(&UNDO).await?;
    env.complete(5).await?;
    assert_eq!(env.replica_set("web:1").await?.history.as_deref(), Some("1,3"));
    assert_eq!(env.replica_set("web:2").await?.history.as_deref(), Some("2"));
    Ok(())
}

#[tokio::test]
async fn undo_of_a_failure_reuses_the_old_replica_set() -> Result<()> {
    let mut env = TestEnv::with("undo-failed", &Web::default()).await?;
    let first = env.replica_set("web:1").await?;
    env.apply(&Web::broken()).await?;
    env.failed(2).await?;
    env.kubectl(&UNDO).await?;
    assert_first_replica_set_is_used_again(&env, &first.uid).await
}

#[tokio::test]
async fn applying_the_old_manifest_is_a_rollback() -> Result<()> {
    let mut env = TestEnv::with("apply-old", &Web::default()).await?;
    let first = env.replica_set("web:1").await?;
    env.apply(&Web::image("web:2")).await?;
    env.complete(2).await?;
    env.apply(&Web::default()).await?;
    assert_first_replica_set_is_used_again(&env, &first.uid).await
}

#[tokio::test]
async fn restart_is_a_revision_that_apply_does_not_revert() -> Result<()> {
    let mut env = TestEnv::with("restart", &Web::default()).await?;
    env.kubectl(&RESTART).await?;
    env.complete(2).await?;
    let images: Vec<_> = env.replica_sets().await?.into_iter().map(|set| set.image).collect();
    assert_eq!(images, ["web:1", "web:1"]);

    // The annotation restartedAt is not in the manifest, and another field manager owns it.
    env.apply(&Web::default()).await?;
    assert_eq!(env.reconciled().await?.revision, Some(2));
    let server_side = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
    env.kubectl_with(&server_side, &Web::default()).await?;
    assert_eq!(env.reconciled().await?.revision, Some(2));
    assert_eq!(env.replica_sets().await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn replace_of_a_restarted_deployment_is_a_rollback() -> Result<()> {
    let mut env = TestEnv::with("restart-back", &Web::default()).await?;
    let first = env.replica_set("web:1").await?;
    env.kubectl(&RESTART).await?;
    env.complete(2).await?;
    env.kubectl_with(&["replace", "--filename=-"], &Web::default()).await?;
    assert_first_replica_set_is_used_again(&env, &first.uid).await?;
    assert!(revisions(&env.states()?).ends_with(&[None, Some(3)]));
    Ok(())
}

#[tokio::test]
async fn second_restart_is_another_revision() -> Result<()> {
    let mut env = TestEnv::with("restarts", &Web::default()).await?;
    let first = env.complete(1).await?;
    for revision in 2..=3 {
        // The annotation has whole seconds, so two restarts within a second are one.
        let last = env.replica_sets().await?.last().map_or(first.progress()?.updated, |set| set.created);
        seconds_after(last, 0).await?;
        env.kubectl(&RESTART).await?;
        env.complete(revision).await?;
    }
    assert_eq!(env.replica_sets().await?.len(), 3);
    Ok(())
}
