//! Pods and ReplicaSets that the API server refuses to make.

use anyhow::Result;

use crate::stage::{Stage, Web, any_pod, any_replica_set, past, past_by};
use crate::states::reasons;

/// The Deployment with a deadline that is soon over.
fn hasty(image: &'static str) -> Web {
    Web { deadline: 3, ..Web::image(image) }
}

/// A namespace in which no pod can be made.
async fn without_pods(prefix: &str) -> Result<Stage<'static>> {
    let mut stage = Stage::open(prefix).await?;
    stage.limit("pods=0", &any_pod()).await?;
    Ok(stage)
}

#[tokio::test]
async fn refused_pods_are_a_replica_failure_and_fail_at_the_deadline() -> Result<()> {
    let mut stage = without_pods("quota").await?;
    stage.apply(&Web::default()).await?;
    let refused = stage.until("a refusal", |state| state.replica_failure.is_some()).await?;
    let progress = refused.progress()?;
    assert_eq!((progress.status.as_str(), progress.reason.as_str()), ("True", "NewReplicaSetCreated"));
    stage.apply(&hasty("web:1")).await?;
    let failed = stage.until_reason("ProgressDeadlineExceeded").await?;
    let Some(failure) = failed.replica_failure.clone() else { anyhow::bail!("no refusal: {failed:?}") };
    assert_eq!((failure.status.as_str(), failure.reason.as_str()), ("True", "FailedCreate"));
    let set = stage.replica_set("web:1").await?;
    let pod = failure.names().unwrap_or_default();
    assert!(pod.starts_with(&format!("{}-", set.name)), "{pod}");
    let expected =
        format!(r#"pods "{pod}" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0"#);
    assert_eq!(failure.message, expected);

    stage.unlimit(&any_pod()).await?;
    stage.complete(1).await?;
    stage.until("the refusal to be gone", |state| state.replica_failure.is_none()).await?;
    Ok(())
}

#[tokio::test]
async fn second_revision_before_any_progress_keeps_the_conditions_of_the_first() -> Result<()> {
    let mut stage = without_pods("quota-two").await?;
    stage.apply(&Web::image("web:1")).await?;
    let first = stage.until("a refusal", |state| state.replica_failure.is_some()).await?;
    past(first.progress()?.updated).await?;
    stage.apply(&Web::image("web:2")).await?;
    let second = stage.until("revision 2", |state| state.revision == Some(2) && state.is_observed()).await?;
    // It still says that the first ReplicaSet was created, and when: the deadline runs since then.
    assert_eq!(second.progressing, first.progressing);
    assert_eq!(second.replica_failure, first.replica_failure, "it names a pod of the first one");

    stage.apply(&hasty("web:2")).await?;
    let failed = stage.until_reason("ProgressDeadlineExceeded").await?;
    let set = stage.replica_set("web:2").await?;
    assert_eq!(failed.progress()?.names(), Some(set.name.as_str()));
    assert_eq!(failed.replica_failure, first.replica_failure);
    Ok(())
}

#[tokio::test]
async fn undo_without_progress_keeps_the_failure_of_the_other_replica_set_for_ever() -> Result<()> {
    let mut stage = without_pods("quota-undo").await?;
    stage.apply(&hasty("web:1")).await?;
    stage.until_reason("ProgressDeadlineExceeded").await?;
    stage.apply(&hasty("web:2")).await?;
    let failed = stage
        .until("revision 2 to fail", |state| {
            state.revision == Some(2) && state.reason() == Some("ProgressDeadlineExceeded")
        })
        .await?;
    assert!(reasons(&stage.states()?).contains(&"NewReplicaSetCreated"));
    stage.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    stage.until("revision 3", |state| state.revision == Some(3)).await?;
    past_by(failed.progress()?.updated, 3).await?;
    let after = stage.settle().await?;
    assert_eq!(after.progressing, failed.progressing);
    assert_eq!(after.progress()?.names(), Some(stage.replica_set("web:2").await?.name.as_str()));
    Ok(())
}

#[tokio::test]
async fn refused_replica_set_is_an_error_without_a_revision() -> Result<()> {
    let mut stage = Stage::with("quota-sets", &Web::default()).await?;
    stage.limit("count/replicasets.apps=1", &any_replica_set()).await?;
    stage.apply(&Web::image("web:2")).await?;
    let refused = stage.until_reason("ReplicaSetCreateError").await?;
    let error = refused.progress()?;
    assert_eq!((error.status.as_str(), refused.revision), ("False", Some(1)));
    assert!(error.message.starts_with("Failed to create new replica set \"web-"), "{}", error.message);
    assert!(error.message.contains("exceeded quota: none"), "{}", error.message);
    assert_eq!(stage.replica_sets().await?.len(), 1);

    stage.unlimit(&any_replica_set()).await?;
    stage.complete(2).await?;
    Ok(())
}
