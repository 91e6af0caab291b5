//! The loop: read what has changed, map it, upsert it, write into its status what happened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_controller::conditions;
use k8s_controller::events::{Event, EventType};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::condition::{self, SYNCED, VALID};
use super::record::DRY_RUN;
use super::{Assessment, Context, Mapped, Record, digest};
use crate::operate::{Tools, Waits, WorkQueue};
use crate::port::{self, Blueprint, Entity, MAX_BULK_ENTITIES, UpsertOptions};
use crate::resources::{DeliveredEntity, FIELD_MANAGER};

/// Requests to Port under way at once: while one is, a backlog gathers for the next to take in bulk.
const REQUESTS_IN_FLIGHT: usize = 4;

/// A refusal is not tried again before this, unless the resource or the settings change.
const RETRY_REFUSED: Duration = Duration::from_mins(30);

/// Bounds of the first and the longest wait after a failure that passes by itself.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// A resource of the publisher's kind.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// Publishes the resources of one kind.
pub struct Publisher<R> {
    tools: Tools,
    port: port::Client,
    options: UpsertOptions,
    context: Arc<Context>,
    queue: Arc<WorkQueue<Key>>,
    /// Resources as their writer got them back from the API server, until they are looked at.
    written: Mutex<HashMap<Key, R>>,
    /// Waits of the resources whose last attempt failed.
    waits: Waits<Key>,
}

/// A resource that is to be sent.
struct Outgoing<R> {
    key: Key,
    resource: R,
    entity: Entity,
    digest: String,
    warnings: Vec<String>,
}

/// What became of a status.
enum Written<R> {
    /// It is written; this is the resource with it.
    Status(Box<R>),
    /// The resource was deleted, or made anew, meanwhile: the watch tells if there is something left to do.
    Nothing,
    /// It is not, and is tried again.
    Failed,
}

impl<R: Record> Publisher<R> {
    /// A publisher of what is in `queue`.
    #[must_use]
    pub fn new(
        tools: Tools,
        port: port::Client,
        options: UpsertOptions,
        context: Arc<Context>,
        queue: Arc<WorkQueue<Key>>,
    ) -> Self {
        let waits = Waits::new(RETRY_WAITS.0, RETRY_WAITS.1);
        Self { tools, port, options, context, queue, written: Mutex::default(), waits }
    }

    /// The resources to look at.
    #[must_use]
    pub fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    /// Looks at `resource` at once, as it was just written: neither the watch nor a read has to bring it first.
    ///
    /// Not while it is worked on, since then its status is about to be another.
    pub fn publish_written(&self, resource: R) {
        let (Some(namespace), Some(name)) = (resource.namespace(), resource.meta().name.as_deref()) else {
            return;
        };
        let key = Key { namespace: namespace.as_str().into(), name: name.into() };
        if !self.queue.is_working_on(&key) {
            self.written().insert(key.clone(), resource);
        }
        self.queue.add(key);
    }

    /// A poisoned lock still guards a usable map.
    fn written(&self) -> MutexGuard<'_, HashMap<Key, R>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resource, from its writer or from the API server; `None` if there is none any more.
    async fn read(&self, key: &Key) -> Result<Option<R>, kube::Error> {
        let written = self.written().remove(key);
        match written {
            Some(resource) => Ok(Some(resource)),
            None => self.api(key).get_opt(&key.name).await,
        }
    }

    /// What the mapping needs to know.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Publishes what is in the queue until `stop`. Only the leader does; dropping the future loses nothing.
    pub async fn run(&self, stop: &CancellationToken) {
        self.written().clear();
        self.queue.work_off(MAX_BULK_ENTITIES, REQUESTS_IN_FLIGHT, stop, |keys| self.publish(keys)).await;
    }

    async fn publish(&self, keys: Vec<Key>) {
        let known = self.context.blueprints.ensure(&self.port, R::wanted(&self.context)).await;
        // Nothing is sent in a dry run, so that it goes on without Port.
        let known = known.or_else(|error| if self.context.dry_run { Ok(()) } else { Err(error) });
        let prepared = join_all(keys.iter().map(|key| self.prepare(key))).await;
        let outgoing: Vec<Outgoing<R>> = prepared.into_iter().flatten().collect();
        match known {
            Ok(()) => {
                let announced = join_all(outgoing.into_iter().map(|outgoing| self.announce(outgoing))).await;
                self.send(announced.into_iter().flatten().collect()).await;
            }
            Err(error) => {
                join_all(outgoing.into_iter().map(|outgoing| self.finish(outgoing, Err(error.clone())))).await;
            }
        }
    }

    fn api(&self, key: &Key) -> Api<R> {
        Api::namespaced(self.tools.client.clone(), &key.namespace)
    }

    /// Reads the resource and settles it if nothing has to be sent.
    async fn prepare(&self, key: &Key) -> Option<Outgoing<R>> {
        let resource = match self.read(key).await {
            Ok(Some(resource)) => resource,
            Ok(None) => {
                self.waits.forget(key);
                return None;
            }
            Err(error) => {
                self.retry(key);
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "the resource can't be read; it is tried again",
                );
                return None;
            }
        };
        let Assessment { mapped, warnings } = resource.assess(&self.context, Timestamp::now());
        let entity = match mapped {
            Mapped::Entity(entity) => entity,
            Mapped::Held { reason, message } => {
                let desired = condition::held(reason, &message);
                let delivered = resource.delivery().entity;
                self.settle(key, &resource, desired, delivered, &warnings).await;
                return None;
            }
        };
        let digest = digest(&(R::blueprint(&self.context), &entity));
        if self.context.dry_run {
            self.show(key, &resource, &entity, &warnings).await;
            return None;
        }
        let delivery = resource.delivery();
        // Only what Port has acknowledged for this generation: of a version in between, which was changed back since, it is
        // not known whether Port stored it.
        let acknowledged = delivery.observed_generation == resource.meta().generation
            && delivery.entity.as_ref().is_some_and(|delivered| delivered.digest == digest);
        if acknowledged {
            self.settle(key, &resource, condition::delivered(), delivery.entity, &warnings).await;
            return None;
        }
        if self.waits.is_failing(key) {
            self.tools.metrics.retried(&R::kind(&()));
        }
        Some(Outgoing { key: key.clone(), resource, entity, digest, warnings })
    }

    /// Says what would be sent.
    async fn show(&self, key: &Key, resource: &R, entity: &Entity, warnings: &[String]) {
        let blueprint = R::blueprint(&self.context);
        let json = serde_json::to_string(entity).unwrap_or_default();
        info!(
            kind = %R::kind(&()), namespace = %key.namespace, name = %key.name, blueprint, entity = json,
            "dry run: this would be sent to Port",
        );
        let desired = condition::held(DRY_RUN, "this is a dry run: the log says what would be sent to Port");
        let delivered = resource.delivery().entity;
        if self.settle(key, resource, desired, delivered, warnings).await {
            self.waits.forget(key);
        }
    }

    /// Writes down what Port is about to be given and may have to be cleared there later, since neither an answer that gets lost
    /// nor the end of this process between the answer and the status would tell. `None` if it is not to be sent now.
    async fn announce(&self, outgoing: Outgoing<R>) -> Option<Outgoing<R>> {
        let Outgoing { key, resource, entity, .. } = &outgoing;
        let before = resource.delivery().entity;
        let announced = announced(before.as_ref(), R::blueprint(&self.context), entity);
        if !resource.may_say_less() || before.as_ref() == Some(&announced) {
            return Some(outgoing);
        }
        let status = self.status(resource, condition::on_its_way(), Some(announced), &outgoing.warnings);
        match self.write_status(key, resource, &status).await {
            Written::Status(written) if written.meta().generation == resource.meta().generation => {
                Some(Outgoing { resource: *written, ..outgoing })
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
            outgoing.iter().map(|outgoing| with_cleared_fields(outgoing, known.as_deref())).collect();
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
        let Outgoing { key, resource, entity, digest, warnings } = outgoing;
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
                if self.settle(&key, &resource, condition::delivered(), Some(delivered), &warnings).await {
                    let had_failed = self.waits.forget(&key);
                    if had_failed {
                        // Port is back: the others need not wait for their turn.
                        self.queue.hasten();
                    }
                }
            }
            Err(error) => {
                self.tools.metrics.not_delivered(&kind, error.reason());
                if matches!(error, port::Error::Refused(_) | port::Error::NotFound(_)) {
                    self.context.blueprints.doubt();
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
                    self.queue.add_at(key.clone(), Instant::now() + RETRY_REFUSED);
                }
                let mut delivered = resource.delivery().entity;
                if let Some(delivered) = delivered.as_mut().filter(|_| error.is_temporary()) {
                    // Port may have stored it all the same, so what it has is not known any more.
                    delivered.digest.clear();
                }
                self.settle(&key, &resource, desired, delivered, &warnings).await;
            }
        }
    }

    /// Writes the status if it changes; whether it is now as it should be.
    async fn settle(
        &self,
        key: &Key,
        resource: &R,
        synced: conditions::DesiredCondition,
        entity: Option<DeliveredEntity>,
        warnings: &[String],
    ) -> bool {
        let reason_before =
            conditions::find(&resource.delivery().conditions, SYNCED).map(|synced| synced.reason.clone());
        let is_news = reason_before.as_ref() != Some(&synced.reason);
        let is_problem = synced.status == conditions::ConditionStatus::False
            && !super::record::HELD_REASONS.contains(&synced.reason.as_str());
        let warning = (is_news && is_problem).then(|| (synced.reason.clone(), synced.message.clone()));
        let invalid = condition::invalid(warnings);
        let invalid_before = conditions::find(&resource.delivery().conditions, VALID)
            .is_some_and(|valid| valid.message == invalid.message);
        let invalid = (!warnings.is_empty() && !invalid_before).then(|| ("PartlyUnusable".to_owned(), invalid.message));
        let status = self.status(resource, synced, entity, warnings);
        if resource.status() == Some(&status) {
            return true;
        }
        let written = self.write_status(key, resource, &status).await;
        for (reason, note) in warning.into_iter().chain(invalid) {
            let event = Event {
                type_: EventType::Warning,
                reason,
                action: "Publish".to_owned(),
                note: Some(note),
                related: None,
            };
            self.tools.events.publish(resource, &event).await;
        }
        !matches!(written, Written::Failed)
    }

    /// The status of `resource` with this to say of its delivery.
    fn status(
        &self,
        resource: &R,
        synced: conditions::DesiredCondition,
        entity: Option<DeliveredEntity>,
        warnings: &[String],
    ) -> R::Status {
        let generation = resource.meta().generation;
        let mut delivery = resource.delivery();
        let _ = conditions::set(&mut delivery.conditions, synced.observed_generation(generation));
        if warnings.is_empty() {
            conditions::remove(&mut delivery.conditions, VALID);
        } else {
            let invalid = condition::invalid(warnings).observed_generation(generation);
            let _ = conditions::set(&mut delivery.conditions, invalid);
        }
        delivery.observed_generation = generation;
        delivery.observed_settings = Some(self.context.digest().to_owned());
        delivery.entity = entity;
        resource.with_delivery(delivery, Timestamp::now())
    }

    async fn write_status(&self, key: &Key, resource: &R, status: &R::Status) -> Written<R> {
        // The UID keeps the status of a deleted resource from landing on one that was made anew under its name.
        let metadata = ObjectMeta { name: Some(resource.name_any()), uid: resource.uid(), ..ObjectMeta::default() };
        let patch = json!({
            "apiVersion": R::api_version(&()),
            "kind": R::kind(&()),
            "metadata": metadata,
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match self.api(key).patch_status(&key.name, &parameters, &Patch::Apply(&patch)).await {
            Ok(written) => Written::Status(Box::new(written)),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Written::Nothing,
            Err(error) => {
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "the status can't be written; it is tried again",
                );
                self.retry(key);
                Written::Failed
            }
        }
    }

    fn retry(&self, key: &Key) {
        self.queue.add_at(key.clone(), self.waits.failed(key));
    }
}

/// What Port may have once `entity` is sent, on top of what it may have `before`.
fn announced(before: Option<&DeliveredEntity>, blueprint: &str, entity: &Entity) -> DeliveredEntity {
    let mut announced = before.cloned().unwrap_or_default();
    let mut is_news = announced.blueprint != blueprint || announced.identifier != entity.identifier;
    for (names, sent) in
        [(&mut announced.properties, &entity.properties), (&mut announced.relations, &entity.relations)]
    {
        for name in sent.keys().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>() {
            names.push(name);
            is_news = true;
        }
    }
    if is_news {
        announced.digest.clear();
    }
    DeliveredEntity { blueprint: blueprint.to_owned(), identifier: entity.identifier.clone(), ..announced }
}

/// The entity with `null` for what Port was given before and what has no value any more: with `merge`, a property that
/// is merely absent keeps its old value.
///
/// What the blueprint has lost since then needs no clearing, and Port would refuse it.
fn with_cleared_fields<R: Record>(outgoing: &Outgoing<R>, blueprint: Option<&Blueprint>) -> Entity {
    let mut entity = outgoing.entity.clone();
    let Some(delivered) = outgoing.resource.delivery().entity else {
        return entity;
    };
    for name in delivered.properties {
        if blueprint.is_none_or(|blueprint| blueprint.schema.properties.contains_key(&name)) {
            entity.properties.entry(name).or_insert(Value::Null);
        }
    }
    for name in delivered.relations {
        if blueprint.is_none_or(|blueprint| blueprint.relations.contains_key(&name)) {
            entity.relations.entry(name).or_insert(Value::Null);
        }
    }
    entity
}

/// Kubernetes keeps times in whole seconds; a finer one would differ from what is read back.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
