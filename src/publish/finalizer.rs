//! The finalizer: resources with `spec.deletionPolicy: Delete` wait for it, so that the controller can delete their entities first.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::core::{PartialObjectMeta, PartialObjectMetaExt};
use port_client as port;
use serde::Deserialize;
use serde_json::json;
use tracing::{debug, info, warn};

use super::{Publishable, Publisher, condition};
use crate::resources::{DeletionPolicy, DeliveredEntity, FINALIZER, Guarded, ResourceKey, Undecodable};
use crate::runtime::warning_event;

/// How long after its deletion a resource waits for Port at most. Then the finalizer is removed, and the entity stays in Port.
///
/// The deletion of a namespace waits for all resources in it.
pub const FINALIZE_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// Timeout of an attempt that starts late, such as the first one after the controller was away.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(10);

/// A resource that is being deleted.
pub struct Terminating<R: Publishable> {
    object: PartialObjectMeta<R>,
    policy: DeletionPolicy,
    entity: Option<DeliveredEntity>,
}

/// The policy of a resource that can't be decoded as a whole.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PartialSpec {
    deletion_policy: DeletionPolicy,
}

/// The entity of a resource that can't be decoded as a whole.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PartialStatus {
    entity: Option<DeliveredEntity>,
}

/// Whether the resource has the finalizer of this controller.
fn has_finalizer(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

impl<R: Publishable> Terminating<R> {
    /// `resource`, if it is being deleted.
    pub fn of(resource: &R) -> Option<Self> {
        let metadata = resource.meta();
        metadata.deletion_timestamp.as_ref()?;
        let object = metadata.clone().into_response_partial();
        Some(Self { object, policy: resource.deletion_policy(), entity: resource.common_status().entity })
    }

    /// A resource that can't be decoded as a whole, if it is being deleted.
    pub fn of_undecodable(undecodable: &Undecodable) -> Option<Self> {
        undecodable.metadata.deletion_timestamp.as_ref()?;
        // Each part is decoded alone, so that a spec of another version does not hide the entity. The finalizer is only on resources with
        // the policy Delete.
        let spec: Option<PartialSpec> = undecodable.part("spec");
        let policy = spec.map_or(DeletionPolicy::Delete, |spec| spec.deletion_policy);
        let PartialStatus { entity } = undecodable.part("status");
        Some(Self { object: undecodable.metadata.clone().into_response_partial(), policy, entity })
    }

    /// The entity that has to be deleted first, if there is one.
    fn entity_to_delete(&self) -> Option<&DeliveredEntity> {
        self.entity.as_ref().filter(|_| self.policy == DeletionPolicy::Delete)
    }

    /// How long the resource may still wait for Port at `now`.
    fn remaining(&self, now: Timestamp) -> Duration {
        let deleted = self.object.metadata.deletion_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let deadline = deleted.checked_add(FINALIZE_TIMEOUT).unwrap_or(deleted);
        Duration::try_from(deadline.duration_since(now)).unwrap_or_default()
    }
}

impl<R: Publishable> Publisher<R> {
    /// Adds the finalizer to `resource` if its entity is to be deleted with it, and removes it otherwise. `None` if the resource has
    /// changed or is gone.
    pub(super) async fn sync_finalizer(&self, key: &ResourceKey, resource: R) -> Option<R> {
        let is_wanted = resource.deletion_policy() == DeletionPolicy::Delete;
        // A dry run sends nothing, so there is nothing to delete.
        if is_wanted == has_finalizer(resource.meta()) || is_wanted && self.context.settings.dry_run {
            return Some(resource);
        }
        match self.set_finalizer(key, resource.meta(), is_wanted).await {
            Ok(resource) => resource.and_then(|Guarded(resource)| resource.ok()),
            Err(kube::Error::Api(status)) if status.is_invalid() => {
                self.report_refused_update(key, &resource, &status).await;
                None
            }
            Err(error) => {
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "failed to write the finalizer; retrying",
                );
                self.retry(key);
                None
            }
        }
    }

    /// Deletes the entity of a resource that is being deleted, if its policy asks for it, and removes the finalizer.
    pub(super) async fn finalize(&self, key: &ResourceKey, terminating: Terminating<R>) {
        if !has_finalizer(&terminating.object.metadata) {
            self.forget(key);
            return;
        }
        let Some(entity) = terminating.entity_to_delete() else {
            return self.remove_finalizer(key, &terminating).await;
        };
        let DeliveredEntity { blueprint, identifier, .. } = entity;
        let kind = R::kind(&());
        if self.context.settings.dry_run {
            return self.orphan(key, &terminating, entity, "the controller runs in dry-run mode").await;
        }
        let timeout = terminating.remaining(Timestamp::now()).max(SHORTEST_ATTEMPT);
        let deletion = self.context.port.delete_entity(blueprint, identifier);
        let problem = match tokio::time::timeout(timeout, deletion).await {
            Ok(Ok(())) => {
                info!(
                    %kind, namespace = %key.namespace, name = %key.name, blueprint, entity = identifier,
                    "deleted the entity from Port",
                );
                return self.remove_finalizer(key, &terminating).await;
            }
            Ok(Err(error @ port::Error::NoCredentials)) => {
                return self.orphan(key, &terminating, entity, &error.to_string()).await;
            }
            Ok(Err(error)) => {
                self.context.runtime.metrics.delivery.failed(&kind, error.reason());
                condition::explain(&error)
            }
            Err(_) => "Port did not respond in time".to_owned(),
        };
        let remaining = terminating.remaining(Timestamp::now());
        if remaining.is_zero() {
            return self.orphan(key, &terminating, entity, &problem).await;
        }
        self.log_failed_deletion(key, entity, &problem);
        self.retry_within(key, remaining);
    }

    fn log_failed_deletion(&self, key: &ResourceKey, entity: &DeliveredEntity, problem: &str) {
        let DeliveredEntity { blueprint, identifier, .. } = entity;
        let kind = R::kind(&());
        if self.is_failing(key) {
            debug!(
                %kind, namespace = %key.namespace, name = %key.name, problem,
                "still failing to delete the entity from Port",
            );
        } else {
            warn!(
                %kind, namespace = %key.namespace, name = %key.name, blueprint, entity = identifier,
                "failed to delete the entity from Port; retrying for at most 2 minutes, while the deletion of the resource waits: {problem}",
            );
        }
    }

    /// Removes the finalizer although the entity may still be in Port.
    async fn orphan(&self, key: &ResourceKey, terminating: &Terminating<R>, entity: &DeliveredEntity, problem: &str) {
        let DeliveredEntity { blueprint, identifier, .. } = entity;
        let kind = R::kind(&());
        let note = format!(
            "The entity {identifier} of the blueprint {blueprint} stays in Port although spec.deletionPolicy is Delete: {}. Delete \
             the entity in Port",
            problem.trim_end_matches('.')
        );
        warn!(
            %kind, namespace = %key.namespace, name = %key.name, blueprint, entity = identifier, problem,
            "the entity stays in Port although the resource is deleted",
        );
        let event = warning_event("EntityOrphaned", "Delete", note);
        self.context.runtime.events.publish(&terminating.object, &event).await;
        self.context.runtime.metrics.delivery.orphaned(&kind);
        self.remove_finalizer(key, terminating).await;
    }

    async fn remove_finalizer(&self, key: &ResourceKey, terminating: &Terminating<R>) {
        match self.set_finalizer(key, &terminating.object.metadata, false).await {
            Ok(_) => self.forget(key),
            Err(error) => {
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "failed to remove the finalizer {FINALIZER}, so the deletion of the resource waits; retrying",
                );
                self.retry(key);
            }
        }
    }

    /// Adds or removes the finalizer, and keeps those of others. `None` if the resource has changed, which adds it to the queue, or is
    /// gone.
    async fn set_finalizer(
        &self,
        key: &ResourceKey,
        metadata: &ObjectMeta,
        wanted: bool,
    ) -> Result<Option<Guarded<R>>, kube::Error> {
        let others = metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != FINALIZER).cloned();
        let finalizers: Vec<String> = others.chain(wanted.then(|| FINALIZER.to_owned())).collect();
        // With the version, the list can't overwrite one that was written after it was read.
        let version = metadata.resource_version.as_deref();
        let patch = json!({"metadata": {"resourceVersion": version, "uid": metadata.uid, "finalizers": finalizers}});
        match self.api(key).patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(resource) => Ok(Some(resource)),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                self.queue.add(key.clone());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::resources::DoraIncident;

    const DELETED: &str = "2026-01-31T12:00:00Z";

    fn incident(metadata: &Value, spec: &Value) -> Value {
        json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "metadata": metadata, "spec": spec,
            "status": {"entity": {"blueprint": "dora_incident", "identifier": "prod:shop:down", "digest": "digest"}},
        })
    }

    fn deleted(spec: &Value) -> Value {
        incident(&json!({"name": "down", "namespace": "shop", "deletionTimestamp": DELETED}), spec)
    }

    fn to_delete(terminating: &Terminating<DoraIncident>) -> Option<&str> {
        terminating.entity_to_delete().map(|entity| entity.identifier.as_str())
    }

    #[test]
    fn only_deleted_resources_are_finalized() {
        let of = |incident: Value| Terminating::of(&serde_json::from_value::<DoraIncident>(incident).unwrap());
        let spec = json!({"deletionPolicy": "Delete"});
        assert!(of(incident(&json!({"name": "down", "namespace": "shop"}), &spec)).is_none());
        assert_eq!(to_delete(&of(deleted(&spec)).unwrap()), Some("prod:shop:down"));
        assert_eq!(to_delete(&of(deleted(&json!({}))).unwrap()), None, "the policy is Retain by default");
    }

    #[test]
    fn undecodable_resources_are_finalized() {
        let of = |incident: Value| {
            let Guarded(incident): Guarded<DoraIncident> = serde_json::from_value(incident).unwrap();
            Terminating::<DoraIncident>::of_undecodable(&incident.unwrap_err()).unwrap()
        };
        let entity = |spec: &Value| to_delete(&of(deleted(spec))).map(str::to_owned);
        assert_eq!(entity(&json!({"deletionPolicy": "Delete", "priority": 1})).as_deref(), Some("prod:shop:down"));
        assert_eq!(entity(&json!({"deletionPolicy": "Retain", "priority": 1})), None);
        let unknown_policy = json!({"deletionPolicy": "Archive"});
        assert_eq!(entity(&unknown_policy).as_deref(), Some("prod:shop:down"), "the finalizer means Delete");
        assert_eq!(entity(&json!(1)).as_deref(), Some("prod:shop:down"));
        let without_status = of(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "spec": 1,
            "metadata": {"name": "down", "namespace": "shop", "deletionTimestamp": DELETED},
        }));
        assert_eq!(to_delete(&without_status), None);
    }

    #[test]
    fn resource_waits_for_two_minutes_at_most() {
        let incident: DoraIncident = serde_json::from_value(deleted(&json!({}))).unwrap();
        let terminating = Terminating::of(&incident).unwrap();
        let remaining = |now: &str| terminating.remaining(now.parse().unwrap());
        assert_eq!(remaining(DELETED), Duration::from_mins(2));
        assert_eq!(remaining("2026-01-31T12:01:30Z"), Duration::from_secs(30));
        assert_eq!(remaining("2026-01-31T13:00:00Z"), Duration::ZERO);
    }
}
