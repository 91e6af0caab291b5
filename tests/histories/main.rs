//! Random histories: what the controller records of a Deployment, and which incidents it opens, whatever happens.
//!
//! `model` and `deployment_controller` simulate the API server and the Deployment controller. People deploy, undo,
//! restart, scale, pause, resume, delete and create the Deployment (`steps`), and `truth` notes what truly happens.
//! `observer` is this controller without a cluster: the real index, decisions, manifests and records. Its watches run
//! apart, repeat events and are interrupted, and it crashes at any point (`schedule`). `incidents` does the same with
//! the decision about incidents.
//!
//! The cases are the same in each run. To run more and other cases: `PROPTEST_CASES=20000 cargo test --test histories`.
//! A failure prints its seed. To repeat it: `PROPTEST_RNG_SEED=… PROPTEST_CASES=20000 cargo test --test histories`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod absence;
mod comparison;
mod deployment_controller;
mod incidents;
mod log_text;
mod model;
mod objects;
mod observer;
mod schedule;
mod steps;
mod truth;

use std::hash::{BuildHasher, Hasher, RandomState};

use port_dora_controller::resources::DoraDeploymentSpec;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use rollout::Outcome;

use self::absence::check_records_after_absence;
use self::comparison::{Timing, check_change_kinds, check_records, workload_uid};
use self::log_text::log_lines;
use self::model::SimulatedCluster;
use self::objects::START;
use self::observer::{Observer, Watch};
use self::steps::{Scenario, ScenarioKind, scenarios};

/// Seconds without progress after which a rollout without a progress deadline has failed.
const FAIL_AFTER: i64 = 9;

/// Cases of each property, unless `PROPTEST_CASES` is set.
const CASES: u32 = 300;

/// Seed of the cases, unless `PROPTEST_CASES` or `PROPTEST_RNG_SEED` is set.
const SEED: u64 = 4;

/// How records differ from what happened.
#[derive(Debug)]
struct Mismatch(String);

/// Checks a property of random cases. A failure prints the seed.
fn for_all<S: Strategy>(strategy: &S, property: impl Fn(S::Value) -> Result<(), Mismatch>) {
    let mut config = Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let is_long = std::env::var_os("PROPTEST_CASES").is_some();
    if !is_long {
        config.cases = CASES;
    }
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random if is_long => RandomState::new().build_hasher().finish(),
        RngSeed::Random => SEED,
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let cases = config.cases;
    let result = TestRunner::new(config)
        .run(strategy, |case| property(case).map_err(|Mismatch(problem)| TestCaseError::fail(problem)));
    if let Err(failure) = result {
        panic!("PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases}\n{failure}");
    }
}

/// Runs the controller over the log of the cluster as `follow` says, and then the check.
fn follow_and_check(
    cluster: &SimulatedCluster,
    follow: impl FnOnce(&mut Observer<'_>) -> Result<(), Mismatch>,
    check: impl FnOnce(&SimulatedCluster, &Observer<'_>) -> Result<(), Mismatch>,
) -> Result<(), Mismatch> {
    let mut observer = Observer::new(&cluster.log, FAIL_AFTER, START);
    follow(&mut observer).and_then(|()| check(cluster, &observer)).map_err(|Mismatch(problem)| {
        let (writes, log) = (observer.writes.join("\n  "), log_lines(&cluster.log));
        Mismatch(format!("{problem}\nwrites of the controller:\n  {writes}\nlog of the cluster:\n{log}"))
    })
}

/// Reconciles after each event.
fn follow_promptly(observer: &mut Observer<'_>) -> Result<(), Mismatch> {
    while !observer.is_at_end() {
        observer.deliver(Watch::Deployments);
        observer.deliver(Watch::ReplicaSets);
        observer.reconcile(None, true)?;
    }
    Ok(())
}

/// No record is in progress unless its Deployment exists.
fn check_ended(cluster: &SimulatedCluster, observer: &Observer<'_>) -> Result<(), Mismatch> {
    let present = cluster.deployment.as_ref().map(|deployment| &deployment.object.uid);
    let is_left_open = |spec: &DoraDeploymentSpec| {
        spec.outcome == Outcome::InProgress && present.is_none_or(|present| **present != *workload_uid(spec))
    };
    match observer.recorded().into_iter().find(|record| is_left_open(&record.spec)) {
        Some(record) => Err(Mismatch(format!("in progress, but the Deployment is deleted: {:?}", record.spec))),
        None => Ok(()),
    }
}

#[test]
fn prompt_controller_records_every_rollout() {
    for_all(&scenarios(ScenarioKind::Usual), |scenario: Scenario| {
        follow_and_check(&scenario.run(FAIL_AFTER), follow_promptly, |cluster, observer| {
            check_records(cluster, observer, Timing::Prompt)?;
            check_change_kinds(cluster, observer)
        })
    });
}

#[test]
fn late_and_repeated_events_lose_no_rollout() {
    for_all(&(scenarios(ScenarioKind::Usual), schedule::without_absence()), |(scenario, steps)| {
        let follow = |observer: &mut Observer<'_>| schedule::follow(observer, &steps);
        follow_and_check(&scenario.run_and_resume(FAIL_AFTER), follow, |cluster, observer| {
            check_records(cluster, observer, Timing::Late)
        })
    });
}

#[test]
fn absence_causes_no_wrong_or_second_record() {
    for_all(&(scenarios(ScenarioKind::WithoutPauses), schedule::with_absences()), |(scenario, steps)| {
        let follow = |observer: &mut Observer<'_>| schedule::follow(observer, &steps);
        follow_and_check(&scenario.run(FAIL_AFTER), follow, check_records_after_absence)
    });
}

/// The observer itself fails if a record is created twice, if its outcome goes backwards, or if reconciling again
/// changes more.
#[test]
fn records_are_never_repeated_or_taken_back() {
    for_all(&(scenarios(ScenarioKind::Unusual), schedule::with_absences()), |(scenario, steps)| {
        let follow = |observer: &mut Observer<'_>| schedule::follow(observer, &steps);
        follow_and_check(&scenario.run(FAIL_AFTER), follow, check_ended)
    });
}
