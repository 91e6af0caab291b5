//! Rollouts whose condition shows neither success nor failure: the counts and `rollouts.failAfter` decide.

use cluster::clock::seconds_after;
use jiff::Timestamp;
use rollout::Accuracy::{Exact, Observed};
use rollout::Outcome;

use crate::TestResult;
use crate::fixture::Installation;
use crate::objects::{created, last_progress, updated_replicas};
use crate::test_env::TestEnv;
use crate::web::Web;

/// The value of `progressDeadlineSeconds` that means no deadline.
const NONE: i32 = i32::MAX;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_deadline_the_counts_show_the_success() -> TestResult {
    let env = TestEnv::new("no-deadline").await?;
    env.apply(&Web { deadline: NONE, replicas: 2, ready_after: "1s", ..Web::default() }).await?;
    let rows = env.table(&["web:1 Initial Succeeded success"]).await?;
    assert_eq!(rows[0].started(), (created(&env.replica_set("app:v1").await?), Exact));
    assert_eq!(rows[0].finished().1, Observed);
    assert!(rows[0].record.spec.duration_seconds >= Some(1));

    // The default of `failAfter` is long, so these rollouts stay in progress.
    env.apply(&Web { deadline: NONE, replicas: 2, ..Web::image("app:broken") }).await?;
    env.table(&["web:1 Initial Succeeded success", "web:2 Release InProgress InProgress"]).await?;
    env.apply(&Web { deadline: NONE, replicas: 2, ready_after: "1s", ..Web::default() }).await?;
    let all = env
        .table(&[
            "web:1 Initial Succeeded success",
            "web:2 Release Superseded cancelled",
            "web:3 Rollback Succeeded success",
        ])
        .await?;
    assert_eq!(all[2].started().1, Observed);
    assert_eq!(all[0].version(), rows[0].version(), "a rollback to this revision doesn't revert it");
    Ok(())
}

/// The setting `rollouts.failAfter`, in seconds.
const FAIL_AFTER: i64 = 6;

/// Settings with this value of `rollouts.failAfter`.
fn settings(seconds: i64) -> String {
    format!("rollouts: {{failAfter: {seconds}s}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_rollout_without_a_deadline_fails() -> TestResult {
    let setup = Installation::exclusive().await?;
    let _controller = setup.start_controller_with_settings(&settings(FAIL_AFTER)).await?;
    let late = TestEnv::on(&setup, "late").await?;
    let paused = TestEnv::on(&setup, "paused").await?;

    late.apply_stalled(&late.gated(Web::default()), 1).await?;
    paused.apply_stalled(&Web::broken(), 1).await?;
    for env in [&late, &paused] {
        env.table(&["web:1 Initial InProgress InProgress"]).await?;
    }
    paused.kubectl("rollout pause deployment/web").await?;
    paused.record(1, "paused", |spec| spec.paused_at.is_some()).await?;
    paused.set_deadline("web", NONE).await?;
    paused.reconciled().await?;
    let since = Timestamp::now();

    late.set_deadline("web", NONE).await?;
    let failed = late.table(&["web:1 Initial Failed failed"]).await?;
    let (at, accuracy) = failed[0].finished();
    assert_eq!(accuracy, Observed);
    assert!(at.as_second() >= failed[0].started().0.as_second() + FAIL_AFTER, "{:?}", failed[0].record.spec);
    assert!(failed[0].failure().starts_with("the only pod can't be scheduled: "), "{}", failed[0].failure());
    late.open_gate().await?;
    let recovered = late.table(&["web:1 Initial Recovered success"]).await?;
    assert_eq!([failed[0].writes(), recovered[0].writes()], [1, 2]);
    assert_eq!(recovered[0].finished().1, Observed);
    assert!(recovered[0].finished().0 >= at);

    // The paused rollout is stalled for longer than `failAfter`, and doesn't fail.
    seconds_after(since, FAIL_AFTER).await?;
    paused.table(&["web:1 Initial InProgress InProgress"]).await?;
    let resumed = Timestamp::now();
    paused.kubectl("rollout resume deployment/web").await?;
    let failed = paused.table(&["web:1 Initial Failed failed"]).await?;
    let (at, _) = failed[0].finished();
    assert!(at.as_second() >= resumed.as_second() + FAIL_AFTER, "the time counts again from the resume");
    assert!(failed[0].record.spec.paused_seconds >= Some(FAIL_AFTER));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn steady_rollout_without_a_deadline_does_not_fail() -> TestResult {
    let setup = Installation::exclusive().await?;
    // Each pod is ready before `failAfter` has passed, and all of them together take twice as long. A machine that is
    // too slow gets a longer time.
    for (fail_after, ready_after) in [(FAIL_AFTER, "4s"), (24, "16s"), (90, "60s")] {
        let mut controller = setup.start_controller_with_settings(&settings(fail_after)).await?;
        let env = TestEnv::on(&setup, "steady").await?;
        let web = Web { replicas: 3, ..Web::default() };
        env.apply(&web).await?;
        env.table(&["web:1 Initial Succeeded success"]).await?;
        env.apply(&Web { deadline: NONE, ready_after, ..web }).await?;
        for count in 1..=3 {
            env.until(&format!("pod {count}"), |web| {
                let is_observed = web.status.as_ref()?.observed_generation == web.metadata.generation;
                (is_observed && updated_replicas(web) >= count).then_some(())
            })
            .await?;
        }
        let is_over = |outcome| [Outcome::Succeeded, Outcome::Recovered].contains(&outcome);
        let over = env.record(2, "over", |spec| is_over(spec.outcome)).await?;
        if over.outcome == Outcome::Succeeded {
            let rows = env.table(&["web:1 Initial Succeeded success", "web:2 Config Succeeded success"]).await?;
            assert!(rows[1].record.spec.duration_seconds >= Some(2 * fail_after));
            assert_eq!(rows[1].writes(), 1, "the failure was never reported");
            return Ok(());
        }
        controller.process.kill()?;
    }
    Err("the rollout failed with each value of failAfter".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_recreate_rollback_fails_at_its_deadline() -> TestResult {
    let env = TestEnv::new("recreate-broken").await?;
    let broken = Web { recreate: true, ..Web::broken() };
    env.apply_failing(&broken).await?;
    env.table(&["web:1 Initial Failed failed"]).await?;
    env.apply(&Web { recreate: true, ..Web::default() }).await?;
    let two = ["web:1 Initial Failed failed", "web:2 Release Succeeded success"];
    env.table(&two).await?;
    let completed_at = last_progress(&env.web().await?);
    env.apply_stalled(&broken, 1).await?;
    let two = [two[0], "web:2 Release RolledBack rolled_back"];
    env.table(&[&two[..], &["web:3 Rollback InProgress InProgress"]].concat()).await?;
    env.set_deadline("web", 3).await?;
    let rows = env.table(&[&two[..], &["web:3 Rollback Failed failed"]].concat()).await?;
    assert_eq!(
        last_progress(&env.reconciled().await?),
        completed_at,
        "the condition still has the success of revision 2"
    );
    let (at, accuracy) = rows[2].finished();
    assert_eq!(accuracy, Observed);
    assert!(at.as_second() >= rows[2].started().0.as_second() + 3);
    assert!(rows[2].failure().contains("can't pull the image of container app"), "{}", rows[2].failure());
    Ok(())
}
