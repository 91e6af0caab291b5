//! Spreads the requests that remain in a window of Port's rate limit over the rest of the window.

use std::time::Duration;

use tokio::time::Instant;

use crate::instant::later;
use crate::rate_limit::headers::RateLimitHeaders;

/// The client spreads requests when less than this part of the limit (a tenth) remains.
const LOW: u32 = 10;

/// Responses may arrive in another order than Port counted them, and `x-ratelimit-reset` has whole seconds. Two resets that differ by less
/// than this, or by less than a quarter of the window, belong to the same window.
const SAME_RESET: Duration = Duration::from_secs(2);

/// The requests that a client may still send within one of Port's limits. Pure: the caller passes the time.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// Requests without a response yet. Port may not have counted them in `x-ratelimit-remaining`.
    in_flight: u32,
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    limit: u32,
    /// Requests that may be sent before `ends`.
    remaining: u32,
    ends: Instant,
    period: Duration,
    /// When the last request was or will be sent. The next ones follow at even intervals.
    last: Instant,
    /// The client assumes this window, since the last one has ended and no response has described the new one yet.
    is_assumed: bool,
}

impl Allowance {
    /// Takes one request, and returns when to send it: at `now` or later.
    ///
    /// # Errors
    /// The earliest possible time, if it is after `latest` or in the next window. Nothing is taken.
    pub(crate) fn take(&mut self, now: Instant, latest: Option<Instant>) -> Result<Instant, Instant> {
        let at = match &mut self.window {
            None => now,
            Some(window) => {
                if now >= window.ends {
                    window.restart(now, self.in_flight);
                }
                let at = window.next(now, self.in_flight).ok_or(window.ends)?;
                if latest.is_some_and(|latest| at > latest) {
                    return Err(at);
                }
                window.remaining = window.remaining.saturating_sub(1);
                window.last = at;
                at
            }
        };
        self.in_flight = self.in_flight.saturating_add(1);
        Ok(at)
    }

    /// Returns a request that was taken but not sent.
    pub(crate) fn give_back(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(window) = &mut self.window {
            window.remaining = window.remaining.saturating_add(1).min(window.limit);
        }
    }

    /// A request that was sent has a response, or was cancelled.
    pub(crate) fn complete(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Applies the headers of a response.
    pub(crate) fn update(&mut self, headers: RateLimitHeaders, now: Instant) {
        let remaining = headers.remaining.saturating_sub(self.in_flight);
        let ends = later(now, headers.reset);
        match &mut self.window {
            // A response that was overtaken by a later one reports more than there is.
            Some(window) if window.is_described_by(headers, ends, now) => {
                window.remaining = window.remaining.min(remaining);
            }
            other => {
                let last = other.as_ref().map_or(now, |window| window.last.min(ends));
                let RateLimitHeaders { limit, period, .. } = headers;
                *other = Some(Window { limit, remaining, ends, period, last, is_assumed: false });
            }
        }
    }
}

impl Window {
    /// Whether the headers describe this window, and not the next one or another limit.
    fn is_described_by(&self, headers: RateLimitHeaders, ends: Instant, now: Instant) -> bool {
        let difference = ends.max(self.ends).duration_since(ends.min(self.ends));
        !self.is_assumed
            && headers.limit == self.limit
            && now < self.ends
            && difference <= SAME_RESET.min(self.period.checked_div(4).unwrap_or_default())
    }

    /// Assumes that the next window is full and as long as this one, until a response describes it.
    fn restart(&mut self, now: Instant, in_flight: u32) {
        self.remaining = self.limit.saturating_sub(in_flight).max(1);
        self.ends = later(now, self.period);
        self.is_assumed = true;
    }

    /// When to send the next request; `None` if not in this window.
    fn next(&self, now: Instant, in_flight: u32) -> Option<Instant> {
        if self.remaining == 0 {
            return None;
        }
        if self.remaining >= (self.limit / LOW).max(in_flight).max(1) {
            return Some(now);
        }
        let rest = self.ends.saturating_duration_since(self.last);
        let interval = rest.checked_div(self.remaining.saturating_add(1)).unwrap_or_default();
        Some(now.max(later(self.last, interval)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn headers(remaining: u32, reset: Duration) -> RateLimitHeaders {
        RateLimitHeaders { limit: 100, remaining, reset, period: WINDOW }
    }

    /// Sends one request after the other while the window allows it, each with an immediate response, and returns when each was sent.
    fn send_all(allowance: &mut Allowance, start: Instant, mut remaining: u32) -> Vec<Duration> {
        let (mut now, mut sent) = (start, Vec::new());
        while let Ok(at) = allowance.take(now, None) {
            assert!(at >= now);
            now = at;
            sent.push(at - start);
            remaining -= 1;
            allowance.complete();
            allowance.update(headers(remaining, WINDOW.saturating_sub(now - start)), now);
        }
        sent
    }

    #[test]
    fn no_wait_while_the_limit_is_unknown_or_high() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        for _ in 0..1_000 {
            assert_eq!(allowance.take(now, Some(now)), Ok(now));
            allowance.complete();
        }
        allowance.update(headers(100, WINDOW), now);
        for _ in 0..90 {
            assert_eq!(allowance.take(now, Some(now)), Ok(now));
            allowance.complete();
        }
    }

    #[test]
    fn last_tenth_is_spread_over_the_window() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        allowance.update(headers(9, WINDOW), start);
        let sent = send_all(&mut allowance, start, 9);
        let expected: Vec<_> = (1..=9).map(|index| Duration::from_secs(30 * index)).collect();
        assert_eq!(sent, expected, "and then none until the next window");
        assert_eq!(allowance.take(start + Duration::from_secs(280), None), Err(start + WINDOW));
        assert_eq!(allowance.take(start + WINDOW, None), Ok(start + WINDOW));
    }

    #[test]
    fn requests_in_flight_count_as_used() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        allowance.update(headers(60, WINDOW), now);
        for _ in 0..20 {
            assert_eq!(allowance.take(now, None), Ok(now));
        }
        // The response to the first request, which is the only one that Port has counted.
        allowance.complete();
        allowance.update(headers(59, WINDOW), now);
        let at_once = (0..100).take_while(|_| allowance.take(now, Some(now)).is_ok()).count();
        assert_eq!(at_once, 11, "40 remain with 19 in flight; when 29 remain with 30 in flight, they are spread");
        let together = (0..100).take_while(|_| allowance.take(now, None).is_ok()).count();
        assert_eq!(20 + at_once + together, 60, "as many as Port allows, with or without a response");
    }

    #[test]
    fn late_response_does_not_add_requests() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        allowance.update(headers(2, WINDOW), now);
        let first = allowance.take(now, None).unwrap();
        allowance.complete();
        let rest = WINDOW.saturating_sub(first - now);
        allowance.update(headers(0, rest), first);
        allowance.update(headers(1, rest + Duration::from_secs(1)), first);
        assert_eq!(allowance.take(first, None), Err(now + WINDOW));
    }

    #[test]
    fn new_window_applies_at_once() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        allowance.update(headers(0, Duration::from_secs(100)), now);
        assert!(allowance.take(now, None).is_err());
        allowance.update(headers(100, WINDOW), now);
        assert_eq!(allowance.take(now, None), Ok(now));
    }

    #[test]
    fn unknown_window_is_assumed_to_be_full() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        allowance.update(headers(0, WINDOW), start);
        let now = start + WINDOW;
        let taken = (0..1_000).take_while(|_| allowance.take(now, None).is_ok()).count();
        assert_eq!(taken, 100);
        for _ in 0..100 {
            allowance.complete();
        }
        allowance.update(headers(50, WINDOW), now);
        assert_eq!(allowance.take(now, None), Ok(now), "the response of Port replaces the assumption");
    }

    #[test]
    fn call_that_may_not_wait_takes_nothing() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        allowance.update(headers(1, WINDOW), now);
        let soon = now + Duration::from_secs(5);
        let first_turn = now + WINDOW / 2;
        assert_eq!(allowance.take(now, Some(soon)), Err(first_turn));
        assert_eq!(allowance.take(now, Some(first_turn)), Ok(first_turn), "nothing was taken");
        assert_eq!(allowance.take(now, None), Err(now + WINDOW));
        allowance.give_back();
        assert!(allowance.take(now, None).is_ok());
    }
}
