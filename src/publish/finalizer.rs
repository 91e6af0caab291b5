//! The finalizer on resources whose entity is to be deleted from Port with them, and what is done when they are deleted.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_controller::events::{Event, EventType};
use kube::api::{DynamicObject, ObjectMeta, Patch, PatchParams};
use kube::core::{ApiResource, PartialObjectMeta, PartialObjectMetaExt};
use kube::{Api, Resource};
use serde::Deserialize;
use serde_json::json;
use tracing::{debug, info, warn};

use super::{Publisher, Record};
use crate::resources::{DeletionPolicy, DeliveredEntity, FINALIZER, ResourceKey};
use port_client as port;

/// How long after its deletion a resource may wait for Port: then it goes, and its entity stays behind.
///
/// A namespace that is being deleted waits for all of its resources.
pub const FINALIZE_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// What one attempt is given at least, when the controller was away for all of that time.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(10);

/// A resource that is being deleted.
pub struct Leaving<R: Record> {
    object: PartialObjectMeta<R>,
    policy: DeletionPolicy,
    entity: Option<DeliveredEntity>,
}

/// Of a resource that can't be decoded as a whole.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Remains {
    spec: RemainingSpec,
    status: RemainingStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RemainingSpec {
    deletion_policy: DeletionPolicy,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RemainingStatus {
    entity: Option<DeliveredEntity>,
}

/// Whether the finalizer is on the resource.
pub fn is_held(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

impl<R: Record> Leaving<R> {
    /// `resource`, if it is being deleted.
    pub fn of(resource: &R) -> Option<Self> {
        let metadata = resource.meta();
        metadata.deletion_timestamp.as_ref()?;
        let object = metadata.clone().into_response_partial();
        Some(Self { object, policy: resource.deletion_policy(), entity: resource.delivery().entity })
    }

    /// What can be read of a resource that can't be decoded, if it is being deleted.
    fn of_remains(object: DynamicObject) -> Option<Self> {
        object.metadata.deletion_timestamp.as_ref()?;
        let DynamicObject { metadata, data, .. } = object;
        // Whoever has the finalizer wanted the entity to go.
        let Remains { spec, status } = serde_json::from_value(data).unwrap_or_else(|_| Remains {
            spec: RemainingSpec { deletion_policy: DeletionPolicy::Delete },
            status: RemainingStatus::default(),
        });
        let object = metadata.into_response_partial();
        Some(Self { object, policy: spec.deletion_policy, entity: status.entity })
    }

    /// When it goes at the latest.
    fn end(&self) -> Timestamp {
        let deleted = self.object.metadata.deletion_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        deleted + FINALIZE_TIMEOUT
    }
}

impl<R: Record> Publisher<R> {
    /// What is left of a resource that can't be decoded, if it is being deleted.
    pub(super) async fn remains(&self, key: &ResourceKey) -> Result<Option<Leaving<R>>, kube::Error> {
        let resource = ApiResource::erase::<R>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.tools().client.clone(), &key.namespace, &resource);
        Ok(api.get_opt(&key.name).await?.and_then(Leaving::of_remains))
    }

    /// `resource` with the finalizer if its entity is to be deleted with it, and without if not. `None` if there is something newer to
    /// look at instead.
    pub(super) async fn with_finalizer(&self, key: &ResourceKey, resource: R) -> Option<R> {
        let is_wanted = resource.deletion_policy() == DeletionPolicy::Delete;
        // Nothing is sent in a dry run, so there is nothing to delete either.
        if is_wanted == is_held(resource.meta()) || is_wanted && self.context().settings.dry_run {
            return Some(resource);
        }
        match self.set_finalizer::<R>(key, resource.meta(), is_wanted).await {
            Ok(resource) => resource,
            Err(error) => {
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "the finalizer can't be written; it is tried again",
                );
                self.retry(key);
                None
            }
        }
    }

    /// Deletes the entity of a resource that is being deleted, if that is wanted, and lets the resource go.
    pub(super) async fn finalize(&self, key: &ResourceKey, leaving: Leaving<R>) {
        if !is_held(&leaving.object.metadata) {
            self.forget(key);
            return;
        }
        let entity = leaving.entity.as_ref().filter(|_| leaving.policy == DeletionPolicy::Delete);
        let Some(entity) = entity else {
            return self.remove_finalizer(key, &leaving).await;
        };
        let DeliveredEntity { blueprint, identifier, .. } = entity;
        let kind = R::kind(&());
        if self.context().settings.dry_run {
            info!(
                %kind, namespace = %key.namespace, name = %key.name, blueprint, entity = identifier,
                "dry run: this would be deleted from Port",
            );
            return self.orphan(key, &leaving, entity, "this is a dry run").await;
        }
        let left = Duration::try_from(leaving.end().duration_since(Timestamp::now())).unwrap_or_default();
        let attempt = self.port().delete_entity(blueprint, identifier);
        let why = match tokio::time::timeout(left.max(SHORTEST_ATTEMPT), attempt).await {
            Ok(Ok(())) => {
                info!(
                    %kind, namespace = %key.namespace, name = %key.name, blueprint, entity = identifier,
                    "deleted from Port, with its resource",
                );
                return self.remove_finalizer(key, &leaving).await;
            }
            Ok(Err(error @ port::Error::NoCredentials)) => {
                return self.orphan(key, &leaving, entity, &error.to_string()).await;
            }
            Ok(Err(error)) => {
                self.tools().metrics.delivery_failed(&kind, error.reason());
                super::condition::message(&error)
            }
            Err(_) => "Port has not answered".to_owned(),
        };
        let left = Duration::try_from(leaving.end().duration_since(Timestamp::now())).unwrap_or_default();
        if left.is_zero() {
            return self.orphan(key, &leaving, entity, &why).await;
        }
        if self.is_failing(key) {
            debug!(%kind, namespace = %key.namespace, name = %key.name, why, "still not deleted from Port");
        } else {
            warn!(
                %kind, namespace = %key.namespace, name = %key.name, blueprint, entity = identifier,
                "not deleted from Port yet, which holds up the deletion of the resource for 2 minutes at most: {why}",
            );
        }
        self.retry_within(key, left);
    }

    /// Lets the resource go although Port may still have its entity.
    async fn orphan(&self, key: &ResourceKey, leaving: &Leaving<R>, entity: &DeliveredEntity, why: &str) {
        let DeliveredEntity { blueprint, identifier, .. } = entity;
        let kind = R::kind(&());
        let note = format!(
            "the entity {identifier} of the blueprint {blueprint} stays in Port although spec.deletionPolicy is Delete: {why}. Delete it \
             there by hand"
        );
        warn!(%kind, namespace = %key.namespace, name = %key.name, blueprint, entity = identifier, "{note}");
        let event = Event {
            type_: EventType::Warning,
            reason: "EntityOrphaned".to_owned(),
            action: "Delete".to_owned(),
            note: Some(note),
            related: None,
        };
        self.tools().events.publish(&leaving.object, &event).await;
        self.tools().metrics.entity_orphaned(&kind);
        self.remove_finalizer(key, leaving).await;
    }

    async fn remove_finalizer(&self, key: &ResourceKey, leaving: &Leaving<R>) {
        match self.set_finalizer::<PartialObjectMeta<R>>(key, &leaving.object.metadata, false).await {
            Ok(_) => self.forget(key),
            Err(error) => {
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "the finalizer {FINALIZER} can't be removed, which holds up the deletion; it is tried again",
                );
                self.retry(key);
            }
        }
    }

    /// Adds or removes the finalizer and leaves those of others alone. `None` if the resource is another by now, or gone.
    async fn set_finalizer<T>(
        &self,
        key: &ResourceKey,
        metadata: &ObjectMeta,
        wanted: bool,
    ) -> Result<Option<T>, kube::Error>
    where
        T: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let others = metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != FINALIZER).cloned();
        let finalizers: Vec<String> = others.chain(wanted.then(|| FINALIZER.to_owned())).collect();
        // With the version, the list that was read can't overwrite one that was written since.
        let version = metadata.resource_version.as_deref();
        let patch = json!({"metadata": {"resourceVersion": version, "uid": metadata.uid, "finalizers": finalizers}});
        let api: Api<T> = Api::namespaced(self.tools().client.clone(), &key.namespace);
        match api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(resource) => Ok(Some(resource)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.queue().add(key.clone());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
