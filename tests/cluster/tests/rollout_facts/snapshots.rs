//! The annotations that ReplicaSets keep of their Deployment.

use anyhow::Result;
use serde_json::json;

use crate::test_env::{TestEnv, Web};

const COMMIT: &str = "dora.port.io/commit-sha";

/// The Deployment with the annotation of a commit.
fn commit(image: &'static str, commit: &str) -> Web {
    Web { annotations: json!({COMMIT: commit}), ..Web::image(image) }
}

#[tokio::test]
async fn old_replica_set_keeps_its_annotations() -> Result<()> {
    let mut env = TestEnv::with("snapshot", &commit("web:1", "aaa")).await?;
    env.apply(&commit("web:2", "bbb")).await?;
    env.complete(2).await?;
    // After the rollout, only the current ReplicaSet gets new annotations.
    env.kubectl(&["annotate", "deployment/web", "added=later"]).await?;
    env.reconciled().await?;
    let (first, second) = (env.replica_set("web:1").await?, env.replica_set("web:2").await?);
    assert_eq!(first.annotations.get(COMMIT).map(String::as_str), Some("aaa"));
    assert_eq!(first.annotations.get("added"), None);
    assert_eq!(second.annotations.get(COMMIT).map(String::as_str), Some("bbb"));
    assert_eq!(second.annotations.get("added").map(String::as_str), Some("later"));
    // The annotation of kubectl is not copied.
    assert!(!second.annotations.contains_key("kubectl.kubernetes.io/last-applied-configuration"));
    Ok(())
}

#[tokio::test]
async fn removed_annotation_stays_on_the_replica_set() -> Result<()> {
    let mut env = TestEnv::with("taken-off", &commit("web:1", "aaa")).await?;
    env.apply(&Web::default()).await?;
    let after = env.reconciled().await?;
    assert_eq!(after.annotations.get(COMMIT), None);
    let first = env.replica_set("web:1").await?;
    assert_eq!(first.annotations.get(COMMIT).map(String::as_str), Some("aaa"));
    Ok(())
}

#[tokio::test]
async fn early_annotations_reach_the_old_replica_set() -> Result<()> {
    let mut env = TestEnv::with("too-early", &commit("web:1", "aaa")).await?;
    // The same happens with `kubectl annotate` followed by `kubectl set image`.
    env.apply(&commit("web:1", "bbb")).await?;
    env.reconciled().await?;
    env.kubectl(&["set", "image", "deployment/web", "app=web:2"]).await?;
    env.complete(2).await?;
    for image in ["web:1", "web:2"] {
        let set = env.replica_set(image).await?;
        assert_eq!(set.annotations.get(COMMIT).map(String::as_str), Some("bbb"), "{image}");
    }
    Ok(())
}

#[tokio::test]
async fn undo_restores_the_old_annotations() -> Result<()> {
    let mut env = TestEnv::with("undo-annotations", &commit("web:1", "aaa")).await?;
    env.apply(&commit("web:2", "bbb")).await?;
    env.complete(2).await?;
    env.kubectl(&["annotate", "deployment/web", "added=later"]).await?;
    env.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    let after = env.complete(3).await?;
    assert_eq!(after.annotations.get(COMMIT).map(String::as_str), Some("aaa"));
    assert_eq!(after.annotations.get("added"), None, "unrelated annotations are reverted as well");
    Ok(())
}

#[tokio::test]
async fn applying_an_old_template_overwrites_annotations() -> Result<()> {
    let mut env = TestEnv::with("overwritten", &commit("web:1", "aaa")).await?;
    env.apply(&commit("web:2", "bbb")).await?;
    env.complete(2).await?;
    env.apply(&commit("web:1", "ccc")).await?;
    env.complete(3).await?;
    let first = env.replica_set("web:1").await?;
    assert_eq!(first.annotations.get(COMMIT).map(String::as_str), Some("ccc"), "the old value is lost");
    Ok(())
}
