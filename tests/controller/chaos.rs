//! Rollouts and incidents while Port fails in every way it can and the controller is killed again and again: afterwards each record is
//! delivered, each entity equals its record, none is missing and none is there that should not be, and nothing was sent while Port had
//! asked for a pause.
//!
//! Short in `make test`. The full one:
//!
//! ```text
//! CHAOS_ROLLOUTS=500 CHAOS_INCIDENTS=50 CHAOS_KILLS=10 cargo test --test controller chaos
//! ```
//!
//! The seed is printed; `CHAOS_SEED` repeats a run with the same operations and the same weather, though never with the same timing.

mod comparison;
mod operations;
mod pauses;
mod weather;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use cluster::wait_for;
use fastrand::Rng;
use serde_json::json;

use self::comparison::disagreements;
use self::operations::{Operation, Operations, Plan};
use self::pauses::{asks_for_pause, disregarded, sent};
use self::weather::Weather;
use crate::TestResult;
use crate::fixture::{Controller, DEADLINE, Installation, SAME_POD, number};

/// The environment of each controller. Its log names the requests that are sent.
const ENVIRONMENT: [(&str, &str); 2] = [SAME_POD[0], ("RUST_LOG", "info,port_dora_controller=debug,port_client=trace")];

/// Longest pause between two operations.
const LONGEST_PAUSE_MILLISECONDS: u64 = 250;

/// How long the deliveries may take once everything works again: waits between attempts double while Port fails, and a request that was
/// never answered lasts 30 s.
const RECOVERY: Duration = DEADLINE.saturating_mul(3);

#[expect(clippy::print_stdout, reason = "whoever wants to repeat a run needs its seed")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_added_whatever_fails() -> TestResult {
    let seed = number("CHAOS_SEED")?.unwrap_or_else(|| Rng::new().u64(..));
    let rollouts = usize::try_from(number("CHAOS_ROLLOUTS")?.unwrap_or(40))?;
    let incidents = usize::try_from(number("CHAOS_INCIDENTS")?.unwrap_or(8))?;
    let kills = usize::try_from(number("CHAOS_KILLS")?.unwrap_or(3))?;
    println!("chaos of {rollouts} rollouts, {incidents} incidents and {kills} kills: CHAOS_SEED={seed}");
    let mut random = Rng::with_seed(seed);

    let on = Installation::alone().await?;
    // More than what every organisation has, so that a blueprint that was not read shows.
    on.port.create_blueprint(&json!({
        "identifier": "dora_deployment",
        "title": "DORA Deployment",
        "schema": {"properties": {
            "deployment_time": {"type": "string", "format": "date-time"}, "deployment_type": {"type": "string"},
            "environment": {"type": "string"}, "status": {"type": "string"}, "change": {"type": "string"},
            "failure": {"type": "string"}, "revision": {"type": "number"},
        }},
        "relations": {"group": {"target": "group", "required": false, "many": false}},
    }))?;
    let namespace = on.namespace("chaos").await?;
    let controller = on.start_controller(&ENVIRONMENT).await?;
    controller.logs("this replica leads").await?;
    let weather = Weather::new(&on.port, random.fork());
    let plan = Plan { rollouts, incidents, kills };
    let operations = Operations::new(on.client().await?, &namespace, plan, &mut random);
    let mut stage = Stage { on: &on, controller: Some(controller), logs: Vec::new(), log: String::new() };
    tokio::select! {
        ended = weather.change() => match ended? {},
        done = stage.perform(operations, &weather, &mut random) => done?,
    }
    weather.clear_up().await?;
    let agreement = wait_for("records and entities to agree", RECOVERY, async || {
        let found = disagreements(&on, &namespace, plan).await?;
        if !found.is_empty() {
            Err(format!("{} disagreements:\n{}", found.len(), found.join("\n")))?;
        }
        Ok(Some(()))
    })
    .await;
    let requests = on.port.requests();
    stage.end_controller()?;
    let disregards = disregarded(&stage.logs, &requests);
    let told = || format!("CHAOS_SEED={seed}\n{}\n{}", stage.log, weather.report());
    if let Err(error) = agreement {
        panic!("{error}\n{}", told());
    }
    println!(
        "{} requests, {} of them answered with a pause",
        requests.len(),
        requests.iter().filter(|request| asks_for_pause(request)).count()
    );
    assert!(sent(&stage.logs) >= requests.len(), "the log doesn't name each request that is sent");
    assert!(disregards.is_empty(), "sent while Port had asked for a pause:\n{}\n{}", disregards.join("\n"), told());
    Ok(())
}

/// The controller, and what was done to it.
struct Stage<'a> {
    on: &'a Installation,
    controller: Option<Controller>,
    /// The logs of those that were killed.
    logs: Vec<String>,
    /// What was done, a line each.
    log: String,
}

impl Stage<'_> {
    /// Kills the controller, if there is one.
    fn end_controller(&mut self) -> TestResult {
        if let Some(mut controller) = self.controller.take() {
            controller.process.kill()?;
            self.logs.push(controller.process.log()?);
        }
        Ok(())
    }

    /// Performs all operations, and goes on until every kind of weather has come once and Port has asked for a pause.
    async fn perform(&mut self, mut operations: Operations, weather: &Weather<'_>, random: &mut Rng) -> TestResult {
        while let Some(operation) = operations.next(random) {
            tokio::time::sleep(Duration::from_millis(random.u64(..LONGEST_PAUSE_MILLISECONDS))).await;
            let after = self.on.port.started_at().elapsed();
            writeln!(self.log, "{:8.3} {operation:?}", after.as_secs_f64())?;
            match operation {
                Operation::Kill => self.end_controller()?,
                Operation::Start => self.controller = Some(self.on.start_controller_at_once(&ENVIRONMENT).await?),
                other => operations.perform(other).await?,
            }
        }
        let deadline = Instant::now() + DEADLINE;
        while !weather.has_come_round() || !self.on.port.requests().iter().any(asks_for_pause) {
            if Instant::now() > deadline {
                return Err(format!("not every kind of weather has come:\n{}", weather.report()).into());
            }
            tokio::time::sleep(Duration::from_millis(random.u64(..LONGEST_PAUSE_MILLISECONDS))).await;
            operations.perform(Operation::Change { incident: 0, how: random.u64(..) }).await?;
        }
        Ok(())
    }
}
