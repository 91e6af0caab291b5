//! The loop: takes keys from the queue, passes their resources through the stages, and retries what failed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use jiff::Timestamp;
use kube::api::ObjectMeta;
use parking_lot::Mutex;
use port_client::{self as port, Blueprint, MAX_BULK_ENTITIES};
use tokio_util::sync::CancellationToken;

use super::deliver::Outgoing;
use super::read::ReadResource;
use super::resolve::Resolved;
use super::{BuildInput, Built, PublishContext, Publishable, build};
use crate::resources::{DeliveryState, ResourceKey};
use crate::runtime::{Backoff, WorkQueue};

/// Attempts under way at once. While one waits for Port, a backlog gathers, which the next one sends in bulk.
const CONCURRENT_ATTEMPTS: usize = 4;

/// Delay before an entity that Port refused is sent again, unless the resource, the settings, the blueprint or the credentials change.
const RETRY_REFUSED: Duration = Duration::from_mins(30);

/// Bounds of the first and of the longest delay after a temporary failure.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// Bounds of the first and of the longest delay before references are looked up again.
const RECHECK_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// UID and generation of a resource.
type Version = (Option<String>, Option<i64>);

/// Publishes the resources of one kind.
pub struct Publisher<R> {
    pub(super) context: Arc<PublishContext>,
    /// The resources to publish.
    pub(super) queue: Arc<WorkQueue<ResourceKey>>,
    /// Resources as the API server returned them to their writer, until an attempt takes them.
    pub(super) written: Mutex<HashMap<ResourceKey, R>>,
    /// UID and generation of the resources whose metadata an attempt has written, until the attempt ends.
    pub(super) metadata_written: Mutex<HashMap<ResourceKey, Version>>,
    /// Delays of the resources whose last attempt failed.
    backoff: Backoff<ResourceKey>,
    /// Resources whose references are looked up again later. They don't wait for delivery, so they don't count as pending.
    recheck: WorkQueue<ResourceKey>,
    pub(super) recheck_backoff: Backoff<ResourceKey>,
    /// When this process started to publish.
    pub(super) started: Mutex<Timestamp>,
}

impl<R: Publishable> Publisher<R> {
    /// A publisher of the resources in `queue`.
    #[must_use]
    pub fn new(context: Arc<PublishContext>, queue: Arc<WorkQueue<ResourceKey>>) -> Self {
        Self {
            context,
            queue,
            written: Mutex::default(),
            metadata_written: Mutex::default(),
            backoff: Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1),
            recheck: WorkQueue::default(),
            recheck_backoff: Backoff::new(RECHECK_DELAYS.0, RECHECK_DELAYS.1),
            started: Mutex::new(Timestamp::UNIX_EPOCH),
        }
    }

    /// Handles a resource that the watch has brought, in this `state`. `listed` is true if it comes from a list: then it may have changed
    /// while nothing was watched.
    pub fn observed(&self, key: ResourceKey, state: DeliveryState, listed: bool) {
        match state {
            DeliveryState::Settled => self.queue.forget(&key),
            // The status that the publisher itself wrote must not cut short the delay before the next attempt.
            DeliveryState::Failed | DeliveryState::Refused if !listed => {}
            DeliveryState::Failed | DeliveryState::Refused | DeliveryState::New => self.queue.add(key),
        }
    }

    /// Whether an attempt with this generation of the resource is under way and has written its metadata. The watch then brings back that
    /// write, which must not cause another attempt.
    #[must_use]
    pub fn is_own_write(&self, key: &ResourceKey, metadata: &ObjectMeta) -> bool {
        self.metadata_written.lock().get(key).is_some_and(|version| *version == version_of(metadata))
    }

    /// Publishes `resource` as its writer got it back from the API server: no attempt has to wait for the watch, or to read it.
    ///
    /// While an attempt with the resource is under way, the next one reads it, since the attempt is about to change its status.
    pub fn publish_written(&self, resource: R) {
        let Some(key) = ResourceKey::of(resource.meta()) else {
            return;
        };
        if !self.queue.is_working_on(&key) {
            self.written.lock().insert(key.clone(), resource);
        }
        self.queue.add(key);
    }

    /// Publishes the resources in the queue until `stop`. Only the leader does. Dropping the future loses nothing.
    pub async fn run(&self, stop: &CancellationToken) {
        self.written.lock().clear();
        self.metadata_written.lock().clear();
        *self.started.lock() = Timestamp::now();
        let enqueue = async |keys: Vec<ResourceKey>| keys.into_iter().for_each(|key| self.queue.add(key));
        join(
            self.queue.run(MAX_BULK_ENTITIES, CONCURRENT_ATTEMPTS, stop, |keys| self.attempt(keys)),
            self.recheck.run(MAX_BULK_ENTITIES, 1, stop, enqueue),
        )
        .await;
    }

    /// One attempt: passes the resources through the stages.
    async fn attempt(&self, keys: Vec<ResourceKey>) {
        let read = join_all(keys.iter().map(|key| self.read(key))).await;
        let (mut present, mut terminating) = (Vec::new(), Vec::new());
        for (key, read) in keys.iter().zip(read) {
            match read {
                Some(ReadResource::Present(resource)) => present.push((key, *resource)),
                Some(ReadResource::Terminating(resource)) => terminating.push((key, *resource)),
                None => {}
            }
        }
        // A deletion does not wait for the blueprint.
        let finalize = join_all(terminating.into_iter().map(|(key, terminating)| self.finalize(key, terminating)));
        join(finalize, self.publish(present)).await;
        let mut written = self.metadata_written.lock();
        for key in &keys {
            written.remove(key);
        }
    }

    async fn publish(&self, resources: Vec<(&ResourceKey, R)>) {
        let resolved = join_all(resources.into_iter().map(|(key, resource)| self.resolve(key, resource))).await;
        let (mut on_hold, mut to_send) = (Vec::new(), Vec::new());
        for resolved in resolved.into_iter().flatten() {
            match resolved.refusal.clone().or_else(|| resolved.resource.hold(&self.context.settings.file)) {
                Some(hold) => on_hold.push((resolved, hold)),
                None => to_send.push(resolved),
            }
        }
        // A held resource is reported whether or not Port can be reached.
        let report_held = join_all(on_hold.into_iter().map(|(resolved, hold)| self.report_held(resolved, hold)));
        join(report_held, self.send(to_send)).await;
    }

    async fn send(&self, resources: Vec<Resolved<R>>) {
        if resources.is_empty() {
            return;
        }
        let PublishContext { port, settings, blueprints, .. } = &*self.context;
        let ensured = blueprints.ensure(port, R::blueprint(&settings.file)).await;
        let blueprint = blueprints.get(self.blueprint());
        let built = resources.into_iter().map(|resolved| self.build(resolved, blueprint.as_deref()));
        let outgoing = join_all(built.map(|outgoing| self.report_unsent(outgoing))).await.into_iter().flatten();
        let (outgoing, answers) = match ensured {
            Ok(()) => {
                let written = join_all(outgoing.map(|outgoing| self.write_ahead(outgoing))).await;
                let outgoing: Vec<_> = written.into_iter().flatten().collect();
                let answers = self.deliver(&outgoing, blueprint.as_deref()).await;
                (outgoing, answers)
            }
            Err(error) => {
                let outgoing: Vec<_> = outgoing.collect();
                let answers = vec![Err(error); outgoing.len()];
                (outgoing, answers)
            }
        };
        let answered = outgoing.into_iter().zip(answers);
        join_all(answered.map(|(outgoing, answer)| self.report_answer(outgoing, answer))).await;
    }

    fn build(&self, resolved: Resolved<R>, blueprint: Option<&Blueprint>) -> Outgoing<R> {
        let input = BuildInput { settings: &self.context.settings, blueprint, now: Timestamp::now() };
        let Built { entity, digest, mut warnings } = build(&resolved.resource, &input);
        warnings.extend(resolved.warnings);
        Outgoing { resolved: Resolved { warnings, ..resolved }, entity, digest }
    }

    /// The identifier of the blueprint.
    pub(super) fn blueprint(&self) -> &str {
        R::blueprint(&self.context.settings.file).identifier
    }

    /// Retries `key` with exponential backoff.
    pub(super) fn retry(&self, key: &ResourceKey) {
        self.queue.add_after(key.clone(), self.backoff.next_delay(key));
    }

    /// As [`Publisher::retry`], but after `longest` at the latest.
    pub(super) fn retry_within(&self, key: &ResourceKey, longest: Duration) {
        self.queue.add_after(key.clone(), self.backoff.next_delay(key).min(longest));
    }

    /// Retries `key` with exponential backoff if `error` is temporary, and otherwise after [`RETRY_REFUSED`].
    pub(super) fn retry_after_failure(&self, key: &ResourceKey, error: &port::Error) {
        if error.is_temporary() {
            self.retry(key);
        } else {
            self.queue.add_after(key.clone(), RETRY_REFUSED);
        }
    }

    /// Looks up the references again later, if the answers may change. Not after a refusal, since that would send the entity again.
    pub(super) fn recheck_later(&self, resolved: &Resolved<R>) {
        if resolved.may_change {
            let key = &resolved.key;
            self.recheck.add_after(key.clone(), self.recheck_backoff.next_delay(key));
        }
    }

    /// Whether the last attempt with `key` failed.
    pub(super) fn is_failing(&self, key: &ResourceKey) -> bool {
        self.backoff.is_failing(key)
    }

    /// The attempt with `key` has succeeded. Returns whether the one before had failed.
    pub(super) fn succeeded(&self, key: &ResourceKey) -> bool {
        self.backoff.forget(key)
    }

    /// Forgets `key`, whose resource is gone.
    pub(super) fn forget(&self, key: &ResourceKey) {
        self.backoff.forget(key);
        self.recheck_backoff.forget(key);
        self.recheck.forget(key);
    }
}

pub(super) fn version_of(metadata: &ObjectMeta) -> Version {
    (metadata.uid.clone(), metadata.generation)
}
