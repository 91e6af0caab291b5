//! A queue of keys, each processed by at most one worker at a time.

mod gate;
mod keys;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::gate::OpenGate;
use self::keys::{DelayedKeys, ReadyKeys};
use super::{later, shrink_if_sparse};

pub use self::gate::Gate;

/// A queue of keys with the semantics of [`workqueue`] in client-go:
///
/// - A key that is added several times before it is processed is processed once.
/// - A key that is added while it is processed is processed again afterwards, so no change is missed.
/// - The same key is never processed twice at the same time.
///
/// [`workqueue`]: https://pkg.go.dev/k8s.io/client-go/util/workqueue
#[derive(Debug)]
pub struct WorkQueue<K> {
    state: Mutex<State<K>>,
    added: Notify,
}

#[derive(Debug)]
struct State<K> {
    ready: ReadyKeys<K>,
    delayed: DelayedKeys<K>,
    /// The keys that are being processed, and since when.
    processing: HashMap<K, Instant>,
    /// Keys that were added while they were processed.
    dirty: HashSet<K>,
    /// Keys that wait until they are added again.
    parked: HashSet<K>,
    /// When each key was added first. An attempt that is followed by a retry doesn't change this time.
    added_at: HashMap<K, Instant>,
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        let state = State {
            ready: ReadyKeys::default(),
            delayed: DelayedKeys::default(),
            processing: HashMap::new(),
            dirty: HashSet::new(),
            parked: HashSet::new(),
            added_at: HashMap::new(),
        };
        Self { state: Mutex::new(state), added: Notify::new() }
    }
}

impl<K: Clone + Hash + Ord> WorkQueue<K> {
    /// Adds `key`, to be processed as soon as possible.
    pub fn add(&self, key: K) {
        self.state.lock().add(key);
        self.added.notify_one();
    }

    /// Adds `key`, to be processed after `delay`. If the key is already due earlier, nothing changes.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.state.lock().add_at(key, later(Instant::now(), delay));
        self.added.notify_one();
    }

    /// Keeps `key` in the queue without processing it, until it is added again. If the key is already due, nothing changes.
    pub fn park(&self, key: K) {
        self.state.lock().park(key);
    }

    /// Whether `key` is in the queue: ready, delayed, parked or being processed.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.state.lock().added_at.contains_key(key)
    }

    /// All keys that are ready, delayed, parked or being processed, in no particular order.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        self.state.lock().added_at.keys().cloned().collect()
    }

    /// Whether `key` is being processed.
    #[must_use]
    pub fn is_working_on(&self, key: &K) -> bool {
        self.state.lock().processing.contains_key(key)
    }

    /// Removes `key` from the queue. An attempt that has begun continues.
    pub fn forget(&self, key: &K) {
        self.state.lock().forget(key);
    }

    /// Takes back a retry of `key` that was scheduled with [`WorkQueue::add_after`] or [`WorkQueue::park`]. A key that was added stays.
    pub fn unschedule(&self, key: &K) {
        self.state.lock().unschedule(key);
    }

    /// The key that is being processed for the longest time, and for how long.
    #[must_use]
    pub fn longest_in_process(&self) -> Option<(K, Duration)> {
        let state = self.state.lock();
        let (key, since) = state.processing.iter().min_by_key(|(_, since)| **since)?;
        Some((key.clone(), since.elapsed()))
    }

    /// Makes all delayed keys due now. Parked keys stay parked.
    pub fn retry_all_now(&self) {
        self.state.lock().retry_all_now();
        self.added.notify_one();
    }

    /// Processes the keys of the queue until `stop` is cancelled, then finishes the attempts that have begun.
    ///
    /// Each call of `work` gets at most `max_batch` keys, and at most `max_in_flight` calls run at the same time. The
    /// queue supports one consumer. If the returned future is dropped, the unfinished keys are ready again for the next call.
    pub async fn run<F: Future<Output = ()>>(
        &self,
        max_batch: usize,
        max_in_flight: usize,
        stop: &CancellationToken,
        work: impl Fn(Vec<K>) -> F,
    ) {
        self.run_gated(&OpenGate, max_batch, max_in_flight, stop, work).await;
    }

    /// As [`WorkQueue::run`], but takes keys only as `gate` permits.
    pub async fn run_gated<F: Future<Output = ()>>(
        &self,
        gate: &impl Gate,
        max_batch: usize,
        max_in_flight: usize,
        stop: &CancellationToken,
        work: impl Fn(Vec<K>) -> F,
    ) {
        let _requeue = RequeueOnDrop(self);
        let mut in_flight = FuturesUnordered::new();
        let mut stopping = false;
        while !(stopping && in_flight.is_empty()) {
            tokio::select! {
                () = stop.cancelled(), if !stopping => stopping = true,
                (keys, permit) = self.next(max_batch, gate), if !stopping && in_flight.len() < max_in_flight => {
                    let work = work(keys.clone());
                    in_flight.push(async move {
                        work.await;
                        drop(permit);
                        keys
                    });
                }
                Some(keys) = in_flight.next(), if !in_flight.is_empty() => {
                    for key in &keys {
                        self.done(key);
                    }
                }
            }
        }
    }

    /// Waits for keys that are due and that `gate` admits, and takes at most `max` of them. Call [`WorkQueue::done`] for each afterwards.
    async fn next<'a, G: Gate>(&self, max: usize, gate: &'a G) -> (Vec<K>, G::Permit<'a>) {
        loop {
            let (next_due, is_refused) = {
                let (mut state, now) = (self.state.lock(), Instant::now());
                let next_due = state.make_due_ready(now);
                if state.ready.len() > 0 {
                    if let Some((max, permit)) = gate.admit(max) {
                        return (state.take(max, now), permit);
                    }
                    (next_due, true)
                } else {
                    (next_due, false)
                }
            };
            tokio::select! {
                () = self.added.notified() => {}
                () = sleep_until_some(next_due) => {}
                () = gate.reopened(), if is_refused => {}
            }
        }
    }

    /// Marks `key` as processed.
    fn done(&self, key: &K) {
        let is_ready_again = self.state.lock().done(key);
        if is_ready_again {
            self.added.notify_one();
        }
    }

    /// Makes the keys ready again whose processing was dropped.
    fn requeue(&self) {
        self.state.lock().requeue();
        self.added.notify_one();
    }

    /// Number of keys that are ready, delayed, parked or being processed. Each key counts once.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.state.lock();
        // A failed attempt schedules its retry before it ends, so the same key can be delayed or parked and in process.
        let waits = |key: &K| state.delayed.contains(key) || state.parked.contains(key);
        let processing = state.processing.keys().filter(|key| !waits(key)).count();
        state.ready.len() + state.delayed.len() + state.parked.len() + processing
    }

    /// Whether no key is ready, delayed, parked or being processed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long the oldest key has been in the queue, including all its failed attempts.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.state.lock().added_at.values().min().map(Instant::elapsed)
    }

    /// Removes and returns all keys that are ready, instead of [`WorkQueue::run`]: for a simulation that works on them at once.
    #[must_use]
    pub fn drain(&self) -> Vec<K> {
        let mut state = self.state.lock();
        let keys: Vec<K> = std::iter::from_fn(|| state.ready.pop()).collect();
        for key in &keys {
            state.added_at.remove(key);
        }
        shrink_if_sparse(&mut state.added_at);
        keys
    }
}

/// Makes the keys ready again whose processing was dropped.
struct RequeueOnDrop<'a, K: Clone + Hash + Ord>(&'a WorkQueue<K>);

impl<K: Clone + Hash + Ord> Drop for RequeueOnDrop<'_, K> {
    fn drop(&mut self) {
        self.0.requeue();
    }
}

impl<K: Clone + Hash + Ord> State<K> {
    fn add(&mut self, key: K) {
        self.added_at.entry(key.clone()).or_insert_with(Instant::now);
        self.delayed.remove(&key);
        self.parked.remove(&key);
        if self.processing.contains_key(&key) {
            self.dirty.insert(key);
        } else {
            self.ready.insert(key);
        }
    }

    fn add_at(&mut self, key: K, time: Instant) {
        if self.ready.contains(&key) || self.dirty.contains(&key) {
            return;
        }
        self.added_at.entry(key.clone()).or_insert_with(Instant::now);
        self.parked.remove(&key);
        self.delayed.insert(key, time);
    }

    fn park(&mut self, key: K) {
        if self.ready.contains(&key) || self.dirty.contains(&key) {
            return;
        }
        self.added_at.entry(key.clone()).or_insert_with(Instant::now);
        self.delayed.remove(&key);
        self.parked.insert(key);
    }

    fn forget(&mut self, key: &K) {
        self.ready.remove(key);
        self.delayed.remove(key);
        self.dirty.remove(key);
        self.parked.remove(key);
        if !self.processing.contains_key(key) {
            self.finish(key);
        }
    }

    fn unschedule(&mut self, key: &K) {
        self.delayed.remove(key);
        self.parked.remove(key);
        if !self.processing.contains_key(key) && !self.ready.contains(key) {
            self.finish(key);
        }
    }

    fn retry_all_now(&mut self) {
        for key in self.delayed.take_all() {
            self.add(key);
        }
    }

    /// Makes the delayed keys ready that are due at `now`, and returns when the next one is due.
    fn make_due_ready(&mut self, now: Instant) -> Option<Instant> {
        while let Some(key) = self.delayed.pop_due(now) {
            self.add(key);
        }
        self.delayed.next_due()
    }

    /// At most `max` keys that are ready.
    fn take(&mut self, max: usize, now: Instant) -> Vec<K> {
        let keys: Vec<K> = std::iter::from_fn(|| self.ready.pop()).take(max).collect();
        self.processing.extend(keys.iter().map(|key| (key.clone(), now)));
        keys
    }

    /// Whether `key` is ready again, because it was added while it was processed.
    fn done(&mut self, key: &K) -> bool {
        self.processing.remove(key);
        let is_ready_again = self.dirty.remove(key);
        if is_ready_again {
            self.add(key.clone());
        } else if !self.delayed.contains(key) && !self.parked.contains(key) {
            self.finish(key);
        }
        is_ready_again
    }

    /// Forgets since when `key` is in the queue, because it left.
    fn finish(&mut self, key: &K) {
        self.added_at.remove(key);
        shrink_if_sparse(&mut self.added_at);
    }

    fn requeue(&mut self) {
        for (key, _) in std::mem::take(&mut self.processing) {
            self.dirty.remove(&key);
            self.add(key);
        }
    }
}

/// Sleeps until `time`, or without end.
async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
