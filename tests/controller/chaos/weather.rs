//! How Port fails, one way after the other.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;
use port_sim::{Effect, Fault, PortSim};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Shortest and longest time for which Port fails in one way, and then works again.
const SPELL_MILLISECONDS: std::ops::Range<u64> = 300..1500;
const LULL_MILLISECONDS: std::ops::Range<u64> = 50..500;

/// Longest time to wait for a request that meets a limit.
const PATIENCE: Duration = Duration::from_secs(4);

/// Seconds for which Port asks to send nothing.
const PAUSE_SECONDS: std::ops::RangeInclusive<u64> = 2..=4;

/// Begins the name of a fault that asks for a pause; the number of seconds follows.
pub const PAUSE: &str = "pause of ";

/// A way to fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sky {
    /// Nobody listens, and open connections are closed.
    Outage,
    /// 429 to everything, with `Retry-After` or `x-ratelimit-reset`.
    RateLimited,
    /// The token is not accepted any more.
    Revoked,
    /// 500, 502, 503, 504, 408.
    ServerErrors,
    /// A proxy's page in place of Port's answer.
    Page,
    /// The connection is closed before the request is handled.
    DroppedBefore,
    /// The connection is closed after the request was handled.
    DroppedAfter,
    /// The connection is closed in the middle of the answer.
    CutAnswers,
    /// Answers take their time.
    Slow,
}

const SKIES: [Sky; 9] = [
    Sky::Outage,
    Sky::RateLimited,
    Sky::Revoked,
    Sky::ServerErrors,
    Sky::Page,
    Sky::DroppedBefore,
    Sky::DroppedAfter,
    Sky::CutAnswers,
    Sky::Slow,
];

/// The weather over Port.
pub struct Weather<'a> {
    port: &'a PortSim,
    random: Mutex<Rng>,
    past: Mutex<Vec<Spell>>,
}

#[derive(Clone, Debug)]
struct Spell {
    sky: Sky,
    detail: String,
    /// On the clock of the request log.
    from: Duration,
    to: Duration,
}

impl<'a> Weather<'a> {
    pub fn new(port: &'a PortSim, random: Rng) -> Self {
        Self { port, random: Mutex::new(random), past: Mutex::default() }
    }

    /// Lets every way to fail come in turn, in another order each time, for ever.
    pub async fn change(&self) -> Result<Infallible, Error> {
        loop {
            let mut skies = SKIES;
            self.random.lock().unwrap().shuffle(&mut skies);
            for sky in skies {
                self.pass(LULL_MILLISECONDS).await;
                let from = self.port.started_at().elapsed();
                let detail = self.spell(sky).await?;
                let to = self.port.started_at().elapsed();
                self.past.lock().unwrap().push(Spell { sky, detail, from, to });
            }
        }
    }

    /// Whether every way to fail has come at least once.
    pub fn has_come_round(&self) -> bool {
        self.past.lock().unwrap().len() >= SKIES.len()
    }

    /// Port works again.
    pub async fn clear_up(&self) -> Result<(), Error> {
        self.port.clear_faults();
        self.port.set_reachable(true).await?;
        Ok(())
    }

    /// What the weather was, a line for each spell.
    pub fn report(&self) -> String {
        let past = self.past.lock().unwrap();
        let line = |spell: &Spell| {
            let Spell { sky, detail, from, to } = spell;
            format!("{:8.3} to {:8.3} {sky:?} {detail}\n", from.as_secs_f64(), to.as_secs_f64())
        };
        past.iter().map(line).collect()
    }

    fn number(&self, range: std::ops::Range<u64>) -> u64 {
        self.random.lock().unwrap().u64(range)
    }

    async fn pass(&self, milliseconds: std::ops::Range<u64>) {
        let milliseconds = self.number(milliseconds);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    async fn spell(&self, sky: Sky) -> Result<String, Error> {
        let fault = match sky {
            Sky::Outage => {
                self.port.set_reachable(false).await?;
                self.pass(SPELL_MILLISECONDS).await;
                self.port.set_reachable(true).await?;
                return Ok(String::new());
            }
            Sky::Revoked => {
                self.port.revoke_tokens();
                return Ok(String::new());
            }
            Sky::RateLimited => return self.limit().await,
            Sky::ServerErrors => {
                let statuses = [500, 502, 503, 504, 408];
                let index = usize::try_from(self.number(0..5))?;
                Fault::new(Effect::status(statuses[index]))
            }
            Sky::Page => Fault::new(Effect::html(502)),
            Sky::DroppedBefore => Fault::new(Effect::DropBeforeHandling),
            Sky::DroppedAfter => Fault::new(Effect::DropAfterHandling),
            Sky::CutAnswers => Fault::new(Effect::HalfAnswer),
            Sky::Slow => Fault::delayed(Duration::from_millis(self.number(200..2000))),
        };
        let described = format!("{:?} {:?}", fault.effect, fault.delay);
        let id = self.port.set_fault(fault)?;
        self.pass(SPELL_MILLISECONDS).await;
        self.port.clear_fault(id);
        Ok(described)
    }

    /// Lasts until somebody has met the limit, if anybody does.
    async fn limit(&self) -> Result<String, Error> {
        let seconds = self.number(*PAUSE_SECONDS.start()..PAUSE_SECONDS.end() + 1);
        let header = if self.number(0..2) == 0 { "Retry-After" } else { "x-ratelimit-reset" };
        let name = format!("{PAUSE}{seconds} s");
        let fault = Fault::new(Effect::status(429)).name(name.as_str()).header(header, seconds.to_string());
        let id = self.port.set_fault(fault)?;
        let met = || self.port.faults().iter().any(|state| state.id == id && state.met > 0);
        // Nothing fails if nobody has anything to say for so long: then there is nothing to pause either.
        let _ = cluster::wait_for("a request that meets the limit", PATIENCE, async || Ok(met().then_some(()))).await;
        self.pass(SPELL_MILLISECONDS).await;
        self.port.clear_fault(id);
        Ok(format!("{name} by {header}"))
    }
}
