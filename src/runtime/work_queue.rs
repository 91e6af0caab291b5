//! A queue of keys to work on, each at most once at a time.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// A queue of keys to work on.
///
/// A key that is added while it waits stays where it is; one that is added while it is worked on waits until that is
/// done and is then handed out again, so that no change is overlooked and none is worked on twice at once. (The
/// rules of the work queue of client-go.)
#[derive(Debug)]
pub struct WorkQueue<K> {
    state: Mutex<State<K>>,
    added: Notify,
}

#[derive(Debug)]
struct State<K> {
    ready: VecDeque<K>,
    /// Keys of `ready` that were not withdrawn.
    waiting: HashSet<K>,
    /// Keys that have been handed out.
    working: HashSet<K>,
    /// Keys that were added while they were worked on.
    again: HashSet<K>,
    /// Keys for later, by time; the number keeps keys of one time apart.
    later: BTreeMap<(Instant, u64), K>,
    /// Where a key stands in `later`.
    due: HashMap<K, (Instant, u64)>,
    count: u64,
    /// Since when a key is in the queue, whatever was tried with it.
    since: HashMap<K, Instant>,
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            waiting: HashSet::new(),
            working: HashSet::new(),
            again: HashSet::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            count: 0,
            since: HashMap::new(),
        };
        Self { state: Mutex::new(state), added: Notify::new() }
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// A poisoned lock still guards a usable queue: nothing below can panic half way.
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds `key`, to be handed out at once.
    pub fn add(&self, key: K) {
        self.state().add(key);
        self.added.notify_one();
    }

    /// Adds `key`, to be handed out after `delay` unless it is added for an earlier time.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.state().add_at(key, Instant::now() + delay);
        self.added.notify_one();
    }

    /// Whether `key` is worked on at this moment.
    #[must_use]
    pub fn is_working_on(&self, key: &K) -> bool {
        self.state().working.contains(key)
    }

    /// Takes back `key`: there is nothing to do for it any more. What is under way goes on.
    pub fn forget(&self, key: &K) {
        self.state().forget(key);
    }

    /// Hands out at once all keys that were to wait for a time.
    pub fn retry_all_now(&self) {
        let mut state = self.state();
        for (_, key) in std::mem::take(&mut state.later) {
            state.due.remove(&key);
            state.add(key);
        }
        drop(state);
        self.added.notify_one();
    }

    /// Works on what is in the queue until `stop`: hands up to `most` keys at a time to `work`, of which up to `at_once` run
    /// side by side. Once stopped, it takes nothing more and finishes what is under way.
    ///
    /// For a single consumer. Dropping the future loses nothing: the next call takes up what it left.
    pub async fn run<F: Future<Output = ()>>(
        &self,
        most: usize,
        at_once: usize,
        stop: &CancellationToken,
        work: impl Fn(Vec<K>) -> F,
    ) {
        self.requeue();
        let mut under_way = FuturesUnordered::new();
        let mut stopping = false;
        while !(stopping && under_way.is_empty()) {
            tokio::select! {
                () = stop.cancelled(), if !stopping => stopping = true,
                keys = self.next(most), if !stopping && under_way.len() < at_once => {
                    let work = work(keys.clone());
                    under_way.push(async move {
                        work.await;
                        keys
                    });
                }
                Some(keys) = under_way.next(), if !under_way.is_empty() => {
                    for key in &keys {
                        self.done(key);
                    }
                }
            }
        }
    }

    /// Backoff until there is work, and takes up to `most` keys of it. Each must be given back with [`WorkQueue::done`].
    async fn next(&self, most: usize) -> Vec<K> {
        loop {
            let (taken, next_due) = self.state().take(most, Instant::now());
            if !taken.is_empty() {
                return taken;
            }
            match next_due {
                Some(time) => {
                    tokio::select! {
                        () = self.added.notified() => {}
                        () = sleep_until(time) => {}
                    }
                }
                None => self.added.notified().await,
            }
        }
    }

    /// The work on `key` is done.
    fn done(&self, key: &K) {
        let mut state = self.state();
        state.working.remove(key);
        if state.again.remove(key) {
            state.add(key.clone());
            drop(state);
            self.added.notify_one();
        } else if !state.due.contains_key(key) {
            state.since.remove(key);
        }
    }

    /// Takes back what was handed out and never given back, because its consumer was dropped.
    fn requeue(&self) {
        let mut state = self.state();
        for key in std::mem::take(&mut state.working) {
            state.again.remove(&key);
            state.add(key);
        }
        drop(state);
        self.added.notify_one();
    }

    /// Takes all keys that wait to be handed out, instead of [`WorkQueue::run`]: for a consumer that works on them at once.
    #[must_use]
    pub fn drain(&self) -> Vec<K> {
        let mut state = self.state();
        state.waiting.clear();
        state.ready.drain(..).collect()
    }

    /// How many keys wait or are worked on, each counted once.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.state();
        // Between the failure of an attempt and its end, a key is worked on and has a time for the next attempt.
        let working = state.working.iter().filter(|key| !state.due.contains_key(*key)).count();
        state.waiting.len() + working + state.later.len()
    }

    /// How long the key that came first has been in the queue, with all that was tried meanwhile.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.state().since.values().min().map(Instant::elapsed)
    }

    /// Whether no key waits or is worked on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) {
        self.since.entry(key.clone()).or_insert_with(Instant::now);
        if let Some(slot) = self.due.remove(&key) {
            self.later.remove(&slot);
        }
        if self.working.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: K, time: Instant) {
        if self.waiting.contains(&key) || self.again.contains(&key) {
            return;
        }
        if let Some(slot) = self.due.get(&key).copied() {
            if slot.0 <= time {
                return;
            }
            self.later.remove(&slot);
        }
        self.since.entry(key.clone()).or_insert_with(Instant::now);
        self.count += 1;
        self.due.insert(key.clone(), (time, self.count));
        self.later.insert((time, self.count), key);
    }

    fn forget(&mut self, key: &K) {
        if let Some(slot) = self.due.remove(key) {
            self.later.remove(&slot);
        }
        self.again.remove(key);
        // It stays in `ready`, where it is passed over.
        self.waiting.remove(key);
        if !self.working.contains(key) {
            self.since.remove(key);
        }
    }

    fn take(&mut self, most: usize, now: Instant) -> (Vec<K>, Option<Instant>) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(key) = self.ready.pop_front()
        {
            // A key that was withdrawn, or added anew after that, is in `ready` more often than it waits.
            if self.waiting.remove(&key) {
                self.working.insert(key.clone());
                taken.push(key);
            }
        }
        (taken, self.later.first_key_value().map(|((time, _), _)| *time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_handed_out_once_and_again_if_it_changes_meanwhile() {
        let queue = WorkQueue::default();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next(20).await, ["a", "b"]);
        queue.add("a");
        queue.add("c");
        assert_eq!(queue.next(20).await, ["c"], "a is still worked on");
        queue.done(&"a");
        assert_eq!(queue.next(20).await, ["a"]);
        for key in ["a", "b", "c"] {
            queue.done(&key);
        }
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_for_later_comes_at_its_time_or_when_it_is_hastened() {
        let queue = WorkQueue::default();
        let start = Instant::now();
        queue.add_after("late", Duration::from_secs(60));
        queue.add_after("soon", Duration::from_secs(1));
        assert_eq!(queue.next(20).await, ["soon"]);
        assert_eq!(start.elapsed().as_secs(), 1);
        queue.retry_all_now();
        assert_eq!(queue.next(20).await, ["late"]);
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_of_a_key_counts_from_its_first_coming_until_nothing_is_left_to_do() {
        let queue = WorkQueue::default();
        assert_eq!(queue.oldest(), None);
        queue.add("a");
        tokio::time::advance(Duration::from_secs(10)).await;
        queue.add("b");
        assert_eq!(queue.next(20).await, ["a", "b"]);
        queue.add_after("a", Duration::from_secs(60));
        queue.done(&"a");
        queue.done(&"b");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(queue.oldest(), Some(Duration::from_secs(20)), "a is tried again");
        queue.forget(&"a");
        assert_eq!(queue.oldest(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn key_that_is_worked_on_and_will_be_again_counts_once() {
        let queue = WorkQueue::default();
        for key in ["later", "again", "other"] {
            queue.add(key);
        }
        assert_eq!(queue.next(20).await.len(), 3);
        queue.add_after("later", Duration::from_secs(60));
        queue.add("again");
        assert_eq!(queue.len(), 3);
        for key in ["later", "again", "other"] {
            queue.done(&key);
        }
        assert_eq!(queue.len(), 2, "other is done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_overtakes_a_time() {
        let queue = WorkQueue::default();
        queue.add_after("a", Duration::from_secs(300));
        queue.add("a");
        assert_eq!(queue.next(20).await, ["a"]);
        queue.add_after("a", Duration::from_secs(300));
        queue.add("a");
        queue.done(&"a");
        assert_eq!(queue.next(20).await, ["a"]);
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_asked_for_are_handed_out() {
        let queue = WorkQueue::default();
        for key in 0..30 {
            queue.add(key);
        }
        assert_eq!(queue.next(20).await.len(), 20);
        assert_eq!(queue.next(20).await.len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_finished_before_the_work_stops_and_nothing_more_is_taken() {
        let queue = WorkQueue::default();
        let (stop, finished) = (CancellationToken::new(), Mutex::new(Vec::new()));
        queue.add("a");
        let work = queue.run(1, 1, &stop, async |keys: Vec<&str>| {
            queue.add("b");
            stop.cancel();
            tokio::time::sleep(Duration::from_secs(1)).await;
            finished.lock().unwrap().extend(keys);
        });
        work.await;
        assert_eq!(*finished.lock().unwrap(), ["a"]);
        assert_eq!(queue.next(20).await, ["b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_was_dropped_is_taken_up_again() {
        let queue = WorkQueue::default();
        let stop = CancellationToken::new();
        queue.add("a");
        let endless = queue.run(1, 1, &stop, async |_| std::future::pending().await);
        assert!(tokio::time::timeout(Duration::from_secs(1), endless).await.is_err());
        let finished = Mutex::new(Vec::new());
        queue
            .run(1, 1, &stop, async |keys| {
                finished.lock().unwrap().extend(keys);
                stop.cancel();
            })
            .await;
        assert_eq!(*finished.lock().unwrap(), ["a"]);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_withdrawn_is_not_handed_out_unless_it_is_added_anew() {
        let queue = WorkQueue::default();
        queue.add("a");
        queue.add("b");
        queue.add_after("c", Duration::from_secs(1));
        queue.forget(&"a");
        queue.forget(&"c");
        queue.add("d");
        assert_eq!((queue.len(), queue.next(20).await), (2, vec!["b", "d"]));
        queue.add("a");
        queue.forget(&"a");
        queue.add("a");
        assert_eq!(queue.next(20).await, ["a"]);
        queue.add("a");
        queue.forget(&"a");
        for key in ["a", "b", "d"] {
            queue.done(&key);
        }
        assert!(queue.is_empty());
    }
}
