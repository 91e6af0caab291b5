//! The loop: takes keys from the queue, and passes their resources through the stages.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{join, join_all, join3};
use jiff::Timestamp;
use kube::api::ObjectMeta;
use parking_lot::Mutex;
use port_client::{Blueprint, MAX_BULK_ENTITIES};
use tokio_util::sync::CancellationToken;

use super::deletions::Deletions;
use super::deliver::Outgoing;
use super::outdated::Outdated;
use super::parking::Parking;
use super::read::ReadResource;
use super::resolve::Resolved;
use super::{BuildInput, Built, PublishContext, Publishable, build};
use crate::resources::ResourceKey;
use crate::runtime::{Backoff, WorkQueue};

/// Attempts under way at once. While one waits for Port, a backlog gathers, which the next one sends in bulk.
const CONCURRENT_ATTEMPTS: usize = 4;

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
    /// The resources that are being deleted, which have slots of their own.
    pub(super) deletions: Arc<Deletions>,
    /// Resources as the API server returned them to their writer, until an attempt takes them.
    pub(super) written: Mutex<HashMap<ResourceKey, R>>,
    /// UID and generation of the resources whose metadata an attempt has written, until the attempt ends.
    pub(super) metadata_written: Mutex<HashMap<ResourceKey, Version>>,
    /// Delays of the resources whose last attempt failed with a temporary error.
    pub(super) backoff: Backoff<ResourceKey>,
    /// Resources that Port refuses.
    pub(super) parking: Parking<ResourceKey>,
    /// Resources whose references are looked up again later. They don't wait for delivery, so they don't count as pending.
    pub(super) recheck: WorkQueue<ResourceKey>,
    pub(super) recheck_backoff: Backoff<ResourceKey>,
    /// Resources to assess with the current settings.
    pub(super) outdated: Outdated<ResourceKey>,
    /// Resources that are not in the part of the current list that was received so far.
    pub(super) unlisted: Mutex<HashSet<ResourceKey>>,
    /// When this process started to publish.
    pub(super) started: Mutex<Timestamp>,
    /// Whether this process publishes.
    is_running: AtomicBool,
}

/// Marks the end of [`Publisher::run`], even if its future is dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl<R: Publishable> Publisher<R> {
    /// A publisher of the resources in `queue`, which deletes the entities of those in `deletions`.
    #[must_use]
    pub fn new(context: Arc<PublishContext>, queue: Arc<WorkQueue<ResourceKey>>, deletions: Arc<Deletions>) -> Self {
        Self {
            context,
            queue,
            deletions,
            written: Mutex::default(),
            metadata_written: Mutex::default(),
            backoff: Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1),
            parking: Parking::default(),
            recheck: WorkQueue::default(),
            recheck_backoff: Backoff::new(RECHECK_DELAYS.0, RECHECK_DELAYS.1),
            outdated: Outdated::default(),
            unlisted: Mutex::default(),
            started: Mutex::new(Timestamp::UNIX_EPOCH),
            is_running: AtomicBool::new(false),
        }
    }

    /// Publishes the resources in the queue until `stop`. Only the leader does. Dropping the future loses nothing.
    pub async fn run(&self, stop: &CancellationToken) {
        self.is_running.store(true, Ordering::Relaxed);
        let _stop = StopOnDrop(&self.is_running);
        self.written.lock().clear();
        self.metadata_written.lock().clear();
        self.retry_all_now();
        *self.started.lock() = Timestamp::now();
        let gate = &self.context.gate;
        let enqueue = async |keys: Vec<ResourceKey>| {
            // What is looked up again only is not pending meanwhile.
            stop.run_until_cancelled(gate.opened()).await;
            for key in keys {
                self.queue.add(key);
            }
        };
        join3(
            self.queue.run_gated(gate, MAX_BULK_ENTITIES, CONCURRENT_ATTEMPTS, stop, |keys| self.attempt(keys)),
            self.recheck.run(MAX_BULK_ENTITIES, 1, stop, enqueue),
            Box::pin(self.run_deletions(stop)),
        )
        .await;
    }

    /// Whether this process publishes. Otherwise it stands by.
    pub(super) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Relaxed)
    }

    /// One attempt: passes the resources through the stages.
    async fn attempt(&self, keys: Vec<ResourceKey>) {
        let read = join_all(keys.iter().map(|key| self.read(key))).await;
        let (mut present, mut undecodable) = (Vec::new(), Vec::new());
        for (key, read) in keys.iter().zip(read) {
            match read {
                Some(ReadResource::Present(resource)) => present.push((key, *resource)),
                Some(ReadResource::Terminating(resource)) => self.hand_over(key, &resource),
                Some(ReadResource::Undecodable(resource)) => undecodable.push((key, resource)),
                None => {}
            }
        }
        let report = undecodable.iter().map(|(key, undecodable)| self.report_undecodable(key, undecodable));
        join(join_all(report), self.publish(present)).await;
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
        let PublishContext { port, settings, blueprints, gate, .. } = &*self.context;
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
        gate.observe(outgoing.iter().map(|outgoing| outgoing.entity.identifier.as_str()), &answers);
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
}

pub(super) fn version_of(metadata: &ObjectMeta) -> Version {
    (metadata.uid.clone(), metadata.generation)
}
