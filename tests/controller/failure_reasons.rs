//! Why a rollout failed, in one sentence of its record.

use cluster::wait_for;
use serde_json::json;

use crate::TestResult;
use crate::fixture::{CHART, DEADLINE, Installation, RELEASE};
use crate::stage::{Stage, Web};

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_what_the_pods_of_its_revision_wait_for() -> TestResult {
    let stage = Stage::open("reasons").await?;
    let failing = |name, image| Web { name, image, deadline: 3, ..Web::default() };
    // One with pods of an older revision, which are well.
    stage.apply(&Web { name: "update", replicas: 4, ..Web::default() }).await?;
    stage.table(&["update:1 Initial Succeeded success"]).await?;
    for web in [
        Web { replicas: 4, ..failing("update", "app:broken") },
        failing("pull", "app:broken"),
        failing("crash", "app:crash"),
        Web { replicas: 2, pod: json!({"nodeSelector": {"disk": "none"}}), ..failing("homeless", "app:v1") },
        Web { ready_after: "1h", ..failing("silent", "app:v1") },
    ] {
        stage.apply(&web).await?;
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
        "the only pod got a node, which hasn't reported any container",
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
    stage.apply(&Web { deadline: 3, ..Web::default() }).await?;
    let rows = stage.table(&["web:1 Initial Failed failed"]).await?;
    let refusal = "pods can't be created: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0";
    assert_eq!(rows[0].failure(), refusal);
    stage.apply(&Web { deadline: 3, ..Web::image("app:v2") }).await?;
    stage.table(&["web:1 Initial Failed failed", "web:2 Release Failed failed"]).await?;

    // Nothing moves in this undo: the failure of revision 2 is all that its condition ever says.
    stage.kubectl("rollout undo deployment/web").await?;
    let expected = ["web:1 Initial Failed failed", "web:2 Release Failed failed", "web:3 Rollback Failed failed"];
    let rows = stage.table(&expected).await?;
    assert_eq!(rows[2].failure(), refusal);
    stage.give_time().await?;
    stage.kubectl("delete quota/none").await?;
    let rows = stage.table(&[&expected[..2], &["web:3 Rollback Recovered success"]].concat()).await?;
    assert_eq!(rows[2].failure(), refusal, "it goes on telling why it had failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_list_pods_the_reason_is_shorter() -> TestResult {
    let on = Installation::alone().await?;
    let values = ["upgrade", RELEASE, CHART, "--namespace", RELEASE, "--reuse-values", "--set", "rbac.pods=false"];
    on.helm(values).await?;
    let _controller = on.start_controller(&[]).await?;
    let stage = Stage::on(&on, "no-pods").await?;
    stage.apply(&Web::broken()).await?;
    let rows = stage.table(&["web:1 Initial Failed failed"]).await?;
    assert_eq!(rows[0].failure(), "no progress for 2 s (progressDeadlineSeconds)");
    // What the Deployment itself says needs no such right.
    let quota = Stage::on(&on, "no-pods-quota").await?;
    forbid_pods(&quota).await?;
    quota.apply(&Web::broken()).await?;
    let rows = quota.table(&["web:1 Initial Failed failed"]).await?;
    assert!(rows[0].failure().starts_with("pods can't be created: exceeded quota: none"), "{}", rows[0].failure());
    Ok(())
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
