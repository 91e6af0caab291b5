//! Random operations on many Deployments while the controller is killed again and again, compared at the end with what the API
//! server's own watch showed: no rollout is missing, none is there twice, and each ended as it did.
//!
//! Short in `make test`. The full one:
//!
//! ```text
//! RANDOM_RUN_OPERATIONS=200 RANDOM_RUN_DEPLOYMENTS=20 cargo test --test controller random_run
//! ```
//!
//! The seed is printed; `RANDOM_RUN_SEED` repeats a run with the same operations, though never with the same timing.

mod comparison;
mod course;
mod marks;
mod observer;
mod operations;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use cluster::wait_for;
use fastrand::Rng;

use self::comparison::{Absence, Attendance, disagreements};
use self::marks::MARKER;
use self::observer::Observer;
use self::operations::Fleet;
use crate::TestResult;
use crate::fixture::{Controller, DEADLINE, Installation, SHORT_LEASE, deployment, number};

/// Longest pause between two operations: some come while the one before is still rolled out, some after it is over.
const LONGEST_PAUSE_MILLISECONDS: u64 = 500;

/// Operations between two kills.
const OPERATIONS_BETWEEN_KILLS: std::ops::Range<u32> = 8..13;

/// Pods that a controller runs in.
const PODS: [&str; 2] = ["one-pod", "other-pod"];

/// How a controller is replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kill {
    /// It starts again in the same pod, where it still holds the lease, after a time in which nobody watched.
    StartAgain,
    /// As before, and the first one that starts doesn't live long.
    StartTwice,
    /// A standby takes over, which has followed everything.
    TakeOver,
}

/// The more often it is named, the more often it is done.
const KILLS: [Kill; 4] = [Kill::StartAgain, Kill::StartAgain, Kill::StartTwice, Kill::TakeOver];

#[expect(clippy::print_stdout, reason = "whoever wants to repeat a run needs its seed")]
#[tokio::test(flavor = "multi_thread")]
async fn random_operations_and_kills_leave_one_right_record_of_each_rollout() -> TestResult {
    let seed = number("RANDOM_RUN_SEED")?.unwrap_or_else(|| Rng::new().u64(..));
    let operations = number("RANDOM_RUN_OPERATIONS")?.unwrap_or(40);
    let deployments = usize::try_from(number("RANDOM_RUN_DEPLOYMENTS")?.unwrap_or(8))?;
    println!("random run of {operations} operations on {deployments} Deployments: RANDOM_RUN_SEED={seed}");
    let mut random = Rng::with_seed(seed);

    let on = Installation::alone().await?;
    let namespace = on.namespace("random").await?;
    let observer = Observer::start(&on, &namespace).await?;
    let controller = on.start_controller(&[("POD_NAME", PODS[0]), SHORT_LEASE]).await?;
    let attendance = Attendance::default();
    let mut kills = vec![Kill::StartAgain, Kill::StartTwice];
    random.shuffle(&mut kills);
    // The last of the first ones: after it nobody leads until the lease expires, and nobody is killed meanwhile.
    kills.insert(0, Kill::TakeOver);
    let mut stage = Stage { on: &on, controller, pod: PODS[0], observer, attendance, kills, waits_for_lease: false };
    stage.controller.logs("this replica leads").await?;
    stage.observer.mark(&on, &namespace).await?;
    let mut fleet = Fleet::new(&on, &namespace, deployments, &mut random);
    fleet.create().await?;
    let mut until_kill = random.u32(OPERATIONS_BETWEEN_KILLS);
    for _ in 0..operations {
        pause(&mut random).await;
        fleet.operate(&mut random).await?;
        until_kill -= 1;
        if until_kill == 0 {
            until_kill = random.u32(OPERATIONS_BETWEEN_KILLS);
            stage.replace_controller(&mut fleet, &mut random).await?;
        }
    }
    stage.controller.logs("this replica leads").await?;
    let agreement = stage.agreement(&namespace).await;
    // Once more from the beginning, and until something has gone all the way: nothing may change, and nothing may be added.
    stage.start_again(Kill::StartAgain, &mut fleet, &mut random).await?;
    on.apply_in(&namespace, &deployment("last", "app:v1", "", "")).await?;
    wait_for("the last rollout in Port", DEADLINE, async || {
        let entities = on.entities("dora_deployment", &namespace);
        Ok(entities.iter().any(|entity| entity.identifier.contains(":last:")).then_some(()))
    })
    .await?;
    let result = match agreement {
        Ok(()) => stage.agreement(&namespace).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        panic!("RANDOM_RUN_SEED={seed}: {error}\n{}\n{}", fleet.log, stage.story());
    }
    Ok(())
}

/// The controller, and who watches it.
struct Stage<'a> {
    on: &'a Installation,
    controller: Controller,
    /// The name of its pod.
    pod: &'static str,
    observer: Observer,
    attendance: Attendance,
    /// The next ways to replace it, the last one first.
    kills: Vec<Kill>,
    /// Whether it waits for the lease of its dead predecessor, as far as is known.
    waits_for_lease: bool,
}

impl Stage<'_> {
    /// Kills the controller, with operations going on all the while, and goes on with another one. One that waits for the lease of its
    /// dead predecessor is left alone: it is the only one who knows what happened since.
    async fn replace_controller(&mut self, fleet: &mut Fleet<'_>, random: &mut Rng) -> TestResult {
        if self.waits_for_lease && !self.controller.process.log()?.contains("this replica leads") {
            return Ok(());
        }
        self.waits_for_lease = false;
        self.controller.logs("this replica leads").await?;
        if self.kills.is_empty() {
            self.kills = KILLS.to_vec();
            random.shuffle(&mut self.kills);
        }
        match self.kills.pop().ok_or("there is no way to replace it")? {
            Kill::TakeOver => self.take_over(fleet, random).await,
            kill => self.start_again(kill, fleet, random).await,
        }
    }

    /// Lets a standby take over, which has followed everything.
    async fn take_over(&mut self, fleet: &mut Fleet<'_>, random: &mut Rng) -> TestResult {
        let records = self.observer.seen().records.into_keys().collect();
        self.pod = if self.pod == PODS[0] { PODS[1] } else { PODS[0] };
        let started = Instant::now();
        let standby = self.on.start_controller(&[("POD_NAME", self.pod), SHORT_LEASE]).await?;
        let ready = Instant::now();
        self.attendance.lists.push((started, ready));
        // What happened before the standby listed everything only the leader knows, until it is recorded.
        while self.observer.seen().marks.recorded_until(Instant::now()).is_none_or(|until| until < ready) {
            if ready.elapsed() > DEADLINE {
                return Err("the leader doesn't catch up".into());
            }
            pause(random).await;
            fleet.operate(random).await?;
        }
        if standby.process.log()?.contains("this replica leads") {
            // The leader has lost its lease, and with it what it had not recorded.
            self.attendance.absences.push(Absence { killed: started, ready, records });
        }
        self.kill(fleet)?;
        self.controller = standby;
        self.waits_for_lease = true;
        fleet.note("a standby takes over");
        Ok(())
    }

    /// Starts it again in the same pod, where it still holds the lease, after a time in which nobody watched.
    async fn start_again(&mut self, kill: Kill, fleet: &mut Fleet<'_>, random: &mut Rng) -> TestResult {
        let killed = self.kill(fleet)?;
        let records = self.observer.seen().records.into_keys().collect();
        for _ in 0..random.u32(0..4) {
            pause(random).await;
            fleet.operate(random).await?;
        }
        let pod = [("POD_NAME", self.pod), SHORT_LEASE];
        if kill == Kill::StartTwice {
            let mut controller = self.on.start_controller_at_once(&pod).await?;
            pause(random).await;
            controller.process.kill()?;
        }
        fleet.note("start");
        let started = Instant::now();
        let (controller, operated) = tokio::join!(self.on.start_controller(&pod), fleet.operate(random));
        operated?;
        self.controller = controller?;
        fleet.note("ready");
        let ready = Instant::now();
        self.attendance.lists.push((started, ready));
        self.attendance.absences.push(Absence { killed, ready, records });
        Ok(())
    }

    fn kill(&mut self, fleet: &mut Fleet<'_>) -> Result<Instant, cluster::Error> {
        self.controller.process.kill()?;
        fleet.note("SIGKILL");
        Ok(Instant::now())
    }

    /// Waits until records and entities agree with what was seen.
    async fn agreement(&self, namespace: &str) -> TestResult {
        wait_for("records and entities to agree with what was seen", DEADLINE, async || {
            let mut entities = self.on.entities("dora_deployment", namespace);
            // Where it was missed at first it may have had replicas, for all that the controller knows.
            entities.retain(|entity| !entity.identifier.contains(&format!(":{MARKER}:")));
            let found = disagreements(&self.observer.seen(), &entities, namespace, &self.attendance);
            if !found.is_empty() {
                Err(format!("{} disagreements:\n{}", found.len(), found.join("\n")))?;
            }
            Ok(Some(()))
        })
        .await?;
        Ok(())
    }

    /// All that was seen of the Deployments, for a person who looks for the reason of a failure.
    fn story(&self) -> String {
        let seen = self.observer.seen();
        let mut story = format!("lags of the marker: {:.1?}\n", seen.marks.lags());
        for (uid, course) in &seen.deployments {
            let _ = writeln!(story, "{} {uid}, deleted {:?}:", course.name, course.deleted);
            for state in &course.states {
                let _ = writeln!(story, "  {state:?}");
            }
        }
        story
    }
}

/// Time for rollouts to get on; nothing is waited for.
async fn pause(random: &mut Rng) {
    tokio::time::sleep(Duration::from_millis(random.u64(..LONGEST_PAUSE_MILLISECONDS))).await;
}
