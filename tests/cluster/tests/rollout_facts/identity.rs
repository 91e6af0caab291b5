//! What makes a revision, and what doesn't.

use anyhow::{Context, Result};
use cluster::{ClusterOptions, Component, LocalCluster};
use serde_json::json;

use crate::stage::{Stage, Web};
use crate::states::{REVISION, revisions};

#[tokio::test]
async fn labels_and_annotations_of_the_template_make_revisions() -> Result<()> {
    let mut stage = Stage::with("born", &Web::default()).await?;
    let annotated = Web { template_annotations: json!({"a": "b"}), ..Web::default() };
    stage.apply(&annotated).await?;
    stage.complete(2).await?;
    stage.apply(&Web { template_labels: json!({"c": "d"}), ..annotated }).await?;
    stage.complete(3).await?;
    assert_eq!(stage.replica_sets().await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn generation_moves_with_scaling_pausing_and_annotations_while_the_revision_stands() -> Result<()> {
    let mut stage = Stage::with("generation", &Web::default()).await?;
    let mut generation = stage.states()?.last().context("no state")?.generation;
    for arguments in [
        ["scale", "deployment/web", "--replicas=3"].as_slice(),
        &["rollout", "pause", "deployment/web"],
        &["rollout", "resume", "deployment/web"],
        &["annotate", "deployment/web", "a=b"],
        &["patch", "deployment/web", "--patch", r#"{"spec": {"minReadySeconds": 1}}"#],
    ] {
        stage.kubectl(arguments).await?;
        let after = stage.until("the next generation", |state| state.generation > generation).await?;
        assert_eq!(after.generation, generation + 1, "{arguments:?}");
        generation = stage.settle().await?.generation;
        assert_eq!(revisions(&stage.states()?), [Some(1)], "{arguments:?}");
    }
    assert_eq!(stage.replica_sets().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn revision_and_the_condition_that_its_replica_set_was_made_come_in_one_write() -> Result<()> {
    let mut stage = Stage::with("one-write", &Web::default()).await?;
    stage.apply(&Web::image("web:2")).await?;
    let first = stage.until("revision 2", |state| state.revision == Some(2)).await?;
    let second = stage.replica_set("web:2").await?;
    assert_eq!(first.reason(), Some("NewReplicaSetCreated"));
    assert_eq!(first.progress()?.names(), Some(second.name.as_str()));
    assert_eq!(first.observed_generation, Some(first.generation - 1), "the counts are still those of revision 1");
    // Before that there is a state with the new template, the old revision and the condition of its success.
    let before = stage.states()?.into_iter().next().context("no state")?;
    assert_eq!((before.revision, before.reason()), (Some(1), Some("NewReplicaSetAvailable")));
    assert_eq!(before.generation, first.generation);
    Ok(())
}

#[tokio::test]
async fn generation_can_be_observed_before_its_revision_is_there() -> Result<()> {
    let mut stage = Stage::with("observed", &Web::default()).await?;
    // Scaling is done first and reported, as if that were all.
    stage.apply(&Web { replicas: 3, ..Web::image("web:2") }).await?;
    stage.complete(2).await?;
    let early = stage
        .until("a state that is observed at revision 1", |state| state.is_observed() && state.revision == Some(1))
        .await?;
    assert_eq!((early.reason(), early.updated), (Some("NewReplicaSetAvailable"), 0));
    Ok(())
}

#[tokio::test]
async fn two_changes_in_quick_succession_make_two_revisions_each_visible_in_a_watch_in_order() -> Result<()> {
    let mut stage = Stage::with("quick", &Web::default()).await?;
    stage.apply(&Web::broken()).await?;
    stage.until("revision 2", |state| state.revision == Some(2)).await?;
    let mut states = stage.states()?;
    stage.apply(&Web::image("web:3")).await?;
    stage.complete(3).await?;
    states.extend(stage.states()?);
    assert_eq!(revisions(&states), [Some(1), Some(2), Some(3)]);

    let versions: Vec<_> = states.iter().map(|state| state.resource_version).collect();
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    let all = stage.replica_set_states().await?;
    let versions: Vec<_> = all.iter().map(|state| state.resource_version).collect();
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    // Each ReplicaSet is made before the Deployment has its revision; the two watches needn't show it in that order.
    for revision in 2..=3 {
        let set = all.iter().find(|set| set.revision == Some(revision)).context("no ReplicaSet")?;
        let deployment = states.iter().find(|state| state.revision == Some(revision)).context("no state")?;
        assert!(set.resource_version < deployment.resource_version, "{set:?} {deployment:?}");
    }
    Ok(())
}

#[tokio::test]
async fn changes_between_two_looks_of_the_controller_make_one_revision() -> Result<()> {
    let cluster = LocalCluster::start(ClusterOptions::default()).await?;
    let mut stage = Stage::on(&cluster, "unseen").await?;
    stage.apply(&Web::default()).await?;
    stage.complete(1).await?;
    cluster.stop_component(Component::ControllerManager)?;
    stage.apply(&Web::image("web:2")).await?;
    stage.apply(&Web::image("web:3")).await?;
    cluster.start_component(Component::ControllerManager).await?;
    stage.complete(2).await?;
    let images: Vec<_> = stage.replica_sets().await?.into_iter().map(|set| set.image).collect();
    assert_eq!(images, ["web:1", "web:3"]);
    Ok(())
}

#[tokio::test]
async fn revision_that_a_manifest_states_is_corrected_after_it_was_visible() -> Result<()> {
    let mut stage = Stage::open("stated").await?;
    // As in a manifest that was copied from another cluster.
    stage.apply(&Web { annotations: json!({REVISION: "7"}), ..Web::default() }).await?;
    stage.complete(1).await?;
    assert_eq!(revisions(&stage.states()?), [Some(7), Some(1)]);
    assert_eq!(stage.replica_set("web:1").await?.revision, Some(1));

    stage.kubectl_with(&["replace", "--filename=-"], &Web::default()).await?;
    stage.settle().await?;
    let all = stage.states()?;
    assert!(revisions(&all).ends_with(&[None, Some(1)]), "`kubectl replace` takes it off for a moment");
    Ok(())
}
