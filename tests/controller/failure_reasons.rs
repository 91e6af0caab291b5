//! The reason of a failure, as one sentence in the record.

use cluster::{DEADLINE, wait_for};
use k8s_openapi::api::apps::v1::ReplicaSetCondition;
use serde_json::json;

use crate::TestResult;
use crate::fixture::{CHART, Installation, RELEASE};
use crate::objects::updated_replicas;
use crate::test_env::TestEnv;
use crate::web::Web;

#[tokio::test(flavor = "multi_thread")]
async fn failure_names_the_problem_of_its_pods() -> TestResult {
    let env = TestEnv::new("reasons").await?;
    let failing = |name, image| Web { name, image, ..Web::default() };
    // This Deployment also has ready pods of an older revision.
    env.apply(&Web { name: "update", replicas: 4, ..Web::default() }).await?;
    env.table(&["update:1 Initial Succeeded success"]).await?;
    for (web, pods) in [
        (Web { replicas: 4, ..failing("update", "app:broken") }, 2),
        (failing("pull", "app:broken"), 1),
        (failing("crash", "app:crash"), 1),
        (Web { replicas: 2, pod: json!({"nodeSelector": {"disk": "none"}}), ..failing("homeless", "app:v1") }, 2),
        (Web { ready_after: "1h", ..failing("silent", "app:v1") }, 1),
    ] {
        env.apply_stalled(&web, pods).await?;
        env.fail_now(web.name).await?;
    }
    let rows = env
        .table(&[
            "crash:1 Initial Failed failed",
            "homeless:1 Initial Failed failed",
            "pull:1 Initial Failed failed",
            "silent:1 Initial Failed failed",
            "update:1 Initial Succeeded success",
            "update:2 Release Failed failed",
        ])
        .await?;
    for (row, expected) in rows.iter().zip([
        "the only pod: container app keeps crashing (CrashLoopBackOff): exit code 1, ",
        "2 of 2 pods can't be scheduled: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector",
        "the only pod can't pull the image of container app: ImagePullBackOff: Back-off pulling image \"app:broken\"",
        "the only pod: the node hasn't reported any container",
        "",
        "2 of 2 pods can't pull the image of container app: ImagePullBackOff: Back-off pulling image \"app:broken\"",
    ]) {
        assert!(row.failure().starts_with(expected), "{:?} does not begin with {expected:?}", row.failure());
        assert!(!row.failure().contains('\n'), "{:?}", row.failure());
    }
    assert_eq!(rows[4].failure(), "", "the rollout has not failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_names_the_quota_that_refuses_pods() -> TestResult {
    let env = TestEnv::new("quota").await?;
    forbid_pods(&env).await?;
    apply_refused(&env, &Web::default()).await?;
    let rows = env.table(&["web:1 Initial Failed failed"]).await?;
    let refusal = "pods can't be created: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0";
    assert_eq!(rows[0].failure(), refusal);
    apply_refused(&env, &Web::image("app:v2")).await?;
    env.table(&["web:1 Initial Failed failed", "web:2 Release Failed failed"]).await?;

    // The undo makes no progress, so the condition keeps the failure of revision 2.
    env.kubectl("rollout undo deployment/web").await?;
    let expected = ["web:1 Initial Failed failed", "web:2 Release Failed failed", "web:3 Rollback Failed failed"];
    let rows = env.table(&expected).await?;
    assert_eq!(rows[2].failure(), refusal);
    env.extend_deadline().await?;
    env.kubectl("delete quota/none").await?;
    // The ReplicaSet controller retries refused pods with increasing delays, or when the ReplicaSet changes. An
    // annotation of the Deployment changes its ReplicaSet.
    wait_for("a pod that is not refused", DEADLINE, async || {
        let web = env.reconciled().await?;
        Ok((updated_replicas(&web) > 0).then_some(()))
    })
    .await?;
    let rows = env.table(&[&expected[..2], &["web:3 Rollback Recovered success"]].concat()).await?;
    assert_eq!(rows[2].failure(), refusal, "the record keeps the reason of the failure");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_is_shorter_without_rights_on_pods() -> TestResult {
    let setup = Installation::exclusive().await?;
    let values = ["upgrade", RELEASE, CHART, "--namespace", RELEASE, "--reuse-values", "--set", "rbac.pods=false"];
    setup.helm(values).await?;
    wait_for("the right to be removed", DEADLINE, async || {
        let is_allowed = setup.can((RELEASE, RELEASE), "list", "pods", "").await?;
        Ok((!is_allowed).then_some(()))
    })
    .await?;
    let _controller = setup.start_controller(&[]).await?;
    let env = TestEnv::on(&setup, "no-pods").await?;
    env.apply_failing(&Web::broken()).await?;
    let rows = env.table(&["web:1 Initial Failed failed"]).await?;
    assert_eq!(rows[0].failure(), "no progress for 1 s (progressDeadlineSeconds)");
    // The conditions of the Deployment can be read without that right.
    let quota = TestEnv::on(&setup, "no-pods-quota").await?;
    forbid_pods(&quota).await?;
    apply_refused(&quota, &Web::broken()).await?;
    let rows = quota.table(&["web:1 Initial Failed failed"]).await?;
    assert!(rows[0].failure().starts_with("pods can't be created: exceeded quota: none"), "{}", rows[0].failure());
    Ok(())
}

/// Applies a Deployment whose pods are refused, and makes it fail when its condition shows the refusal.
async fn apply_refused(env: &TestEnv<'_>, web: &Web) -> TestResult {
    env.apply(&Web { deadline: 600, ..web.clone() }).await?;
    wait_for(format!("the ReplicaSet of {} to be refused its pods", web.image), DEADLINE, async || {
        let status = env.replica_set(web.image).await?.status.unwrap_or_default();
        let is_refused = |condition: &ReplicaSetCondition| condition.type_ == "ReplicaFailure";
        Ok(status.conditions.unwrap_or_default().iter().any(is_refused).then_some(()))
    })
    .await?;
    env.until("ReplicaFailure", |web| {
        let status = web.status.as_ref()?;
        let is_observed = status.observed_generation == web.metadata.generation;
        let is_refused = status.conditions.as_ref()?.iter().any(|condition| condition.type_ == "ReplicaFailure");
        (is_observed && is_refused).then_some(())
    })
    .await?;
    env.fail_now(web.name).await
}

/// Creates a quota that allows no pods.
async fn forbid_pods(env: &TestEnv<'_>) -> TestResult {
    env.kubectl("create quota none --hard=pods=0").await?;
    // A quota without a status refuses everything, with another message.
    wait_for("the quota to take effect", DEADLINE, async || {
        let used = env.kubectl("get quota none --output=jsonpath={.status.used}").await?;
        Ok((!used.is_empty()).then_some(()))
    })
    .await?;
    Ok(())
}
