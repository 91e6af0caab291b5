//! The start and the end of rollouts, and events that look like rollouts but are not.

use cluster::clock::{next_second, seconds_after};
use cluster::workload::stray_replica_set;
use cluster::{DEADLINE, wait_for};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use rollout::Accuracy::{Exact, Observed};
use rollout::Outcome;

use crate::objects::{created, last_progress, progressing, revision_of};
use crate::test_env::{Row, TestEnv, versions};
use crate::web::Web;
use crate::{Error, TestResult};

/// Attempts to bring the cluster into a state that depends on the timing of its controllers.
const ATTEMPTS: usize = 10;

const COMPLETE: &str = "NewReplicaSetAvailable";

#[tokio::test(flavor = "multi_thread")]
async fn rollout_lasts_from_replica_set_to_condition() -> TestResult {
    let env = TestEnv::new("times").await?;
    // With 4 replicas, a rolling update removes a pod before it creates another one, so an undo takes some time.
    let web = |image| Web { replicas: 4, ..Web::image(image) };
    let v1 = env.gated(web("app:v1"));
    env.apply(&v1).await?;
    env.table(&["web:1 Initial InProgress InProgress"]).await?;
    let created_at = created(&env.replica_set("app:v1").await?);
    seconds_after(created_at, 2).await?;
    env.open_gate().await?;
    let first = env.table(&["web:1 Initial Succeeded success"]).await?;
    let completed_at = last_progress(&env.setup.progressing(&env.namespace, "web", COMPLETE).await?);
    assert_eq!(first[0].started(), (created_at, Exact));
    assert_eq!(first[0].finished(), (completed_at, Exact));
    assert!(first[0].record.spec.duration_seconds >= Some(2));

    env.close_gate().await?;
    env.apply_stalled(&web("app:broken"), 2).await?;
    env.fail_now("web").await?;
    let failed = env.table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed"]).await?;
    let completed_at = last_progress(&env.web().await?);
    assert_eq!(failed[1].started(), (created(&env.replica_set("app:broken").await?), Exact));
    assert_eq!(failed[1].finished(), (completed_at, Exact));

    // For a moment after the undo, the condition still has the failure of revision 2. The ReplicaSet is an old one, so
    // the start of its rollout is known only from the watch.
    let before = Timestamp::now();
    env.apply(&v1).await?;
    env.record(3, "in progress", |spec| spec.outcome == Outcome::InProgress).await?;
    next_second().await?;
    env.open_gate().await?;
    let all = env
        .table(&["web:1 Initial Succeeded success", "web:2 Release Failed failed", "web:3 Rollback Succeeded success"])
        .await?;
    let completed_at = last_progress(&env.setup.progressing(&env.namespace, "web", COMPLETE).await?);
    assert_eq!(all[2].finished(), (completed_at, Exact));
    let (started, accuracy) = all[2].started();
    assert_eq!(accuracy, Observed);
    assert!(started.as_second() >= before.as_second() && started < completed_at, "{started}");
    assert_eq!(versions(&all[..2]), versions(&failed));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_ignores_the_success_of_another_revision() -> TestResult {
    // The condition keeps the old NewReplicaSetAvailable while no pod of the new ReplicaSet exists.
    let env = recreated().await?;
    next_second().await?;
    env.open_gate().await?;
    let two = env.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    let completed_at = last_progress(&env.setup.progressing(&env.namespace, "web", COMPLETE).await?);
    assert_eq!(
        two[1].started(),
        (created(&env.replica_set("app:v2").await?), Observed),
        "the old pods were removed before"
    );
    assert_eq!(two[1].finished(), (completed_at, Exact));
    assert!(two[1].finished().0 > two[0].finished().0);

    // If a ReplicaSet is re-used, the condition never changes.
    next_second().await?;
    env.close_gate().await?;
    let before = Timestamp::now();
    env.apply(&recreate(&env, "app:v1")).await?;
    let open = env.record(3, "in progress", |spec| spec.outcome == Outcome::InProgress).await?;
    seconds_after(open.started_at.unwrap().0, 2).await?;
    env.open_gate().await?;
    let all = env
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release RolledBack rolled_back",
            "web:3 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(last_progress(&env.reconciled().await?), completed_at);
    let ((started, Observed), (finished, Observed)) = (all[2].started(), all[2].finished()) else {
        panic!("the times must be observed: {:?}", all[2].record.spec)
    };
    assert!(started.as_second() >= before.as_second() && finished.as_second() > started.as_second() + 2);
    Ok(())
}

/// A Deployment with the strategy Recreate, whose pods wait at the gate.
fn recreate(env: &TestEnv<'_>, image: &'static str) -> Web {
    env.gated(Web { recreate: true, ..Web::image(image) })
}

/// An environment in which `app:v2` replaces `app:v1`, its pod waits at the gate, and the condition names its
/// ReplicaSet.
///
/// Only one write replaces the success of `app:v1` in the condition: it sets NewReplicaSetCreated together with the new
/// revision. If it conflicts with another write, it is lost, and the condition keeps the success of `app:v1`. Then this
/// tries again with another Deployment.
async fn recreated() -> Result<TestEnv<'static>, Error> {
    for _ in 0..ATTEMPTS {
        let env = TestEnv::new("recreate").await?;
        env.open_gate().await?;
        env.apply(&recreate(&env, "app:v1")).await?;
        env.table(&["web:1 Initial Succeeded success"]).await?;
        env.close_gate().await?;
        env.apply(&recreate(&env, "app:v2")).await?;
        let web = env.until("revision 2", |web| (revision_of(web) == Some(2)).then_some(())).await?;
        let new = env.replica_set("app:v2").await?.metadata.name.unwrap_or_default();
        if progressing(&web).message.as_ref().is_some_and(|message| message.contains(&new)) {
            return Ok(env);
        }
    }
    Err("the condition never named the new ReplicaSet".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_time_does_not_count_as_duration() -> TestResult {
    let env = TestEnv::new("pause").await?;
    env.apply(&Web { replicas: 2, ..Web::default() }).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.apply(&env.gated(Web { replicas: 2, ..Web::default() })).await?;
    env.table(&["web:1 Initial Succeeded success", "web:2 Config InProgress InProgress"]).await?;
    let paused = pause(&env, 2).await?;
    env.open_gate().await?;
    let rows = env.table(&["web:1 Initial Succeeded success", "web:2 Config Succeeded success"]).await?;
    let spec = &rows[1].record.spec;
    assert_eq!((spec.paused_at.as_ref(), spec.paused_seconds), (None, Some(paused)));
    let completed_at = last_progress(&env.setup.progressing(&env.namespace, "web", COMPLETE).await?);
    assert_eq!(rows[1].finished(), (completed_at, Exact));
    assert_eq!(rows[1].writes(), 1);

    // Two pauses in a rollout that doesn't succeed.
    env.apply(&Web { replicas: 2, ..Web::image("app:broken") }).await?;
    let open =
        ["web:1 Initial Succeeded success", "web:2 Config Succeeded success", "web:3 Release InProgress InProgress"];
    env.table(&open).await?;
    let first = pause(&env, 3).await?;
    let both = pause(&env, 3).await?;
    assert!(both >= first + 2, "{first} and then {both}");
    env.apply(&Web { replicas: 2, ..Web::image("app:v2") }).await?;
    let rows = env
        .table(&[&open[..2], &["web:3 Release Superseded cancelled", "web:4 Release Succeeded success"]].concat())
        .await?;
    assert_eq!(rows[2].record.spec.paused_seconds, Some(both));
    assert_eq!(rows[3].record.spec.paused_seconds, None);
    Ok(())
}

/// Pauses the rollout of `revision` for more than 2 seconds, and returns the recorded seconds of all its pauses.
async fn pause(env: &TestEnv<'_>, revision: i64) -> Result<i64, Error> {
    env.kubectl("rollout pause deployment/web").await?;
    let paused_at = last_progress(&env.setup.progressing(&env.namespace, "web", "DeploymentPaused").await?);
    let spec = env.record(revision, "paused", |spec| spec.paused_at.is_some()).await?;
    let since = spec.paused_at.unwrap().0;
    assert_eq!(since, paused_at);
    let before = spec.paused_seconds.unwrap_or_default();
    seconds_after(since, 2).await?;
    let resumed = Timestamp::now().as_second();
    env.kubectl("rollout resume deployment/web").await?;
    let spec = env.record(revision, "resumed", |spec| spec.paused_at.is_none()).await?;
    let paused = spec.paused_seconds.unwrap_or_default();
    assert!(paused - before >= resumed - since.as_second(), "{spec:?}");
    Ok(paused)
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_after_a_failure_does_not_count_as_duration() -> TestResult {
    let env = TestEnv::new("pause-failed").await?;
    env.apply_failing(&env.gated(Web::default())).await?;
    let failed = env.table(&["web:1 Initial Failed failed"]).await?;
    // The condition doesn't show this pause, since it keeps the failure.
    env.kubectl("rollout pause deployment/web").await?;
    let paused = env.record(1, "paused", |spec| spec.paused_at.is_some()).await?;
    let since = paused.paused_at.unwrap().0;
    assert!(since >= failed[0].finished().0);
    seconds_after(since, 2).await?;
    env.kubectl("rollout resume deployment/web").await?;
    env.record(1, "resumed", |spec| spec.paused_at.is_none()).await?;
    let still = env.table(&["web:1 Initial Failed failed"]).await?;
    assert_eq!(still[0].finished(), failed[0].finished());
    let duration = |row: &Row| row.record.spec.duration_seconds;
    assert_eq!(duration(&still[0]), duration(&failed[0]), "the pause was after the end");
    env.open_gate().await?;
    let recovered = env.table(&["web:1 Initial Recovered success"]).await?;
    assert!(recovered[0].record.spec.paused_seconds >= Some(2), "{:?}", recovered[0].record.spec);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_changes_do_not_affect_a_complete_rollout() -> TestResult {
    let env = TestEnv::new("pause-complete").await?;
    env.open_gate().await?;
    env.apply(&env.gated(Web::default())).await?;
    let before = env.table(&["web:1 Initial Succeeded success"]).await?;
    env.close_gate().await?;
    env.kubectl("delete pods --all").await?;
    let available = |web: &Deployment| web.status.as_ref().and_then(|status| status.available_replicas);
    env.until("no pod to be available", |web| (available(web).unwrap_or_default() == 0).then_some(())).await?;
    env.open_gate().await?;
    env.complete(1).await?;
    env.kubectl("scale deployment/web --replicas=3").await?;
    env.complete(1).await?;
    env.kubectl("scale deployment/web --replicas=0").await?;
    env.complete(1).await?;
    env.kubectl("scale deployment/web --replicas=1").await?;
    env.complete(1).await?;
    next_second().await?;
    env.kubectl("rollout pause deployment/web").await?;
    env.setup.progressing(&env.namespace, "web", "DeploymentPaused").await?;
    env.kubectl("rollout resume deployment/web").await?;
    let web = env.setup.progressing(&env.namespace, "web", COMPLETE).await?;
    assert!(last_progress(&web) > before[0].finished().0, "Kubernetes reports another completion");
    // A later rollout shows that the controller has seen these changes.
    env.apply(&Web::image("app:v2")).await?;
    let after = env.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    assert_eq!(after[0].version(), before[0].version());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_while_paused_starts_with_the_resume() -> TestResult {
    let env = TestEnv::new("pause-undo").await?;
    let two = complete_twice(&env).await?;
    env.kubectl("rollout pause deployment/web").await?;
    // The ReplicaSets are renumbered at once, and no pod is created.
    for (image, revision) in [("app:v1", 3), ("app:v2", 4)] {
        env.apply(&Web { paused: true, ..Web::image(image) }).await?;
        env.until("the new number", |web| (revision_of(web) == Some(revision)).then_some(())).await?;
    }
    env.kubectl("rollout resume deployment/web").await?;
    env.setup.progressing(&env.namespace, "web", COMPLETE).await?;
    env.apply(&Web::image("app:v3")).await?;
    let rows = env.table(&[&TWICE[..], &["web:5 Release Succeeded success"]].concat()).await?;
    assert_eq!(versions(&rows[..2]), versions(&two));

    // This time, the Deployment stays at the old template.
    env.kubectl("rollout pause deployment/web").await?;
    env.apply(&Web { paused: true, ..Web::image("app:v2") }).await?;
    env.until("the new number", |web| (revision_of(web) == Some(6)).then_some(())).await?;
    env.reconciled().await?;
    next_second().await?;
    let resumed = Timestamp::now();
    env.kubectl("rollout resume deployment/web").await?;
    let rows = env
        .table(&[&TWICE[..], &["web:5 Release RolledBack rolled_back", "web:6 Rollback Succeeded success"]].concat())
        .await?;
    let (started, accuracy) = rows[3].started();
    assert_eq!(accuracy, Observed);
    assert!(
        started.as_second() >= resumed.as_second(),
        "the rollout started at {started}, and was resumed after {resumed}"
    );
    assert_eq!(rows[3].record.spec.paused_seconds, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_while_paused_start_with_the_resume() -> TestResult {
    let env = TestEnv::new("pause-changes").await?;
    env.apply(&Web { paused: true, ..Web::default() }).await?;
    env.reconciled().await?;
    env.kubectl("rollout resume deployment/web").await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    env.kubectl("rollout pause deployment/web").await?;
    for image in ["app:v2", "app:v3"] {
        env.apply(&Web { paused: true, ..Web::image(image) }).await?;
        env.reconciled().await?;
    }
    next_second().await?;
    let resumed = Timestamp::now();
    env.kubectl("rollout resume deployment/web").await?;
    let rows = env.table(&["web:1 Initial Succeeded success", "web:2 Release Succeeded success"]).await?;
    assert_eq!(rows[1].started(), (created(&env.replica_set("app:v3").await?), Exact));
    assert!(rows[1].started().0.as_second() >= resumed.as_second());
    assert_eq!(rows[1].record.spec.paused_seconds, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn revision_starts_when_its_replica_set_is_created() -> TestResult {
    let (env, before, refused) = refused().await?;
    assert_eq!(revision_of(&refused), Some(1));
    let since = last_progress(&refused);
    next_second().await?;
    env.kubectl("delete quota/none").await?;
    // The Deployment controller retries with increasing delays. A change makes it retry at once.
    env.kubectl("annotate deployment/web a=b").await?;
    let rows = env.table(&TWICE).await?;
    assert_eq!(rows[0].version(), before[0].version());
    assert_eq!(rows[1].started(), (created(&env.replica_set("app:v2").await?), Exact));
    assert!(rows[1].started().0 > since);
    Ok(())
}

/// An environment in which a quota refuses the ReplicaSet of `app:v2`, the records of `app:v1`, and the Deployment.
///
/// The API server sees the quota through a watch. If the watch is late, nothing is refused. Then this tries again in
/// another namespace.
async fn refused() -> Result<(TestEnv<'static>, Vec<Row>, Deployment), Error> {
    for _ in 0..ATTEMPTS {
        let env = TestEnv::new("refused").await?;
        env.apply(&Web::default()).await?;
        let before = env.table(&TWICE[..1]).await?;
        env.kubectl("create quota none --hard=count/replicasets.apps=1").await?;
        let quotas: Api<ResourceQuota> = Api::namespaced(env.setup.client().await?, &env.namespace);
        wait_for("the quota to have a status", DEADLINE, async || {
            let used = quotas.get("none").await?.status.and_then(|status| status.used).unwrap_or_default();
            Ok((!used.is_empty()).then_some(()))
        })
        .await?;
        env.apply(&Web::image("app:v2")).await?;
        let is_refused = |web: &_| progressing(web).reason.as_deref() == Some("ReplicaSetCreateError");
        let web =
            env.until("the refusal", |web| (is_refused(web) || revision_of(web) == Some(2)).then_some(())).await?;
        if is_refused(&web) {
            return Ok((env, before, web));
        }
    }
    Err("the quota never refused the ReplicaSet".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn adopted_replica_set_is_not_a_rollout() -> TestResult {
    for (pods, prefix) in [(0, "stray"), (8, "stray-pods")] {
        let (env, two) = with_stray(prefix, pods).await?;
        env.apply(&Web::image("app:v3")).await?;
        let rows = env.table(&[&TWICE[..], &["web:11 Release Succeeded success"]].concat()).await?;
        assert_eq!(versions(&rows[..2]), versions(&two), "{prefix}");
        let ran = rows[1].record.spec.revision.as_ref().map(|revision| revision.uid.clone());
        assert_eq!(ran, env.replica_set("app:v2").await?.metadata.uid);
    }
    Ok(())
}

/// An environment whose Deployment has adopted a stray ReplicaSet after two rollouts, and the records of these
/// rollouts.
///
/// If the stray ReplicaSet has pods, the condition is updated as after a rollout. The Deployment controller does so
/// only if it writes its status while it still counts these pods. If they are gone by then, this tries again with
/// another Deployment.
async fn with_stray(prefix: &str, pods: i32) -> Result<(TestEnv<'static>, Vec<Row>), Error> {
    for _ in 0..ATTEMPTS {
        let env = TestEnv::new(prefix).await?;
        let two = complete_twice(&env).await?;
        next_second().await?;
        let before = env.web().await?;
        adopt(&env, pods).await?;
        let after = env.complete(10).await?;
        assert_eq!(after.metadata.generation, before.metadata.generation);
        until_stray(&env, "to have no pods", |status| status.replicas == 0).await?;
        let reconciled = env.reconciled().await?;
        if pods == 0 {
            assert_eq!(last_progress(&reconciled), last_progress(&before));
            return Ok((env, two));
        }
        if last_progress(&reconciled) > last_progress(&before) {
            env.setup.progressing(&env.namespace, "web", COMPLETE).await?;
            return Ok((env, two));
        }
    }
    Err("the condition was never updated".into())
}

/// Makes the Deployment adopt a stray ReplicaSet whose pods are available.
async fn adopt(env: &TestEnv<'_>, pods: i32) -> TestResult {
    env.kubectl_with_input("apply --filename=-", &stray_replica_set(9, pods).to_string()).await?;
    until_stray(env, "to have its pods", |status| status.available_replicas.unwrap_or_default() == pods).await?;
    env.kubectl("label replicaset/stray app=web").await?;
    Ok(())
}

/// Waits until the status of the stray ReplicaSet fulfils a condition.
async fn until_stray(env: &TestEnv<'_>, what: &str, fulfils: impl Fn(&ReplicaSetStatus) -> bool) -> TestResult {
    let api: Api<ReplicaSet> = Api::namespaced(env.setup.client().await?, &env.namespace);
    wait_for(format!("the stray ReplicaSet {what}"), DEADLINE, async || {
        let status = api.get("stray").await?.status.ok_or("it has no status")?;
        if fulfils(&status) { Ok(Some(())) } else { Err(format!("{status:?}"))? }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn renumbered_rollout_keeps_its_record() -> TestResult {
    let env = TestEnv::new("stray-open").await?;
    env.apply(&Web::default()).await?;
    env.table(&TWICE[..1]).await?;
    env.apply(&env.gated(Web::image("app:v2"))).await?;
    let open = env.table(&[TWICE[0], "web:2 Release InProgress InProgress"]).await?;
    adopt(&env, 0).await?;
    env.until("the new number", |web| (revision_of(web) == Some(10)).then_some(())).await?;
    env.open_gate().await?;
    let rows = env.table(&TWICE).await?;
    assert_eq!(rows[0].version(), open[0].version());
    assert_eq!(rows[1].started(), open[1].started());
    let completed_at = last_progress(&env.setup.progressing(&env.namespace, "web", COMPLETE).await?);
    assert_eq!(rows[1].finished(), (completed_at, Exact));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn adopting_an_orphan_is_not_a_rollout() -> TestResult {
    let env = TestEnv::new("orphan").await?;
    let v2 = env.gated(Web::image("app:v2"));
    env.open_gate().await?;
    let two = complete_both(&env, &v2).await?;
    // Times are whole seconds, so the ReplicaSet must be clearly older than the new Deployment.
    seconds_after(created(&env.replica_set("app:v2").await?), 3).await?;
    env.kubectl("delete deployment/web --cascade=orphan").await?;
    env.apply(&v2).await?;
    env.complete(2).await?;
    env.setup.progressing(&env.namespace, "web", COMPLETE).await?;
    env.apply(&Web::image("app:v3")).await?;
    let three = [&TWICE[..], &["web:3 Release Succeeded success"]].concat();
    let rows = env.table(&three).await?;
    assert_eq!(versions(&rows[..2]), versions(&two));
    let uid = |row: &Row| row.record.spec.workload.as_ref().map(|workload| workload.uid.clone());
    assert_eq!(uid(&rows[0]), uid(&rows[1]));
    assert_ne!(uid(&rows[1]), uid(&rows[2]));

    // With an older template, it is a rollout, since the pods change.
    env.close_gate().await?;
    env.kubectl("delete deployment/web --cascade=orphan").await?;
    env.apply(&v2).await?;
    env.table(&[&three[..], &["web:4 Rollback InProgress InProgress"]].concat()).await?;
    env.open_gate().await?;
    let all = env.table(&[&three[..], &["web:4 Rollback Succeeded success"]].concat()).await?;
    assert_eq!(versions(&all[..3]), versions(&rows), "those records belong to deleted Deployments");
    Ok(())
}

/// The records after [`complete_twice`].
const TWICE: [&str; 2] = ["web:1 Initial Succeeded success", "web:2 Release Succeeded success"];

/// Rolls out two images, and returns their records.
async fn complete_twice(env: &TestEnv<'_>) -> Result<Vec<Row>, Error> {
    complete_both(env, &Web::image("app:v2")).await
}

/// As [`complete_twice`], with this Deployment as the second.
async fn complete_both(env: &TestEnv<'_>, v2: &Web) -> Result<Vec<Row>, Error> {
    env.apply(&Web::default()).await?;
    env.table(&TWICE[..1]).await?;
    env.apply(v2).await?;
    env.table(&TWICE).await
}
