//! A long run with everything that has stopped the controller before: thousands of resources, namespaces that come and
//! go, Port failing in turns, and resources that are hostile on purpose. Two replicas run for the whole time.
//!
//! Afterwards: no replica has ended, each stayed below the memory limit of the chart, no request is repeated without
//! end, and Port has exactly the entities that it should have.
//!
//! `make test` runs a short form. The long form is `make soak`. `SOAK_SEED` repeats the operations of a run.

mod changes;
mod churn;
mod comparison;
mod hostile;
mod memory;
mod population;
mod quiet;

use std::time::{Duration, Instant};

use cluster::{DEADLINE, wait_for};
use fastrand::Rng;

use self::changes::change_incidents;
use self::churn::Churn;
use self::comparison::differences;
use self::hostile::Hostile;
use self::memory::MemoryUse;
use self::population::Population;
use self::quiet::no_more_requests;
use crate::TestResult;
use crate::chaos::fault_schedule::FaultSchedule;
use crate::fixture::{Installation, number};

/// The size of the short form.
const SHORT: Size = Size { seconds: 45, records: 200, incidents: 100 };

/// The deadline for the delivery of everything that is left when the faults end.
const RECOVERY: Duration = DEADLINE.saturating_mul(2);

/// How much a run does.
#[derive(Clone, Copy, Debug)]
struct Size {
    seconds: u64,
    records: u64,
    incidents: u64,
}

#[expect(clippy::print_stdout, reason = "the seed is needed to repeat a run, and the figures are its result")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_stops_the_controller() -> TestResult {
    let size = Size {
        seconds: number("SOAK_MINUTES")?.map_or(SHORT.seconds, |minutes| minutes * 60),
        records: number("SOAK_RECORDS")?.unwrap_or(SHORT.records),
        incidents: number("SOAK_INCIDENTS")?.unwrap_or(SHORT.incidents),
    };
    let seed = number("SOAK_SEED")?.unwrap_or_else(|| Rng::new().u64(..));
    println!("soak with {size:?}: SOAK_SEED={seed}");
    let mut random = Rng::with_seed(seed);

    let setup = Installation::exclusive().await?;
    let mut replicas = [setup.start_controller(&[]).await?, setup.start_controller(&[]).await?];
    let mut memory = MemoryUse::new(replicas.each_ref().map(|replica| replica.process.id()));
    let population = Population::create(&setup, size.records, size.incidents).await?;
    let schedule = FaultSchedule::new(&setup.port, random.fork());
    let mut churn = Churn::new(&setup, random.fork());
    let addresses = replicas.each_ref().map(|replica| replica.url("").replace("http://", ""));
    let mut hostile = Hostile::new(&setup, &population, addresses, random.fork()).await?;
    let end = Instant::now() + Duration::from_secs(size.seconds);
    tokio::select! {
        ended = schedule.run() => match ended? {},
        ended = memory.sample() => match ended? {},
        ended = change_incidents(&setup, &population, random.fork()) => match ended? {},
        done = async { tokio::try_join!(churn.run_until(end), hostile.run_until(end)) } => { done?; }
    }
    schedule.clear().await?;
    hostile.end().await?;

    for replica in &mut replicas {
        let status = replica.process.exit_status()?;
        assert!(status.is_none() && !replica.process.log()?.contains("panicked"), "a replica ended: {status:?}");
    }
    wait_for("Port to have exactly what it should", RECOVERY, async || {
        let mut found = differences(&setup, &population).await?;
        found.extend(churn.ghosts().await?);
        if !found.is_empty() {
            Err(format!(
                "SOAK_SEED={seed}, {} differences:\n{}",
                found.len(),
                found[..found.len().min(20)].join("\n")
            ))?;
        }
        Ok(Some(()))
    })
    .await?;
    no_more_requests(&setup).await?;
    println!("{} {} {}", churn.report(), hostile.report(), memory.report());
    memory.assert_flat_and_below_the_limit();
    Ok(())
}
