//! The finalizer: resources with `spec.deletionPolicy: Delete` wait for it, so that the controller can delete their entities first.

#[cfg(test)]
mod tests;

use kube::api::ObjectMeta;
use kube::core::{PartialObjectMeta, PartialObjectMetaExt};
use port_client as port;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::metadata::{MetadataChange, has_finalizer};
use super::read::ReadResource;
use super::{Claimant, Publishable, Publisher, Refusal, condition};
use crate::incidents::is_own_identifier;
use crate::resources::{DeletionPolicy, DeliveredEntity, FINALIZER, IdentifierClaim, ResourceKey, Undecodable};
use crate::runtime::warning_event;

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

/// The identifier of a resource that can't be decoded as a whole.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PartialIdentity {
    identifier: Option<String>,
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
    pub fn of_undecodable(undecodable: &Undecodable) -> Option<Self> {
        undecodable.metadata.deletion_timestamp.as_ref()?;
        // Each part is decoded alone, so that a spec of another version does not hide the entity. The finalizer is only on resources with
        // the policy Delete.
        let spec: Option<PartialSpec> = undecodable.part("spec");
        let policy = spec.map_or(DeletionPolicy::Delete, |spec| spec.deletion_policy);
        let PartialIdentity { identifier } = undecodable.part("spec");
        let PartialStatus { entity } = undecodable.part("status");
        Some(Self { object: undecodable.metadata.clone().into_response_partial(), policy, identifier, entity })
    }

    /// The entity that has to be deleted first, if there is one.
    fn entity_to_delete(&self) -> Option<&DeliveredEntity> {
        self.entity.as_ref().filter(|_| self.policy == DeletionPolicy::Delete)
    }
}

/// The result of an attempt to delete an entity.
enum Deletion {
    /// Port has deleted it.
    Done,
    /// It was not deleted, and is retried.
    Failed(String),
    /// It can't be deleted.
    Impossible(String),
}

impl<R: Publishable> Publisher<R> {
    /// Handles a resource that is being deleted. It is not delivered any more.
    pub fn deletion_observed(&self, metadata: &ObjectMeta) {
        if let Some(key) = ResourceKey::of(metadata) {
            self.queue.forget(&key);
            self.forget(&key);
            self.deletions.add(&key, metadata);
        }
    }

    /// Handles a resource that a delivery has found to be in deletion.
    pub(super) fn hand_over(&self, key: &ResourceKey, terminating: &Terminating<R>) {
        if has_finalizer(&terminating.object.metadata) {
            self.deletion_observed(&terminating.object.metadata);
        } else {
            self.forget(key);
        }
    }

    /// Deletes the entities of resources that are being deleted until `stop`.
    pub(super) async fn run_deletions(&self, stop: &CancellationToken) {
        let finalize = async |key: ResourceKey| self.finalize(&key).await;
        let expire = async |key: ResourceKey| self.expire(&key).await;
        self.deletions.run(stop, finalize, expire).await;
    }

    /// Deletes the entity of a resource that is being deleted, if its policy asks for it, and removes the finalizer.
    async fn finalize(&self, key: &ResourceKey) {
        // A delivery under way would create the entity again. None begins any more.
        if self.queue.is_working_on(key) {
            return self.deletions.retry_after_delivery(key);
        }
        let Some(terminating) = self.read_terminating(key).await else {
            return;
        };
        let Some(entity) = terminating.entity_to_delete().filter(|_| !self.deletions.is_entity_deleted(key)) else {
            self.remove_finalizer(key, &terminating).await;
            return;
        };
        // Past the deadline, Port is not asked any more. `expire` follows.
        if self.deletions.remaining(key).is_zero() {
            return;
        }
        if let Some(refusal) = self.deletion_refusal(key, &terminating, entity) {
            return self.keep_entity(key, &terminating, entity, &refusal).await;
        }
        match self.delete_entity(key, entity).await {
            Deletion::Done => {
                self.deletions.entity_deleted(key);
                self.remove_finalizer(key, &terminating).await;
            }
            Deletion::Impossible(problem) => self.orphan(key, &terminating, entity, &problem).await,
            Deletion::Failed(problem) => {
                self.report_failed_deletion(key, entity, problem);
                self.deletions.retry(key);
            }
        }
    }

    /// Lets a resource go that has waited long enough, without another request to Port.
    async fn expire(&self, key: &ResourceKey) {
        let Some(terminating) = self.read_terminating(key).await else {
            return;
        };
        match terminating.entity_to_delete().filter(|_| !self.deletions.is_entity_deleted(key)) {
            Some(entity) => {
                let problem = self.deletions.problem(key);
                let problem = problem.as_deref().unwrap_or("Port did not respond to other deletions in time");
                self.orphan(key, &terminating, entity, problem).await;
            }
            None => {
                self.remove_finalizer(key, &terminating).await;
            }
        }
    }

    /// Reads a resource that is being deleted. `None` if it is gone, has no finalizer of this controller, or can't be read now; then it is
    /// retried.
    async fn read_terminating(&self, key: &ResourceKey) -> Option<Terminating<R>> {
        match self.fetch(key).await {
            Ok(Some(ReadResource::Terminating(terminating))) if has_finalizer(&terminating.object.metadata) => {
                self.deletions.add(key, &terminating.object.metadata);
                Some(*terminating)
            }
            Ok(Some(ReadResource::Terminating(_)) | None) => {
                self.forget_deletion(key);
                None
            }
            // It is a new one with the same name.
            Ok(Some(ReadResource::Present(_) | ReadResource::Undecodable(_))) => {
                self.forget_deletion(key);
                self.queue.add(key.clone());
                None
            }
            Err(error) => {
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "failed to read the resource, so its deletion waits; retrying",
                );
                self.deletions.retry(key);
                None
            }
        }
    }

    /// Asks Port to delete the entity, for no longer than the resource may wait.
    async fn delete_entity(&self, key: &ResourceKey, entity: &DeliveredEntity) -> Deletion {
        let DeliveredEntity { blueprint, identifier, .. } = entity;
        let (kind, metrics) = (R::kind(&()), &self.context.runtime.metrics.delivery);
        if self.context.settings.dry_run {
            return Deletion::Impossible("the controller runs in dry-run mode".to_owned());
        }
        if self.deletions.problem(key).is_some() {
            metrics.retried(&kind);
        }
        let deletion = self.context.port.delete_entity(blueprint, identifier);
        match tokio::time::timeout(self.deletions.remaining(key), deletion).await {
            Ok(Ok(())) => {
                info!(
                    %kind, namespace = %key.namespace, name = %key.name, blueprint, entity = identifier,
                    "deleted the entity from Port",
                );
                Deletion::Done
            }
            Ok(Err(error @ port::Error::NoCredentials)) => Deletion::Impossible(error.to_string()),
            Ok(Err(error)) => {
                metrics.failed(&kind, error.reason());
                Deletion::Failed(condition::explain(&error))
            }
            Err(_) => {
                metrics.failed(&kind, port::ErrorKind::TimedOut.as_str());
                Deletion::Failed("Port did not respond in time".to_owned())
            }
        }
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

    /// Keeps and logs why an entity could not be deleted: the first time as a warning.
    fn report_failed_deletion(&self, key: &ResourceKey, entity: &DeliveredEntity, problem: String) {
        let DeliveredEntity { blueprint, identifier, .. } = entity;
        let kind = R::kind(&());
        if self.deletions.problem(key).is_some() {
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
        self.deletions.failed(key, problem);
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
        if self.remove_finalizer(key, terminating).await {
            self.context.runtime.metrics.delivery.orphaned(&kind);
        }
    }

    /// Removes the finalizer. Returns whether it is removed now; otherwise it is retried.
    async fn remove_finalizer(&self, key: &ResourceKey, terminating: &Terminating<R>) -> bool {
        let metadata = &terminating.object.metadata;
        let change = MetadataChange::finalizer(metadata, false);
        match self.write_metadata::<PartialObjectMeta<R>>(key, metadata, &change).await {
            Ok(Some(_)) => {
                self.forget_deletion(key);
                true
            }
            // The resource has changed, or is gone.
            Ok(None) => {
                self.deletions.retry_now(key);
                false
            }
            Err(error) => {
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "failed to remove the finalizer {FINALIZER}, so the deletion of the resource waits; retrying",
                );
                self.deletions.retry(key);
                false
            }
        }
    }

    /// Forgets a resource whose deletion does not wait for this controller any more.
    fn forget_deletion(&self, key: &ResourceKey) {
        self.deletions.forget(key);
        self.forget(key);
    }
}
