//! The resources that are being deleted and wait until Port has deleted their entities.
//!
//! They have queues and slots of their own, so that they neither wait for deliveries nor for each other: one queue for the requests to
//! Port, and one for the deadlines, at which a resource stops waiting whether or not Port has been asked.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join;
use jiff::{SignedDuration, Timestamp};
use kube::api::ObjectMeta;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::resources::ResourceKey;
use crate::runtime::{Backoff, WorkQueue, later};

/// How long after its deletion a resource waits for Port at most. Then the finalizer is removed, and the entity stays in Port.
///
/// The deletion of a namespace waits for all resources in it.
pub const FINALIZE_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// How long resources wait for Port at least after this process has begun to delete entities or has first seen their deletion. So those
/// that were deleted while no controller was running don't leave their entities behind.
const MIN_WAIT: Duration = Duration::from_secs(30);

/// Requests to Port at once. While Port does not respond, each takes until its timeout.
const CONCURRENT_ATTEMPTS: usize = 8;

/// Resources past their deadline that are let go at once. That takes only requests to the API server.
const CONCURRENT_EXPIRIES: usize = 8;

/// Bounds of the first and of the longest delay after a failed attempt.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The resources that are being deleted and wait for Port. On a standby they are kept until it leads.
#[derive(Debug)]
pub struct Deletions {
    /// Resources whose entities Port is asked to delete.
    attempts: WorkQueue<ResourceKey>,
    /// Every waiting resource, due at its deadline.
    deadlines: WorkQueue<ResourceKey>,
    waiting: Mutex<HashMap<ResourceKey, Waiting>>,
    backoff: Backoff<ResourceKey>,
}

/// A resource that waits for Port.
#[derive(Debug)]
struct Waiting {
    /// Tells the resource from a later one with the same name.
    uid: Option<String>,
    /// When it stops waiting. Not a time of day, so that no change of the clock extends it.
    deadline: Instant,
    /// Whether Port has deleted the entity, and only the finalizer is left.
    is_entity_deleted: bool,
    /// Why the last attempt failed.
    problem: Option<String>,
}

impl Default for Deletions {
    fn default() -> Self {
        Self {
            attempts: WorkQueue::default(),
            deadlines: WorkQueue::default(),
            waiting: Mutex::default(),
            backoff: Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1),
        }
    }
}

impl Deletions {
    /// Adds the resource with this `metadata`, which is being deleted. If it waits already, nothing changes.
    pub fn add(&self, key: &ResourceKey, metadata: &ObjectMeta) {
        let now = Instant::now();
        let remaining = remaining(metadata.deletion_timestamp.as_ref().map(|time| time.0), Timestamp::now());
        let remaining = remaining.max(MIN_WAIT);
        {
            let mut waiting = self.waiting.lock();
            if waiting.get(key).is_some_and(|waiting| waiting.uid == metadata.uid) {
                return;
            }
            let deadline = later(now, remaining);
            let added = Waiting { uid: metadata.uid.clone(), deadline, is_entity_deleted: false, problem: None };
            waiting.insert(key.clone(), added);
        }
        self.backoff.forget(key);
        self.attempts.add(key.clone());
        // The deadline of a former resource with the same name may be earlier.
        self.deadlines.forget(key);
        self.deadlines.add_after(key.clone(), remaining);
    }

    /// Forgets a resource that is gone, or that has no finalizer any more.
    pub fn forget(&self, key: &ResourceKey) {
        self.waiting.lock().remove(key);
        self.backoff.forget(key);
        self.attempts.forget(key);
        self.deadlines.forget(key);
    }

    /// The resource on which an attempt has worked for the longest time, and for how long.
    #[must_use]
    pub fn longest_in_process(&self) -> Option<(ResourceKey, Duration)> {
        let queues = [&self.attempts, &self.deadlines];
        queues.into_iter().filter_map(WorkQueue::longest_in_process).max_by_key(|(_, duration)| *duration)
    }

    /// The resources that wait, in no particular order.
    #[must_use]
    pub fn keys(&self) -> Vec<ResourceKey> {
        self.waiting.lock().keys().cloned().collect()
    }

    /// Calls `attempt` for each resource until it succeeds, and `expire` for each that has reached its deadline, until `stop`.
    pub async fn run<A: Future<Output = ()>, E: Future<Output = ()>>(
        &self,
        stop: &CancellationToken,
        attempt: impl Fn(ResourceKey) -> A,
        expire: impl Fn(ResourceKey) -> E,
    ) {
        self.extend_deadlines();
        let each = async |keys: Vec<ResourceKey>| {
            for key in keys {
                attempt(key).await;
            }
        };
        let expire_each = async |keys: Vec<ResourceKey>| {
            for key in keys {
                match self.until_expiry(&key) {
                    Some(delay) => self.deadlines.add_after(key, delay),
                    None => expire(key).await,
                }
            }
        };
        join(
            self.attempts.run(1, CONCURRENT_ATTEMPTS, stop, each),
            self.deadlines.run(1, CONCURRENT_EXPIRIES, stop, expire_each),
        )
        .await;
    }

    /// Gives resources that were deleted before this process led a chance to be asked for.
    fn extend_deadlines(&self) {
        let earliest = later(Instant::now(), MIN_WAIT);
        for waiting in self.waiting.lock().values_mut() {
            waiting.deadline = waiting.deadline.max(earliest);
        }
    }

    /// The delay before a resource that is due is let go; `None` if it is let go now.
    fn until_expiry(&self, key: &ResourceKey) -> Option<Duration> {
        let remaining = self.remaining(key);
        if remaining.is_zero() {
            // An attempt under way ends at the deadline as well, and may still succeed.
            self.attempts.is_working_on(key).then_some(Self::POLL)
        } else {
            Some(remaining)
        }
    }

    /// How often something that ends soon is looked at again.
    const POLL: Duration = Duration::from_millis(200);

    /// How long the resource may still wait for Port.
    #[must_use]
    pub fn remaining(&self, key: &ResourceKey) -> Duration {
        let waiting = self.waiting.lock();
        waiting.get(key).map_or(Duration::ZERO, |waiting| waiting.deadline.saturating_duration_since(Instant::now()))
    }

    /// Port has deleted the entity of the resource.
    pub fn entity_deleted(&self, key: &ResourceKey) {
        if let Some(waiting) = self.waiting.lock().get_mut(key) {
            waiting.is_entity_deleted = true;
        }
    }

    /// Whether Port has deleted the entity of the resource.
    #[must_use]
    pub fn is_entity_deleted(&self, key: &ResourceKey) -> bool {
        self.waiting.lock().get(key).is_some_and(|waiting| waiting.is_entity_deleted)
    }

    /// Keeps why the last attempt failed. Returns whether the one before had failed too.
    pub fn failed(&self, key: &ResourceKey, problem: String) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.get_mut(key).is_some_and(|waiting| waiting.problem.replace(problem).is_some())
    }

    /// Why the last attempt failed; `None` if there was none, or if it did not fail.
    #[must_use]
    pub fn problem(&self, key: &ResourceKey) -> Option<String> {
        self.waiting.lock().get(key)?.problem.clone()
    }

    /// Tries again with exponential backoff: an attempt if one is due before the deadline, or what is done at the deadline if that has
    /// passed.
    pub fn retry(&self, key: &ResourceKey) {
        let (delay, remaining) = (self.backoff.next_delay(key), self.remaining(key));
        if remaining.is_zero() {
            self.deadlines.add_after(key.clone(), delay);
        } else if delay < remaining {
            self.attempts.add_after(key.clone(), delay);
        }
    }

    /// Looks at a resource again that has changed meanwhile.
    pub fn retry_now(&self, key: &ResourceKey) {
        let queue = if self.remaining(key).is_zero() { &self.deadlines } else { &self.attempts };
        queue.add(key.clone());
    }

    /// Tries again soon, when a delivery of the resource has ended.
    pub fn retry_after_delivery(&self, key: &ResourceKey) {
        self.attempts.add_after(key.clone(), Self::POLL);
    }

    /// Makes all attempts due now, for example because the credentials have changed.
    pub fn retry_all_now(&self) {
        self.attempts.retry_all_now();
    }

    /// Number of resources that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Whether no resource waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long the oldest resource has waited in this process.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.deadlines.oldest()
    }
}

/// How long a resource may wait at `now`, if it was deleted at `deleted`: never longer than [`FINALIZE_TIMEOUT`], even if the clocks of the
/// API server and of this machine differ.
fn remaining(deleted: Option<Timestamp>, now: Timestamp) -> Duration {
    let deadline = deleted.unwrap_or(now).checked_add(FINALIZE_TIMEOUT).unwrap_or(Timestamp::MAX);
    let longest = FINALIZE_TIMEOUT.unsigned_abs();
    Duration::try_from(deadline.duration_since(now)).unwrap_or_default().min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(uid: &str, deleted: Timestamp) -> ObjectMeta {
        let deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(deleted));
        ObjectMeta { uid: Some(uid.to_owned()), deletion_timestamp, ..ObjectMeta::default() }
    }

    fn key(name: &str) -> ResourceKey {
        ResourceKey { namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn resource_waits_for_two_minutes_at_most() {
        let deleted: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let remaining = |now: &str| remaining(Some(deleted), now.parse().unwrap());
        assert_eq!(remaining("2026-01-31T12:00:00Z"), Duration::from_secs(120));
        assert_eq!(remaining("2026-01-31T12:01:30Z"), Duration::from_secs(30));
        assert_eq!(remaining("2026-01-31T13:00:00Z"), Duration::ZERO);
        assert_eq!(remaining("2026-01-31T11:00:00Z"), Duration::from_secs(120), "the clocks differ");
    }

    #[test]
    fn no_time_overflows() {
        let (first, last) = (Timestamp::MIN, Timestamp::MAX);
        assert_eq!(remaining(Some(last), last), Duration::ZERO);
        assert_eq!(remaining(Some(last), first), Duration::from_secs(120));
        assert_eq!(remaining(Some(first), last), Duration::ZERO);
        assert_eq!(remaining(None, last), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_is_that_of_the_resource_and_not_of_its_name() {
        let deletions = Deletions::default();
        deletions.add(&key("down"), &metadata("a", Timestamp::now()));
        tokio::time::advance(Duration::from_secs(60)).await;
        deletions.add(&key("down"), &metadata("a", Timestamp::now()));
        assert!(deletions.remaining(&key("down")) <= Duration::from_secs(60), "another event changes nothing");
        deletions.add(&key("down"), &metadata("b", Timestamp::now()));
        assert!(deletions.remaining(&key("down")) > Duration::from_secs(60));
        assert_eq!(deletions.len(), 1);
        deletions.forget(&key("down"));
        assert!(deletions.is_empty() && deletions.oldest().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn missed_deletions_are_tried_before_they_expire() {
        let deletions = Deletions::default();
        let long_ago = Timestamp::now() - SignedDuration::from_hours(1);
        deletions.add(&key("down"), &metadata("a", long_ago));
        // A standby does not work on them.
        tokio::time::advance(Duration::from_secs(3600)).await;
        let (stop, expired) = (CancellationToken::new(), Mutex::new(Vec::new()));
        let attempts = Mutex::new(0);
        let run = deletions.run(
            &stop,
            async |key| {
                *attempts.lock() += 1;
                deletions.failed(&key, "no".to_owned());
                deletions.retry(&key);
            },
            async |key| {
                expired.lock().push((key.name.clone(), Instant::now()));
                deletions.forget(&key);
                stop.cancel();
            },
        );
        let started = Instant::now();
        run.await;
        let expired = expired.into_inner();
        assert!(*attempts.lock() > 1, "it is retried until then");
        assert_eq!(expired.len(), 1);
        assert!((MIN_WAIT..MIN_WAIT + Duration::from_secs(1)).contains(&(expired[0].1 - started)), "{expired:?}");
    }
}
