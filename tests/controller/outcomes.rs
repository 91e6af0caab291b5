//! The outcomes of rollouts, in the record and in Port.

use cluster::clock::{next_second, seconds_after};
use rollout::Accuracy::{Exact, Observed};
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{Installation, text};
use crate::objects::{created, last_progress, progressing, revision_of};
use crate::test_env::{Row, TestEnv, versions, writes};
use crate::web::Web;

/// The revisions that rolled back these records.
fn rolled_back_by(rows: &[Row]) -> Vec<Option<i64>> {
    rows.iter().map(|row| row.record.spec.rolled_back_by).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_and_rollback_update_the_failed_entity() -> TestResult {
    let env = TestEnv::new("recover").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply_failing(&env.gated(Web::default())).await?;
    let failed = env.table(&["web:1 Initial Succeeded success", "web:2 Config Failed failed"]).await?;
    env.extend_deadline().await?;
    env.open_gate().await?;
    let recovered = env.table(&["web:1 Initial Succeeded success", "web:2 Config Recovered success"]).await?;
    let web = env.setup.progressing(&env.namespace, "web", "NewReplicaSetAvailable").await?;
    assert_eq!(recovered[1].finished(), (last_progress(&web), Exact));
    assert_eq!(recovered[1].started(), failed[1].started());
    assert!(recovered[1].finished().0 >= failed[1].finished().0);
    assert_eq!(recovered[1].failure(), failed[1].failure(), "the record keeps the reason of the failure");

    env.apply(&Web::default()).await?;
    let all = env
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Config RolledBack rolled_back",
            "web:3 Rollback Succeeded success",
        ])
        .await?;
    let identifiers: Vec<&str> = [&failed[1], &recovered[1], &all[1]]
        .into_iter()
        .filter_map(|row| row.entity.as_ref())
        .map(|entity| entity.identifier.as_str())
        .collect();
    assert_eq!(identifiers, [identifiers[0]; 3]);
    assert_eq!([failed[1].writes(), recovered[1].writes(), all[1].writes()], [1, 2, 3]);
    assert_eq!(all[1].finished(), recovered[1].finished());
    assert_eq!(writes(&all), [1, 3, 1]);
    assert_eq!(rolled_back_by(&all), [None, Some(3), None]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn open_rollout_is_superseded_or_abandoned() -> TestResult {
    let env = TestEnv::new("superseded").await?;
    env.apply(&Web { deadline: 600, ..Web::broken() }).await?;
    env.table(&["web:1 Initial InProgress InProgress"]).await?;
    next_second().await?;
    env.kubectl("set image deployment/web app=other:broken").await?;
    let rows = env.table(&["web:1 Initial Superseded cancelled", "web:2 Release InProgress InProgress"]).await?;
    assert_eq!(rows[0].finished(), rows[1].started(), "the rollout ends when the newer one starts");
    assert_eq!(rows[1].started(), (created(&env.replica_set("other:broken").await?), Exact));
    env.kubectl("delete deployment/web").await?;
    let gone = env.table(&["web:1 Initial Superseded cancelled", "web:2 Release Abandoned NotPublished"]).await?;
    assert_eq!(gone[0].version(), rows[0].version());
    assert_eq!(gone[1].finished().1, Observed);

    // A new Deployment with the same name has its own revision 1. Finished records don't change when a Deployment is
    // deleted.
    env.apply(&Web::default()).await?;
    let expected = [
        "web:1 Initial Superseded cancelled",
        "web:1 Initial Succeeded success",
        "web:2 Release Abandoned NotPublished",
    ];
    let again = env.table(&expected).await?;
    env.kubectl("delete deployment/web").await?;
    env.apply(&Web { name: "other", ..Web::default() }).await?;
    let expected: Vec<&str> = ["other:1 Initial Succeeded success"].into_iter().chain(expected).collect();
    let rows = env.table(&expected).await?;
    assert_eq!(versions(&rows[1..]), versions(&again));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn quick_changes_supersede_each_other() -> TestResult {
    let env = TestEnv::new("quick").await?;
    for (revision, image) in [(1, "a:broken"), (2, "b:broken"), (3, "c:broken"), (4, "app:v1")] {
        env.apply(&Web::image(image)).await?;
        // If the Deployment controller saw two changes at once, they would be one revision.
        env.until("the revision", |web| (revision_of(web) == Some(revision)).then_some(())).await?;
    }
    let rows = env
        .table(&[
            "web:1 Initial Superseded cancelled",
            "web:2 Release Superseded cancelled",
            "web:3 Release Superseded cancelled",
            "web:4 Release Succeeded success",
        ])
        .await?;
    for pair in rows.windows(2) {
        assert!(pair[0].started().0 <= pair[1].started().0);
    }
    assert_eq!(writes(&rows), [1; 4]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_reverts_only_what_was_in_effect() -> TestResult {
    let env = TestEnv::new("rollback").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply(&Web::image("app:v2")).await?;
    env.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    env.apply_failing(&Web::broken()).await?;
    let before = env
        .table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success", "web:3 Release Failed failed"])
        .await?;
    env.apply(&Web::default()).await?;
    let back = env
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release RolledBack rolled_back",
            "web:3 Release Failed failed",
            "web:4 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(rolled_back_by(&back), [None, Some(4), None, None]);
    assert_eq!(back[1].finished(), before[1].finished(), "the time of the deployment doesn't change");
    // Forward again: this rolls back the rollback.
    env.kubectl("rollout undo deployment/web --to-revision=2").await?;
    let all = env
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release RolledBack rolled_back",
            "web:3 Release Failed failed",
            "web:4 Rollback RolledBack rolled_back",
            "web:5 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(rolled_back_by(&all), [None, Some(4), None, Some(5), None]);
    assert_eq!(writes(&all), [1, 2, 1, 2, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_of_a_failed_rollout_reverts_nothing() -> TestResult {
    let env = TestEnv::new("undo").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply_failing(&Web::broken()).await?;
    let failed = env.table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed"]).await?;
    env.extend_deadline().await?;
    env.kubectl("rollout undo deployment/web").await?;
    let all = env
        .table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed", "web:3 Rollback Succeeded success"])
        .await?;
    assert_eq!([all[0].version(), all[1].version()], [failed[0].version(), failed[1].version()]);
    assert_eq!(writes(&all), [1; 3]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_rollback_reverts_what_was_in_effect() -> TestResult {
    let env = TestEnv::new("bad-rollback").await?;
    env.apply_failing(&Web::broken()).await?;
    env.table(&["web:1 Initial Failed failed"]).await?;
    env.apply(&Web::image("app:v2")).await?;
    env.table(&["web:1 Initial Failed failed", "web:2 Release Succeeded success"]).await?;
    env.apply_failing(&Web::broken()).await?;
    let expected =
        ["web:1 Initial Failed failed", "web:2 Release RolledBack rolled_back", "web:3 Rollback Failed failed"];
    let failed = env.table(&expected).await?;
    env.apply(&Web::image("app:v2")).await?;
    let expected: Vec<&str> = expected.into_iter().chain(["web:4 Rollback Succeeded success"]).collect();
    let all = env.table(&expected).await?;
    assert_eq!(rolled_back_by(&all), [None, Some(3), None, None]);
    assert_eq!(all[1].version(), failed[1].version());
    assert_eq!(writes(&all), [1, 2, 1, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn scaled_failed_rollout_stays_failed() -> TestResult {
    let env = TestEnv::new("scaled").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply_failing(&Web::broken()).await?;
    let failed = env.table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed"]).await?;
    // In Kubernetes, the rollout starts and fails again.
    env.kubectl("scale deployment/web --replicas=2").await?;
    env.until("the second failure", |web| {
        let is_failure = progressing(web).reason.as_deref() == Some("ProgressDeadlineExceeded");
        (is_failure && last_progress(web) > failed[1].finished().0).then_some(())
    })
    .await?;
    // In Kubernetes, the rollout is complete when no pod is left, and stays complete.
    for replicas in [0, 1] {
        env.kubectl(&format!("scale deployment/web --replicas={replicas}")).await?;
        env.setup.progressing(&env.namespace, "web", "NewReplicaSetAvailable").await?;
    }
    env.apply(&Web::default()).await?;
    let all = env
        .table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed", "web:3 Rollback Succeeded success"])
        .await?;
    assert_eq!([all[0].version(), all[1].version()], [failed[0].version(), failed[1].version()]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reverted_open_rollout_is_superseded() -> TestResult {
    let env = TestEnv::new("taken-back").await?;
    env.apply(&Web::default()).await?;
    let before = env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply(&Web { ready_after: "1h", ..Web::image("app:v2") }).await?;
    env.table(&["web:1 Initial Succeeded success", "web:2 Release InProgress InProgress"]).await?;
    env.apply(&Web::default()).await?;
    let all = env
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release Superseded cancelled",
            "web:3 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(all[0].version(), before[0].version(), "the revision was in effect all the time");
    assert_eq!(all[1].finished(), all[2].started());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn successful_retry_keeps_the_first_failure() -> TestResult {
    let env = TestEnv::new("second-try").await?;
    env.apply_failing(&env.gated(Web::default())).await?;
    env.table(&["web:1 Initial Failed failed"]).await?;
    env.apply(&Web::image("app:v2")).await?;
    let before = env.table(&["web:1 Initial Failed failed", "web:2 Release Succeeded success"]).await?;
    env.open_gate().await?;
    env.apply(&env.gated(Web::default())).await?;
    let all = env
        .table(&[
            "web:1 Initial Failed failed",
            "web:2 Release RolledBack rolled_back",
            "web:3 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(all[0].version(), before[0].version());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_and_changed_rollout_is_superseded() -> TestResult {
    let env = TestEnv::new("paused-changed").await?;
    env.apply(&env.gated(Web::default())).await?;
    env.table(&["web:1 Initial InProgress InProgress"]).await?;
    env.kubectl("rollout pause deployment/web").await?;
    let since = env.record(1, "paused", |spec| spec.paused_at.is_some()).await?.paused_at.unwrap().0;
    env.apply(&Web { paused: true, ..Web::image("app:v2") }).await?;
    seconds_after(since, 2).await?;
    env.kubectl("rollout resume deployment/web").await?;
    let rows = env.table(&["web:1 Initial Superseded cancelled", "web:2 Release Succeeded success"]).await?;
    assert_eq!(rows[0].finished(), rows[1].started());
    assert!(rows[0].record.spec.paused_seconds >= Some(2), "{:?}", rows[0].record.spec);
    assert_eq!((rows[0].record.spec.paused_at.as_ref(), rows[1].record.spec.paused_seconds), (None, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_need_no_history_of_replica_sets() -> TestResult {
    let env = TestEnv::new("no-history").await?;
    let web = |web: Web| {
        let mut manifest: Value = serde_json::from_str(&web.manifest()).unwrap();
        manifest["spec"]["revisionHistoryLimit"] = json!(0);
        manifest.to_string()
    };
    let apply = async |manifest: String| env.kubectl_with_input("apply --filename=-", &manifest).await;
    apply(web(Web::default())).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    apply(web(Web::image("app:v2"))).await?;
    env.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    apply(web(Web { deadline: 600, ..Web::broken() })).await?;
    env.stalled(&Web::broken(), 1).await?;
    env.fail_now("web").await?;
    let two = ["web:1 Initial Succeeded success", "web:2 Release Succeeded success"];
    env.table(&[&two[..], &["web:3 Release Failed failed"]].concat()).await?;
    env.extend_deadline().await?;
    // The old ReplicaSet is kept until the rollout is complete, so an undo is possible.
    env.kubectl("rollout undo deployment/web").await?;
    let four = [&two[..], &["web:3 Release Failed failed", "web:4 Rollback Succeeded success"]].concat();
    env.table(&four).await?;
    env.pruned(&["app:v1", "app:broken"]).await?;
    // After that, applying the old template creates a new ReplicaSet, as if the template were new.
    apply(web(Web::default())).await?;
    env.table(&[&four[..], &["web:5 Release Succeeded success"]].concat()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_the_outcome_of_each_rollout() -> TestResult {
    let env = TestEnv::new("kubectl").await?;
    env.apply(&Web::default()).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply_failing(&Web::broken()).await?;
    env.table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed"]).await?;
    let listed = env.kubectl("get doradeployments --sort-by=.spec.revision.number").await?;
    let words: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    let columns = [
        "NAME",
        "WORKLOAD",
        "REVISION",
        "ENVIRONMENT",
        "CHANGE",
        "OUTCOME",
        "LEAD-TIME",
        "FINISHED",
        "SYNCED",
        "REASON",
    ];
    assert_eq!(words[0], columns);
    assert_eq!(words[1][1..6], ["web", "1", "production", "Initial", "Succeeded"], "{listed}");
    assert_eq!(words[1][7..], ["True", "Delivered"], "{listed}");
    assert_eq!(words[2][1..6], ["web", "2", "production", "Release", "Failed"], "{listed}");
    let labelled = "dora.port.io/workload=web,dora.port.io/workload-kind=Deployment,dora.port.io/environment=production,\
                    dora.port.io/group=all_teams,dora.port.io/change=Release,dora.port.io/outcome";
    let selected = env.kubectl(&format!("get ddep --selector={labelled}=Failed --output=name")).await?;
    assert_eq!(selected.lines().count(), 1, "{selected}");
    let selected = env.kubectl(&format!("get ddep --selector={labelled}=InProgress --output=name")).await?;
    assert_eq!(selected, "", "the labels follow the outcome");
    let wide = env.kubectl("get ddep --output=wide").await?;
    let heads: Vec<&str> = wide.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heads[10..], ["KIND", "GROUP", "COMMIT", "DURATION", "FAILURE", "MESSAGE"], "{wide}");
    assert!(wide.contains("can't pull the image of container app"), "{wide}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_decide_what_is_published() -> TestResult {
    let setup = Installation::exclusive().await?;
    let settings = "
statuses: {Succeeded: shipped, Failed: broken, Abandoned: dropped}
publish: {changes: {Restart: true, Config: false}, zeroReplicas: true}
";
    let _controller = setup.start_controller_with_settings(settings).await?;
    let env = TestEnv::on(&setup, "settings").await?;
    env.apply(&Web { replicas: 0, ..Web::default() }).await?;
    env.table(&["web:1 Initial Succeeded shipped"]).await?;
    env.kubectl("scale deployment/web --replicas=1").await?;
    env.complete(1).await?;
    env.kubectl("rollout restart deployment/web").await?;
    env.table(&["web:1 Initial Succeeded shipped", "web:2 Restart Succeeded shipped"]).await?;
    env.kubectl("set env deployment/web COLOUR=red").await?;
    let mut expected = vec![
        "web:1 Initial Succeeded shipped",
        "web:2 Restart Succeeded shipped",
        "web:3 Config Succeeded NotPublished",
    ];
    env.table(&expected).await?;
    env.apply_failing(&Web::broken()).await?;
    expected.push("web:4 Release Failed broken");
    env.table(&expected).await?;
    env.apply(&Web { image: "other:broken", ..Web::default() }).await?;
    env.table(&[&expected[..], &["web:5 Release InProgress InProgress"]].concat()).await?;
    env.kubectl("delete deployment/web").await?;
    expected.push("web:5 Release Abandoned dropped");
    env.table(&expected).await?;

    // If the outcome has no status, the rollback is recorded, and the entity in Port keeps its status.
    let undone = TestEnv::on(&setup, "undone").await?;
    undone.apply(&Web::default()).await?;
    undone.table(&["web:1 Initial Succeeded shipped"]).await?;
    undone.apply(&Web::image("app:v2")).await?;
    undone.table(&["web:1 Initial Succeeded shipped", "web:2 Release Succeeded shipped"]).await?;
    undone.kubectl("rollout undo deployment/web").await?;
    let rows = undone
        .table(&[
            "web:1 Initial Succeeded shipped",
            "web:2 Release RolledBack NotPublished",
            "web:3 Rollback Succeeded shipped",
        ])
        .await?;
    let kept = rows[1].entity.as_ref().unwrap();
    assert_eq!((text(kept, "status").as_str(), kept.writes), ("shipped", 1));
    Ok(())
}
