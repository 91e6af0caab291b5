//! The two orders of a work queue: by arrival and by time.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use indexmap::IndexSet;
use tokio::time::Instant;

/// Distinct keys, first in, first out.
///
/// An `IndexSet` removes its last key in constant time, but its first key only in linear time. So keys arrive at the end
/// of `incoming` and leave at the end of `outgoing`. When `outgoing` is empty, it becomes `incoming` in reverse order.
#[derive(Debug)]
pub struct ReadyKeys<K> {
    incoming: IndexSet<K>,
    outgoing: IndexSet<K>,
}

impl<K> Default for ReadyKeys<K> {
    fn default() -> Self {
        Self { incoming: IndexSet::new(), outgoing: IndexSet::new() }
    }
}

impl<K: Eq + Hash> ReadyKeys<K> {
    /// Adds `key` at the end. A key that is present keeps its place.
    pub fn insert(&mut self, key: K) {
        if !self.outgoing.contains(&key) {
            self.incoming.insert(key);
        }
    }

    /// Removes `key`, in linear time if it is present.
    pub fn remove(&mut self, key: &K) {
        if !self.incoming.shift_remove(key) {
            self.outgoing.shift_remove(key);
        }
    }

    /// Removes the first key.
    pub fn pop(&mut self) -> Option<K> {
        if self.outgoing.is_empty() {
            std::mem::swap(&mut self.incoming, &mut self.outgoing);
            self.outgoing.reverse();
        }
        self.outgoing.pop()
    }

    /// Whether `key` is present.
    pub fn contains(&self, key: &K) -> bool {
        self.incoming.contains(key) || self.outgoing.contains(key)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.incoming.len() + self.outgoing.len()
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
        }
    }

    /// Removes the first key that is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let due = self.by_time.first().is_some_and(|(time, _)| *time <= now);
        let (_, key) = due.then(|| self.by_time.pop_first())??;
        self.times.remove(&key);
        Some(key)
    }

    /// Removes all keys, the earliest first.
    pub fn take_all(&mut self) -> impl Iterator<Item = K> + use<K> {
        self.times.clear();
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
