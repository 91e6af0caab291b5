//! Writes into the status of a resource what became of its delivery.

use jiff::Timestamp;
use k8s_controller::conditions;
use k8s_controller::events::{Event, EventType};
use kube::ResourceExt;
use kube::api::{ObjectMeta, Patch, PatchParams};
use serde_json::json;
use tracing::warn;

use super::{Publisher, Record, condition};
use crate::resources::conditions::{HELD_REASONS, SYNCED, VALID};
use crate::resources::{DeliveredEntity, FIELD_MANAGER, ResourceKey};

/// What became of a status.
pub enum Written<R> {
    /// It is written; this is the resource with it.
    Status(Box<R>),
    /// The resource was deleted, or made anew, meanwhile: the watch tells if there is something left to do.
    Nothing,
    /// It is not, and is tried again.
    Failed,
}

impl<R: Record> Publisher<R> {
    /// Writes the status if it differs from what is stored; whether it is now as it should be.
    pub(super) async fn update_status(
        &self,
        key: &ResourceKey,
        resource: &R,
        stored: Option<&R::Status>,
        synced: conditions::DesiredCondition,
        entity: Option<DeliveredEntity>,
        warnings: &[String],
    ) -> bool {
        let reason_before =
            conditions::find(&resource.delivery().conditions, SYNCED).map(|synced| synced.reason.clone());
        let is_news = reason_before.as_ref() != Some(&synced.reason);
        let is_problem =
            synced.status == conditions::ConditionStatus::False && !HELD_REASONS.contains(&synced.reason.as_str());
        let warning = (is_news && is_problem).then(|| (synced.reason.clone(), synced.message.clone()));
        let invalid = condition::invalid(warnings);
        let invalid_before = conditions::find(&resource.delivery().conditions, VALID)
            .is_some_and(|valid| valid.message == invalid.message);
        let invalid =
            (!warnings.is_empty() && !invalid_before).then(|| ("PartiallyInvalid".to_owned(), invalid.message));
        let status = self.status(resource, synced, entity, warnings);
        if stored == Some(&status) {
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
            self.tools().events.publish(resource, &event).await;
        }
        !matches!(written, Written::Failed)
    }

    /// The status of `resource` with this to say of its delivery.
    pub(super) fn status(
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
        delivery.observed_settings = Some(self.context().settings.digest().to_owned());
        delivery.entity = entity;
        resource.with_delivery(delivery, Timestamp::now())
    }

    pub(super) async fn write_status(&self, key: &ResourceKey, resource: &R, status: &R::Status) -> Written<R> {
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
}
