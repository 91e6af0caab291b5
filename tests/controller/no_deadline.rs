//! Rollouts of which the Deployment controller states neither success nor failure: the counts and a timeout of our own decide.

use jiff::Timestamp;
use port_dora_controller::resources::Accuracy::{Exact, Observed};

use crate::TestResult;
use crate::fixture::Installation;
use crate::stage::{Stage, Web, created, progressed, seconds_after};

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

/// `rollouts.failAfter` of the next test, in seconds.
const PATIENCE: i64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_deadline_a_rollout_fails_once_it_has_stood_still_for_long_enough() -> TestResult {
    let on = Installation::alone().await?;
    let _controller = on.start_controller_with_settings(&format!("rollouts: {{failAfter: {PATIENCE}s}}")).await?;
    let late = Stage::on(&on, "late").await?;
    let steady = Stage::on(&on, "steady").await?;
    let paused = Stage::on(&on, "paused").await?;

    steady.apply(&Web { deadline: NONE, replicas: 3, ..Web::default() }).await?;
    steady.table(&["web:1 Initial Succeeded success"]).await?;
    // One pod after the other gets ready in less than the timeout; all of them together take twice as long.
    steady.apply(&Web { deadline: NONE, replicas: 3, ready_after: "4s", ..Web::default() }).await?;
    late.apply(&late.gated(Web { deadline: NONE, ..Web::default() })).await?;
    paused.apply(&Web { deadline: NONE, ..Web::image("app:broken") }).await?;
    paused.table(&["web:1 Initial InProgress InProgress"]).await?;
    paused.kubectl("rollout pause deployment/web").await?;

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

    let steady = steady.table(&["web:1 Initial Succeeded success", "web:2 Config Succeeded success"]).await?;
    assert!(steady[1].record.spec.duration_seconds >= Some(2 * PATIENCE));
    assert_eq!(steady[1].writes(), 1, "it was never said to have failed");

    // By now it has stood still for longer than the timeout, but paused.
    let still = paused.table(&["web:1 Initial InProgress InProgress"]).await?;
    let since = still[0].record.spec.paused_at.as_ref().unwrap().0;
    seconds_after(since, PATIENCE).await?;
    let resumed = Timestamp::now();
    paused.kubectl("rollout resume deployment/web").await?;
    let failed = paused.table(&["web:1 Initial Failed failed"]).await?;
    let (at, _) = failed[0].finished();
    assert!(at.as_second() >= resumed.as_second() + PATIENCE, "the timeout begins anew with the resume");
    assert!(failed[0].record.spec.paused_seconds >= Some(PATIENCE));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_rollback_with_recreate_fails_after_its_own_deadline_though_no_condition_says_so() -> TestResult {
    let stage = Stage::open("recreate-broken").await?;
    let broken = Web { recreate: true, deadline: 3, ..Web::broken() };
    stage.apply(&broken).await?;
    stage.table(&["web:1 Initial Failed failed"]).await?;
    stage.apply(&Web { recreate: true, ..Web::default() }).await?;
    stage.table(&["web:1 Initial Failed failed", "web:2 Release Succeeded success"]).await?;
    let stated = progressed(&stage.web().await?);
    stage.apply(&broken).await?;
    let rows = stage
        .table(&["web:1 Initial Failed failed", "web:2 Release RolledBack rolled_back", "web:3 Rollback Failed failed"])
        .await?;
    assert_eq!(progressed(&stage.settled().await?), stated, "the condition still tells of the success of revision 2");
    let (at, accuracy) = rows[2].finished();
    assert_eq!(accuracy, Observed);
    assert!(at.as_second() >= rows[2].started().0.as_second() + 3);
    assert!(rows[2].failure().contains("can't pull the image of container app"), "{}", rows[2].failure());
    Ok(())
}
