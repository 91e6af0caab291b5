//! One budget for everything that a process sends to Port: its own limits, what Port says is left of Port's, and the pauses that Port asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::DefaultDirectRateLimiter;
use governor::clock::{Clock, DefaultClock};
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use crate::error::Error;
use crate::observer::{Observer, Route};
use crate::rate_limit::headers::Remaining;
use crate::rate_limit::limits::{Limit, Limits};
use crate::rate_limit::window::Allowance;

/// Shorter waits are not told to the observer: timers are no more precise than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The budget that all clones of a client share.
pub(crate) struct Budget {
    token: Family,
    upsert: Family,
    bulk: Family,
    blueprints: Family,
    entities: Family,
    clock: DefaultClock,
    paused_until: Mutex<Option<Instant>>,
    longest_wait: Duration,
    observer: Option<Arc<dyn Observer>>,
}

/// The routes that Port counts together.
struct Family {
    limiter: DefaultDirectRateLimiter,
    allowance: Mutex<Allowance>,
}

/// The right to send one request.
pub(crate) struct Permit<'a> {
    family: &'a Family,
    is_sent: bool,
}

impl Budget {
    pub(crate) fn new(limits: Limits, longest_wait: Duration, observer: Option<Arc<dyn Observer>>) -> Self {
        let Limits { token, upsert, bulk, blueprints, entities } = limits;
        Self {
            token: Family::new(token),
            upsert: Family::new(upsert),
            bulk: Family::new(bulk),
            blueprints: Family::new(blueprints),
            entities: Family::new(entities),
            clock: DefaultClock::default(),
            paused_until: Mutex::new(None),
            longest_wait,
            observer,
        }
    }

    /// Returns when a request may be sent, which it then must be without further waiting. The permit is kept until the answer is there.
    ///
    /// # Errors
    /// [`Error::RateLimited`] at once if a pause, or the wait for one of the last requests that Port allows, would take longer than a call
    /// may wait: the caller knows better what to do meanwhile, and will have fresher data to send afterwards.
    pub(crate) async fn acquire(&self, route: Route) -> Result<Permit<'_>, Error> {
        let started = Instant::now();
        let family = self.family(route);
        let permit = loop {
            self.wait_for_the_end_of_the_pause().await?;
            let mut permit = self.wait_for_its_turn(family).await?;
            // `until_ready` would do the same with a timer thread of its own; the runtime has a timer already.
            while let Err(not_until) = family.limiter.check() {
                tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
            }
            // Another request may have begun a pause meanwhile.
            if self.paused_until().is_none() {
                permit.is_sent = true;
                break permit;
            }
        };
        let waited = started.elapsed();
        if waited >= SHORTEST_WAIT {
            tracing::debug!(%route, milliseconds = waited.as_millis(), "a request waited for Port's rate limit");
            if let Some(observer) = &self.observer {
                observer.on_wait(route, waited);
            }
        }
        Ok(permit)
    }

    async fn wait_for_its_turn<'a>(&self, family: &'a Family) -> Result<Permit<'a>, Error> {
        loop {
            let now = Instant::now();
            let latest = now.checked_add(self.longest_wait);
            let turn = family.allowance().take(now, latest);
            match turn {
                Ok(at) => {
                    // Before the wait, so that a call which is given up meanwhile returns what it took.
                    let permit = Permit { family, is_sent: false };
                    if at > now {
                        tokio::time::sleep_until(at).await;
                    }
                    return Ok(permit);
                }
                Err(at) if latest.is_some_and(|latest| at > latest) => {
                    return Err(Error::RateLimited { retry_after: at - now, answer: None });
                }
                Err(at) => tokio::time::sleep_until(at).await,
            }
        }
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

    /// Learns from an answer what Port still lets through. The permit for its request ends before, so that it counts as used.
    pub(crate) fn learn(&self, route: Route, status: u16, headers: &HeaderMap, now: Timestamp) {
        if let Some(told) = Remaining::read(headers, now) {
            // Port counts requests without a valid token together with those for one.
            let family = if status == 401 { &self.token } else { self.family(route) };
            family.allowance().learn(told, Instant::now());
        }
    }

    /// Keeps every clone from sending for `duration` from now. A longer pause that is under way stays.
    pub(crate) fn pause(&self, duration: Duration) {
        let now = Instant::now();
        let until = now + duration;
        let added = {
            let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
            let before = paused.unwrap_or(now).max(now);
            *paused = Some(before.max(until));
            until.saturating_duration_since(before)
        };
        if added.is_zero() {
            return;
        }
        tracing::info!(seconds = duration.as_secs_f64(), "Port asks for a pause; nothing is sent to it meanwhile");
        if let Some(observer) = &self.observer {
            observer.on_pause(added);
        }
    }

    /// When the pause ends; `None` if there is none.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        let paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        paused.filter(|until| *until > Instant::now())
    }

    fn family(&self, route: Route) -> &Family {
        match route {
            Route::Token => &self.token,
            Route::Upsert => &self.upsert,
            Route::UpsertBulk => &self.bulk,
            Route::GetBlueprint | Route::CreateBlueprint => &self.blueprints,
            Route::GetEntity | Route::DeleteEntity => &self.entities,
        }
    }
}

impl Family {
    fn new(limit: Limit) -> Self {
        Self { limiter: limit.limiter(), allowance: Mutex::default() }
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut allowance = self.family.allowance();
        if self.is_sent { allowance.ended() } else { allowance.give_back() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    /// What was told to the observer.
    #[derive(Default)]
    struct Told {
        pauses: Mutex<Vec<Duration>>,
        waits: Mutex<Vec<(Route, Duration)>>,
    }

    impl Observer for Told {
        fn on_request(&self, _: Route, _: crate::StatusClass, _: Duration) {}

        fn on_pause(&self, duration: Duration) {
            self.pauses.lock().unwrap().push(duration);
        }

        fn on_wait(&self, route: Route, duration: Duration) {
            self.waits.lock().unwrap().push((route, duration));
        }
    }

    fn budget(longest_wait: Duration) -> (Budget, Arc<Told>) {
        let told = Arc::new(Told::default());
        let observer = Arc::clone(&told) as Arc<dyn Observer>;
        (Budget::new(Limits::PUBLISHED, longest_wait, Some(observer)), told)
    }

    fn left(limit: u32, remaining: u32, reset: u32) -> HeaderMap {
        [("x-ratelimit-limit", limit), ("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)]
            .into_iter()
            .map(|(name, value)| (reqwest::header::HeaderName::from_static(name), HeaderValue::from(value)))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everything_until_its_end_and_is_only_prolonged() {
        let (budget, told) = budget(Duration::MAX);
        let start = Instant::now();
        budget.pause(Duration::from_secs(20));
        budget.pause(Duration::from_secs(5));
        assert_eq!(budget.paused_until(), Some(start + Duration::from_secs(20)));
        budget.pause(Duration::from_secs(30));
        drop(budget.acquire(Route::Upsert).await.unwrap());
        assert!(Instant::now() >= start + Duration::from_secs(30));
        assert_eq!(budget.paused_until(), None);
        let paused = told.pauses.lock().unwrap().clone();
        assert_eq!(paused, [Duration::from_secs(20), Duration::from_secs(10)], "their sum is the time paused");
        let waits = told.waits.lock().unwrap().clone();
        assert!(matches!(waits[..], [(Route::Upsert, wait)] if wait >= Duration::from_secs(30)), "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_too_long_to_wait_for_is_an_error_at_once() {
        let (budget, told) = budget(Duration::from_secs(10));
        let start = Instant::now();
        budget.pause(Duration::from_secs(60));
        let error = budget.acquire(Route::Upsert).await.err().unwrap();
        let retry_after = Duration::from_secs(60);
        assert_eq!(error, Error::RateLimited { retry_after, answer: None });
        assert_eq!(Instant::now(), start);
        assert!(told.waits.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_requests_of_a_window_are_spread_for_their_family_alone() {
        let (budget, told) = budget(Duration::MAX);
        budget.learn(Route::Upsert, 200, &left(100, 4, 50), Timestamp::UNIX_EPOCH);
        let start = Instant::now();
        for turn in 1..=4 {
            let permit = budget.acquire(Route::Upsert).await.unwrap();
            let apart = start.elapsed().abs_diff(Duration::from_secs(10 * turn));
            assert!(apart <= Duration::from_millis(10), "{turn}: {:?}", start.elapsed());
            drop(permit);
        }
        let before = Instant::now();
        drop(budget.acquire(Route::UpsertBulk).await.unwrap());
        assert_eq!(Instant::now(), before, "another limit of Port's");
        drop(budget.acquire(Route::Upsert).await.unwrap());
        assert!(start.elapsed() >= Duration::from_secs(50), "the next window");
        assert_eq!(told.waits.lock().unwrap().len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_too_far_away_is_an_error_at_once_and_takes_nothing() {
        let (budget, _) = budget(Duration::from_secs(5));
        budget.learn(Route::Upsert, 200, &left(100, 0, 60), Timestamp::UNIX_EPOCH);
        let error = budget.acquire(Route::Upsert).await.err().unwrap();
        assert_eq!(error, Error::RateLimited { retry_after: Duration::from_secs(60), answer: None });

        budget.learn(Route::GetBlueprint, 200, &left(100, 1, 12), Timestamp::UNIX_EPOCH);
        for _ in 0..10 {
            let error = budget.acquire(Route::GetBlueprint).await.err().unwrap();
            assert_eq!(error, Error::RateLimited { retry_after: Duration::from_secs(6), answer: None });
        }
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(budget.acquire(Route::GetBlueprint).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_while_it_waits_returns_what_it_took() {
        let (budget, _) = budget(Duration::MAX);
        budget.learn(Route::Upsert, 200, &left(100, 1, 60), Timestamp::UNIX_EPOCH);
        let start = Instant::now();
        let given_up = tokio::time::timeout(Duration::from_secs(1), budget.acquire(Route::Upsert)).await;
        assert!(given_up.is_err());
        drop(budget.acquire(Route::Upsert).await.unwrap());
        assert!(start.elapsed() < Duration::from_secs(60), "the one that was left, not one of the next window");
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_answer_without_a_valid_token_says_is_of_the_limit_for_tokens() {
        let (budget, _) = budget(Duration::ZERO);
        budget.learn(Route::Upsert, 401, &left(100, 0, 60), Timestamp::UNIX_EPOCH);
        assert!(budget.acquire(Route::Upsert).await.is_ok());
        assert!(budget.acquire(Route::Token).await.is_err());
    }
}
