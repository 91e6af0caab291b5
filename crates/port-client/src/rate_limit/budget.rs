//! The budget of a process: its own limits, the requests that Port still allows, and the pauses that Port asks for.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use governor::DefaultDirectRateLimiter;
use governor::clock::{Clock, DefaultClock};
use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use crate::error::Error;
use crate::http::Route;
use crate::instant::later;
use crate::observer::Observer;
use crate::rate_limit::headers::RateLimitHeaders;
use crate::rate_limit::window::Allowance;
use crate::rate_limit::{Limit, Limits};

/// The shortest wait that is reported to the observer. Timers are not more precise.
const MIN_REPORTED_WAIT: Duration = Duration::from_millis(1);

/// The budget that all clones of a client share.
pub(crate) struct Budget {
    token: RouteGroup,
    upsert: RouteGroup,
    bulk: RouteGroup,
    blueprints: RouteGroup,
    entities: RouteGroup,
    clock: DefaultClock,
    paused_until: Mutex<Option<Instant>>,
    max_wait: Duration,
    observer: Option<Arc<dyn Observer>>,
}

/// The routes that Port counts together.
struct RouteGroup {
    limiter: DefaultDirectRateLimiter,
    allowance: Mutex<Allowance>,
}

/// The permission to send one request.
pub(crate) struct Permit<'a> {
    group: &'a RouteGroup,
    is_used: bool,
}

impl Budget {
    pub(crate) fn new(limits: Limits, max_wait: Duration, observer: Option<Arc<dyn Observer>>) -> Self {
        let Limits { token, upsert, bulk, blueprints, entities } = limits;
        Self {
            token: RouteGroup::new(token),
            upsert: RouteGroup::new(upsert),
            bulk: RouteGroup::new(bulk),
            blueprints: RouteGroup::new(blueprints),
            entities: RouteGroup::new(entities),
            clock: DefaultClock::default(),
            paused_until: Mutex::new(None),
            max_wait,
            observer,
        }
    }

    /// Waits until a request may be sent. The caller sends it without further waiting, and keeps the permit until the response arrives.
    ///
    /// # Errors
    /// [`Error::RateLimited`] at once, if a pause or the turn of the request ends later than `max_wait` from now. The caller can then
    /// decide what to do meanwhile, and send newer data afterwards.
    pub(crate) async fn acquire(&self, route: Route) -> Result<Permit<'_>, Error> {
        let started = Instant::now();
        let group = self.group(route);
        let permit = loop {
            self.wait_for_end_of_pause().await?;
            let mut permit = self.wait_for_turn(group).await?;
            // `until_ready` would use a timer of its own; the runtime already has one.
            while let Err(not_until) = group.limiter.check() {
                tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
            }
            // Another request may have started a pause meanwhile.
            if self.paused_until().is_none() {
                permit.is_used = true;
                break permit;
            }
        };
        let waited = started.elapsed();
        if waited >= MIN_REPORTED_WAIT {
            tracing::debug!(%route, milliseconds = waited.as_millis(), "a request waited for Port's rate limit");
            if let Some(observer) = &self.observer {
                observer.on_wait(route, waited);
            }
        }
        Ok(permit)
    }

    async fn wait_for_turn<'a>(&self, group: &'a RouteGroup) -> Result<Permit<'a>, Error> {
        loop {
            let now = Instant::now();
            let latest = now.checked_add(self.max_wait);
            let turn = group.allowance.lock().take(now, latest);
            match turn {
                Ok(at) => {
                    // Created before the wait, so that a call that is cancelled meanwhile gives back what it took.
                    let permit = Permit { group, is_used: false };
                    if at > now {
                        tokio::time::sleep_until(at).await;
                    }
                    return Ok(permit);
                }
                Err(at) if latest.is_some_and(|latest| at > latest) => {
                    return Err(Error::RateLimited { retry_after: at.saturating_duration_since(now), response: None });
                }
                Err(at) => tokio::time::sleep_until(at).await,
            }
        }
    }

    async fn wait_for_end_of_pause(&self) -> Result<(), Error> {
        // A loop, since another request may extend the pause meanwhile.
        while let Some(until) = self.paused_until() {
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining > self.max_wait {
                return Err(Error::RateLimited { retry_after: remaining, response: None });
            }
            tokio::time::sleep_until(until).await;
        }
        Ok(())
    }

    /// Applies the rate limit headers of a response. The permit of the request ends before, so that the request counts as complete.
    pub(crate) fn update(&self, route: Route, status: u16, headers: &HeaderMap, now: SystemTime) {
        if let Some(headers) = RateLimitHeaders::read(headers, now) {
            // Port counts requests without a valid token together with token requests.
            let group = if status == 401 { &self.token } else { self.group(route) };
            group.allowance.lock().update(headers, Instant::now());
        }
    }

    /// Pauses all clones for `duration` from now. A pause that ends later stays in effect.
    pub(crate) fn pause(&self, duration: Duration) {
        let now = Instant::now();
        let until = later(now, duration);
        let added = {
            let mut paused_until = self.paused_until.lock();
            let before = paused_until.unwrap_or(now).max(now);
            *paused_until = Some(before.max(until));
            until.saturating_duration_since(before)
        };
        if added.is_zero() {
            return;
        }
        tracing::info!(seconds = duration.as_secs_f64(), "Port asked for a pause; pausing all requests to it");
        if let Some(observer) = &self.observer {
            observer.on_pause(added);
        }
    }

    /// When the pause ends; `None` if there is no pause.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until.lock().filter(|until| *until > Instant::now())
    }

    fn group(&self, route: Route) -> &RouteGroup {
        match route {
            Route::Token => &self.token,
            Route::Upsert => &self.upsert,
            Route::UpsertBulk => &self.bulk,
            Route::GetBlueprint | Route::CreateBlueprint => &self.blueprints,
            Route::GetEntity | Route::DeleteEntity => &self.entities,
        }
    }
}

impl RouteGroup {
    fn new(limit: Limit) -> Self {
        Self { limiter: limit.limiter(), allowance: Mutex::default() }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut allowance = self.group.allowance.lock();
        if self.is_used { allowance.complete() } else { allowance.give_back() }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    /// Records the calls of the observer.
    #[derive(Default)]
    struct Recorder {
        pauses: Mutex<Vec<Duration>>,
        waits: Mutex<Vec<(Route, Duration)>>,
    }

    impl Observer for Recorder {
        fn on_request(&self, _: Route, _: crate::StatusClass, _: Duration) {}

        fn on_pause(&self, duration: Duration) {
            self.pauses.lock().push(duration);
        }

        fn on_wait(&self, route: Route, duration: Duration) {
            self.waits.lock().push((route, duration));
        }
    }

    fn budget(max_wait: Duration) -> (Budget, Arc<Recorder>) {
        let recorder = Arc::new(Recorder::default());
        let observer = Arc::clone(&recorder) as Arc<dyn Observer>;
        (Budget::new(Limits::PUBLISHED, max_wait, Some(observer)), recorder)
    }

    fn headers(limit: u32, remaining: u32, reset: u32) -> HeaderMap {
        [("x-ratelimit-limit", limit), ("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)]
            .into_iter()
            .map(|(name, value)| (reqwest::header::HeaderName::from_static(name), HeaderValue::from(value)))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn pause_is_only_extended() {
        let (budget, recorder) = budget(Duration::MAX);
        let start = Instant::now();
        budget.pause(Duration::from_secs(20));
        budget.pause(Duration::from_secs(5));
        assert_eq!(budget.paused_until(), Some(start + Duration::from_secs(20)));
        budget.pause(Duration::from_secs(30));
        drop(budget.acquire(Route::Upsert).await.unwrap());
        assert!(Instant::now() >= start + Duration::from_secs(30));
        assert_eq!(budget.paused_until(), None);
        let paused = recorder.pauses.lock().clone();
        assert_eq!(paused, [Duration::from_secs(20), Duration::from_secs(10)], "their sum is the time paused");
        let waits = recorder.waits.lock().clone();
        assert!(matches!(waits[..], [(Route::Upsert, wait)] if wait >= Duration::from_secs(30)), "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn pause_longer_than_max_wait_fails_at_once() {
        let (budget, recorder) = budget(Duration::from_secs(10));
        let start = Instant::now();
        budget.pause(Duration::from_secs(60));
        let error = budget.acquire(Route::Upsert).await.err().unwrap();
        let retry_after = Duration::from_secs(60);
        assert_eq!(error, Error::RateLimited { retry_after, response: None });
        assert_eq!(Instant::now(), start);
        assert!(recorder.waits.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn last_requests_are_spread_per_route_group() {
        let (budget, recorder) = budget(Duration::MAX);
        budget.update(Route::Upsert, 200, &headers(100, 4, 50), SystemTime::UNIX_EPOCH);
        let start = Instant::now();
        for turn in 1..=4 {
            let permit = budget.acquire(Route::Upsert).await.unwrap();
            let apart = start.elapsed().abs_diff(Duration::from_secs(10 * turn));
            assert!(apart <= Duration::from_millis(10), "{turn}: {:?}", start.elapsed());
            drop(permit);
        }
        let before = Instant::now();
        drop(budget.acquire(Route::UpsertBulk).await.unwrap());
        assert_eq!(Instant::now(), before, "another limit of Port");
        drop(budget.acquire(Route::Upsert).await.unwrap());
        assert!(start.elapsed() >= Duration::from_secs(50), "the next window");
        assert_eq!(recorder.waits.lock().len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn turn_after_max_wait_fails_and_takes_nothing() {
        let (budget, _) = budget(Duration::from_secs(5));
        budget.update(Route::Upsert, 200, &headers(100, 0, 60), SystemTime::UNIX_EPOCH);
        let error = budget.acquire(Route::Upsert).await.err().unwrap();
        assert_eq!(error, Error::RateLimited { retry_after: Duration::from_secs(60), response: None });

        budget.update(Route::GetBlueprint, 200, &headers(100, 1, 12), SystemTime::UNIX_EPOCH);
        for _ in 0..10 {
            let error = budget.acquire(Route::GetBlueprint).await.err().unwrap();
            assert_eq!(error, Error::RateLimited { retry_after: Duration::from_secs(6), response: None });
        }
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(budget.acquire(Route::GetBlueprint).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_call_gives_back_what_it_took() {
        let (budget, _) = budget(Duration::MAX);
        budget.update(Route::Upsert, 200, &headers(100, 1, 60), SystemTime::UNIX_EPOCH);
        let start = Instant::now();
        let given_up = tokio::time::timeout(Duration::from_secs(1), budget.acquire(Route::Upsert)).await;
        assert!(given_up.is_err());
        drop(budget.acquire(Route::Upsert).await.unwrap());
        assert!(start.elapsed() < Duration::from_secs(60), "the remaining request, not one of the next window");
    }

    #[tokio::test(start_paused = true)]
    async fn a_401_updates_the_token_limit() {
        let (budget, _) = budget(Duration::ZERO);
        budget.update(Route::Upsert, 401, &headers(100, 0, 60), SystemTime::UNIX_EPOCH);
        assert!(budget.acquire(Route::Upsert).await.is_ok());
        assert!(budget.acquire(Route::Token).await.is_err());
    }
}
