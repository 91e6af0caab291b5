//! How a rollout ends, one way after another, in the record and in Port.

use rollout::Accuracy::{Exact, Observed};
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{Installation, text};
use crate::objects::{created, progressed, progressing, revision_of};
use crate::stage::{Row, Stage, next_second, seconds_after, versions};
use crate::web::Web;

/// Which revision took each back.
fn taken_back_by(rows: &[Row]) -> Vec<Option<i64>> {
    rows.iter().map(|row| row.record.spec.rolled_back_by).collect()
}

fn writes(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(Row::writes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_corrected_in_the_same_entity_when_it_recovers_and_when_it_is_rolled_back() -> TestResult {
    let stage = Stage::open("recover").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply_failing(&stage.gated(Web::default())).await?;
    let failed = stage.table(&["web:1 Initial Succeeded success", "web:2 Config Failed failed"]).await?;
    stage.give_time().await?;
    stage.open_gate().await?;
    let recovered = stage.table(&["web:1 Initial Succeeded success", "web:2 Config Recovered success"]).await?;
    let web = stage.on.progressing(&stage.namespace, "web", "NewReplicaSetAvailable").await?;
    assert_eq!(recovered[1].finished(), (progressed(&web), Exact));
    assert_eq!(recovered[1].started(), failed[1].started());
    assert!(recovered[1].finished().0 >= failed[1].finished().0);
    assert_eq!(recovered[1].failure(), failed[1].failure(), "it goes on telling why it had failed");

    stage.apply(&Web::default()).await?;
    let all = stage
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
    assert_eq!(taken_back_by(&all), [None, Some(3), None]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_a_newer_one_overtakes_is_superseded_and_one_that_is_deleted_is_abandoned() -> TestResult {
    let stage = Stage::open("superseded").await?;
    stage.apply(&Web { deadline: 600, ..Web::broken() }).await?;
    stage.table(&["web:1 Initial InProgress InProgress"]).await?;
    next_second().await?;
    stage.kubectl("set image deployment/web app=other:broken").await?;
    let rows = stage.table(&["web:1 Initial Superseded cancelled", "web:2 Release InProgress InProgress"]).await?;
    assert_eq!(rows[0].finished(), rows[1].started(), "it ended when the newer one began");
    assert_eq!(rows[1].started(), (created(&stage.replica_set("other:broken").await?), Exact));
    stage.kubectl("delete deployment/web").await?;
    let gone = stage.table(&["web:1 Initial Superseded cancelled", "web:2 Release Abandoned NotPublished"]).await?;
    assert_eq!(gone[0].version(), rows[0].version());
    assert_eq!(gone[1].finished().1, Observed);

    // The same name once more is another Deployment, with its own revision 1; and what has ended stays as it is after its Deployment.
    stage.apply(&Web::default()).await?;
    let expected = [
        "web:1 Initial Superseded cancelled",
        "web:1 Initial Succeeded success",
        "web:2 Release Abandoned NotPublished",
    ];
    let again = stage.table(&expected).await?;
    stage.kubectl("delete deployment/web").await?;
    stage.apply(&Web { name: "other", ..Web::default() }).await?;
    let expected: Vec<&str> = ["other:1 Initial Succeeded success"].into_iter().chain(expected).collect();
    let rows = stage.table(&expected).await?;
    assert_eq!(versions(&rows[1..]), versions(&again));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_quick_succession_are_a_rollout_each_of_which_all_but_the_last_are_superseded() -> TestResult {
    let stage = Stage::open("quick").await?;
    for (revision, image) in [(1, "a:broken"), (2, "b:broken"), (3, "c:broken"), (4, "app:v1")] {
        stage.apply(&Web::image(image)).await?;
        // Two changes that the Deployment controller sees at once make one revision.
        stage.until("the revision", |web| (revision_of(web) == Some(revision)).then_some(())).await?;
    }
    let rows = stage
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
async fn a_rollback_takes_back_what_was_in_effect_and_nothing_else() -> TestResult {
    let stage = Stage::open("rollback").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply(&Web::image("app:v2")).await?;
    stage.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    stage.apply_failing(&Web::broken()).await?;
    let before = stage
        .table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success", "web:3 Release Failed failed"])
        .await?;
    stage.apply(&Web::default()).await?;
    let back = stage
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release RolledBack rolled_back",
            "web:3 Release Failed failed",
            "web:4 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(taken_back_by(&back), [None, Some(4), None, None]);
    assert_eq!(back[1].finished(), before[1].finished(), "the time of the deployment stays");
    // Forward again: this takes back the rollback.
    stage.kubectl("rollout undo deployment/web --to-revision=2").await?;
    let all = stage
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release RolledBack rolled_back",
            "web:3 Release Failed failed",
            "web:4 Rollback RolledBack rolled_back",
            "web:5 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(taken_back_by(&all), [None, Some(4), None, Some(5), None]);
    assert_eq!(writes(&all), [1, 2, 1, 2, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_of_a_failed_rollout_takes_nothing_back() -> TestResult {
    let stage = Stage::open("undo").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply_failing(&Web::broken()).await?;
    let failed = stage.table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed"]).await?;
    stage.give_time().await?;
    stage.kubectl("rollout undo deployment/web").await?;
    let all = stage
        .table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed", "web:3 Rollback Succeeded success"])
        .await?;
    assert_eq!([all[0].version(), all[1].version()], [failed[0].version(), failed[1].version()]);
    assert_eq!(writes(&all), [1; 3]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_fails_has_taken_back_what_was_in_effect_all_the_same() -> TestResult {
    let stage = Stage::open("bad-rollback").await?;
    stage.apply_failing(&Web::broken()).await?;
    stage.table(&["web:1 Initial Failed failed"]).await?;
    stage.apply(&Web::image("app:v2")).await?;
    stage.table(&["web:1 Initial Failed failed", "web:2 Release Succeeded success"]).await?;
    stage.apply_failing(&Web::broken()).await?;
    let expected =
        ["web:1 Initial Failed failed", "web:2 Release RolledBack rolled_back", "web:3 Rollback Failed failed"];
    let failed = stage.table(&expected).await?;
    stage.apply(&Web::image("app:v2")).await?;
    let expected: Vec<&str> = expected.into_iter().chain(["web:4 Rollback Succeeded success"]).collect();
    let all = stage.table(&expected).await?;
    assert_eq!(taken_back_by(&all), [None, Some(3), None, None]);
    assert_eq!(all[1].version(), failed[1].version());
    assert_eq!(writes(&all), [1, 2, 1, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_a_failed_rollout_is_neither_a_recovery_nor_another_failure() -> TestResult {
    let stage = Stage::open("scaled").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply_failing(&Web::broken()).await?;
    let failed = stage.table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed"]).await?;
    // Kubernetes lets it begin and fail anew.
    stage.kubectl("scale deployment/web --replicas=2").await?;
    stage
        .until("the second failure", |web| {
            let is_failure = progressing(web).reason.as_deref() == Some("ProgressDeadlineExceeded");
            (is_failure && progressed(web) > failed[1].finished().0).then_some(())
        })
        .await?;
    // To Kubernetes it is complete once nothing is left of it, and stays so.
    for replicas in [0, 1] {
        stage.kubectl(&format!("scale deployment/web --replicas={replicas}")).await?;
        stage.on.progressing(&stage.namespace, "web", "NewReplicaSetAvailable").await?;
    }
    stage.apply(&Web::default()).await?;
    let all = stage
        .table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed", "web:3 Rollback Succeeded success"])
        .await?;
    assert_eq!([all[0].version(), all[1].version()], [failed[0].version(), failed[1].version()]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_taken_back_before_it_is_complete_is_superseded() -> TestResult {
    let stage = Stage::open("taken-back").await?;
    stage.apply(&Web::default()).await?;
    let before = stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply(&Web { ready_after: "1h", ..Web::image("app:v2") }).await?;
    stage.table(&["web:1 Initial Succeeded success", "web:2 Release InProgress InProgress"]).await?;
    stage.apply(&Web::default()).await?;
    let all = stage
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release Superseded cancelled",
            "web:3 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(all[0].version(), before[0].version(), "it had never ceased to be in effect");
    assert_eq!(all[1].finished(), all[2].started());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_to_a_failed_revision_that_succeeds_this_time_leaves_the_first_failure() -> TestResult {
    let stage = Stage::open("second-try").await?;
    stage.apply_failing(&stage.gated(Web::default())).await?;
    stage.table(&["web:1 Initial Failed failed"]).await?;
    stage.apply(&Web::image("app:v2")).await?;
    let before = stage.table(&["web:1 Initial Failed failed", "web:2 Release Succeeded success"]).await?;
    stage.open_gate().await?;
    stage.apply(&stage.gated(Web::default())).await?;
    let all = stage
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
async fn a_rollout_that_is_paused_and_changed_is_superseded_by_what_comes_with_the_resume() -> TestResult {
    let stage = Stage::open("paused-changed").await?;
    stage.apply(&stage.gated(Web::default())).await?;
    stage.table(&["web:1 Initial InProgress InProgress"]).await?;
    stage.kubectl("rollout pause deployment/web").await?;
    let since = stage.record(1, "paused", |spec| spec.paused_at.is_some()).await?.paused_at.unwrap().0;
    stage.apply(&Web { paused: true, ..Web::image("app:v2") }).await?;
    seconds_after(since, 2).await?;
    stage.kubectl("rollout resume deployment/web").await?;
    let rows = stage.table(&["web:1 Initial Superseded cancelled", "web:2 Release Succeeded success"]).await?;
    assert_eq!(rows[0].finished(), rows[1].started());
    assert!(rows[0].record.spec.paused_seconds >= Some(2), "{:?}", rows[0].record.spec);
    assert_eq!((rows[0].record.spec.paused_at.as_ref(), rows[1].record.spec.paused_seconds), (None, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_history_of_replica_sets_the_outcomes_are_the_same() -> TestResult {
    let stage = Stage::open("no-history").await?;
    let web = |web: Web| {
        let mut manifest: Value = serde_json::from_str(&web.manifest()).unwrap();
        manifest["spec"]["revisionHistoryLimit"] = json!(0);
        manifest.to_string()
    };
    let apply = async |manifest: String| stage.kubectl_with_input("apply --filename=-", &manifest).await;
    apply(web(Web::default())).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    apply(web(Web::image("app:v2"))).await?;
    stage.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    apply(web(Web { deadline: 600, ..Web::broken() })).await?;
    stage.stands_still(&Web::broken(), 1).await?;
    stage.fail_now("web").await?;
    let two = ["web:1 Initial Succeeded success", "web:2 Release Succeeded success"];
    stage.table(&[&two[..], &["web:3 Release Failed failed"]].concat()).await?;
    stage.give_time().await?;
    // Until the rollout is complete the old ReplicaSet is kept, so that this is possible.
    stage.kubectl("rollout undo deployment/web").await?;
    let four = [&two[..], &["web:3 Release Failed failed", "web:4 Rollback Succeeded success"]].concat();
    stage.table(&four).await?;
    stage.pruned(&["app:v1", "app:broken"]).await?;
    // After it, going back makes a new ReplicaSet: to Kubernetes this template was never there.
    apply(web(Web::default())).await?;
    stage.table(&[&four[..], &["web:5 Release Succeeded success"]].concat()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_how_each_rollout_ended() -> TestResult {
    let stage = Stage::open("kubectl").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply_failing(&Web::broken()).await?;
    stage.table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed"]).await?;
    let listed = stage.kubectl("get doradeployments --sort-by=.spec.revision.number").await?;
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
    let selected = stage.kubectl(&format!("get ddep --selector={labelled}=Failed --output=name")).await?;
    assert_eq!(selected.lines().count(), 1, "{selected}");
    let selected = stage.kubectl(&format!("get ddep --selector={labelled}=InProgress --output=name")).await?;
    assert_eq!(selected, "", "the labels follow the outcome");
    let wide = stage.kubectl("get ddep --output=wide").await?;
    let heads: Vec<&str> = wide.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heads[10..], ["KIND", "GROUP", "COMMIT", "DURATION", "FAILURE", "MESSAGE"], "{wide}");
    assert!(wide.contains("can't pull the image of container app"), "{wide}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_say_what_is_published_and_as_what() -> TestResult {
    let on = Installation::alone().await?;
    let settings = "
statuses: {Succeeded: shipped, Failed: broken, Abandoned: dropped}
publish: {changes: {Restart: true, Config: false}, zeroReplicas: true}
";
    let _controller = on.start_controller_with_settings(settings).await?;
    let stage = Stage::on(&on, "settings").await?;
    stage.apply(&Web { replicas: 0, ..Web::default() }).await?;
    stage.table(&["web:1 Initial Succeeded shipped"]).await?;
    stage.kubectl("scale deployment/web --replicas=1").await?;
    stage.complete(1).await?;
    stage.kubectl("rollout restart deployment/web").await?;
    stage.table(&["web:1 Initial Succeeded shipped", "web:2 Restart Succeeded shipped"]).await?;
    stage.kubectl("set env deployment/web COLOUR=red").await?;
    let mut expected = vec![
        "web:1 Initial Succeeded shipped",
        "web:2 Restart Succeeded shipped",
        "web:3 Config Succeeded NotPublished",
    ];
    stage.table(&expected).await?;
    stage.apply_failing(&Web::broken()).await?;
    expected.push("web:4 Release Failed broken");
    stage.table(&expected).await?;
    stage.apply(&Web { image: "other:broken", ..Web::default() }).await?;
    stage.table(&[&expected[..], &["web:5 Release InProgress InProgress"]].concat()).await?;
    stage.kubectl("delete deployment/web").await?;
    expected.push("web:5 Release Abandoned dropped");
    stage.table(&expected).await?;

    // Without a status for it, a rollback is recorded, and Port keeps what it was told before.
    let undone = Stage::on(&on, "undone").await?;
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
