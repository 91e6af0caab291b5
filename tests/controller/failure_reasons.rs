//! Why a rollout failed, in one sentence of its record.

use cluster::wait_for;
use k8s_openapi::api::apps::v1::ReplicaSetCondition;
use serde_json::json;

use crate::TestResult;
use crate::fixture::{CHART, DEADLINE, Installation, RELEASE};
use crate::objects::updated_replicas;
use crate::stage::Stage;
use crate::web::Web;

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_what_the_pods_of_its_revision_wait_for() -> TestResult {
    let stage = Stage::open("reasons").await?;
    let failing = |name, image| Web { name, image, ..Web::default() };
    // One with pods of an older revision, which are well.
    stage.apply(&Web { name: "update", replicas: 4, ..Web::default() }).await?;
    stage.table(&["update:1 Initial Succeeded success"]).await?;
    for (web, pods) in [
        (Web { replicas: 4, ..failing("update", "app:broken") }, 2),
        (failing("pull", "app:broken"), 1),
        (failing("crash", "app:crash"), 1),
        (Web { replicas: 2, pod: json!({"nodeSelector": {"disk": "none"}}), ..failing("homeless", "app:v1") }, 2),
        (Web { ready_after: "1h", ..failing("silent", "app:v1") }, 1),
    ] {
        stage.apply_stuck(&web, pods).await?;
        stage.fail_now(web.name).await?;
    }
    let rows = stage
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
    assert_eq!(rows[4].failure(), "", "it has not failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_that_a_quota_refuses_pods() -> TestResult {
    let stage = Stage::open("quota").await?;
    forbid_pods(&stage).await?;
    apply_refused(&stage, &Web::default()).await?;
    let rows = stage.table(&["web:1 Initial Failed failed"]).await?;
    let refusal = "pods can't be created: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0";
    assert_eq!(rows[0].failure(), refusal);
    apply_refused(&stage, &Web::image("app:v2")).await?;
    stage.table(&["web:1 Initial Failed failed", "web:2 Release Failed failed"]).await?;

    // Nothing moves in this undo: the failure of revision 2 is all that its condition ever says.
    stage.kubectl("rollout undo deployment/web").await?;
    let expected = ["web:1 Initial Failed failed", "web:2 Release Failed failed", "web:3 Rollback Failed failed"];
    let rows = stage.table(&expected).await?;
    assert_eq!(rows[2].failure(), refusal);
    stage.give_time().await?;
    stage.kubectl("delete quota/none").await?;
    // The ReplicaSet controller waits ever longer after a refusal, unless the ReplicaSet changes: an annotation of the Deployment becomes
    // one of its ReplicaSet.
    wait_for("a pod that is not refused", DEADLINE, async || {
        let web = stage.settled().await?;
        Ok((updated_replicas(&web) > 0).then_some(()))
    })
    .await?;
    let rows = stage.table(&[&expected[..2], &["web:3 Rollback Recovered success"]].concat()).await?;
    assert_eq!(rows[2].failure(), refusal, "it goes on telling why it had failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_list_pods_the_reason_is_shorter() -> TestResult {
    let on = Installation::alone().await?;
    let values = ["upgrade", RELEASE, CHART, "--namespace", RELEASE, "--reuse-values", "--set", "rbac.pods=false"];
    on.helm(values).await?;
    wait_for("the right to be gone", DEADLINE, async || {
        let may = on.may((RELEASE, RELEASE), "list", "pods", "").await?;
        Ok((!may).then_some(()))
    })
    .await?;
    let _controller = on.start_controller(&[]).await?;
    let stage = Stage::on(&on, "no-pods").await?;
    stage.apply_failing(&Web::broken()).await?;
    let rows = stage.table(&["web:1 Initial Failed failed"]).await?;
    assert_eq!(rows[0].failure(), "no progress for 1 s (progressDeadlineSeconds)");
    // What the Deployment itself says needs no such right.
    let quota = Stage::on(&on, "no-pods-quota").await?;
    forbid_pods(&quota).await?;
    apply_refused(&quota, &Web::broken()).await?;
    let rows = quota.table(&["web:1 Initial Failed failed"]).await?;
    assert!(rows[0].failure().starts_with("pods can't be created: exceeded quota: none"), "{}", rows[0].failure());
    Ok(())
}

/// Applies a Deployment whose pods are refused, and lets it fail once the Deployment says so.
async fn apply_refused(stage: &Stage<'_>, web: &Web) -> TestResult {
    stage.apply(&Web { deadline: 600, ..web.clone() }).await?;
    wait_for(format!("the ReplicaSet of {} to be refused its pods", web.image), DEADLINE, async || {
        let status = stage.replica_set(web.image).await?.status.unwrap_or_default();
        let is_refused = |condition: &ReplicaSetCondition| condition.type_ == "ReplicaFailure";
        Ok(status.conditions.unwrap_or_default().iter().any(is_refused).then_some(()))
    })
    .await?;
    stage
        .until("ReplicaFailure", |web| {
            let status = web.status.as_ref()?;
            let is_observed = status.observed_generation == web.metadata.generation;
            let is_refused = status.conditions.as_ref()?.iter().any(|condition| condition.type_ == "ReplicaFailure");
            (is_observed && is_refused).then_some(())
        })
        .await?;
    stage.fail_now(web.name).await
}

/// Makes a quota by which no pod can be made.
async fn forbid_pods(stage: &Stage<'_>) -> TestResult {
    stage.kubectl("create quota none --hard=pods=0").await?;
    // Until its status is there, it refuses everything with another message.
    wait_for("the quota to be known", DEADLINE, async || {
        let used = stage.kubectl("get quota none --output=jsonpath={.status.used}").await?;
        Ok((!used.is_empty()).then_some(()))
    })
    .await?;
    Ok(())
}
