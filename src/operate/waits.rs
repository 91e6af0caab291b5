//! How long to wait before work that failed is tried again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// The waits of all keys whose last attempt failed: exponential, with jitter, without an end.
#[derive(Debug)]
pub struct Waits<K> {
    first: Duration,
    longest: Duration,
    failing: Mutex<HashMap<K, ExponentialBackoff>>,
}

impl<K: Clone + Eq + Hash> Waits<K> {
    /// Waits that begin with `first` and double up to `longest`; the jitter adds up to as much again.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failing: Mutex::default() }
    }

    /// A poisoned lock still guards a usable map.
    fn failing(&self) -> MutexGuard<'_, HashMap<K, ExponentialBackoff>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work on `key` has failed (again): when to try the next time.
    pub fn failed(&self, key: &K) -> Instant {
        let wait = self
            .failing()
            .entry(key.clone())
            .or_insert_with(|| {
                ExponentialBuilder::default()
                    .with_min_delay(self.first)
                    .with_max_delay(self.longest)
                    .with_jitter()
                    .without_max_times()
                    .build()
            })
            .next();
        Instant::now() + wait.unwrap_or(self.longest)
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
    async fn waits_grow_to_the_longest_and_begin_anew_after_a_success() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let waits = Waits::new(first, longest);
        let next = |key: &'static str| waits.failed(&key) - Instant::now();
        assert!((first..=2 * first).contains(&next("a")));
        for _ in 0..20 {
            assert!(next("a") <= 2 * longest);
        }
        assert!(next("a") >= longest);
        assert!(next("b") <= 2 * first, "each key waits for itself");
        assert!(waits.forget(&"a"));
        assert!(!waits.forget(&"a"));
        assert!(next("a") <= 2 * first);
    }
}
