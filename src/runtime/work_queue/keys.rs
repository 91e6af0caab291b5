//! The two orders of a work queue: by arrival and by time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use tokio::time::Instant;

use crate::runtime::shrink_if_sparse;

/// Distinct keys, first in, first out. Any key can be removed in logarithmic time.
#[derive(Debug)]
pub struct ReadyKeys<K> {
    /// The keys by the number of their arrival.
    by_arrival: BTreeMap<u64, K>,
    arrivals: HashMap<K, u64>,
    next_arrival: u64,
}

impl<K> Default for ReadyKeys<K> {
    fn default() -> Self {
        Self { by_arrival: BTreeMap::new(), arrivals: HashMap::new(), next_arrival: 0 }
    }
}

impl<K: Clone + Eq + Hash> ReadyKeys<K> {
    /// Adds `key` at the end. A key that is present keeps its place.
    pub fn insert(&mut self, key: K) {
        if self.arrivals.contains_key(&key) {
            return;
        }
        self.arrivals.insert(key.clone(), self.next_arrival);
        self.by_arrival.insert(self.next_arrival, key);
        self.next_arrival += 1;
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: &K) {
        if let Some(arrival) = self.arrivals.remove(key) {
            self.by_arrival.remove(&arrival);
            shrink_if_sparse(&mut self.arrivals);
        }
    }

    /// Removes the first key.
    pub fn pop(&mut self) -> Option<K> {
        let (_, key) = self.by_arrival.pop_first()?;
        self.arrivals.remove(&key);
        shrink_if_sparse(&mut self.arrivals);
        Some(key)
    }

    /// Whether `key` is present.
    pub fn contains(&self, key: &K) -> bool {
        self.arrivals.contains_key(key)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }
}

/// Distinct keys, each with the time at which it is due.
#[derive(Debug)]
pub struct DelayedKeys<K> {
    by_time: BTreeSet<(Instant, K)>,
    times: HashMap<K, Instant>,
}

impl<K> Default for DelayedKeys<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), times: HashMap::new() }
    }
}

impl<K: Clone + Hash + Ord> DelayedKeys<K> {
    /// Adds `key` for `time`. A key that is present keeps the earlier time.
    pub fn insert(&mut self, key: K, time: Instant) {
        if self.times.get(&key).is_some_and(|present| *present <= time) {
            return;
        }
        self.remove(&key);
        self.times.insert(key.clone(), time);
        self.by_time.insert((time, key));
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: &K) {
        if let Some(time) = self.times.remove(key) {
            self.by_time.remove(&(time, key.clone()));
            shrink_if_sparse(&mut self.times);
        }
    }

    /// Removes the first key that is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let due = self.by_time.first().is_some_and(|(time, _)| *time <= now);
        let (_, key) = due.then(|| self.by_time.pop_first())??;
        self.times.remove(&key);
        shrink_if_sparse(&mut self.times);
        Some(key)
    }

    /// Removes all keys, the earliest first.
    pub fn take_all(&mut self) -> impl Iterator<Item = K> + use<K> {
        self.times = HashMap::new();
        std::mem::take(&mut self.by_time).into_iter().map(|(_, key)| key)
    }

    /// When the first key is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Whether `key` is present.
    pub fn contains(&self, key: &K) -> bool {
        self.times.contains_key(key)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.times.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ready_keys_leave_in_the_order_of_arrival() {
        let mut ready = ReadyKeys::default();
        for key in ["a", "b", "c", "d"] {
            ready.insert(key);
        }
        assert_eq!(ready.pop(), Some("a"));
        for key in ["e", "b", "a"] {
            ready.insert(key);
        }
        ready.remove(&"c");
        ready.remove(&"e");
        ready.remove(&"unknown");
        assert!(ready.contains(&"b") && ready.contains(&"a") && !ready.contains(&"c"));
        assert_eq!(ready.len(), 3);
        let left: Vec<_> = std::iter::from_fn(|| ready.pop()).collect();
        assert_eq!(left, ["b", "d", "a"]);
    }

    #[test]
    fn memory_of_a_burst_of_keys_is_freed() {
        let (mut ready, mut delayed, now) = (ReadyKeys::default(), DelayedKeys::default(), Instant::now());
        let keys = 0..5_000;
        for key in keys.clone() {
            ready.insert(key);
            delayed.insert(key, now);
        }
        for key in keys.step_by(2) {
            ready.remove(&key);
            delayed.remove(&key);
        }
        while ready.pop().is_some() {}
        while delayed.pop_due(now).is_some() {}
        assert!(ready.arrivals.capacity() < 100 && delayed.times.capacity() < 100);
    }

    #[test]
    fn delayed_keys_leave_at_their_earliest_time() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut delayed = DelayedKeys::default();
        for (key, second) in [("a", 3), ("b", 3), ("c", 1), ("a", 2), ("c", 9)] {
            delayed.insert(key, at(second));
        }
        assert_eq!((delayed.len(), delayed.next_due()), (3, Some(at(1))));
        assert_eq!(
            (delayed.pop_due(at(0)), delayed.pop_due(at(2)), delayed.pop_due(at(2))),
            (None, Some("c"), Some("a"))
        );
        assert!(!delayed.contains(&"a") && delayed.contains(&"b"));
        delayed.remove(&"b");
        assert_eq!((delayed.len(), delayed.next_due()), (0, None));
    }
}
