//! ReplicaSets and Deployments that somebody deletes by hand.

use anyhow::{Context, Result};
use cluster::wait_for;

use crate::stage::{SOON, Stage, Web, past};
use crate::states::{reasons, revisions};

#[tokio::test]
async fn current_replica_set_deleted_by_hand_returns_with_its_revision_and_name_and_another_uid() -> Result<()> {
    let mut stage = Stage::with("deleted-current", &Web::default()).await?;
    stage.apply(&Web::image("web:2")).await?;
    let before = stage.complete(2).await?;
    let lost = stage.replica_set("web:2").await?;

    past(before.progress()?.updated).await?;
    stage.kubectl(&["delete", "replicaset", &lost.name]).await?;
    let created = stage.until_reason("NewReplicaSetCreated").await?;
    let after = stage.complete(2).await?;
    let replacement = stage.replica_set("web:2").await?;

    assert_eq!((&replacement.name, replacement.revision), (&lost.name, Some(2)));
    assert_ne!(replacement.uid, lost.uid);
    assert!(replacement.created > lost.created);
    assert_eq!(replacement.history, None);
    assert_eq!(revisions(&stage.states()?), [Some(2)]);
    assert_eq!(after.generation, before.generation);
    // It looks like a rollout: both times of it are new, and only the UID tells that it is the same revision.
    assert_eq!(created.progress()?.names(), Some(lost.name.as_str()));
    assert!(created.progress()?.updated > before.progress()?.updated);
    assert!(after.progress()?.updated > before.progress()?.updated);
    assert_eq!(after.progress()?.transitioned, before.progress()?.transitioned);
    Ok(())
}

#[tokio::test]
async fn revision_goes_back_to_1_when_the_only_replica_set_is_deleted() -> Result<()> {
    let limit = |image| Web { image, history_limit: 0, ..Web::default() };
    let mut stage = Stage::with("deleted-only", &limit("web:1")).await?;
    stage.apply(&limit("web:2")).await?;
    let before = stage.complete(2).await?;
    let second = stage.replica_set("web:2").await?;
    wait_for("the old ReplicaSet to be deleted", SOON, async || {
        Ok((stage.replica_sets().await?.len() == 1).then_some(()))
    })
    .await?;

    stage.kubectl(&["delete", "replicaset", &second.name]).await?;
    let after = stage.complete(1).await?;
    let replacement = stage.replica_set("web:2").await?;
    assert_eq!((&replacement.name, replacement.revision), (&second.name, Some(1)));
    assert_eq!((&after.uid, after.generation), (&before.uid, before.generation));

    // The number 2 is given a second time, to something else.
    stage.apply(&limit("web:3")).await?;
    stage.complete(2).await?;
    assert_eq!(stage.replica_set("web:3").await?.revision, Some(2));
    Ok(())
}

#[tokio::test]
async fn revision_goes_down_when_the_newest_old_replica_set_is_deleted_before_the_current_one() -> Result<()> {
    let mut stage = Stage::with("deleted-two", &Web::default()).await?;
    for (revision, image) in [(2, "web:2"), (3, "web:3")] {
        stage.apply(&Web::image(image)).await?;
        stage.complete(revision).await?;
    }
    let (second, third) = (stage.replica_set("web:2").await?, stage.replica_set("web:3").await?);
    stage.kubectl(&["delete", "replicaset", &second.name]).await?;
    // An old one that is deleted doesn't come back, and changes nothing.
    assert_eq!(stage.settle().await?.revision, Some(3));

    stage.kubectl(&["delete", "replicaset", &third.name]).await?;
    stage.complete(2).await?;
    let replacement = stage.replica_set("web:3").await?;
    assert_eq!((&replacement.name, replacement.revision), (&third.name, Some(2)));
    assert_ne!(replacement.uid, third.uid);
    Ok(())
}

#[tokio::test]
async fn recreated_deployment_begins_with_revision_1_and_the_same_replica_set_name_under_another_uid() -> Result<()> {
    let mut stage = Stage::with("recreated", &Web::default()).await?;
    let before = stage.states()?.last().context("no state")?.clone();
    let first = stage.replica_set("web:1").await?;
    stage.kubectl(&["delete", "deployment", "web", "--cascade=foreground"]).await?;
    stage.until("the Deployment to be gone", |state| state.deleted).await?;

    stage.apply(&Web::default()).await?;
    let after = stage.complete(1).await?;
    let again = stage.replica_set("web:1").await?;
    assert_ne!(after.uid, before.uid);
    assert_eq!((&again.name, again.revision), (&first.name, Some(1)));
    assert_ne!(again.uid, first.uid);
    assert_eq!(again.owner, Some(after.uid));
    Ok(())
}

#[tokio::test]
async fn deployment_recreated_over_its_orphans_keeps_the_revision_and_finds_its_replica_set() -> Result<()> {
    let mut stage = Stage::with("orphans", &Web::default()).await?;
    stage.apply(&Web::image("web:2")).await?;
    let before = stage.complete(2).await?;
    let orphan = stage.replica_set("web:2").await?;

    past(before.progress()?.updated).await?;
    stage.kubectl(&["delete", "deployment", "web", "--cascade=orphan"]).await?;
    stage.until("the Deployment to be gone", |state| state.deleted).await?;
    // Meanwhile it is still there, with counts of nothing and a condition of success.
    let deleting = stage.states()?.into_iter().filter(|state| state.deleting).collect::<Vec<_>>();
    assert_eq!(reasons(&deleting), ["NewReplicaSetAvailable"]);
    assert_eq!(stage.replica_set("web:2").await?.owner, None);

    // Else, with what belongs to another Deployment in its way, the controller would make one with another name.
    stage.replica_sets_are_known().await?;
    stage.apply(&Web::image("web:2")).await?;
    let after = stage.complete(2).await?;
    let states = stage.states()?;
    assert_ne!(after.uid, before.uid);
    assert_eq!(revisions(&states), [None, Some(2)]);
    assert_eq!(reasons(&states), ["FoundNewReplicaSet", "NewReplicaSetAvailable"]);
    let found = stage.until_reason("FoundNewReplicaSet").await?;
    assert_eq!(found.progress()?.names(), Some(orphan.name.as_str()));
    // Nothing was rolled out, but the time of completion is a new one.
    assert!(after.progress()?.updated > before.progress()?.updated);
    let adopted = stage.replica_set("web:2").await?;
    assert_eq!((&adopted.uid, adopted.created, adopted.revision), (&orphan.uid, orphan.created, Some(2)));
    assert_eq!(adopted.history, None);
    assert_eq!(adopted.owner, Some(after.uid));
    Ok(())
}

#[tokio::test]
async fn deployment_recreated_over_its_orphans_with_an_older_template_is_a_rollback() -> Result<()> {
    let mut stage = Stage::with("orphans-old", &Web::default()).await?;
    stage.apply(&Web::image("web:2")).await?;
    stage.complete(2).await?;
    stage.kubectl(&["delete", "deployment", "web", "--cascade=orphan"]).await?;
    stage.until("the Deployment to be gone", |state| state.deleted).await?;

    stage.replica_sets_are_known().await?;
    stage.apply(&Web::default()).await?;
    stage.complete(3).await?;
    assert_eq!(reasons(&stage.states()?).first(), Some(&"FoundNewReplicaSet"));
    let first = stage.replica_set("web:1").await?;
    assert_eq!((first.revision, first.history.as_deref()), (Some(3), Some("1")));
    Ok(())
}
