//! What Port says is left of a rate limit, and how it is spread over the time until there is more.

use std::time::Duration;

use tokio::time::Instant;

use crate::rate_limit::headers::Remaining;

/// The part of a limit below which what is left is spread.
const LOW: u32 = 10;

/// Answers arrive in another order than Port counted them, and resets are told in whole seconds: two that are this close, or a quarter
/// of the window if that is less, are the same.
const SAME_RESET: Duration = Duration::from_secs(2);

/// What one client may still send of one of Port's limits. Pure: the time is given.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// Requests that were let through and are not answered yet. Port may not have counted them in what it says is left.
    outstanding: u32,
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    limit: u32,
    /// What may still be sent before `ends`.
    left: u32,
    ends: Instant,
    period: Duration,
    /// When the last request was sent or will be: the next ones follow it at even distances.
    last: Instant,
    /// The window was assumed to have begun, and Port has not spoken of it yet.
    assumed: bool,
}

impl Allowance {
    /// Takes one request: when it is to be sent, from `now` on.
    ///
    /// # Errors
    /// The earliest time, if that is later than `latest` or if nothing is left until then; nothing is taken.
    pub(crate) fn take(&mut self, now: Instant, latest: Option<Instant>) -> Result<Instant, Instant> {
        let at = match &mut self.window {
            None => now,
            Some(window) => {
                if now >= window.ends {
                    window.begin_anew(now, self.outstanding);
                }
                let at = window.next(now, self.outstanding).ok_or(window.ends)?;
                if latest.is_some_and(|latest| at > latest) {
                    return Err(at);
                }
                window.left = window.left.saturating_sub(1);
                window.last = at;
                at
            }
        };
        self.outstanding = self.outstanding.saturating_add(1);
        Ok(at)
    }

    /// Returns a request that was taken and will not be sent.
    pub(crate) fn give_back(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
        if let Some(window) = &mut self.window {
            window.left = window.left.saturating_add(1).min(window.limit);
        }
    }

    /// A request that was sent is answered, or given up.
    pub(crate) fn ended(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// Learns from an answer what is left.
    pub(crate) fn learn(&mut self, told: Remaining, now: Instant) {
        let left = told.left.saturating_sub(self.outstanding);
        let ends = now + told.reset;
        match &mut self.window {
            // An answer that was overtaken by a later one tells of more than there is.
            Some(window) if window.is_the_one_of(told, ends, now) => window.left = window.left.min(left),
            other => {
                let last = other.as_ref().map_or(now, |window| window.last.min(ends));
                let Remaining { limit, period, .. } = told;
                *other = Some(Window { limit, left, ends, period, last, assumed: false });
            }
        }
    }
}

impl Window {
    /// Whether what Port told is of this window, and not of the next or of another limit.
    fn is_the_one_of(&self, told: Remaining, ends: Instant, now: Instant) -> bool {
        let apart = ends.max(self.ends).duration_since(ends.min(self.ends));
        !self.assumed && told.limit == self.limit && now < self.ends && apart <= SAME_RESET.min(self.period / 4)
    }

    /// The next window, until Port speaks of it: as full as a new one is, and as long.
    fn begin_anew(&mut self, now: Instant, outstanding: u32) {
        self.left = self.limit.saturating_sub(outstanding).max(1);
        self.ends = now + self.period;
        self.assumed = true;
    }

    /// When the next request may be sent; `None` if not in this window.
    fn next(&self, now: Instant, outstanding: u32) -> Option<Instant> {
        if self.left == 0 {
            return None;
        }
        if self.left >= (self.limit / LOW).max(outstanding).max(1) {
            return Some(now);
        }
        let spread_over = self.ends.saturating_duration_since(self.last);
        Some(now.max(self.last + spread_over / self.left.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn told(left: u32, reset: Duration) -> Remaining {
        Remaining { limit: 100, left, reset, period: WINDOW }
    }

    /// One request after the other, each answered at once, as long as they may be sent within the window; when each was sent.
    fn send_all(allowance: &mut Allowance, start: Instant, mut left: u32) -> Vec<Duration> {
        let (mut now, mut sent) = (start, Vec::new());
        while let Ok(at) = allowance.take(now, None) {
            assert!(at >= now);
            now = at;
            sent.push(at - start);
            left -= 1;
            allowance.ended();
            allowance.learn(told(left, WINDOW.saturating_sub(now - start)), now);
        }
        sent
    }

    #[test]
    fn nothing_is_held_back_before_port_has_spoken_or_while_much_is_left() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        for _ in 0..1_000 {
            assert_eq!(allowance.take(now, Some(now)), Ok(now));
            allowance.ended();
        }
        allowance.learn(told(100, WINDOW), now);
        for _ in 0..90 {
            assert_eq!(allowance.take(now, Some(now)), Ok(now));
            allowance.ended();
        }
    }

    #[test]
    fn the_last_tenth_is_spread_evenly_over_the_rest_of_the_window() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        allowance.learn(told(9, WINDOW), start);
        let sent = send_all(&mut allowance, start, 9);
        let expected: Vec<_> = (1..=9).map(|index| Duration::from_secs(30 * index)).collect();
        assert_eq!(sent, expected, "and then none until the next window");
        assert_eq!(allowance.take(start + Duration::from_secs(280), None), Err(start + WINDOW));
        assert_eq!(allowance.take(start + WINDOW, None), Ok(start + WINDOW));
    }

    #[test]
    fn what_is_under_way_counts_as_used() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        allowance.learn(told(60, WINDOW), now);
        for _ in 0..20 {
            assert_eq!(allowance.take(now, None), Ok(now));
        }
        // The answer to the first: Port has counted no more than that one.
        allowance.ended();
        allowance.learn(told(59, WINDOW), now);
        let at_once = (0..100).take_while(|_| allowance.take(now, Some(now)).is_ok()).count();
        assert_eq!(at_once, 11, "40 were left with 19 under way; once 29 are left with 30 under way, they are spread");
        let together = (0..100).take_while(|_| allowance.take(now, None).is_ok()).count();
        assert_eq!(20 + at_once + together, 60, "as many as Port lets through, answered or not");
    }

    #[test]
    fn an_answer_that_was_overtaken_does_not_add_to_what_is_left() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        allowance.learn(told(2, WINDOW), now);
        let first = allowance.take(now, None).unwrap();
        allowance.ended();
        let rest = WINDOW.saturating_sub(first - now);
        allowance.learn(told(0, rest), first);
        allowance.learn(told(1, rest + Duration::from_secs(1)), first);
        assert_eq!(allowance.take(first, None), Err(now + WINDOW));
    }

    #[test]
    fn a_new_window_is_believed_at_once() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        allowance.learn(told(0, Duration::from_secs(100)), now);
        assert!(allowance.take(now, None).is_err());
        allowance.learn(told(100, WINDOW), now);
        assert_eq!(allowance.take(now, None), Ok(now));
    }

    #[test]
    fn a_window_that_port_has_not_spoken_of_yet_is_assumed_to_be_as_large_as_the_last() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        allowance.learn(told(0, WINDOW), start);
        let now = start + WINDOW;
        let taken = (0..1_000).take_while(|_| allowance.take(now, None).is_ok()).count();
        assert_eq!(taken, 100);
        for _ in 0..100 {
            allowance.ended();
        }
        allowance.learn(told(50, WINDOW), now);
        assert_eq!(allowance.take(now, None), Ok(now), "Port knows better");
    }

    #[test]
    fn who_may_not_wait_takes_nothing() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        allowance.learn(told(1, WINDOW), now);
        let soon = now + Duration::from_secs(5);
        let first_turn = now + WINDOW / 2;
        assert_eq!(allowance.take(now, Some(soon)), Err(first_turn));
        assert_eq!(allowance.take(now, Some(first_turn)), Ok(first_turn), "it is still there");
        assert_eq!(allowance.take(now, None), Err(now + WINDOW));
        allowance.give_back();
        assert!(allowance.take(now, None).is_ok());
    }
}
