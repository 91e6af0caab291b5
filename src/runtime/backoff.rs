//! Delays before failed work is retried.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;

use super::shrink_if_sparse;

/// Exponential backoff with full jitter, for each key separately and without a limit on attempts.
///
/// Full jitter means that a delay is anywhere between zero and a bound, and the bound doubles with each failure. Keys
/// that fail at the same time are therefore not retried at the same time. See
/// [Exponential Backoff And Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
#[derive(Debug)]
pub struct Backoff<K> {
    min_delay: Duration,
    max_delay: Duration,
    /// The keys whose last attempt failed.
    failing: Mutex<HashMap<K, ExponentialBackoff>>,
}

impl<K: Clone + Eq + Hash> Backoff<K> {
    /// The first delay of a key is at most `min_delay`. The bound doubles with each further failure, up to `max_delay`.
    #[must_use]
    pub fn new(min_delay: Duration, max_delay: Duration) -> Self {
        Self { min_delay, max_delay, failing: Mutex::default() }
    }

    /// Records that an attempt for `key` failed, and returns the delay before the next one.
    pub fn next_delay(&self, key: &K) -> Duration {
        let bound = self
            .failing
            .lock()
            .entry(key.clone())
            .or_insert_with(|| {
                ExponentialBuilder::default()
                    .with_min_delay(self.min_delay)
                    .with_max_delay(self.max_delay)
                    .without_max_times()
                    .build()
            })
            .next();
        bound.unwrap_or(self.max_delay).mul_f64(fastrand::f64())
    }

    /// Resets the backoff of `key`, because the work succeeded or is no longer needed. Returns whether the last attempt
    /// had failed.
    pub fn forget(&self, key: &K) -> bool {
        let mut failing = self.failing.lock();
        let was_failing = failing.remove(key).is_some();
        shrink_if_sparse(&mut failing);
        was_failing
    }

    /// Whether the last attempt for `key` failed.
    #[must_use]
    pub fn is_failing(&self, key: &K) -> bool {
        self.failing.lock().contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN_DELAY: Duration = Duration::from_secs(1);
    const MAX_DELAY: Duration = Duration::from_secs(60);

    #[test]
    fn delays_are_spread_below_a_growing_bound() {
        let backoff = Backoff::new(MIN_DELAY, MAX_DELAY);
        for doublings in 0..6 {
            assert!(backoff.next_delay(&"a") <= MIN_DELAY * 2_u32.pow(doublings));
        }
        let delays: Vec<_> = (0..100).map(|_| backoff.next_delay(&"a")).collect();
        assert!(delays.iter().all(|delay| *delay <= MAX_DELAY));
        let half = MAX_DELAY / 2;
        assert!(delays.iter().any(|delay| *delay > half) && delays.iter().any(|delay| *delay < half));
        assert!(backoff.next_delay(&"b") <= MIN_DELAY, "each key has its own backoff");
    }

    #[test]
    fn forget_resets_the_bound() {
        let backoff = Backoff::new(MIN_DELAY, MAX_DELAY);
        for _ in 0..10 {
            backoff.next_delay(&"a");
        }
        assert!(backoff.is_failing(&"a") && backoff.forget(&"a"));
        assert!(!backoff.is_failing(&"a") && !backoff.forget(&"a"));
        assert!(backoff.next_delay(&"a") <= MIN_DELAY);
    }
}
