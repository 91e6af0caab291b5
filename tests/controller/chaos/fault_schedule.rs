//! The faults of Port, one kind after another.

use std::convert::Infallible;
use std::time::Duration;

use cluster::wait_for;
use fastrand::Rng;
use parking_lot::Mutex;
use port_sim::{Effect, Fault, PortSim};

use crate::Error;

/// The duration of a fault.
const FAULT_MILLISECONDS: std::ops::Range<u64> = 300..1500;

/// The time without faults between two faults.
const GAP_MILLISECONDS: std::ops::Range<u64> = 50..500;

/// The longest time to wait for a request that meets a rate limit.
const LIMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// The pauses that Port asks for, in seconds.
const PAUSE_SECONDS: std::ops::RangeInclusive<u64> = 2..=4;

/// The prefix of the name of a fault that asks for a pause. The number of seconds follows.
pub const PAUSE: &str = "pause of ";

/// A kind of fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FaultKind {
    /// The port is closed, and so are all connections.
    Outage,
    /// All requests are answered with 429, with `Retry-After` or `x-ratelimit-reset`.
    RateLimited,
    /// The token is revoked.
    Revoked,
    /// The status 500, 502, 503, 504 or 408.
    ServerErrors,
    /// The HTML page of a proxy instead of an answer of Port.
    Page,
    /// The connection is closed before the request is handled.
    DroppedBefore,
    /// The connection is closed after the request was handled.
    DroppedAfter,
    /// The connection is closed in the middle of the answer.
    CutAnswers,
    /// The answers are delayed.
    Slow,
}

const FAULT_KINDS: [FaultKind; 9] = [
    FaultKind::Outage,
    FaultKind::RateLimited,
    FaultKind::Revoked,
    FaultKind::ServerErrors,
    FaultKind::Page,
    FaultKind::DroppedBefore,
    FaultKind::DroppedAfter,
    FaultKind::CutAnswers,
    FaultKind::Slow,
];

/// Injects the faults.
pub struct FaultSchedule<'a> {
    port: &'a PortSim,
    random: Mutex<Rng>,
    past: Mutex<Vec<PastFault>>,
}

#[derive(Clone, Debug)]
struct PastFault {
    kind: FaultKind,
    detail: String,
    /// On the clock of the request log.
    from: Duration,
    to: Duration,
}

impl<'a> FaultSchedule<'a> {
    pub fn new(port: &'a PortSim, random: Rng) -> Self {
        Self { port, random: Mutex::new(random), past: Mutex::default() }
    }

    /// Injects all kinds of faults in turn, each time in another order, until it is dropped.
    pub async fn run(&self) -> Result<Infallible, Error> {
        loop {
            let mut kinds = FAULT_KINDS;
            self.random.lock().shuffle(&mut kinds);
            for kind in kinds {
                self.sleep(GAP_MILLISECONDS).await;
                let from = self.port.started_at().elapsed();
                let detail = self.inject(kind).await?;
                let to = self.port.started_at().elapsed();
                self.past.lock().push(PastFault { kind, detail, from, to });
            }
        }
    }

    /// Whether each kind of fault has occurred.
    pub fn has_run_once(&self) -> bool {
        self.past.lock().len() >= FAULT_KINDS.len()
    }

    /// Ends all faults.
    pub async fn clear(&self) -> Result<(), Error> {
        self.port.clear_faults();
        self.port.set_reachable(true).await?;
        Ok(())
    }

    /// The past faults, one line each.
    pub fn report(&self) -> String {
        let past = self.past.lock();
        let line = |fault: &PastFault| {
            let PastFault { kind, detail, from, to } = fault;
            format!("{:8.3} to {:8.3} {kind:?} {detail}\n", from.as_secs_f64(), to.as_secs_f64())
        };
        past.iter().map(line).collect()
    }

    fn number(&self, range: std::ops::Range<u64>) -> u64 {
        self.random.lock().u64(range)
    }

    async fn sleep(&self, milliseconds: std::ops::Range<u64>) {
        let milliseconds = self.number(milliseconds);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    /// Injects a fault for a random time, and returns its description.
    async fn inject(&self, kind: FaultKind) -> Result<String, Error> {
        let fault = match kind {
            FaultKind::Outage => {
                self.port.set_reachable(false).await?;
                self.sleep(FAULT_MILLISECONDS).await;
                self.port.set_reachable(true).await?;
                return Ok(String::new());
            }
            FaultKind::Revoked => {
                self.port.revoke_tokens();
                return Ok(String::new());
            }
            FaultKind::RateLimited => return self.limit().await,
            FaultKind::ServerErrors => {
                let statuses = [500, 502, 503, 504, 408];
                let index = usize::try_from(self.number(0..5))?;
                Fault::new(Effect::status(statuses[index]))
            }
            FaultKind::Page => Fault::new(Effect::html(502)),
            FaultKind::DroppedBefore => Fault::new(Effect::DropBeforeHandling),
            FaultKind::DroppedAfter => Fault::new(Effect::DropAfterHandling),
            FaultKind::CutAnswers => Fault::new(Effect::HalfAnswer),
            FaultKind::Slow => Fault::delayed(Duration::from_millis(self.number(200..2000))),
        };
        let described = format!("{:?} {:?}", fault.effect, fault.delay);
        let id = self.port.set_fault(fault)?;
        self.sleep(FAULT_MILLISECONDS).await;
        self.port.clear_fault(id);
        Ok(described)
    }

    /// Injects a rate limit until a request has met it.
    async fn limit(&self) -> Result<String, Error> {
        let seconds = self.number(*PAUSE_SECONDS.start()..PAUSE_SECONDS.end() + 1);
        let header = if self.number(0..2) == 0 { "Retry-After" } else { "x-ratelimit-reset" };
        let name = format!("{PAUSE}{seconds} s");
        let fault = Fault::new(Effect::status(429)).name(name.as_str()).header(header, seconds.to_string());
        let id = self.port.set_fault(fault)?;
        let met = || self.port.faults().iter().any(|state| state.id == id && state.met > 0);
        // If there is no request in this time, there is nothing to pause either.
        let _ = wait_for("a request that meets the limit", LIMIT_TIMEOUT, async || Ok(met().then_some(()))).await;
        self.sleep(FAULT_MILLISECONDS).await;
        self.port.clear_fault(id);
        Ok(format!("{name} by {header}"))
    }
}
