use std::cell::Cell;

use super::*;

impl<K: Clone + Hash + Ord> WorkQueue<K> {
    /// As in [`WorkQueue::run`].
    async fn next_ready(&self, max: usize) -> Vec<K> {
        self.next(max, &OpenGate).await.0
    }
}

/// A gate that admits a number of calls, one key each.
struct TestGate {
    admitted: Cell<usize>,
    reopened: Notify,
}

impl Gate for TestGate {
    type Permit<'a> = ();

    fn admit(&self, _max: usize) -> Option<(usize, ())> {
        self.admitted.set(self.admitted.get().checked_sub(1)?);
        Some((1, ()))
    }

    async fn reopened(&self) {
        self.reopened.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn key_is_processed_once_and_again_if_added_meanwhile() {
    let queue = WorkQueue::default();
    queue.add("a");
    queue.add("a");
    queue.add("b");
    assert_eq!(queue.next_ready(20).await, ["a", "b"]);
    queue.add("a");
    queue.add("c");
    assert_eq!(queue.next_ready(20).await, ["c"], "a is still processed");
    queue.done(&"a");
    assert_eq!(queue.next_ready(20).await, ["a"]);
    for key in ["a", "b", "c"] {
        queue.done(&key);
    }
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn delayed_key_comes_when_due_or_retried_now() {
    let queue = WorkQueue::default();
    let start = Instant::now();
    queue.add_after("late", Duration::from_secs(60));
    queue.add_after("soon", Duration::from_secs(1));
    assert_eq!(queue.next_ready(20).await, ["soon"]);
    assert_eq!(start.elapsed().as_secs(), 1);
    queue.retry_all_now();
    assert_eq!(queue.next_ready(20).await, ["late"]);
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn age_counts_from_the_first_add_until_done() {
    let queue = WorkQueue::default();
    assert_eq!(queue.oldest(), None);
    queue.add("a");
    tokio::time::advance(Duration::from_secs(10)).await;
    queue.add("b");
    assert_eq!(queue.next_ready(20).await, ["a", "b"]);
    queue.add_after("a", Duration::from_secs(60));
    queue.done(&"a");
    queue.done(&"b");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(queue.oldest(), Some(Duration::from_secs(20)), "a is retried");
    queue.forget(&"a");
    assert_eq!(queue.oldest(), None);
}

#[tokio::test(start_paused = true)]
async fn key_in_process_with_a_retry_counts_once() {
    let queue = WorkQueue::default();
    for key in ["delayed", "dirty", "other"] {
        queue.add(key);
    }
    assert_eq!(queue.next_ready(20).await.len(), 3);
    queue.add_after("delayed", Duration::from_secs(60));
    queue.add("dirty");
    assert_eq!(queue.len(), 3);
    for key in ["delayed", "dirty", "other"] {
        queue.done(&key);
    }
    assert_eq!(queue.len(), 2, "other is done");
}

#[tokio::test(start_paused = true)]
async fn add_takes_precedence_over_a_delay() {
    let queue = WorkQueue::default();
    queue.add_after("a", Duration::from_secs(300));
    queue.add("a");
    assert_eq!(queue.next_ready(20).await, ["a"]);
    queue.add_after("a", Duration::from_secs(300));
    queue.add("a");
    queue.done(&"a");
    assert_eq!(queue.next_ready(20).await, ["a"]);
    queue.done(&"a");
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn batches_are_bounded() {
    let queue = WorkQueue::default();
    for key in 0..30 {
        queue.add(key);
    }
    assert_eq!(queue.next_ready(20).await, (0..20).collect::<Vec<_>>());
    assert_eq!(queue.next_ready(20).await, (20..30).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn stop_finishes_what_has_begun_and_takes_no_more() {
    let queue = WorkQueue::default();
    let (stop, finished) = (CancellationToken::new(), Mutex::new(Vec::new()));
    queue.add("a");
    let work = queue.run(1, 1, &stop, async |keys: Vec<&str>| {
        queue.add("b");
        stop.cancel();
        tokio::time::sleep(Duration::from_secs(1)).await;
        finished.lock().extend(keys);
    });
    work.await;
    assert_eq!(*finished.lock(), ["a"]);
    assert_eq!(queue.next_ready(20).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn dropped_work_is_processed_again() {
    let queue = WorkQueue::default();
    let stop = CancellationToken::new();
    queue.add("a");
    let endless = queue.run(1, 1, &stop, async |_| std::future::pending().await);
    let unfinished = tokio::time::timeout(Duration::from_secs(1), endless).await;
    assert!(unfinished.is_err() && queue.longest_in_process().is_none(), "nobody works on the key any more");
    let finished = Mutex::new(Vec::new());
    queue
        .run(1, 1, &stop, async |keys| {
            finished.lock().extend(keys);
            stop.cancel();
        })
        .await;
    assert_eq!(*finished.lock(), ["a"]);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn forgotten_key_comes_only_if_added_again() {
    let queue = WorkQueue::default();
    queue.add("a");
    queue.add("b");
    queue.add_after("c", Duration::from_secs(1));
    queue.forget(&"a");
    queue.forget(&"c");
    queue.add("d");
    assert_eq!((queue.len(), queue.next_ready(20).await), (2, vec!["b", "d"]));
    queue.add("a");
    queue.forget(&"a");
    queue.add("a");
    assert_eq!(queue.next_ready(20).await, ["a"]);
    queue.add("a");
    queue.forget(&"a");
    for key in ["a", "b", "d"] {
        queue.done(&key);
    }
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn unscheduled_key_comes_only_if_added() {
    let queue = WorkQueue::default();
    for key in ["a", "b", "c"] {
        queue.add(key);
    }
    assert_eq!(queue.next_ready(20).await, ["a", "b", "c"]);
    queue.add_after("a", Duration::from_secs(1));
    queue.park("b");
    queue.add("c");
    for key in ["a", "b", "c"] {
        queue.unschedule(&key);
        queue.done(&key);
    }
    assert_eq!((queue.len(), queue.next_ready(20).await), (1, vec!["c"]));
    queue.done(&"c");
    assert!(queue.is_empty() && queue.oldest().is_none());
}

#[tokio::test(start_paused = true)]
async fn longest_work_shows_since_when_it_runs() {
    let queue = WorkQueue::default();
    queue.add("stuck");
    assert_eq!((queue.longest_in_process(), queue.next_ready(1).await), (None, vec!["stuck"]));
    tokio::time::advance(Duration::from_secs(300)).await;
    for key in ["a", "b"] {
        queue.add(key);
        assert_eq!(queue.next_ready(1).await, [key]);
    }
    tokio::time::advance(Duration::from_secs(12)).await;
    assert_eq!(queue.longest_in_process(), Some(("stuck", Duration::from_secs(312))));
    queue.done(&"stuck");
    assert_eq!(queue.longest_in_process().map(|(_, time)| time.as_secs()), Some(12));
}

#[tokio::test(start_paused = true)]
async fn memory_of_a_burst_is_freed() {
    let queue = WorkQueue::default();
    for key in 0..5_000 {
        queue.add(key);
        queue.add_after(5_000 + key, Duration::from_secs(1));
    }
    for key in (0..10_000).step_by(2) {
        queue.forget(&key);
    }
    let stop = CancellationToken::new();
    queue
        .run(20, 4, &stop, async |_| {
            if queue.len() <= 20 {
                stop.cancel();
            }
        })
        .await;
    assert_eq!(queue.len(), 0);
    let state = queue.state.lock();
    assert!(state.added_at.capacity() < 100, "{}", state.added_at.capacity());
}

#[tokio::test(start_paused = true)]
async fn endless_delay_is_bounded() {
    let queue = WorkQueue::default();
    queue.add_after("a", Duration::MAX);
    queue.retry_all_now();
    assert_eq!(queue.next_ready(1).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn closed_gate_keeps_keys_in_the_queue() {
    let queue = WorkQueue::default();
    let (stop, processed) = (CancellationToken::new(), Mutex::new(Vec::new()));
    let gate = TestGate { admitted: Cell::new(1), reopened: Notify::new() };
    for key in ["a", "b", "c"] {
        queue.add(key);
    }
    let work = queue.run_gated(&gate, 20, 4, &stop, async |keys| processed.lock().push(keys));
    let control = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((processed.lock().clone(), queue.len()), (vec![vec!["a"]], 2));
        gate.admitted.set(1);
        gate.reopened.notify_one();
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.cancel();
    };
    futures::future::join(work, control).await;
    assert_eq!((processed.lock().clone(), queue.keys()), (vec![vec!["a"], vec!["b"]], vec!["c"]));
}

#[tokio::test(start_paused = true)]
async fn parked_key_counts_and_waits_until_it_is_added() {
    let queue = WorkQueue::default();
    queue.add("a");
    queue.add("b");
    assert_eq!(queue.next_ready(20).await, ["a", "b"]);
    tokio::time::advance(Duration::from_secs(10)).await;
    queue.park("a");
    queue.park("b");
    queue.add("b");
    queue.done(&"a");
    queue.done(&"b");
    queue.retry_all_now();
    assert_eq!(queue.next_ready(20).await, ["b"], "only b was added");
    queue.done(&"b");
    assert_eq!((queue.len(), queue.contains(&"a"), queue.oldest()), (1, true, Some(Duration::from_secs(10))));
    queue.add("a");
    assert_eq!(queue.next_ready(20).await, ["a"]);
    queue.park("a");
    queue.done(&"a");
    queue.forget(&"a");
    assert!(queue.is_empty() && queue.oldest().is_none());
}
