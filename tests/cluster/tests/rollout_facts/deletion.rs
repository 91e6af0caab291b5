//! ReplicaSets and Deployments that are deleted by hand.

use anyhow::{Context, Result};
use cluster::clock::seconds_after;
use cluster::{DEADLINE, wait_for};

use crate::states::{Deletion, DeploymentState, reasons, revisions};
use crate::test_env::{TestEnv, Web};

#[tokio::test]
async fn deleted_current_replica_set_returns_with_a_new_uid() -> Result<()> {
    let mut env = TestEnv::with("deleted-current", &Web::default()).await?;
    env.apply(&Web::image("web:2")).await?;
    let before = env.complete(2).await?;
    let lost = env.replica_set("web:2").await?;

    seconds_after(before.progress()?.updated, 0).await?;
    env.kubectl(&["delete", "replicaset", &lost.name]).await?;
    let created = env.until_reason("NewReplicaSetCreated").await?;
    let after = env.complete(2).await?;
    let replacement = env.replica_set("web:2").await?;

    assert_eq!((&replacement.name, replacement.revision), (&lost.name, Some(2)));
    assert_ne!(replacement.uid, lost.uid);
    assert!(replacement.created > lost.created);
    assert_eq!(replacement.history, None);
    assert_eq!(revisions(&env.states()?), [Some(2)]);
    assert_eq!(after.generation, before.generation);
    // It looks like a rollout: both times are new, and only the name and the revision are the same.
    assert_eq!(created.progress()?.names(), Some(lost.name.as_str()));
    assert!(created.progress()?.updated > before.progress()?.updated);
    assert!(after.progress()?.updated > before.progress()?.updated);
    assert_eq!(after.progress()?.transitioned, before.progress()?.transitioned);
    Ok(())
}

#[tokio::test]
async fn revision_is_1_when_the_only_replica_set_is_deleted() -> Result<()> {
    let limit = |image| Web { image, history_limit: 0, ..Web::default() };
    let mut env = TestEnv::with("deleted-only", &limit("web:1")).await?;
    env.apply(&limit("web:2")).await?;
    let before = env.complete(2).await?;
    let second = env.replica_set("web:2").await?;
    wait_for("the old ReplicaSet to be deleted", DEADLINE, async || {
        Ok((env.replica_sets().await?.len() == 1).then_some(()))
    })
    .await?;

    env.kubectl(&["delete", "replicaset", &second.name]).await?;
    let after = env.complete(1).await?;
    let replacement = env.replica_set("web:2").await?;
    assert_eq!((&replacement.name, replacement.revision), (&second.name, Some(1)));
    assert_eq!((&after.uid, after.generation), (&before.uid, before.generation));

    // The number 2 is used again, for another template.
    env.apply(&limit("web:3")).await?;
    env.complete(2).await?;
    assert_eq!(env.replica_set("web:3").await?.revision, Some(2));
    Ok(())
}

#[tokio::test]
async fn revision_decreases_after_two_deleted_replica_sets() -> Result<()> {
    let mut env = TestEnv::with("deleted-two", &Web::default()).await?;
    for (revision, image) in [(2, "web:2"), (3, "web:3")] {
        env.apply(&Web::image(image)).await?;
        env.complete(revision).await?;
    }
    let (second, third) = (env.replica_set("web:2").await?, env.replica_set("web:3").await?);
    env.kubectl(&["delete", "replicaset", &second.name]).await?;
    // An old ReplicaSet doesn't return, and its deletion changes nothing.
    assert_eq!(env.reconciled().await?.revision, Some(3));

    env.kubectl(&["delete", "replicaset", &third.name]).await?;
    env.complete(2).await?;
    let replacement = env.replica_set("web:3").await?;
    assert_eq!((&replacement.name, replacement.revision), (&third.name, Some(2)));
    assert_ne!(replacement.uid, third.uid);
    Ok(())
}

#[tokio::test]
async fn recreated_deployment_starts_again_with_revision_1() -> Result<()> {
    let mut env = TestEnv::with("recreated", &Web::default()).await?;
    let before = env.states()?.last().context("no state")?.clone();
    let first = env.replica_set("web:1").await?;
    env.kubectl(&["delete", "deployment", "web", "--cascade=foreground"]).await?;
    env.until("the Deployment to be gone", DeploymentState::is_deleted).await?;

    env.apply(&Web::default()).await?;
    let after = env.complete(1).await?;
    let again = env.replica_set("web:1").await?;
    assert_ne!(after.uid, before.uid);
    assert_eq!((&again.name, again.revision), (&first.name, Some(1)));
    assert_ne!(again.uid, first.uid);
    assert_eq!(again.owner, Some(after.uid));
    Ok(())
}

#[tokio::test]
async fn recreated_deployment_adopts_its_orphan() -> Result<()> {
    let mut env = TestEnv::with("orphans", &Web::default()).await?;
    env.apply(&Web::image("web:2")).await?;
    let before = env.complete(2).await?;
    let orphan = env.replica_set("web:2").await?;

    seconds_after(before.progress()?.updated, 0).await?;
    env.kubectl(&["delete", "deployment", "web", "--cascade=orphan"]).await?;
    env.until("the Deployment to be gone", DeploymentState::is_deleted).await?;
    // Until then, it has counts of 0 and the condition of success.
    let deleting = env.states()?.into_iter().filter(|state| state.deletion == Deletion::Pending).collect::<Vec<_>>();
    assert_eq!(reasons(&deleting), ["NewReplicaSetAvailable"]);
    assert_eq!(env.replica_set("web:2").await?.owner, None);

    // Otherwise the controller might still see the ReplicaSet as owned, and create one with another name.
    env.replica_sets_are_observed().await?;
    env.apply(&Web::image("web:2")).await?;
    let after = env.complete(2).await?;
    let states = env.states()?;
    assert_ne!(after.uid, before.uid);
    assert_eq!(revisions(&states), [None, Some(2)]);
    assert_eq!(reasons(&states), ["FoundNewReplicaSet", "NewReplicaSetAvailable"]);
    let found = env.until_reason("FoundNewReplicaSet").await?;
    assert_eq!(found.progress()?.names(), Some(orphan.name.as_str()));
    // Nothing was rolled out, but the time of completion is new.
    assert!(after.progress()?.updated > before.progress()?.updated);
    let adopted = env.replica_set("web:2").await?;
    assert_eq!((&adopted.uid, adopted.created, adopted.revision), (&orphan.uid, orphan.created, Some(2)));
    assert_eq!(adopted.history, None);
    assert_eq!(adopted.owner, Some(after.uid));
    Ok(())
}

#[tokio::test]
async fn recreated_deployment_with_old_template_rolls_back() -> Result<()> {
    let mut env = TestEnv::with("orphans-old", &Web::default()).await?;
    env.apply(&Web::image("web:2")).await?;
    env.complete(2).await?;
    env.kubectl(&["delete", "deployment", "web", "--cascade=orphan"]).await?;
    env.until("the Deployment to be gone", DeploymentState::is_deleted).await?;

    env.replica_sets_are_observed().await?;
    env.apply(&Web::default()).await?;
    env.complete(3).await?;
    assert_eq!(reasons(&env.states()?).first(), Some(&"FoundNewReplicaSet"));
    let first = env.replica_set("web:1").await?;
    assert_eq!((first.revision, first.history.as_deref()), (Some(3), Some("1")));
    Ok(())
}
