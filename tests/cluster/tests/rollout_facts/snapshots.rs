//! What ReplicaSets remember of the Deployment's annotations.

use anyhow::Result;
use serde_json::json;

use crate::stage::{Stage, Web};

const COMMIT: &str = "dora.port.io/commit-sha";

fn commit(image: &'static str, commit: &str) -> Web {
    Web { annotations: json!({COMMIT: commit}), ..Web::image(image) }
}

#[tokio::test]
async fn old_replica_set_is_a_snapshot_of_the_annotations_of_its_time() -> Result<()> {
    let mut stage = Stage::with("snapshot", &commit("web:1", "aaa")).await?;
    stage.apply(&commit("web:2", "bbb")).await?;
    stage.complete(2).await?;
    // Later than the rollout: the current one follows, the old one doesn't.
    stage.kubectl(&["annotate", "deployment/web", "added=later"]).await?;
    stage.settle().await?;
    let (first, second) = (stage.replica_set("web:1").await?, stage.replica_set("web:2").await?);
    assert_eq!(first.annotations.get(COMMIT).map(String::as_str), Some("aaa"));
    assert_eq!(first.annotations.get("added"), None);
    assert_eq!(second.annotations.get(COMMIT).map(String::as_str), Some("bbb"));
    assert_eq!(second.annotations.get("added").map(String::as_str), Some("later"));
    // But not what kubectl keeps for itself.
    assert!(!second.annotations.contains_key("kubectl.kubernetes.io/last-applied-configuration"));
    Ok(())
}

#[tokio::test]
async fn annotation_taken_off_the_deployment_stays_on_its_replica_set() -> Result<()> {
    let mut stage = Stage::with("taken-off", &commit("web:1", "aaa")).await?;
    stage.apply(&Web::default()).await?;
    let after = stage.settle().await?;
    assert_eq!(after.annotations.get(COMMIT), None);
    let first = stage.replica_set("web:1").await?;
    assert_eq!(first.annotations.get(COMMIT).map(String::as_str), Some("aaa"));
    Ok(())
}

#[tokio::test]
async fn annotations_of_a_change_reach_the_old_replica_set_if_they_come_before_the_template() -> Result<()> {
    let mut stage = Stage::with("too-early", &commit("web:1", "aaa")).await?;
    // As with `kubectl annotate` followed by `kubectl set image`.
    stage.apply(&commit("web:1", "bbb")).await?;
    stage.settle().await?;
    stage.kubectl(&["set", "image", "deployment/web", "app=web:2"]).await?;
    stage.complete(2).await?;
    for image in ["web:1", "web:2"] {
        let set = stage.replica_set(image).await?;
        assert_eq!(set.annotations.get(COMMIT).map(String::as_str), Some("bbb"), "{image}");
    }
    Ok(())
}

#[tokio::test]
async fn undo_gives_the_deployment_the_annotations_of_the_old_replica_set() -> Result<()> {
    let mut stage = Stage::with("undo-annotations", &commit("web:1", "aaa")).await?;
    stage.apply(&commit("web:2", "bbb")).await?;
    stage.complete(2).await?;
    stage.kubectl(&["annotate", "deployment/web", "added=later"]).await?;
    stage.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    let after = stage.complete(3).await?;
    assert_eq!(after.annotations.get(COMMIT).map(String::as_str), Some("aaa"));
    assert_eq!(after.annotations.get("added"), None, "even those that nobody meant to undo");
    Ok(())
}

#[tokio::test]
async fn apply_of_an_old_template_overwrites_the_snapshot() -> Result<()> {
    let mut stage = Stage::with("overwritten", &commit("web:1", "aaa")).await?;
    stage.apply(&commit("web:2", "bbb")).await?;
    stage.complete(2).await?;
    stage.apply(&commit("web:1", "ccc")).await?;
    stage.complete(3).await?;
    let first = stage.replica_set("web:1").await?;
    assert_eq!(first.annotations.get(COMMIT).map(String::as_str), Some("ccc"), "aaa is nowhere any more");
    Ok(())
}
