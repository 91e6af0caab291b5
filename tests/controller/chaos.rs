//! Rollouts and incidents while Port fails in all known ways and the controller is killed repeatedly. Afterwards, each
//! record is delivered, each entity equals its record, and there are no other entities. No request was sent while Port
//! had asked for a pause.
//!
//! `make test` runs a short form. The long form is:
//!
//! ```text
//! CHAOS_ROLLOUTS=500 CHAOS_INCIDENTS=50 CHAOS_KILLS=10 cargo test --test controller chaos
//! ```
//!
//! The test prints its seed. `CHAOS_SEED` repeats a run with the same operations and the same faults, but with another
//! timing.

mod comparison;
pub mod fault_schedule;
mod operations;
mod pauses;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use cluster::{DEADLINE, wait_for};
use fastrand::Rng;
use serde_json::json;

use self::comparison::differences;
use self::fault_schedule::FaultSchedule;
use self::operations::{Operation, Operations, Plan};
use self::pauses::{asks_for_pause, sent, sent_during_pause};
use crate::TestResult;
use crate::fixture::{Controller, Installation, SAME_POD, number};

/// The environment of each controller. Its log contains each request.
const ENVIRONMENT: [(&str, &str); 2] = [SAME_POD[0], ("RUST_LOG", "info,port_dora_controller=debug,port_client=trace")];

/// The longest pause between two operations.
const LONGEST_PAUSE_MILLISECONDS: u64 = 250;

/// The deadline for all deliveries after the faults end. The delay between retries doubles while Port fails, and a
/// request without an answer times out after 30 s.
const RECOVERY: Duration = DEADLINE.saturating_mul(3);

#[expect(clippy::print_stdout, reason = "the seed is needed to repeat a run")]
#[tokio::test(flavor = "multi_thread")]
async fn records_and_entities_are_equal_after_all_faults() -> TestResult {
    let seed = number("CHAOS_SEED")?.unwrap_or_else(|| Rng::new().u64(..));
    let rollouts = usize::try_from(number("CHAOS_ROLLOUTS")?.unwrap_or(40))?;
    let incidents = usize::try_from(number("CHAOS_INCIDENTS")?.unwrap_or(8))?;
    let kills = usize::try_from(number("CHAOS_KILLS")?.unwrap_or(3))?;
    println!("chaos of {rollouts} rollouts, {incidents} incidents and {kills} kills: CHAOS_SEED={seed}");
    let mut random = Rng::with_seed(seed);

    let setup = Installation::exclusive().await?;
    // More fields than in the default blueprint, to detect a blueprint that was not read.
    setup.port.create_blueprint(&json!({
        "identifier": "dora_deployment",
        "title": "DORA Deployment",
        "schema": {"properties": {
            "deployment_time": {"type": "string", "format": "date-time"}, "deployment_type": {"type": "string"},
            "environment": {"type": "string"}, "status": {"type": "string"}, "change": {"type": "string"},
            "failure": {"type": "string"}, "revision": {"type": "number"},
        }},
        "relations": {"group": {"target": "group", "required": false, "many": false}},
    }))?;
    let namespace = setup.namespace("chaos").await?;
    let controller = setup.start_controller(&ENVIRONMENT).await?;
    controller.leads().await?;
    let schedule = FaultSchedule::new(&setup.port, random.fork());
    let plan = Plan { rollouts, incidents, kills };
    let operations = Operations::new(setup.client().await?, &namespace, plan, &mut random);
    let mut run = ChaosRun { setup: &setup, controller: Some(controller), logs: Vec::new(), log: String::new() };
    tokio::select! {
        ended = schedule.run() => match ended? {},
        done = run.perform(operations, &schedule, &mut random) => done?,
    }
    schedule.clear().await?;
    let comparison = wait_for("records and entities to be equal", RECOVERY, async || {
        let found = differences(&setup, &namespace, plan).await?;
        if !found.is_empty() {
            Err(format!("{} differences:\n{}", found.len(), found.join("\n")))?;
        }
        Ok(Some(()))
    })
    .await;
    let requests = setup.port.requests();
    run.kill_controller()?;
    let violations = sent_during_pause(&run.logs, &requests);
    let report = || format!("CHAOS_SEED={seed}\n{}\n{}", run.log, schedule.report());
    if let Err(error) = comparison {
        panic!("{error}\n{}", report());
    }
    println!(
        "{} requests, {} of them answered with a pause",
        requests.len(),
        requests.iter().filter(|request| asks_for_pause(request)).count()
    );
    assert!(sent(&run.logs) >= requests.len(), "the log must contain each request");
    assert!(violations.is_empty(), "sent while Port had asked for a pause:\n{}\n{}", violations.join("\n"), report());
    Ok(())
}

/// A run of the test: the controller and its logs.
struct ChaosRun<'a> {
    setup: &'a Installation,
    controller: Option<Controller>,
    /// The logs of the killed controllers.
    logs: Vec<String>,
    /// The operations so far, one line each.
    log: String,
}

impl ChaosRun<'_> {
    /// Kills the controller if it is running.
    fn kill_controller(&mut self) -> TestResult {
        if let Some(mut controller) = self.controller.take() {
            controller.process.kill()?;
            self.logs.push(controller.process.log()?);
        }
        Ok(())
    }

    /// Performs all operations, and continues until each kind of fault has occurred and Port has asked for a pause.
    async fn perform(
        &mut self,
        mut operations: Operations,
        schedule: &FaultSchedule<'_>,
        random: &mut Rng,
    ) -> TestResult {
        while let Some(operation) = operations.next(random) {
            tokio::time::sleep(Duration::from_millis(random.u64(..LONGEST_PAUSE_MILLISECONDS))).await;
            let after = self.setup.port.started_at().elapsed();
            writeln!(self.log, "{:8.3} {operation:?}", after.as_secs_f64())?;
            match operation {
                Operation::Kill => self.kill_controller()?,
                Operation::Start => self.controller = Some(self.setup.start_controller_at_once(&ENVIRONMENT).await?),
                other => operations.perform(other).await?,
            }
        }
        let deadline = Instant::now() + DEADLINE;
        while !schedule.has_run_once() || !self.setup.port.requests().iter().any(asks_for_pause) {
            if Instant::now() > deadline {
                return Err(format!("not each kind of fault has occurred:\n{}", schedule.report()).into());
            }
            tokio::time::sleep(Duration::from_millis(random.u64(..LONGEST_PAUSE_MILLISECONDS))).await;
            operations.perform(Operation::Change { incident: 0, how: random.u64(..) }).await?;
        }
        Ok(())
    }
}
