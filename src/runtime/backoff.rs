//! How long to wait before work that failed is tried again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The waits of all keys whose last attempt failed: exponential, with full jitter, without an end.
#[derive(Debug)]
pub struct Backoff<K> {
    first: Duration,
    longest: Duration,
    failing: Mutex<HashMap<K, ExponentialBackoff>>,
}

impl<K: Clone + Eq + Hash> Backoff<K> {
    /// Backoff of up to `first`, then up to twice that, and so on up to `longest`: each anywhere between nothing and its bound ("full jitter"),
    /// so that what failed together doesn't come back together.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failing: Mutex::default() }
    }

    /// A poisoned lock still guards a usable map.
    fn failing(&self) -> MutexGuard<'_, HashMap<K, ExponentialBackoff>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work on `key` has failed (again): the delay before the next attempt.
    pub fn next_delay(&self, key: &K) -> Duration {
        let bound = self
            .failing()
            .entry(key.clone())
            .or_insert_with(|| {
                ExponentialBuilder::default()
                    .with_min_delay(self.first)
                    .with_max_delay(self.longest)
                    .without_max_times()
                    .build()
            })
            .next();
        bound.unwrap_or(self.longest).mul_f64(fastrand::f64())
    }

    /// Work on `key` has succeeded, or is not wanted any more; whether it had failed before.
    pub fn forget(&self, key: &K) -> bool {
        self.failing().remove(key).is_some()
    }

    /// Whether the last work on `key` failed.
    #[must_use]
    pub fn is_failing(&self, key: &K) -> bool {
        self.failing().contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_are_spread_below_a_bound_that_grows_and_begins_anew_after_a_success() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let waits = Backoff::new(first, longest);
        let next = |key: &'static str| waits.next_delay(&key);
        for doublings in 0..6 {
            assert!(next("a") <= first * 2_u32.pow(doublings));
        }
        let at_last: Vec<_> = (0..100).map(|_| next("a")).collect();
        assert!(at_last.iter().all(|wait| *wait <= longest));
        assert!(at_last.iter().any(|wait| *wait > longest / 2) && at_last.iter().any(|wait| *wait < longest / 2));
        assert!(next("b") <= first, "each key waits for itself");
        assert!(waits.forget(&"a"));
        assert!(!waits.forget(&"a"));
        assert!(next("a") <= first);
    }
}
