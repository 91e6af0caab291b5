//! The gate in front of Port: while Port can't be used, the queues wait, and a probe with one resource at a time finds out when it works
//! again.
//!
//! Without it, an outage of Port would cost a read, a write of the status and an Event for each pending resource, again and again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use port_client::{Error, ErrorKind, Upserted};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::condition;
use crate::runtime::{Backoff, Gate, Metrics, later};

/// Bounds of the first and of the longest delay before a probe.
const PROBE_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// Delay before a probe while Port doesn't accept the credentials. A change of the credentials causes a probe at once.
const CREDENTIALS_DELAY: Duration = Duration::from_mins(5);

/// The longest time for which the gate believes a request for a pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Why nothing is delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pause {
    /// The kind of the error.
    pub reason: ErrorKind,
    /// The error, and what to do about it.
    pub problem: String,
}

/// What the answers to an attempt say about Port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Evidence<'a> {
    /// Nothing: no request was sent.
    None,
    /// The attempt failed, and so may the next one.
    Failure(&'a Error),
    /// Port works: it accepted or refused an entity.
    PortWorks,
    /// Every other attempt would fail as well.
    Stop(&'a Error),
}

impl<'a> Evidence<'a> {
    fn of(answer: &'a Result<Upserted, Error>) -> Self {
        let Err(error) = answer else {
            return Self::PortWorks;
        };
        match error.kind() {
            ErrorKind::RateLimited | ErrorKind::WrongCredentials | ErrorKind::Unauthorized => Self::Stop(error),
            // Nothing was sent, and each resource says so once.
            ErrorKind::NoCredentials => Self::None,
            // A permission may be missing for one blueprint only.
            ErrorKind::Unreachable
            | ErrorKind::TimedOut
            | ErrorKind::ServerError
            | ErrorKind::UnexpectedResponse
            | ErrorKind::Forbidden => Self::Failure(error),
            ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::TooLarge | ErrorKind::Refused => {
                if error.response().is_some() { Self::PortWorks } else { Self::None }
            }
        }
    }

    /// The evidence of several answers: the strongest one.
    fn of_all(answers: &'a [Result<Upserted, Error>]) -> Self {
        let strength = |evidence: &Self| match evidence {
            Self::None => 0,
            Self::Failure(_) => 1,
            Self::PortWorks => 2,
            Self::Stop(_) => 3,
        };
        answers.iter().map(Self::of).max_by_key(strength).unwrap_or(Self::None)
    }
}

/// How an attempt has changed the gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Transition {
    Unchanged,
    Closed,
    /// It is still closed, for another reason.
    OtherReason,
    Opened,
}

/// The state of the gate. Pure: it gets the time as an argument.
#[derive(Debug)]
struct State {
    /// The identifiers that all failed attempts since the last success have in common. While there are any, one entity that Port can't
    /// handle explains all failures.
    suspects: Option<HashSet<String>>,
    closed: Option<Closed>,
    delays: Backoff<()>,
}

#[derive(Clone, Copy, Debug)]
struct Closed {
    reason: ErrorKind,
    /// When Port wants to get requests again.
    paused_until: Instant,
    next_probe: Instant,
    is_probing: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { suspects: None, closed: None, delays: Backoff::new(PROBE_DELAYS.0, PROBE_DELAYS.1) }
    }
}

impl State {
    /// Takes in the evidence of an attempt with these `entities`.
    fn observe<'a>(
        &mut self,
        entities: impl Iterator<Item = &'a str>,
        evidence: Evidence<'_>,
        now: Instant,
    ) -> Transition {
        match evidence {
            Evidence::None => Transition::Unchanged,
            Evidence::PortWorks => {
                self.suspects = None;
                // A request that was sent before the request for a pause doesn't end the pause.
                if self.closed.is_none_or(|closed| now < closed.paused_until) {
                    return Transition::Unchanged;
                }
                self.closed = None;
                self.delays.forget(&());
                Transition::Opened
            }
            Evidence::Stop(error) => self.close(error, now),
            Evidence::Failure(error) => {
                if self.closed.is_none() && self.has_suspects(entities) {
                    return Transition::Unchanged;
                }
                self.close(error, now)
            }
        }
    }

    /// Whether one of these `entities` may be the reason for their failure and for all others since the last success.
    fn has_suspects<'a>(&mut self, entities: impl Iterator<Item = &'a str>) -> bool {
        let suspects: HashSet<String> = match &self.suspects {
            Some(before) => entities.filter(|entity| before.contains(*entity)).map(str::to_owned).collect(),
            None => entities.map(str::to_owned).collect(),
        };
        let has_suspects = !suspects.is_empty();
        self.suspects = Some(suspects);
        has_suspects
    }

    /// Closes the gate, or takes in why a probe failed.
    fn close(&mut self, error: &Error, now: Instant) -> Transition {
        let (reason, before) = (error.kind(), self.closed);
        let next_probe = match before {
            // An attempt that began before the gate was closed.
            Some(Closed { is_probing: false, next_probe, .. }) => next_probe,
            _ => later(now, self.delay(reason)),
        };
        let paused_until = match error {
            Error::RateLimited { retry_after, .. } => later(now, (*retry_after).min(LONGEST_PAUSE)),
            _ => before.map_or(now, |closed| closed.paused_until),
        };
        self.closed = Some(Closed {
            reason,
            paused_until,
            next_probe: next_probe.max(paused_until),
            is_probing: before.is_some_and(|closed| closed.is_probing),
        });
        match before {
            None => Transition::Closed,
            Some(closed) if closed.reason == reason => Transition::Unchanged,
            Some(_) => Transition::OtherReason,
        }
    }

    fn delay(&self, reason: ErrorKind) -> Duration {
        match reason {
            ErrorKind::WrongCredentials | ErrorKind::Unauthorized => CREDENTIALS_DELAY,
            _ => self.delays.next_delay(&()),
        }
    }

    /// Whether an attempt may begin, and if so, whether it is a probe.
    fn admit(&mut self, now: Instant) -> Option<bool> {
        let Some(closed) = &mut self.closed else {
            return Some(false);
        };
        let may_probe = !closed.is_probing && closed.next_probe <= now;
        closed.is_probing |= may_probe;
        may_probe.then_some(true)
    }

    /// A probe has ended. If it found out nothing, the next one may begin at once.
    fn end_probe(&mut self) {
        if let Some(closed) = &mut self.closed {
            closed.is_probing = false;
        }
    }

    /// Makes a probe due as soon as Port wants to get requests.
    fn probe_now(&mut self, now: Instant) {
        if let Some(closed) = &mut self.closed {
            closed.next_probe = closed.paused_until.max(now);
            self.delays.forget(&());
        }
    }

    /// When an attempt may begin at the earliest; `None` while a probe is under way.
    fn next_admission(&self, now: Instant) -> Option<Instant> {
        match &self.closed {
            None => Some(now),
            Some(closed) => (!closed.is_probing).then_some(closed.next_probe),
        }
    }
}

/// The gate that the publishers share. It closes
///
/// - at once, if Port asks for a pause or doesn't accept the credentials;
/// - after failed attempts that no single entity explains, if Port can't be reached, fails, or denies access.
///
/// It opens with the first response that shows that Port works.
#[derive(Debug)]
pub struct PortGate {
    state: Mutex<State>,
    changed: Notify,
    pause: watch::Sender<Option<Pause>>,
    metrics: Arc<Metrics>,
}

/// The permission for an attempt. If it is a probe, its end allows the next one.
#[derive(Debug)]
pub struct AttemptPermit<'a>(Option<&'a PortGate>);

impl Drop for AttemptPermit<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0 {
            gate.state.lock().end_probe();
            gate.changed.notify_waiters();
        }
    }
}

impl PortGate {
    /// An open gate.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), pause: watch::Sender::new(None), metrics }
    }

    /// Takes in the `answers` to an attempt with these `entities`.
    pub fn observe<'a>(&self, entities: impl Iterator<Item = &'a str>, answers: &[Result<Upserted, Error>]) {
        let evidence = Evidence::of_all(answers);
        let (transition, is_probe) = {
            let mut state = self.state.lock();
            let is_probe = state.closed.is_some_and(|closed| closed.is_probing);
            (state.observe(entities, evidence, Instant::now()), is_probe)
        };
        if is_probe && evidence != Evidence::None {
            self.metrics.delivery.probed(evidence == Evidence::PortWorks);
        }
        match (transition, evidence) {
            (Transition::Opened, _) => {
                info!("Port can be used again; delivering what is pending");
                self.set_pause(None);
            }
            (Transition::Closed, Evidence::Failure(error) | Evidence::Stop(error)) => {
                let pause = Pause { reason: error.kind(), problem: condition::explain(error) };
                warn!(
                    reason = error.reason(),
                    "Port can't be used; all deliveries wait, and one resource at a time is tried: {}", pause.problem
                );
                self.metrics.delivery.delivery_paused(error.reason());
                self.set_pause(Some(pause));
            }
            (Transition::OtherReason, Evidence::Failure(error) | Evidence::Stop(error)) => {
                let pause = Pause { reason: error.kind(), problem: condition::explain(error) };
                info!(reason = error.reason(), "Port still can't be used: {}", pause.problem);
                self.set_pause(Some(pause));
            }
            _ => {}
        }
    }

    fn set_pause(&self, pause: Option<Pause>) {
        self.metrics.delivery.set_paused(pause.as_ref().map(|pause| pause.reason));
        self.pause.send_replace(pause);
        self.changed.notify_waiters();
    }

    /// Makes a probe due now, because the credentials have changed.
    pub fn probe_now(&self) {
        self.state.lock().probe_now(Instant::now());
        self.changed.notify_waiters();
    }

    /// Why nothing is delivered, now and after each change; `None` while the gate is open.
    #[must_use]
    pub fn pauses(&self) -> watch::Receiver<Option<Pause>> {
        self.pause.subscribe()
    }

    /// Whether the gate is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.pause.borrow().is_none()
    }

    /// Waits until the gate is open.
    pub async fn opened(&self) {
        // The sender lives as long as the gate, so this doesn't fail.
        let _ = self.pauses().wait_for(Option::is_none).await;
    }
}

impl Gate for PortGate {
    type Permit<'a> = AttemptPermit<'a>;

    fn admit(&self, max: usize) -> Option<(usize, AttemptPermit<'_>)> {
        let is_probe = self.state.lock().admit(Instant::now())?;
        Some(if is_probe { (1, AttemptPermit(Some(self))) } else { (max, AttemptPermit(None)) })
    }

    async fn reopened(&self) {
        let mut changed = std::pin::pin!(self.changed.notified());
        // From here on, no change is missed.
        changed.as_mut().enable();
        let next_admission = self.state.lock().next_admission(Instant::now());
        match next_admission {
            Some(time) => {
                tokio::select! {
                    () = changed => {}
                    () = sleep_until(time) => {}
                }
            }
            None => changed.await,
        }
    }
}

#[cfg(test)]
mod tests;
