//! One budget for everything that a process sends to Port: the limits that Port publishes, and the pauses that it asks for.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};
use tokio::time::Instant;

use super::error::Error;
use super::observe::Route;

/// The window that Port's published limits are for.
pub const RATE_LIMIT_PERIOD: Duration = Duration::from_mins(5);

/// How many requests may be sent in [`RATE_LIMIT_PERIOD`], and how many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Requests per [`RATE_LIMIT_PERIOD`], evenly spread.
    pub per_period: NonZeroU32,
    /// Requests that may be sent at once after a quiet time.
    pub burst: NonZeroU32,
}

impl Limit {
    /// A limit; a zero is taken as one.
    #[must_use]
    pub const fn new(per_period: u32, burst: u32) -> Self {
        Self { per_period: at_least_one(per_period), burst: at_least_one(burst) }
    }

    /// The given part of this limit.
    #[must_use]
    pub const fn percent(self, percent: u32) -> Self {
        Self::new(self.per_period.get().saturating_mul(percent) / 100, self.burst.get().saturating_mul(percent) / 100)
    }

    fn limiter(self) -> DefaultDirectRateLimiter {
        let interval = RATE_LIMIT_PERIOD / self.per_period.get();
        // A period of zero is the only one that is refused, and 5 minutes hold fewer than 2^32 nanoseconds times 70: it can't be zero.
        let quota =
            Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(self.burst);
        DefaultDirectRateLimiter::direct(quota)
    }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// Limits by kind of request. Port counts per organisation, so that other clients share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests for access tokens.
    pub token: Limit,
    /// Single upserts.
    pub upsert: Limit,
    /// Bulk upserts, however many entities each has.
    pub bulk: Limit,
    /// Reads of blueprints.
    pub blueprints: Limit,
    /// Reads and deletions of single entities.
    pub entities: Limit,
}

impl Limits {
    /// What Port's page "Rate limits" publishes (2026): unauthenticated requests, single entity upserts, entities bulk upserts,
    /// blueprints API and entities API.
    pub const PUBLISHED: Self = Self {
        token: Limit::new(100, 10),
        upsert: Limit::new(10_000, 200),
        bulk: Limit::new(35_000, 3_500),
        blueprints: Limit::new(15_000, 1_500),
        entities: Limit::new(35_000, 3_500),
    };

    /// The given part of each limit, for instance to leave room for others.
    #[must_use]
    pub const fn percent(self, percent: u32) -> Self {
        Self {
            token: self.token.percent(percent),
            upsert: self.upsert.percent(percent),
            bulk: self.bulk.percent(percent),
            blueprints: self.blueprints.percent(percent),
            entities: self.entities.percent(percent),
        }
    }
}

impl Default for Limits {
    /// 80 % of [`Limits::PUBLISHED`]: even a burst on top of a full window stays below the limit, and other clients of the organisation are not starved.
    fn default() -> Self {
        Self::PUBLISHED.percent(80)
    }
}

/// The budget that all clones of a client share.
pub(super) struct Budget {
    token: DefaultDirectRateLimiter,
    upsert: DefaultDirectRateLimiter,
    bulk: DefaultDirectRateLimiter,
    blueprints: DefaultDirectRateLimiter,
    entities: DefaultDirectRateLimiter,
    clock: DefaultClock,
    paused_until: Mutex<Option<Instant>>,
    longest_wait: Duration,
}

impl Budget {
    pub(super) fn new(limits: Limits, longest_wait: Duration) -> Self {
        let Limits { token, upsert, bulk, blueprints, entities } = limits;
        Self {
            token: token.limiter(),
            upsert: upsert.limiter(),
            bulk: bulk.limiter(),
            blueprints: blueprints.limiter(),
            entities: entities.limiter(),
            clock: DefaultClock::default(),
            paused_until: Mutex::new(None),
            longest_wait,
        }
    }

    /// Returns when a request may be sent, which it then must be without further waiting.
    ///
    /// # Errors
    /// [`Error::RateLimited`] at once if a pause would last longer than a call may wait: the caller knows better what to do meanwhile,
    /// and will have fresher data to send afterwards.
    pub(super) async fn acquire(&self, route: Route) -> Result<(), Error> {
        // Before the limiter as well, so that a call that is turned away takes nothing from the budget.
        self.wait_for_the_end_of_the_pause().await?;
        let limiter = match route {
            Route::Token => &self.token,
            Route::Upsert => &self.upsert,
            Route::UpsertBulk => &self.bulk,
            Route::GetBlueprint => &self.blueprints,
            Route::GetEntity | Route::DeleteEntity => &self.entities,
        };
        // `until_ready` would do the same with a timer thread of its own; the runtime has a timer already.
        while let Err(not_until) = limiter.check() {
            tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
        }
        self.wait_for_the_end_of_the_pause().await
    }

    async fn wait_for_the_end_of_the_pause(&self) -> Result<(), Error> {
        // Again and again, since another request may prolong the pause meanwhile.
        while let Some(until) = self.paused_until() {
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining > self.longest_wait {
                return Err(Error::RateLimited { retry_after: remaining, answer: None });
            }
            tokio::time::sleep_until(until).await;
        }
        Ok(())
    }

    /// Keeps every clone from sending for `duration` from now. A longer pause that is under way stays.
    pub(super) fn pause(&self, duration: Duration) {
        let until = Instant::now() + duration;
        let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = (*paused).max(Some(until));
    }

    /// When the pause ends; `None` if there is none.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        let paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        paused.filter(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_stays_below_what_port_publishes_even_with_a_burst() {
        let (ours, published) = (Limits::default(), Limits::PUBLISHED);
        for (ours, published) in [
            (ours.token, published.token),
            (ours.upsert, published.upsert),
            (ours.bulk, published.bulk),
            (ours.blueprints, published.blueprints),
            (ours.entities, published.entities),
        ] {
            assert!(ours.per_period.get() + ours.burst.get() <= published.per_period.get());
            assert!(ours.burst <= published.burst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everything_until_its_end_and_is_only_prolonged() {
        let budget = Budget::new(Limits::default(), Duration::MAX);
        let start = Instant::now();
        budget.pause(Duration::from_secs(20));
        budget.pause(Duration::from_secs(5));
        assert_eq!(budget.paused_until(), Some(start + Duration::from_secs(20)));
        budget.acquire(Route::Upsert).await.unwrap();
        assert!(Instant::now() >= start + Duration::from_secs(20));
        assert_eq!(budget.paused_until(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_too_long_to_wait_for_is_an_error_at_once() {
        let budget = Budget::new(Limits::default(), Duration::from_secs(10));
        let start = Instant::now();
        budget.pause(Duration::from_secs(60));
        let error = budget.acquire(Route::Upsert).await.unwrap_err();
        let retry_after = Duration::from_secs(60);
        let expected = Error::RateLimited { retry_after, answer: None };
        assert_eq!(error, expected);
        assert_eq!(Instant::now(), start);
    }

    #[test]
    fn a_burst_is_let_through_and_the_next_request_is_not() {
        let limiter = Limit::new(300, 3).limiter();
        for _ in 0..3 {
            assert!(limiter.check().is_ok());
        }
        assert!(limiter.check().is_err());
    }
}
