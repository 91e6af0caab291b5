//! The loop: read what has changed, map it, upsert it, write into its status what happened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_controller::conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::finalizer::Leaving;
use super::report::Written;
use super::write_ahead::{announced, with_cleared_fields};
use super::{Assessment, Mapped, PublishContext, Record, condition};
use crate::incidents::{CauseContext, Lookup};
use crate::records::Records;
use crate::resources::conditions::{DRY_RUN, SYNCED};
use crate::resources::{DeliveredEntity, ResourceKey, digest};
use crate::runtime::{Backoff, Context, WorkQueue};
use port_client::{self as port, Blueprint, Entity, MAX_BULK_ENTITIES, UpsertOptions};

/// Requests to Port under way at once: while one is, a backlog gathers for the next to take in bulk.
const REQUESTS_IN_FLIGHT: usize = 4;

/// A refusal is not tried again before this, unless the resource or the settings change.
const RETRY_REFUSED: Duration = Duration::from_mins(30);

/// Bounds of the first and the longest wait after a failure that passes by itself.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// First and longest wait before it is looked up again what may change although the resource doesn't.
const LOOK_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// Publishes the resources of one kind.
pub struct Publisher<R> {
    tools: Context,
    port: port::Client,
    options: UpsertOptions,
    context: Arc<PublishContext>,
    records: Arc<Records>,
    queue: Arc<WorkQueue<ResourceKey>>,
    /// Resources as their writer got them back from the API server, until they are looked at.
    written: Mutex<HashMap<ResourceKey, R>>,
    /// Backoff of the resources whose last attempt failed.
    waits: Backoff<ResourceKey>,
    /// Resources for which something is looked up again. They don't wait for delivery, and are none of the backlog.
    looks: WorkQueue<ResourceKey>,
    look_waits: Backoff<ResourceKey>,
    /// Since when this process publishes.
    since: Mutex<Timestamp>,
}

/// A resource that is to be sent.
struct Outgoing<R: Record> {
    key: ResourceKey,
    resource: R,
    /// The status as the API server has it.
    stored: Option<R::Status>,
    /// Whether what was looked up for it may become another.
    may_change: bool,
    entity: Entity,
    digest: String,
    warnings: Vec<String>,
}

impl<R: Record> Outgoing<R> {
    fn with_cleared_fields(&self, blueprint: Option<&Blueprint>) -> Entity {
        with_cleared_fields(&self.entity, self.resource.delivery().entity, blueprint)
    }
}

/// What a key stands for.
enum Read<R: Record> {
    /// A resource.
    Present(Box<R>),
    /// One that is being deleted.
    Leaving(Box<Leaving<R>>),
}

impl<R: Record> Publisher<R> {
    /// A publisher of what is in `queue`.
    #[must_use]
    pub fn new(
        tools: Context,
        port: port::Client,
        options: UpsertOptions,
        context: Arc<PublishContext>,
        records: Arc<Records>,
        queue: Arc<WorkQueue<ResourceKey>>,
    ) -> Self {
        let waits = Backoff::new(RETRY_WAITS.0, RETRY_WAITS.1);
        let look_waits = Backoff::new(LOOK_WAITS.0, LOOK_WAITS.1);
        let (looks, since) = (WorkQueue::default(), Mutex::new(Timestamp::UNIX_EPOCH));
        Self {
            tools,
            port,
            options,
            context,
            records,
            queue,
            written: Mutex::default(),
            waits,
            looks,
            look_waits,
            since,
        }
    }

    /// The resources to look at.
    #[must_use]
    pub fn queue(&self) -> &WorkQueue<ResourceKey> {
        &self.queue
    }

    /// Looks at `resource` at once, as it was just written: neither the watch nor a read has to bring it first.
    ///
    /// Not while it is worked on, since then its status is about to be another.
    pub fn publish_written(&self, resource: R) {
        let (Some(namespace), Some(name)) = (resource.namespace(), resource.meta().name.as_deref()) else {
            return;
        };
        let key = ResourceKey { namespace: namespace.as_str().into(), name: name.into() };
        if !self.queue.is_working_on(&key) {
            self.written().insert(key.clone(), resource);
        }
        self.queue.add(key);
    }

    /// A poisoned lock still guards a usable map.
    fn written(&self) -> MutexGuard<'_, HashMap<ResourceKey, R>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resource, from its writer or from the API server; `None` if there is none any more.
    async fn read(&self, key: &ResourceKey) -> Result<Option<Read<R>>, kube::Error> {
        let written = self.written().remove(key);
        let resource = match written {
            Some(resource) => Some(resource),
            None => match self.api(key).get_opt(&key.name).await {
                Err(kube::Error::SerdeError(error)) => match self.remains(key).await? {
                    Some(leaving) => return Ok(Some(Read::Leaving(Box::new(leaving)))),
                    None => return Err(kube::Error::SerdeError(error)),
                },
                resource => resource?,
            },
        };
        Ok(resource.map(|resource| match Leaving::of(&resource) {
            Some(leaving) => Read::Leaving(Box::new(leaving)),
            None => Read::Present(Box::new(resource)),
        }))
    }

    /// What the mapping needs to know.
    #[must_use]
    pub fn context(&self) -> &PublishContext {
        &self.context
    }

    /// Publishes what is in the queue until `stop`. Only the leader does; dropping the future loses nothing.
    pub async fn run(&self, stop: &CancellationToken) {
        self.written().clear();
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Timestamp::now();
        let look_again = async |keys: Vec<ResourceKey>| keys.into_iter().for_each(|key| self.queue.add(key));
        futures::future::join(
            self.queue.run(MAX_BULK_ENTITIES, REQUESTS_IN_FLIGHT, stop, |keys| self.publish(keys)),
            self.looks.run(MAX_BULK_ENTITIES, 1, stop, look_again),
        )
        .await;
    }

    async fn publish(&self, keys: Vec<ResourceKey>) {
        let read = join_all(keys.iter().map(|key| self.read_or_retry(key))).await;
        let (mut present, mut leaving) = (Vec::new(), Vec::new());
        for (key, read) in keys.iter().zip(read) {
            match read {
                Some(Read::Present(resource)) => present.push((key, *resource)),
                Some(Read::Leaving(resource)) => leaving.push((key, *resource)),
                None => {}
            }
        }
        // Those that leave don't wait until the blueprint is known.
        let finalize = join_all(leaving.into_iter().map(|(key, leaving)| self.finalize(key, leaving)));
        futures::future::join(finalize, self.deliver(present)).await;
    }

    /// Those of which Port is not told (yet) are settled whether or not it can be reached.
    async fn deliver(&self, resources: Vec<(&ResourceKey, R)>) {
        let now = Timestamp::now();
        let (held, told): (Vec<_>, Vec<_>) = resources
            .into_iter()
            .partition(|(_, resource)| matches!(resource.assess(&self.context, now).mapped, Mapped::Held { .. }));
        let settled = join_all(held.into_iter().map(|(key, resource)| self.prepare(key, resource)));
        futures::future::join(settled, self.tell(told)).await;
    }

    async fn tell(&self, resources: Vec<(&ResourceKey, R)>) {
        if resources.is_empty() {
            return;
        }
        let known = self.context.blueprints.ensure(&self.port, R::wanted(&self.context)).await;
        // Nothing is sent in a dry run, so that it goes on without Port.
        let known = known.or_else(|error| if self.context.settings.dry_run { Ok(()) } else { Err(error) });
        let prepared = join_all(resources.into_iter().map(|(key, resource)| self.prepare(key, resource))).await;
        let outgoing: Vec<Outgoing<R>> = prepared.into_iter().flatten().collect();
        match known {
            Ok(()) => {
                let announced = join_all(outgoing.into_iter().map(|outgoing| self.write_ahead(outgoing))).await;
                self.send(announced.into_iter().flatten().collect()).await;
            }
            Err(error) => {
                join_all(outgoing.into_iter().map(|outgoing| self.finish(outgoing, Err(error.clone())))).await;
            }
        }
    }

    pub(super) fn api(&self, key: &ResourceKey) -> Api<R> {
        Api::namespaced(self.tools.client.clone(), &key.namespace)
    }

    async fn read_or_retry(&self, key: &ResourceKey) -> Option<Read<R>> {
        match self.read(key).await {
            Ok(Some(read)) => Some(read),
            Ok(None) => {
                self.forget(key);
                None
            }
            Err(error) => {
                self.retry(key);
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "the resource can't be read; it is tried again",
                );
                None
            }
        }
    }

    /// The resource with what is to be known of the rest of the cluster, and when to look again.
    async fn look_up(&self, key: &ResourceKey, resource: R) -> Option<Lookup<R>> {
        let around = CauseContext {
            client: &self.tools.client,
            settings: &self.context.settings,
            records: &self.records,
            publishing_since: *self.since.lock().unwrap_or_else(PoisonError::into_inner),
            now: Timestamp::now(),
        };
        match resource.look_up(&around).await {
            Ok(looked_up) => {
                if !looked_up.may_change {
                    self.look_waits.forget(key);
                }
                Some(looked_up)
            }
            Err(error) => {
                self.retry(key);
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "what the resource refers to can't be looked up; it is tried again",
                );
                None
            }
        }
    }

    /// Has `key` looked up again later. Not what Port has refused: looking at it again would send it again.
    fn look_again(&self, key: &ResourceKey, may_change: bool) {
        if may_change {
            self.looks.add_after(key.clone(), self.look_waits.next_delay(key));
        }
    }

    /// Settles the resource if nothing has to be sent.
    async fn prepare(&self, key: &ResourceKey, resource: R) -> Option<Outgoing<R>> {
        let resource = self.with_finalizer(key, resource).await?;
        let stored = resource.status().cloned();
        let Lookup { resource, may_change, warnings: unknown } = self.look_up(key, resource).await?;
        let Assessment { mapped, mut warnings } = resource.assess(&self.context, Timestamp::now());
        warnings.extend(unknown);
        let entity = match mapped {
            Mapped::Entity(entity) => entity,
            Mapped::Held { reason, message } => {
                let desired = condition::held(reason, &message);
                let delivered = resource.delivery().entity;
                self.update_status(key, &resource, stored.as_ref(), desired, delivered, &warnings).await;
                self.look_again(key, may_change);
                return None;
            }
        };
        let digest = digest(&(R::blueprint(&self.context), &entity));
        if self.context.settings.dry_run {
            self.show(key, &resource, stored.as_ref(), &entity, &warnings).await;
            self.look_again(key, may_change);
            return None;
        }
        let delivery = resource.delivery();
        // Only what Port has acknowledged for this generation: of a version in between, which was changed back since, it is
        // not known whether Port stored it.
        let acknowledged = delivery.observed_generation == resource.meta().generation
            && delivery.entity.as_ref().is_some_and(|delivered| delivered.digest == digest);
        if acknowledged {
            self.update_status(key, &resource, stored.as_ref(), condition::delivered(), delivery.entity, &warnings)
                .await;
            self.look_again(key, may_change);
            return None;
        }
        if self.waits.is_failing(key) {
            self.tools.metrics.retried(&R::kind(&()));
        }
        Some(Outgoing { key: key.clone(), resource, stored, may_change, entity, digest, warnings })
    }

    /// Says what would be sent.
    async fn show(
        &self,
        key: &ResourceKey,
        resource: &R,
        stored: Option<&R::Status>,
        entity: &Entity,
        warnings: &[String],
    ) {
        let blueprint = R::blueprint(&self.context);
        let json = serde_json::to_string(entity).unwrap_or_default();
        info!(
            kind = %R::kind(&()), namespace = %key.namespace, name = %key.name, blueprint, entity = json,
            "dry run: this would be sent to Port",
        );
        let desired = condition::held(DRY_RUN, "this is a dry run: the log says what would be sent to Port");
        let delivered = resource.delivery().entity;
        if self.update_status(key, resource, stored, desired, delivered, warnings).await {
            self.waits.forget(key);
        }
    }

    /// Writes down what Port is about to be given and may have to be cleared there later, since neither an answer that gets lost
    /// nor the end of this process between the answer and the status would tell. `None` if it is not to be sent now.
    async fn write_ahead(&self, outgoing: Outgoing<R>) -> Option<Outgoing<R>> {
        let Outgoing { key, resource, entity, .. } = &outgoing;
        let before = resource.delivery().entity;
        let announced = announced(before.as_ref(), R::blueprint(&self.context), entity);
        if !resource.may_say_less() || before.as_ref() == Some(&announced) {
            return Some(outgoing);
        }
        let status = self.status(resource, condition::on_its_way(), Some(announced), &outgoing.warnings);
        match self.write_status(key, resource, &status).await {
            Written::Status(written) if written.meta().generation == resource.meta().generation => {
                Some(Outgoing { stored: written.status().cloned(), resource: *written, ..outgoing })
            }
            // There is a newer version, which is sent instead.
            Written::Status(_) => {
                self.queue.add(key.clone());
                None
            }
            Written::Nothing | Written::Failed => None,
        }
    }

    /// Sends one alone and several in bulk, and settles each by its own answer.
    async fn send(&self, outgoing: Vec<Outgoing<R>>) {
        let blueprint = R::blueprint(&self.context);
        let known = self.context.blueprints.get(blueprint);
        let entities: Vec<Entity> =
            outgoing.iter().map(|outgoing| outgoing.with_cleared_fields(known.as_deref())).collect();
        let answers = match entities.as_slice() {
            [] => return,
            [entity] => vec![self.port.upsert(blueprint, entity, self.options).await],
            several => match self.port.upsert_bulk(blueprint, several, self.options).await {
                Ok(answers) => answers,
                Err(error) => vec![Err(error); several.len()],
            },
        };
        join_all(outgoing.into_iter().zip(answers).map(|(outgoing, answer)| self.finish(outgoing, answer))).await;
    }

    async fn finish(&self, outgoing: Outgoing<R>, answer: Result<port::Upserted, port::Error>) {
        let Outgoing { key, resource, stored, may_change, entity, digest, warnings } = outgoing;
        let (kind, blueprint) = (R::kind(&()), R::blueprint(&self.context));
        match answer {
            Ok(upserted) => {
                self.tools.metrics.delivered(&kind);
                info!(
                    %kind, namespace = %key.namespace, name = %key.name, blueprint, entity = entity.identifier,
                    trace_id = upserted.trace_id, "delivered to Port",
                );
                let delivered = DeliveredEntity {
                    blueprint: blueprint.to_owned(),
                    identifier: entity.identifier,
                    delivered_at: Some(Time(whole_seconds(Timestamp::now()))),
                    digest,
                    properties: entity.properties.into_iter().map(|(name, _)| name).collect(),
                    relations: entity.relations.into_iter().map(|(name, _)| name).collect(),
                };
                self.look_again(&key, may_change);
                let synced = condition::delivered();
                if self.update_status(&key, &resource, stored.as_ref(), synced, Some(delivered), &warnings).await {
                    let had_failed = self.waits.forget(&key);
                    if had_failed {
                        // Port is back: the others need not wait for their turn.
                        self.queue.retry_all_now();
                    }
                }
            }
            Err(error) => {
                self.tools.metrics.not_delivered(&kind, error.reason());
                if matches!(error, port::Error::Refused(_) | port::Error::NotFound(_)) {
                    self.context.blueprints.invalidate();
                }
                let desired = condition::refused(&error);
                let known = conditions::find(&resource.delivery().conditions, SYNCED)
                    .is_some_and(|synced| synced.reason == desired.reason && synced.message == desired.message);
                if known {
                    debug!(%kind, namespace = %key.namespace, name = %key.name, %error, "still not delivered to Port");
                } else {
                    warn!(
                        %kind, namespace = %key.namespace, name = %key.name, blueprint, reason = error.reason(),
                        advice = error.advice(), "not delivered to Port yet: {error}",
                    );
                }
                if error.is_temporary() {
                    self.retry(&key);
                } else {
                    self.queue.add_after(key.clone(), RETRY_REFUSED);
                }
                let mut delivered = resource.delivery().entity;
                if let Some(delivered) = delivered.as_mut().filter(|_| error.is_temporary()) {
                    // Port may have stored it all the same, so what it has is not known any more.
                    delivered.digest.clear();
                }
                self.update_status(&key, &resource, stored.as_ref(), desired, delivered, &warnings).await;
            }
        }
    }

    pub(super) fn retry(&self, key: &ResourceKey) {
        self.queue.add_after(key.clone(), self.waits.next_delay(key));
    }

    /// As [`Publisher::retry`], but after `longest` at the latest.
    pub(super) fn retry_within(&self, key: &ResourceKey, longest: Duration) {
        self.queue.add_after(key.clone(), self.waits.next_delay(key).min(longest));
    }

    /// Whether the last attempt with `key` failed.
    pub(super) fn is_failing(&self, key: &ResourceKey) -> bool {
        self.waits.is_failing(key)
    }

    /// Nothing is left to do for `key`.
    pub(super) fn forget(&self, key: &ResourceKey) {
        self.waits.forget(key);
        self.look_waits.forget(key);
        self.looks.forget(key);
    }

    pub(super) fn tools(&self) -> &Context {
        &self.tools
    }

    pub(super) fn port(&self) -> &port::Client {
        &self.port
    }
}

/// Kubernetes keeps times in whole seconds; a finer one would differ from what is read back.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
