//! Random operations on many Deployments while the controller is killed repeatedly. At the end, the records are
//! compared with the states that a watch has delivered: each rollout has one record, with the right outcome.
//!
//! `make test` runs a short form. The long form is:
//!
//! ```text
//! RANDOM_RUN_OPERATIONS=200 RANDOM_RUN_DEPLOYMENTS=20 cargo test --test controller random_run
//! ```
//!
//! The test prints its seed. `RANDOM_RUN_SEED` repeats a run with the same operations, but with another timing.

mod comparison;
mod expected_rollouts;
mod heartbeats;
mod observer;
mod operations;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use cluster::{DEADLINE, wait_for};
use fastrand::Rng;

use self::comparison::{ControllerRuns, Downtime, differences};
use self::heartbeats::HEARTBEAT;
use self::observer::Observer;
use self::operations::Fleet;
use crate::TestResult;
use crate::fixture::{Controller, Installation, SHORT_LEASE, deployment, number};

/// The longest pause between two operations. Some operations start during the rollout of the one before, some after it.
const LONGEST_PAUSE_MILLISECONDS: u64 = 500;

/// Number of operations between two kills.
const OPERATIONS_BETWEEN_KILLS: std::ops::Range<u32> = 8..13;

/// Names of the pods of the controllers.
const PODS: [&str; 2] = ["one-pod", "other-pod"];

/// How the controller is replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kill {
    /// It restarts in the same pod, where it still holds the lease, after a downtime.
    StartAgain,
    /// As before, and the first new process is killed soon after its start.
    StartTwice,
    /// A standby takes over, which has observed all changes.
    TakeOver,
}

/// The kinds of replacement, each as often as its weight.
const KILLS: [Kill; 4] = [Kill::StartAgain, Kill::StartAgain, Kill::StartTwice, Kill::TakeOver];

#[expect(clippy::print_stdout, reason = "the seed is needed to repeat a run")]
#[tokio::test(flavor = "multi_thread")]
async fn each_rollout_has_one_correct_record() -> TestResult {
    let seed = number("RANDOM_RUN_SEED")?.unwrap_or_else(|| Rng::new().u64(..));
    let operations = number("RANDOM_RUN_OPERATIONS")?.unwrap_or(40);
    let deployments = usize::try_from(number("RANDOM_RUN_DEPLOYMENTS")?.unwrap_or(8))?;
    println!("random run of {operations} operations on {deployments} Deployments: RANDOM_RUN_SEED={seed}");
    let mut random = Rng::with_seed(seed);

    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("random").await?;
    let observer = Observer::start(&setup, &namespace).await?;
    let controller = setup.start_controller(&[("POD_NAME", PODS[0]), SHORT_LEASE]).await?;
    let runs = ControllerRuns::default();
    let mut kills = vec![Kill::StartAgain, Kill::StartTwice];
    random.shuffle(&mut kills);
    // The kills are used from the last to the first. The take-over comes last: after it, no controller leads until the
    // lease expires, and none is killed in that time.
    kills.insert(0, Kill::TakeOver);
    let mut run = RandomRun { setup: &setup, controller, pod: PODS[0], observer, runs, kills, waits_for_lease: false };
    run.controller.leads().await?;
    run.observer.send_heartbeats(&setup, &namespace).await?;
    let mut fleet = Fleet::new(&setup, &namespace, deployments, &mut random);
    fleet.create().await?;
    let mut until_kill = random.u32(OPERATIONS_BETWEEN_KILLS);
    for _ in 0..operations {
        pause(&mut random).await;
        fleet.run_operation(&mut random).await?;
        until_kill -= 1;
        if until_kill == 0 {
            until_kill = random.u32(OPERATIONS_BETWEEN_KILLS);
            run.replace_controller(&mut fleet, &mut random).await?;
        }
    }
    run.controller.leads().await?;
    let comparison = run.compare(&namespace).await;
    // After another start and a delivered rollout, nothing may have changed, and nothing may be added.
    run.start_again(Kill::StartAgain, &mut fleet, &mut random).await?;
    setup.apply_in(&namespace, &deployment("last", "app:v1", "", "")).await?;
    wait_for("the last rollout in Port", DEADLINE, async || {
        let entities = setup.entities("dora_deployment", &namespace);
        Ok(entities.iter().any(|entity| entity.identifier.contains(":last:")).then_some(()))
    })
    .await?;
    let result = match comparison {
        Ok(()) => run.compare(&namespace).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        panic!("RANDOM_RUN_SEED={seed}: {error}\n{}\n{}", fleet.log, run.report());
    }
    Ok(())
}

/// A run of the test: the controller, and the observer that watches the cluster.
struct RandomRun<'a> {
    setup: &'a Installation,
    controller: Controller,
    /// The name of the pod of the controller.
    pod: &'static str,
    observer: Observer,
    runs: ControllerRuns,
    /// The next replacements of the controller, used from the last to the first.
    kills: Vec<Kill>,
    /// Whether the controller may still wait for the lease of the killed leader.
    waits_for_lease: bool,
}

impl RandomRun<'_> {
    /// Kills the controller and starts another one, while operations continue. Does nothing while the controller waits
    /// for the lease of the killed leader, since only this controller knows what has happened since then.
    async fn replace_controller(&mut self, fleet: &mut Fleet<'_>, random: &mut Rng) -> TestResult {
        if self.waits_for_lease && !self.controller.is_leading()? {
            return Ok(());
        }
        self.waits_for_lease = false;
        self.controller.leads().await?;
        if self.kills.is_empty() {
            self.kills = KILLS.to_vec();
            random.shuffle(&mut self.kills);
        }
        match self.kills.pop().ok_or("no replacement is left")? {
            Kill::TakeOver => self.take_over(fleet, random).await,
            kill => self.start_again(kill, fleet, random).await,
        }
    }

    /// Lets a standby take over that has observed all changes.
    async fn take_over(&mut self, fleet: &mut Fleet<'_>, random: &mut Rng) -> TestResult {
        let records = self.observer.observations().records.into_keys().collect();
        self.pod = if self.pod == PODS[0] { PODS[1] } else { PODS[0] };
        let started = Instant::now();
        let standby = self.setup.start_controller(&[("POD_NAME", self.pod), SHORT_LEASE]).await?;
        let ready = Instant::now();
        self.runs.lists.push((started, ready));
        // Only the leader knows the changes before the list of the standby, so wait until it has recorded them.
        while self.observer.observations().heartbeats.recorded_until(Instant::now()).is_none_or(|until| until < ready) {
            if ready.elapsed() > DEADLINE {
                return Err("the leader did not record all changes in time".into());
            }
            pause(random).await;
            fleet.run_operation(random).await?;
        }
        if standby.is_leading()? {
            // The leader has lost its lease, and with it the changes that it had not recorded.
            self.runs.downtimes.push(Downtime { killed: started, ready, records });
        }
        self.kill(fleet)?;
        self.controller = standby;
        self.waits_for_lease = true;
        fleet.note("a standby takes over");
        Ok(())
    }

    /// Restarts the controller in the same pod, where it still holds the lease, after a downtime.
    async fn start_again(&mut self, kill: Kill, fleet: &mut Fleet<'_>, random: &mut Rng) -> TestResult {
        let killed = self.kill(fleet)?;
        let records = self.observer.observations().records.into_keys().collect();
        for _ in 0..random.u32(0..4) {
            pause(random).await;
            fleet.run_operation(random).await?;
        }
        let pod = [("POD_NAME", self.pod), SHORT_LEASE];
        if kill == Kill::StartTwice {
            let mut controller = self.setup.start_controller_at_once(&pod).await?;
            pause(random).await;
            controller.process.kill()?;
        }
        fleet.note("start");
        let started = Instant::now();
        let (controller, operated) = tokio::join!(self.setup.start_controller(&pod), fleet.run_operation(random));
        operated?;
        self.controller = controller?;
        fleet.note("ready");
        let ready = Instant::now();
        self.runs.lists.push((started, ready));
        self.runs.downtimes.push(Downtime { killed, ready, records });
        Ok(())
    }

    fn kill(&mut self, fleet: &mut Fleet<'_>) -> Result<Instant, cluster::Error> {
        self.controller.process.kill()?;
        fleet.note("SIGKILL");
        Ok(Instant::now())
    }

    /// Waits until records and entities match the observations.
    async fn compare(&self, namespace: &str) -> TestResult {
        wait_for("records and entities to match the observations", DEADLINE, async || {
            let mut entities = self.setup.entities("dora_deployment", namespace);
            // If the controller missed a revision of the heartbeat, it can't know that the revision had no replicas.
            entities.retain(|entity| !entity.identifier.contains(&format!(":{HEARTBEAT}:")));
            let found = differences(&self.observer.observations(), &entities, namespace, &self.runs);
            if !found.is_empty() {
                Err(format!("{} differences:\n{}", found.len(), found.join("\n")))?;
            }
            Ok(Some(()))
        })
        .await?;
        Ok(())
    }

    /// All observed states of the Deployments, to find the reason of a failure.
    fn report(&self) -> String {
        let observations = self.observer.observations();
        let mut report = format!("lags of the heartbeats: {:.1?}\n", observations.heartbeats.lags());
        for (uid, history) in &observations.deployments {
            let _ = writeln!(report, "{} {uid}, deleted {:?}:", history.name, history.deleted);
            for state in &history.states {
                let _ = writeln!(report, "  {state:?}");
            }
        }
        report
    }
}

/// A random pause between operations. It doesn't synchronise anything.
async fn pause(random: &mut Rng) {
    tokio::time::sleep(Duration::from_millis(random.u64(..LONGEST_PAUSE_MILLISECONDS))).await;
}
