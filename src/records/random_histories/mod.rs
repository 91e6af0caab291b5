//! Random histories of a Deployment, and what is recorded of them.
//!
//! `model` and `deployment_controller` play what an API server and the Deployment controller do with a Deployment that people deploy,
//! undo, restart, scale, pause, resume, delete and make again (`steps`); `truth` notes what truly happened. `observer` is this controller
//! without a cluster: the real index, decisions, requests and records over the log of writes, with watches that run apart, repeat
//! themselves and are interrupted, and crashes at any point (`schedule`).
//!
//! The cases are the same each time. Others, and more of them: `PROPTEST_CASES=20000 cargo test --lib random_histories`. A failure
//! prints its seed, with which it comes again: `PROPTEST_RNG_SEED=… PROPTEST_CASES=20000 cargo test --lib random_histories`.

mod absence;
mod comparison;
mod deployment_controller;
mod log_text;
mod model;
mod observer;
mod schedule;
mod steps;
mod truth;

use std::hash::{BuildHasher, Hasher, RandomState};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use self::absence::check_what_was_seen;
use self::comparison::{Looks, check_all, check_kinds};
use self::log_text::told;
use self::model::{Cluster, START};
use self::observer::{Observer, Watch};
use self::steps::{People, Story};

/// Seconds without progress after which a rollout without a progress deadline has failed.
const PATIENCE: i64 = 9;

/// Histories for each property, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 300;

/// Where they begin, unless `PROPTEST_CASES` or `PROPTEST_RNG_SEED` is given.
const SEED: u64 = 4;

/// Checks a property of random cases; a failure names the seed.
fn for_all<S: Strategy>(strategy: &S, property: impl Fn(S::Value) -> Result<(), String>) {
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
    let outcome = TestRunner::new(config).run(strategy, |case| property(case).map_err(TestCaseError::fail));
    if let Err(failure) = outcome {
        panic!("PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases}\n{failure}");
    }
}

/// Has the controller go through the log as `follow` says, and checks what it has recorded.
fn follow_and_check(
    cluster: &Cluster,
    follow: impl FnOnce(&mut Observer<'_>) -> Result<(), String>,
    check: impl FnOnce(&Cluster, &Observer<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut observer = Observer::new(&cluster.log, PATIENCE, START);
    follow(&mut observer).and_then(|()| check(cluster, &observer)).map_err(|problem| {
        let (writes, log) = (observer.told.join("\n  "), told(&cluster.log));
        format!("{problem}\nwhat the controller wrote:\n  {writes}\nlog:\n{log}")
    })
}

/// Looks after each event.
fn follow_closely(observer: &mut Observer<'_>) -> Result<(), String> {
    while !observer.is_at_end() {
        observer.deliver(Watch::Deployments);
        observer.deliver(Watch::ReplicaSets);
        observer.look(None, true)?;
    }
    Ok(())
}

#[test]
fn whoever_is_always_there_records_every_rollout_as_it_was() {
    for_all(&steps::story(People::Usual), |story: Story| {
        follow_and_check(&story.play(PATIENCE), follow_closely, |cluster, observer| {
            check_all(cluster, observer, Looks::Prompt)?;
            check_kinds(cluster, observer)
        })
    });
}

#[test]
fn late_looks_and_watches_that_run_apart_and_repeat_themselves_change_nothing() {
    for_all(&(steps::story(People::Usual), schedule::without_absence()), |(story, acts)| {
        let cluster = story.resumed(PATIENCE);
        let follow = |observer: &mut Observer<'_>| schedule::follow(observer, &acts);
        follow_and_check(&cluster, follow, |cluster, observer| check_all(cluster, observer, Looks::Late))
    });
}

#[test]
fn absences_leave_no_record_twice_and_none_that_is_wrong() {
    for_all(&(steps::story(People::WithoutPauses), schedule::with_absences()), |(story, acts)| {
        let follow = |observer: &mut Observer<'_>| schedule::follow(observer, &acts);
        follow_and_check(&story.play(PATIENCE), follow, check_what_was_seen)
    });
}

/// The observer itself refuses a record that is made twice or goes backwards, and a second look that changes more.
#[test]
fn nothing_is_written_twice_or_taken_back_whatever_people_and_failures_do() {
    for_all(&(steps::story(People::Wild), schedule::with_absences()), |(story, acts)| {
        let follow = |observer: &mut Observer<'_>| schedule::follow(observer, &acts);
        follow_and_check(&story.play(PATIENCE), follow, |cluster, observer| {
            let present = cluster.deployment.as_ref().map(|deployment| &deployment.row.uid);
            let is_left_open = |spec: &crate::resources::DoraDeploymentSpec| {
                spec.outcome == rollout::Outcome::InProgress
                    && present.is_none_or(|present| **present != *comparison::workload_uid(spec))
            };
            let open = observer.recorded().into_iter().find(|record| is_left_open(&record.spec));
            open.map_or(Ok(()), |open| Err(format!("open, though its Deployment is gone: {:?}", open.spec)))
        })
    });
}
