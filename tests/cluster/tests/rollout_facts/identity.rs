//! Which changes create a revision, and in which order the changes become visible.

use anyhow::{Context, Result};
use cluster::{ClusterOptions, Component, LocalCluster};
use serde_json::json;

use crate::states::{REVISION, revisions};
use crate::test_env::{TestEnv, Web};

#[tokio::test]
async fn metadata_of_the_template_creates_revisions() -> Result<()> {
    let mut env = TestEnv::with("born", &Web::default()).await?;
    let annotated = Web { template_annotations: json!({"a": "b"}), ..Web::default() };
    env.apply(&annotated).await?;
    env.complete(2).await?;
    env.apply(&Web { template_labels: json!({"c": "d"}), ..annotated }).await?;
    env.complete(3).await?;
    assert_eq!(env.replica_sets().await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn generation_changes_without_a_new_revision() -> Result<()> {
    let mut env = TestEnv::with("generation", &Web::default()).await?;
    let mut generation = env.states()?.last().context("no state")?.generation;
    for arguments in [
        ["scale", "deployment/web", "--replicas=3"].as_slice(),
        &["rollout", "pause", "deployment/web"],
        &["rollout", "resume", "deployment/web"],
        &["annotate", "deployment/web", "a=b"],
        &["patch", "deployment/web", "--patch", r#"{"spec": {"minReadySeconds": 1}}"#],
    ] {
        env.kubectl(arguments).await?;
        let after = env.until("the next generation", |state| state.generation > generation).await?;
        assert_eq!(after.generation, generation + 1, "{arguments:?}");
        generation = env.reconciled().await?.generation;
        assert_eq!(revisions(&env.states()?), [Some(1)], "{arguments:?}");
    }
    assert_eq!(env.replica_sets().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn revision_and_created_condition_come_in_one_write() -> Result<()> {
    let mut env = TestEnv::with("one-write", &Web::default()).await?;
    env.apply(&Web::image("web:2")).await?;
    let first = env.until("revision 2", |state| state.revision == Some(2)).await?;
    let second = env.replica_set("web:2").await?;
    assert_eq!(first.reason(), Some("NewReplicaSetCreated"));
    assert_eq!(first.progress()?.names(), Some(second.name.as_str()));
    assert_eq!(first.observed_generation, Some(first.generation - 1), "the counts still belong to revision 1");
    // Before that, one state has the new template, the old revision and the condition of its success.
    let before = env.states()?.into_iter().next().context("no state")?;
    assert_eq!((before.revision, before.reason()), (Some(1), Some("NewReplicaSetAvailable")));
    assert_eq!(before.generation, first.generation);
    Ok(())
}

#[tokio::test]
async fn generation_can_be_observed_before_its_revision() -> Result<()> {
    let mut env = TestEnv::with("observed", &Web::default()).await?;
    // The controller scales first, and reports the generation as observed.
    env.apply(&Web { replicas: 3, ..Web::image("web:2") }).await?;
    env.complete(2).await?;
    let early = env
        .until("an observed generation at revision 1", |state| state.is_observed() && state.revision == Some(1))
        .await?;
    assert_eq!((early.reason(), early.updated), (Some("NewReplicaSetAvailable"), 0));
    Ok(())
}

#[tokio::test]
async fn quick_changes_are_visible_as_revisions_in_order() -> Result<()> {
    let mut env = TestEnv::with("quick", &Web::default()).await?;
    env.apply(&Web::broken()).await?;
    env.until("revision 2", |state| state.revision == Some(2)).await?;
    let mut states = env.states()?;
    env.apply(&Web::image("web:3")).await?;
    env.complete(3).await?;
    states.extend(env.states()?);
    assert_eq!(revisions(&states), [Some(1), Some(2), Some(3)]);

    let versions: Vec<_> = states.iter().map(|state| state.resource_version).collect();
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    let all = env.replica_set_states().await?;
    let versions: Vec<_> = all.iter().map(|state| state.resource_version).collect();
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    // Each ReplicaSet is created before the Deployment gets its revision. The two watches may deliver that in another
    // order.
    for revision in 2..=3 {
        let set = all.iter().find(|set| set.revision == Some(revision)).context("no ReplicaSet")?;
        let deployment = states.iter().find(|state| state.revision == Some(revision)).context("no state")?;
        assert!(set.resource_version < deployment.resource_version, "{set:?} {deployment:?}");
    }
    Ok(())
}

#[tokio::test]
async fn changes_between_reconciliations_are_one_revision() -> Result<()> {
    let cluster = LocalCluster::start(ClusterOptions::default()).await?;
    let mut env = TestEnv::on(&cluster, "unseen").await?;
    env.apply(&Web::default()).await?;
    env.complete(1).await?;
    cluster.stop_component(Component::ControllerManager)?;
    env.apply(&Web::image("web:2")).await?;
    env.apply(&Web::image("web:3")).await?;
    cluster.start_component(Component::ControllerManager).await?;
    env.complete(2).await?;
    let images: Vec<_> = env.replica_sets().await?.into_iter().map(|set| set.image).collect();
    assert_eq!(images, ["web:1", "web:3"]);
    Ok(())
}

#[tokio::test]
async fn revision_in_a_manifest_is_visible_until_corrected() -> Result<()> {
    let mut env = TestEnv::new("stated").await?;
    // For example, a manifest that was copied from another cluster.
    env.apply(&Web { annotations: json!({REVISION: "7"}), ..Web::default() }).await?;
    env.complete(1).await?;
    assert_eq!(revisions(&env.states()?), [Some(7), Some(1)]);
    assert_eq!(env.replica_set("web:1").await?.revision, Some(1));

    env.kubectl_with(&["replace", "--filename=-"], &Web::default()).await?;
    env.reconciled().await?;
    let all = env.states()?;
    assert!(revisions(&all).ends_with(&[None, Some(1)]), "`kubectl replace` removes the revision for a moment");
    Ok(())
}
