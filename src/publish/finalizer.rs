//! The finalizer: resources with `spec.deletionPolicy: Delete` wait for it, so that the controller can delete their entities first.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::DynamicObject;
use kube::core::{ApiResource, PartialObjectMeta, PartialObjectMetaExt};
use port_client as port;
use serde::Deserialize;
use tracing::{debug, info, warn};

use super::metadata::{MetadataChange, has_finalizer};
use super::{Claimant, Publishable, Publisher, Refusal, condition};
use crate::incidents::is_own_identifier;
use crate::resources::{DeletionPolicy, DeliveredEntity, FINALIZER, IdentifierClaim, ResourceKey};
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
    /// `spec.identifier`.
    identifier: Option<String>,
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

impl<R: Publishable> Terminating<R> {
    /// `resource`, if it is being deleted.
    pub fn of(resource: &R) -> Option<Self> {
        let metadata = resource.meta();
        metadata.deletion_timestamp.as_ref()?;
        let object = metadata.clone().into_response_partial();
        let identifier = resource.claimed_identifier().map(str::to_owned);
        Some(Self { object, policy: resource.deletion_policy(), identifier, entity: resource.common_status().entity })
    }

    /// A resource that can't be decoded as a whole, if it is being deleted.
    fn of_undecodable(object: DynamicObject) -> Option<Self> {
        object.metadata.deletion_timestamp.as_ref()?;
        let DynamicObject { metadata, mut data, .. } = object;
        // Each part is decoded alone, so that a spec of another version does not hide the entity. The finalizer is only on resources with
        // the policy Delete.
        let identifier = data["spec"]["identifier"].as_str().map(str::to_owned);
        let spec = serde_json::from_value(data["spec"].take())
            .unwrap_or(PartialSpec { deletion_policy: DeletionPolicy::Delete });
        let status: PartialStatus = serde_json::from_value(data["status"].take()).unwrap_or_default();
        let object = metadata.into_response_partial();
        Some(Self { object, policy: spec.deletion_policy, identifier, entity: status.entity })
    }

    /// The entity that has to be deleted first, if there is one.
    fn entity_to_delete(&self) -> Option<&DeliveredEntity> {
        self.entity.as_ref().filter(|_| self.policy == DeletionPolicy::Delete)
    }

    /// How long the resource may still wait for Port at `now`.
    fn remaining(&self, now: Timestamp) -> Duration {
        let deleted = self.object.metadata.deletion_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        Duration::try_from((deleted + FINALIZE_TIMEOUT).duration_since(now)).unwrap_or_default()
    }
}

impl<R: Publishable> Publisher<R> {
    /// Reads a resource that can't be decoded as a whole. `None` if it is not being deleted.
    pub(super) async fn get_undecodable(&self, key: &ResourceKey) -> Result<Option<Terminating<R>>, kube::Error> {
        let (resource, client) = (ApiResource::erase::<R>(&()), self.context.runtime.client.clone());
        let api: Api<DynamicObject> = Api::namespaced_with(client, &key.namespace, &resource);
        Ok(api.get_opt(&key.name).await?.and_then(Terminating::of_undecodable))
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
        if let Some(refusal) = self.deletion_refusal(key, &terminating, entity) {
            return self.keep_entity(key, &terminating, entity, &refusal).await;
        }
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

    /// Why the entity must not be deleted, if it is not the one that this resource owns: another resource may own it, and whoever can write
    /// the status could name any entity there.
    fn deletion_refusal(
        &self,
        key: &ResourceKey,
        terminating: &Terminating<R>,
        entity: &DeliveredEntity,
    ) -> Option<Refusal> {
        let Terminating { object, identifier, .. } = terminating;
        let is_own = match identifier {
            Some(identifier) => *identifier == entity.identifier,
            None => is_own_identifier(&entity.identifier, &self.context.settings.cluster, &object.metadata),
        };
        if !is_own || entity.blueprint != self.blueprint() {
            return Some(Refusal::OtherEntity);
        }
        let claim = IdentifierClaim::new(identifier.as_deref()?, Some(&entity.identifier));
        self.context.claims.refusal(&Claimant { kind: R::KIND, key: key.clone() }, &object.metadata, &claim)
    }

    /// Removes the finalizer, and leaves the entity of another resource in Port.
    async fn keep_entity(
        &self,
        key: &ResourceKey,
        terminating: &Terminating<R>,
        entity: &DeliveredEntity,
        refusal: &Refusal,
    ) {
        let DeliveredEntity { blueprint, identifier, .. } = entity;
        let (kind, reason) = (R::kind(&()), refusal.reason());
        self.context.runtime.metrics.delivery.refused(&kind, reason);
        warn!(
            %kind, namespace = %key.namespace, name = %key.name, blueprint, entity = identifier, reason,
            "the entity is not deleted with the resource: {refusal}",
        );
        let note = format!("The entity {identifier} of the blueprint {blueprint} is not deleted: {refusal}");
        self.context.runtime.events.publish(&terminating.object, &warning_event(reason, "Delete", note)).await;
        self.remove_finalizer(key, terminating).await;
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
        let metadata = &terminating.object.metadata;
        let change = MetadataChange::finalizer(metadata, false);
        match self.write_metadata::<PartialObjectMeta<R>>(key, metadata, &change).await {
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
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
            Terminating::<DoraIncident>::of_undecodable(serde_json::from_value(incident).unwrap()).unwrap()
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
