//! Rollouts of which the Deployment controller states neither success nor failure: the counts and a timeout of our own decide.

use jiff::Timestamp;
use rollout::Accuracy::{Exact, Observed};
use rollout::Outcome;

use crate::TestResult;
use crate::fixture::Installation;
use crate::objects::{created, progressed, updated_replicas};
use crate::stage::{Stage, seconds_after};
use crate::web::Web;

/// The value of `progressDeadlineSeconds` that means none.
const NONE: i32 = i32::MAX;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_deadline_the_counts_tell_of_success() -> TestResult {
    let stage = Stage::open("no-deadline").await?;
    stage.apply(&Web { deadline: NONE, replicas: 2, ready_after: "1s", ..Web::default() }).await?;
    let rows = stage.table(&["web:1 Initial Succeeded success"]).await?;
    assert_eq!(rows[0].started(), (created(&stage.replica_set("app:v1").await?), Exact));
    assert_eq!(rows[0].finished().1, Observed);
    assert!(rows[0].record.spec.duration_seconds >= Some(1));

    // The default timeout is long: these are in progress, and end as others do.
    stage.apply(&Web { deadline: NONE, replicas: 2, ..Web::image("app:broken") }).await?;
    stage.table(&["web:1 Initial Succeeded success", "web:2 Release InProgress InProgress"]).await?;
    stage.apply(&Web { deadline: NONE, replicas: 2, ready_after: "1s", ..Web::default() }).await?;
    let all = stage
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release Superseded cancelled",
            "web:3 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(all[2].started().1, Observed);
    assert_eq!(all[0].version(), rows[0].version(), "a rollback to it doesn't take it back");
    Ok(())
}

/// `rollouts.failAfter`, in seconds.
const PATIENCE: i64 = 6;

fn fail_after(seconds: i64) -> String {
    format!("rollouts: {{failAfter: {seconds}s}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_deadline_a_rollout_fails_once_it_has_stood_still_for_long_enough() -> TestResult {
    let on = Installation::alone().await?;
    let _controller = on.start_controller_with_settings(&fail_after(PATIENCE)).await?;
    let late = Stage::on(&on, "late").await?;
    let paused = Stage::on(&on, "paused").await?;

    late.apply_stuck(&late.gated(Web::default()), 1).await?;
    paused.apply_stuck(&Web::broken(), 1).await?;
    for stage in [&late, &paused] {
        stage.table(&["web:1 Initial InProgress InProgress"]).await?;
    }
    paused.kubectl("rollout pause deployment/web").await?;
    paused.record(1, "paused", |spec| spec.paused_at.is_some()).await?;
    paused.set_deadline("web", NONE).await?;
    paused.settled().await?;
    let since = Timestamp::now();

    late.set_deadline("web", NONE).await?;
    let failed = late.table(&["web:1 Initial Failed failed"]).await?;
    let (at, accuracy) = failed[0].finished();
    assert_eq!(accuracy, Observed);
    assert!(at.as_second() >= failed[0].started().0.as_second() + PATIENCE, "{:?}", failed[0].record.spec);
    assert!(failed[0].failure().starts_with("the only pod can't be scheduled: "), "{}", failed[0].failure());
    late.open_gate().await?;
    let recovered = late.table(&["web:1 Initial Recovered success"]).await?;
    assert_eq!([failed[0].writes(), recovered[0].writes()], [1, 2]);
    assert_eq!(recovered[0].finished().1, Observed);
    assert!(recovered[0].finished().0 >= at);

    // It stands still for longer than the timeout, but paused.
    seconds_after(since, PATIENCE).await?;
    paused.table(&["web:1 Initial InProgress InProgress"]).await?;
    let resumed = Timestamp::now();
    paused.kubectl("rollout resume deployment/web").await?;
    let failed = paused.table(&["web:1 Initial Failed failed"]).await?;
    let (at, _) = failed[0].finished();
    assert!(at.as_second() >= resumed.as_second() + PATIENCE, "the timeout begins anew with the resume");
    assert!(failed[0].record.spec.paused_seconds >= Some(PATIENCE));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn steady_rollout_without_a_deadline_does_not_fail() -> TestResult {
    let on = Installation::alone().await?;
    // One pod after the other gets ready in less than the timeout; all of them together take twice as long. A machine that is too slow
    // for one timeout gets a longer one.
    for (patience, ready_after) in [(PATIENCE, "4s"), (24, "16s"), (90, "60s")] {
        let mut controller = on.start_controller_with_settings(&fail_after(patience)).await?;
        let stage = Stage::on(&on, "steady").await?;
        let web = Web { replicas: 3, ..Web::default() };
        stage.apply(&web).await?;
        stage.table(&["web:1 Initial Succeeded success"]).await?;
        stage.apply(&Web { deadline: NONE, ready_after, ..web }).await?;
        for count in 1..=3 {
            stage
                .until(&format!("pod {count}"), |web| {
                    let is_observed = web.status.as_ref()?.observed_generation == web.metadata.generation;
                    (is_observed && updated_replicas(web) >= count).then_some(())
                })
                .await?;
        }
        let is_over = |outcome| [Outcome::Succeeded, Outcome::Recovered].contains(&outcome);
        let over = stage.record(2, "over", |spec| is_over(spec.outcome)).await?;
        if over.outcome == Outcome::Succeeded {
            let rows = stage.table(&["web:1 Initial Succeeded success", "web:2 Config Succeeded success"]).await?;
            assert!(rows[1].record.spec.duration_seconds >= Some(2 * patience));
            assert_eq!(rows[1].writes(), 1, "it was never said to have failed");
            return Ok(());
        }
        controller.process.kill()?;
    }
    Err("it was said to have failed with each timeout".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_rollback_with_recreate_fails_after_its_own_deadline_though_no_condition_says_so() -> TestResult {
    let stage = Stage::open("recreate-broken").await?;
    let broken = Web { recreate: true, ..Web::broken() };
    stage.apply_failing(&broken).await?;
    stage.table(&["web:1 Initial Failed failed"]).await?;
    stage.apply(&Web { recreate: true, ..Web::default() }).await?;
    let two = ["web:1 Initial Failed failed", "web:2 Release Succeeded success"];
    stage.table(&two).await?;
    let stated = progressed(&stage.web().await?);
    stage.apply_stuck(&broken, 1).await?;
    let two = [two[0], "web:2 Release RolledBack rolled_back"];
    stage.table(&[&two[..], &["web:3 Rollback InProgress InProgress"]].concat()).await?;
    stage.set_deadline("web", 3).await?;
    let rows = stage.table(&[&two[..], &["web:3 Rollback Failed failed"]].concat()).await?;
    assert_eq!(progressed(&stage.settled().await?), stated, "the condition still tells of the success of revision 2");
    let (at, accuracy) = rows[2].finished();
    assert_eq!(accuracy, Observed);
    assert!(at.as_second() >= rows[2].started().0.as_second() + 3);
    assert!(rows[2].failure().contains("can't pull the image of container app"), "{}", rows[2].failure());
    Ok(())
}
