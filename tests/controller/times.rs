//! When a rollout began and ended, and what looks like one and is none.

use cluster::wait_for;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use rollout::Accuracy::{Exact, Observed};
use rollout::Outcome;
use serde_json::json;

use crate::TestResult;
use crate::fixture::DEADLINE;
use crate::objects::{created, progressed, progressing, revision_of};
use crate::stage::{Row, Stage, next_second, seconds_after, versions};
use crate::web::Web;

/// How often a test begins again if the cluster came to the state that it needs by another way.
const ATTEMPTS: usize = 10;

const COMPLETE: &str = "NewReplicaSetAvailable";

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_lasts_from_its_replica_set_to_the_condition_that_names_it() -> TestResult {
    let stage = Stage::open("times").await?;
    // With 4 replicas a rolling update takes one away before it has another, so that an undo has something to wait for.
    let web = |image| Web { replicas: 4, ..Web::image(image) };
    let v1 = stage.gated(web("app:v1"));
    stage.apply(&v1).await?;
    stage.table(&["web:1 Initial InProgress InProgress"]).await?;
    let made = created(&stage.replica_set("app:v1").await?);
    seconds_after(made, 2).await?;
    stage.open_gate().await?;
    let first = stage.table(&["web:1 Initial Succeeded success"]).await?;
    let told = progressed(&stage.on.progressing(&stage.namespace, "web", COMPLETE).await?);
    assert_eq!(first[0].started(), (made, Exact));
    assert_eq!(first[0].finished(), (told, Exact));
    assert!(first[0].record.spec.duration_seconds >= Some(2));

    stage.close_gate().await?;
    stage.apply_stuck(&web("app:broken"), 2).await?;
    stage.fail_now("web").await?;
    let failed = stage.table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed"]).await?;
    let told = progressed(&stage.web().await?);
    assert_eq!(failed[1].started(), (created(&stage.replica_set("app:broken").await?), Exact));
    assert_eq!(failed[1].finished(), (told, Exact));

    // For a while after the undo the condition goes on telling of the failure of revision 2. The ReplicaSet is the old one: when it
    // began to be used again is known from the watch.
    let before = Timestamp::now();
    stage.apply(&v1).await?;
    stage.record(3, "in progress", |spec| spec.outcome == Outcome::InProgress).await?;
    next_second().await?;
    stage.open_gate().await?;
    let all = stage
        .table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed", "web:3 Rollback Succeeded success"])
        .await?;
    let told = progressed(&stage.on.progressing(&stage.namespace, "web", COMPLETE).await?);
    assert_eq!(all[2].finished(), (told, Exact));
    let (started, accuracy) = all[2].started();
    assert_eq!(accuracy, Observed);
    assert!(started.as_second() >= before.as_second() && started < told, "{started}");
    assert_eq!(versions(&all[..2]), versions(&failed));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_recreate_the_success_of_another_replica_set_is_not_believed() -> TestResult {
    // The old NewReplicaSetAvailable stands while no pod of the new ReplicaSet exists.
    let stage = recreated().await?;
    next_second().await?;
    stage.open_gate().await?;
    let two = stage.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    let told = progressed(&stage.on.progressing(&stage.namespace, "web", COMPLETE).await?);
    assert_eq!(two[1].started(), (created(&stage.replica_set("app:v2").await?), Observed), "the old pods went before");
    assert_eq!(two[1].finished(), (told, Exact));
    assert!(two[1].finished().0 > two[0].finished().0);

    // Where a ReplicaSet is used again, it stands for ever.
    next_second().await?;
    stage.close_gate().await?;
    let before = Timestamp::now();
    stage.apply(&recreate(&stage, "app:v1")).await?;
    let open = stage.record(3, "in progress", |spec| spec.outcome == Outcome::InProgress).await?;
    seconds_after(open.started_at.unwrap().0, 2).await?;
    stage.open_gate().await?;
    let all = stage
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release RolledBack rolled_back",
            "web:3 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(progressed(&stage.settled().await?), told);
    let ((started, Observed), (finished, Observed)) = (all[2].started(), all[2].finished()) else {
        panic!("not observed: {:?}", all[2].record.spec)
    };
    assert!(started.as_second() >= before.as_second() && finished.as_second() > started.as_second() + 2);
    Ok(())
}

/// A Deployment whose old pods go before the new ones come, which wait at the gate.
fn recreate(stage: &Stage<'_>, image: &'static str) -> Web {
    stage.gated(Web { recreate: true, ..Web::image(image) })
}

/// A stage on which `app:v2` takes the place of `app:v1`, its pod waits at the gate, and the condition speaks of it.
///
/// Only one write takes the success of `app:v1` from the condition: that which says that the new ReplicaSet was made, and with that gives
/// the new revision to the Deployment. If it conflicts with another write, it is lost, the revision comes with a later one, and the success
/// of `app:v1` stands for ever: then it is tried with another Deployment.
async fn recreated() -> Result<Stage<'static>, Box<dyn std::error::Error + Send + Sync>> {
    for _ in 0..ATTEMPTS {
        let stage = Stage::open("recreate").await?;
        stage.open_gate().await?;
        stage.apply(&recreate(&stage, "app:v1")).await?;
        stage.table(&["web:1 Initial Succeeded success"]).await?;
        stage.close_gate().await?;
        stage.apply(&recreate(&stage, "app:v2")).await?;
        let web = stage.until("revision 2", |web| (revision_of(web) == Some(2)).then_some(())).await?;
        let made = stage.replica_set("app:v2").await?.metadata.name.unwrap_or_default();
        if progressing(&web).message.as_ref().is_some_and(|message| message.contains(&made)) {
            return Ok(stage);
        }
    }
    Err("the condition never spoke of the new ReplicaSet".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_for_which_a_rollout_is_paused_is_not_its_own() -> TestResult {
    let stage = Stage::open("pause").await?;
    stage.apply(&Web { replicas: 2, ..Web::default() }).await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.apply(&stage.gated(Web { replicas: 2, ..Web::default() })).await?;
    stage.table(&["web:1 Initial Succeeded success", "web:2 Config InProgress InProgress"]).await?;
    let paused = pause(&stage, 2).await?;
    stage.open_gate().await?;
    let rows = stage.table(&["web:1 Initial Succeeded success", "web:2 Config Succeeded success"]).await?;
    let spec = &rows[1].record.spec;
    assert_eq!((spec.paused_at.as_ref(), spec.paused_seconds), (None, Some(paused)));
    let told = progressed(&stage.on.progressing(&stage.namespace, "web", COMPLETE).await?);
    assert_eq!(rows[1].finished(), (told, Exact));
    assert_eq!(rows[1].writes(), 1);

    // Twice, and the end is another than success.
    stage.apply(&Web { replicas: 2, ..Web::image("app:broken") }).await?;
    let open =
        ["web:1 Initial Succeeded success", "web:2 Config Succeeded success", "web:3 Release InProgress InProgress"];
    stage.table(&open).await?;
    let first = pause(&stage, 3).await?;
    let both = pause(&stage, 3).await?;
    assert!(both >= first + 2, "{first} and then {both}");
    stage.apply(&Web { replicas: 2, ..Web::image("app:v2") }).await?;
    let rows = stage
        .table(&[&open[..2], &["web:3 Release Superseded cancelled", "web:4 Release Succeeded success"]].concat())
        .await?;
    assert_eq!(rows[2].record.spec.paused_seconds, Some(both));
    assert_eq!(rows[3].record.spec.paused_seconds, None);
    Ok(())
}

/// Pauses the rollout of `revision` for more than 2 seconds, and returns how many its record says it was paused for by then.
async fn pause(stage: &Stage<'_>, revision: i64) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    stage.kubectl("rollout pause deployment/web").await?;
    let told = progressed(&stage.on.progressing(&stage.namespace, "web", "DeploymentPaused").await?);
    let spec = stage.record(revision, "paused", |spec| spec.paused_at.is_some()).await?;
    let since = spec.paused_at.unwrap().0;
    assert_eq!(since, told);
    let before = spec.paused_seconds.unwrap_or_default();
    seconds_after(since, 2).await?;
    let resumed = Timestamp::now().as_second();
    stage.kubectl("rollout resume deployment/web").await?;
    let spec = stage.record(revision, "resumed", |spec| spec.paused_at.is_none()).await?;
    let paused = spec.paused_seconds.unwrap_or_default();
    assert!(paused - before >= resumed - since.as_second(), "{spec:?}");
    Ok(paused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_after_the_failure_is_no_part_of_a_recovered_rollout_either() -> TestResult {
    let stage = Stage::open("pause-failed").await?;
    stage.apply_failing(&stage.gated(Web::default())).await?;
    let failed = stage.table(&["web:1 Initial Failed failed"]).await?;
    // No condition tells of this pause: that of the failure stands.
    stage.kubectl("rollout pause deployment/web").await?;
    let paused = stage.record(1, "paused", |spec| spec.paused_at.is_some()).await?;
    let since = paused.paused_at.unwrap().0;
    assert!(since >= failed[0].finished().0);
    seconds_after(since, 2).await?;
    stage.kubectl("rollout resume deployment/web").await?;
    stage.record(1, "resumed", |spec| spec.paused_at.is_none()).await?;
    let still = stage.table(&["web:1 Initial Failed failed"]).await?;
    assert_eq!(still[0].finished(), failed[0].finished());
    let duration = |row: &Row| row.record.spec.duration_seconds;
    assert_eq!(duration(&still[0]), duration(&failed[0]), "the pause was after its end");
    stage.open_gate().await?;
    let recovered = stage.table(&["web:1 Initial Recovered success"]).await?;
    assert!(recovered[0].record.spec.paused_seconds >= Some(2), "{:?}", recovered[0].record.spec);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_complete_deployment_but_for_its_template_changes_nothing() -> TestResult {
    let stage = Stage::open("pause-complete").await?;
    stage.open_gate().await?;
    stage.apply(&stage.gated(Web::default())).await?;
    let before = stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.close_gate().await?;
    stage.kubectl("delete pods --all").await?;
    let available = |web: &Deployment| web.status.as_ref().and_then(|status| status.available_replicas);
    stage.until("no pod to be available", |web| (available(web).unwrap_or_default() == 0).then_some(())).await?;
    stage.open_gate().await?;
    stage.complete(1).await?;
    stage.kubectl("scale deployment/web --replicas=3").await?;
    stage.complete(1).await?;
    stage.kubectl("scale deployment/web --replicas=0").await?;
    stage.complete(1).await?;
    stage.kubectl("scale deployment/web --replicas=1").await?;
    stage.complete(1).await?;
    next_second().await?;
    stage.kubectl("rollout pause deployment/web").await?;
    stage.on.progressing(&stage.namespace, "web", "DeploymentPaused").await?;
    stage.kubectl("rollout resume deployment/web").await?;
    let web = stage.on.progressing(&stage.namespace, "web", COMPLETE).await?;
    assert!(progressed(&web) > before[0].finished().0, "Kubernetes says that it has completed anew");
    // What comes after it tells that the controller has seen this.
    stage.apply(&Web::image("app:v2")).await?;
    let after = stage.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    assert_eq!(after[0].version(), before[0].version());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_while_paused_is_no_rollout_before_the_resume() -> TestResult {
    let stage = Stage::open("pause-undo").await?;
    let two = complete_twice(&stage).await?;
    stage.kubectl("rollout pause deployment/web").await?;
    // The ReplicaSets are renumbered at once, and no pod is made.
    for (image, revision) in [("app:v1", 3), ("app:v2", 4)] {
        stage.apply(&Web { paused: true, ..Web::image(image) }).await?;
        stage.until("the new number", |web| (revision_of(web) == Some(revision)).then_some(())).await?;
    }
    stage.kubectl("rollout resume deployment/web").await?;
    stage.on.progressing(&stage.namespace, "web", COMPLETE).await?;
    stage.apply(&Web::image("app:v3")).await?;
    let rows = stage.table(&[&TWICE[..], &["web:5 Release Succeeded success"]].concat()).await?;
    assert_eq!(versions(&rows[..2]), versions(&two));

    // This time what it goes back to stays.
    stage.kubectl("rollout pause deployment/web").await?;
    stage.apply(&Web { paused: true, ..Web::image("app:v2") }).await?;
    stage.until("the new number", |web| (revision_of(web) == Some(6)).then_some(())).await?;
    stage.settled().await?;
    next_second().await?;
    let resumed = Timestamp::now();
    stage.kubectl("rollout resume deployment/web").await?;
    let rows = stage
        .table(&[&TWICE[..], &["web:5 Release RolledBack rolled_back", "web:6 Rollback Succeeded success"]].concat())
        .await?;
    let (started, accuracy) = rows[3].started();
    assert_eq!(accuracy, Observed);
    assert!(started.as_second() >= resumed.as_second(), "it began at {started}, and was resumed after {resumed}");
    assert_eq!(rows[3].record.spec.paused_seconds, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_while_paused_are_one_rollout_that_begins_with_the_resume() -> TestResult {
    let stage = Stage::open("pause-changes").await?;
    stage.apply(&Web { paused: true, ..Web::default() }).await?;
    stage.settled().await?;
    stage.kubectl("rollout resume deployment/web").await?;
    stage.table(&["web:1 Initial Succeeded success"]).await?;
    stage.kubectl("rollout pause deployment/web").await?;
    for image in ["app:v2", "app:v3"] {
        stage.apply(&Web { paused: true, ..Web::image(image) }).await?;
        stage.settled().await?;
    }
    next_second().await?;
    let resumed = Timestamp::now();
    stage.kubectl("rollout resume deployment/web").await?;
    let rows = stage.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    assert_eq!(rows[1].started(), (created(&stage.replica_set("app:v3").await?), Exact));
    assert!(rows[1].started().0.as_second() >= resumed.as_second());
    assert_eq!(rows[1].record.spec.paused_seconds, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_begins_when_its_replica_set_can_be_made() -> TestResult {
    let (stage, before, refused) = refused().await?;
    assert_eq!(revision_of(&refused), Some(1));
    let since = progressed(&refused);
    next_second().await?;
    stage.kubectl("delete quota/none").await?;
    // The Deployment controller tries again by itself, ever more seldom; any change makes it do so at once.
    stage.kubectl("annotate deployment/web a=b").await?;
    let rows = stage.table(&TWICE).await?;
    assert_eq!(rows[0].version(), before[0].version());
    assert_eq!(rows[1].started(), (created(&stage.replica_set("app:v2").await?), Exact));
    assert!(rows[1].started().0 > since);
    Ok(())
}

/// A stage on which a quota refuses the ReplicaSet of `app:v2`, what is recorded of `app:v1`, and the Deployment as it stands.
///
/// What refuses learns of the quota from a watch. If that is late, nothing is refused: then it is tried in another namespace.
async fn refused() -> Result<(Stage<'static>, Vec<Row>, Deployment), Box<dyn std::error::Error + Send + Sync>> {
    for _ in 0..ATTEMPTS {
        let stage = Stage::open("refused").await?;
        stage.apply(&Web::default()).await?;
        let before = stage.table(&TWICE[..1]).await?;
        stage.kubectl("create quota none --hard=count/replicasets.apps=1").await?;
        let quotas: Api<ResourceQuota> = Api::namespaced(stage.on.client().await?, &stage.namespace);
        wait_for("the quota to be known", DEADLINE, async || {
            let used = quotas.get("none").await?.status.and_then(|status| status.used).unwrap_or_default();
            Ok((!used.is_empty()).then_some(()))
        })
        .await?;
        stage.apply(&Web::image("app:v2")).await?;
        let is_refused = |web: &_| progressing(web).reason.as_deref() == Some("ReplicaSetCreateError");
        let web =
            stage.until("the refusal", |web| (is_refused(web) || revision_of(web) == Some(2)).then_some(())).await?;
        if is_refused(&web) {
            return Ok((stage, before, web));
        }
    }
    Err("the quota never refused the ReplicaSet".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_replica_set_that_is_adopted_is_no_rollout() -> TestResult {
    for (pods, prefix) in [(0, "stray"), (8, "stray-pods")] {
        let (stage, two) = with_stray(prefix, pods).await?;
        stage.apply(&Web::image("app:v3")).await?;
        let rows = stage.table(&[&TWICE[..], &["web:11 Release Succeeded success"]].concat()).await?;
        assert_eq!(versions(&rows[..2]), versions(&two), "{prefix}");
        let ran = rows[1].record.spec.revision.as_ref().map(|revision| revision.uid.clone());
        assert_eq!(ran, stage.replica_set("app:v2").await?.metadata.uid);
    }
    Ok(())
}

/// A stage whose Deployment has adopted a stray ReplicaSet after two rollouts, and what is recorded of those.
///
/// If the stray has pods, the condition is renewed, as if there had been a rollout. The Deployment controller does so only if it writes its
/// status while it still counts these pods: if they are gone by then, it is tried with another Deployment.
async fn with_stray(
    prefix: &str,
    pods: i32,
) -> Result<(Stage<'static>, Vec<Row>), Box<dyn std::error::Error + Send + Sync>> {
    for _ in 0..ATTEMPTS {
        let stage = Stage::open(prefix).await?;
        let two = complete_twice(&stage).await?;
        next_second().await?;
        let before = stage.web().await?;
        adopt(&stage, pods).await?;
        let after = stage.complete(10).await?;
        assert_eq!(after.metadata.generation, before.metadata.generation);
        until_stray(&stage, "to have no pods", |status| status.replicas == 0).await?;
        let settled = stage.settled().await?;
        if pods == 0 {
            assert_eq!(progressed(&settled), progressed(&before));
            return Ok((stage, two));
        }
        if progressed(&settled) > progressed(&before) {
            stage.on.progressing(&stage.namespace, "web", COMPLETE).await?;
            return Ok((stage, two));
        }
    }
    Err("the condition was never renewed".into())
}

/// Has the Deployment adopt a stray ReplicaSet, once its pods are available.
async fn adopt(stage: &Stage<'_>, pods: i32) -> TestResult {
    stage.kubectl_with_input("apply --filename=-", &stray(9, pods)).await?;
    until_stray(stage, "to have its pods", |status| status.available_replicas.unwrap_or_default() == pods).await?;
    stage.kubectl("label replicaset/stray app=web").await?;
    Ok(())
}

/// Waits until the status of the stray ReplicaSet fulfils a condition.
async fn until_stray(stage: &Stage<'_>, what: &str, fulfils: impl Fn(&ReplicaSetStatus) -> bool) -> TestResult {
    let api: Api<ReplicaSet> = Api::namespaced(stage.on.client().await?, &stage.namespace);
    wait_for(format!("the stray ReplicaSet {what}"), DEADLINE, async || {
        let status = api.get("stray").await?.status.ok_or("it has no status")?;
        if fulfils(&status) { Ok(Some(())) } else { Err(format!("{status:?}"))? }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_on_in_its_record_when_a_stray_replica_set_changes_its_number() -> TestResult {
    let stage = Stage::open("stray-open").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&TWICE[..1]).await?;
    stage.apply(&stage.gated(Web::image("app:v2"))).await?;
    let open = stage.table(&[TWICE[0], "web:2 Release InProgress InProgress"]).await?;
    adopt(&stage, 0).await?;
    stage.until("the new number", |web| (revision_of(web) == Some(10)).then_some(())).await?;
    stage.open_gate().await?;
    let rows = stage.table(&TWICE).await?;
    assert_eq!(rows[0].version(), open[0].version());
    assert_eq!(rows[1].started(), open[1].started());
    let told = progressed(&stage.on.progressing(&stage.namespace, "web", COMPLETE).await?);
    assert_eq!(rows[1].finished(), (told, Exact));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_finds_its_orphaned_replica_set_has_rolled_out_nothing() -> TestResult {
    let stage = Stage::open("orphan").await?;
    let v2 = stage.gated(Web::image("app:v2"));
    stage.open_gate().await?;
    let two = complete_both(&stage, &v2).await?;
    // So long that the ReplicaSet is certainly older than the Deployment to come.
    seconds_after(created(&stage.replica_set("app:v2").await?), 3).await?;
    stage.kubectl("delete deployment/web --cascade=orphan").await?;
    stage.apply(&v2).await?;
    stage.complete(2).await?;
    stage.on.progressing(&stage.namespace, "web", COMPLETE).await?;
    stage.apply(&Web::image("app:v3")).await?;
    let three = [&TWICE[..], &["web:3 Release Succeeded success"]].concat();
    let rows = stage.table(&three).await?;
    assert_eq!(versions(&rows[..2]), versions(&two));
    let uid = |row: &Row| row.record.spec.workload.as_ref().map(|workload| workload.uid.clone());
    assert_eq!(uid(&rows[0]), uid(&rows[1]));
    assert_ne!(uid(&rows[1]), uid(&rows[2]));

    // With an older template it has: the pods change.
    stage.close_gate().await?;
    stage.kubectl("delete deployment/web --cascade=orphan").await?;
    stage.apply(&v2).await?;
    stage.table(&[&three[..], &["web:4 Rollback InProgress InProgress"]].concat()).await?;
    stage.open_gate().await?;
    let all = stage.table(&[&three[..], &["web:4 Rollback Succeeded success"]].concat()).await?;
    assert_eq!(versions(&all[..3]), versions(&rows), "those are of former Deployments");
    Ok(())
}

/// What [`complete_twice`] leaves.
const TWICE: [&str; 2] = ["web:1 Initial Succeeded success", "web:2 Release Succeeded success"];

/// Rolls out two images, and returns what is recorded of it.
async fn complete_twice(stage: &Stage<'_>) -> Result<Vec<Row>, Box<dyn std::error::Error + Send + Sync>> {
    complete_both(stage, &Web::image("app:v2")).await
}

/// As [`complete_twice`], with this as the second.
async fn complete_both(stage: &Stage<'_>, v2: &Web) -> Result<Vec<Row>, Box<dyn std::error::Error + Send + Sync>> {
    stage.apply(&Web::default()).await?;
    stage.table(&TWICE[..1]).await?;
    stage.apply(v2).await?;
    stage.table(&TWICE).await
}

/// A ReplicaSet of nobody, whose pods match the selector of the Deployment `web`. It does so itself once it has their label.
fn stray(revision: i64, replicas: i32) -> String {
    let labels = json!({"app": "web", "stray": "yes"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "stray", "annotations": {"deployment.kubernetes.io/revision": revision.to_string()}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": "stray:v1"}]},
            },
        },
    })
    .to_string()
}
