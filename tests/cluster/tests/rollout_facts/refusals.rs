//! Pods and ReplicaSets that the API server refuses to create.

use anyhow::Result;
use cluster::clock::seconds_after;
use cluster::workload::{probe_pod, probe_replica_set};

use crate::states::reasons;
use crate::test_env::{TestEnv, Web};

/// The Deployment with a short deadline.
fn short_deadline(image: &'static str) -> Web {
    Web { deadline: 3, ..Web::image(image) }
}

/// An environment in which no pod can be created.
async fn without_pods(prefix: &str) -> Result<TestEnv<'static>> {
    let mut env = TestEnv::new(prefix).await?;
    env.add_quota("pods=0", &probe_pod()).await?;
    Ok(env)
}

#[tokio::test]
async fn refused_pods_fail_the_rollout_at_the_deadline() -> Result<()> {
    let mut env = without_pods("quota").await?;
    env.apply(&Web::default()).await?;
    let refused = env.until("a refusal", |state| state.replica_failure.is_some()).await?;
    let progress = refused.progress()?;
    assert_eq!((progress.status.as_str(), progress.reason.as_str()), ("True", "NewReplicaSetCreated"));
    env.apply(&short_deadline("web:1")).await?;
    let failed = env.until_reason("ProgressDeadlineExceeded").await?;
    let Some(failure) = failed.replica_failure.clone() else { anyhow::bail!("no refusal: {failed:?}") };
    assert_eq!((failure.status.as_str(), failure.reason.as_str()), ("True", "FailedCreate"));
    let set = env.replica_set("web:1").await?;
    let pod = failure.names().unwrap_or_default();
    assert!(pod.starts_with(&format!("{}-", set.name)), "{pod}");
    let expected =
        format!(r#"pods "{pod}" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0"#);
    assert_eq!(failure.message, expected);

    env.remove_quota(&probe_pod()).await?;
    env.complete(1).await?;
    env.until("the refusal to be gone", |state| state.replica_failure.is_none()).await?;
    Ok(())
}

#[tokio::test]
async fn revision_without_progress_keeps_the_old_conditions() -> Result<()> {
    let mut env = without_pods("quota-two").await?;
    env.apply(&Web::image("web:1")).await?;
    let first = env.until("a refusal", |state| state.replica_failure.is_some()).await?;
    seconds_after(first.progress()?.updated, 0).await?;
    env.apply(&Web::image("web:2")).await?;
    let second = env.until("revision 2", |state| state.revision == Some(2) && state.is_observed()).await?;
    // The condition is still about the creation of the first ReplicaSet, and the deadline counts from its time.
    assert_eq!(second.progressing, first.progressing);
    assert_eq!(second.replica_failure, first.replica_failure, "it names a pod of the first ReplicaSet");

    env.apply(&short_deadline("web:2")).await?;
    let failed = env.until_reason("ProgressDeadlineExceeded").await?;
    let set = env.replica_set("web:2").await?;
    assert_eq!(failed.progress()?.names(), Some(set.name.as_str()));
    assert_eq!(failed.replica_failure, first.replica_failure);
    Ok(())
}

#[tokio::test]
async fn undo_without_progress_keeps_the_other_failure() -> Result<()> {
    let mut env = without_pods("quota-undo").await?;
    env.apply(&short_deadline("web:1")).await?;
    env.until_reason("ProgressDeadlineExceeded").await?;
    env.apply(&short_deadline("web:2")).await?;
    let failed = env
        .until("revision 2 to fail", |state| {
            state.revision == Some(2) && state.reason() == Some("ProgressDeadlineExceeded")
        })
        .await?;
    assert!(reasons(&env.states()?).contains(&"NewReplicaSetCreated"));
    env.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    env.until("revision 3", |state| state.revision == Some(3)).await?;
    seconds_after(failed.progress()?.updated, 3).await?;
    let after = env.reconciled().await?;
    assert_eq!(after.progressing, failed.progressing);
    assert_eq!(after.progress()?.names(), Some(env.replica_set("web:2").await?.name.as_str()));
    Ok(())
}

#[tokio::test]
async fn refused_replica_set_has_no_revision() -> Result<()> {
    let mut env = TestEnv::with("quota-sets", &Web::default()).await?;
    env.add_quota("count/replicasets.apps=1", &probe_replica_set()).await?;
    env.apply(&Web::image("web:2")).await?;
    let refused = env.until_reason("ReplicaSetCreateError").await?;
    let error = refused.progress()?;
    assert_eq!((error.status.as_str(), refused.revision), ("False", Some(1)));
    assert!(error.message.starts_with("Failed to create new replica set \"web-"), "{}", error.message);
    assert!(error.message.contains("exceeded quota: none"), "{}", error.message);
    assert_eq!(env.replica_sets().await?.len(), 1);

    env.remove_quota(&probe_replica_set()).await?;
    env.complete(2).await?;
    Ok(())
}
