//! Stage `report`: writes into `status` what happened to a resource, publishes Events, and counts metrics.

use jiff::Timestamp;
use k8s_controller::conditions::{self, ConditionStatus, DesiredCondition};
use k8s_controller::events::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use kube::api::{ObjectMeta, Patch, PatchParams};
use port_client::{self as port, Upserted};
use serde_json::json;
use tracing::{debug, info, warn};

use super::deliver::Outgoing;
use super::resolve::Resolved;
use super::{CommonStatus, Hold, Publishable, Publisher, condition};
use crate::resources::conditions::{HELD_REASONS, REFUSED_REASONS, SYNCED, VALID};
use crate::resources::{DeliveredEntity, FIELD_MANAGER, Guarded, ResourceKey};
use crate::runtime::{now, warning_event};

/// The result of writing a status.
pub enum StatusWrite<R> {
    /// It is written; this is the resource with it.
    Done(Box<R>),
    /// The resource was deleted, or deleted and created again, which the next attempt finds out. Or the API server refuses to update this
    /// version, and the watch brings the next one.
    Gone,
    /// It is not written, and is retried.
    Failed,
}

impl<R: Publishable> Publisher<R> {
    /// Reports that the resource is not sent.
    pub(super) async fn report_held(&self, resolved: Resolved<R>, hold: Hold) {
        let Hold { reason, message, mut warnings } = hold;
        warnings.extend(resolved.warnings);
        let resolved = Resolved { warnings, ..resolved };
        let status = resolved.resource.common_status();
        if REFUSED_REASONS.contains(&reason) {
            self.report_refused(&resolved.key, &status.conditions, reason, &message);
        }
        if self.update_status(&resolved, condition::held(reason, &message), status.entity).await {
            self.concluded(&resolved.key);
        }
        self.recheck_later(&resolved);
    }

    /// Logs and counts that the resource is refused, unless its conditions say so already.
    fn report_refused(&self, key: &ResourceKey, before: &[Condition], reason: &'static str, message: &str) {
        if conditions::find(before, SYNCED).is_some_and(|before| before.reason == reason) {
            return;
        }
        let kind = R::kind(&());
        self.context.runtime.metrics.delivery.refused(&kind, reason);
        warn!(%kind, namespace = %key.namespace, name = %key.name, reason, "the resource is not sent to Port: {message}");
    }

    /// Reports at once if the entity does not have to be sent: if Port has acknowledged it, and in a dry run. Otherwise returns it.
    pub(super) async fn report_unsent(&self, outgoing: Outgoing<R>) -> Option<Outgoing<R>> {
        let resolved = &outgoing.resolved;
        let synced = if outgoing.is_acknowledged() {
            condition::delivered()
        } else if self.context.settings.dry_run {
            self.dry_run(&outgoing)
        } else {
            if self.is_failing(&resolved.key) {
                self.context.runtime.metrics.delivery.retried(&R::kind(&()));
            }
            return Some(outgoing);
        };
        let delivered = resolved.resource.common_status().entity;
        if self.update_status(resolved, synced, delivered).await {
            self.concluded(&resolved.key);
        }
        self.recheck_later(resolved);
        None
    }

    /// Logs the entity, unless the status states that this was done, and returns the condition `Synced`.
    fn dry_run(&self, outgoing: &Outgoing<R>) -> DesiredCondition {
        let Outgoing { resolved: Resolved { key, resource, .. }, entity, digest } = outgoing;
        let synced = condition::dry_run(digest);
        let before = resource.common_status().conditions;
        if conditions::find(&before, SYNCED).is_none_or(|before| before.message != synced.message) {
            let json = serde_json::to_string(entity).unwrap_or_default();
            info!(
                kind = %R::kind(&()), namespace = %key.namespace, name = %key.name, blueprint = self.blueprint(), entity = json,
                "dry run: the entity is not sent to Port",
            );
        }
        synced
    }

    /// Reports Port's answer to the entity.
    pub(super) async fn report_answer(&self, outgoing: Outgoing<R>, answer: Result<Upserted, port::Error>) {
        match answer {
            Ok(upserted) => self.report_delivered(outgoing, upserted).await,
            Err(error) => self.report_failure(&outgoing, &error).await,
        }
    }

    async fn report_delivered(&self, outgoing: Outgoing<R>, upserted: Upserted) {
        let Outgoing { resolved, entity, digest } = outgoing;
        let (kind, key, blueprint) = (R::kind(&()), &resolved.key, self.blueprint());
        self.context.runtime.metrics.delivery.delivered(&kind);
        info!(
            %kind, namespace = %key.namespace, name = %key.name, blueprint, entity = entity.identifier,
            trace_id = upserted.trace_id, "delivered the entity to Port",
        );
        let delivered = DeliveredEntity {
            blueprint: blueprint.to_owned(),
            identifier: entity.identifier,
            delivered_at: Some(Time(now())),
            digest,
            properties: entity.properties.into_iter().map(|(name, _)| name).collect(),
            relations: entity.relations.into_iter().map(|(name, _)| name).collect(),
        };
        self.accepted(key);
        self.recheck_later(&resolved);
        if self.update_status(&resolved, condition::delivered(), Some(delivered)).await {
            self.concluded(key);
        }
    }

    /// Reports that the entity is not delivered, and retries later.
    async fn report_failure(&self, outgoing: &Outgoing<R>, error: &port::Error) {
        let Outgoing { resolved, entity, .. } = outgoing;
        let Resolved { key, resource, .. } = resolved;
        self.context.runtime.metrics.delivery.failed(&R::kind(&()), error.reason());
        if matches!(error, port::Error::Refused(_) | port::Error::NotFound(_)) {
            self.context.blueprints.invalidate();
        }
        let status = resource.common_status();
        let synced = condition::not_delivered(error);
        let is_known = conditions::find(&status.conditions, SYNCED)
            .is_some_and(|before| before.reason == synced.reason && before.message == synced.message);
        self.log_failure(key, error, is_known);
        self.retry_after_failure(key, &entity.identifier, error);
        let mut delivered = status.entity;
        if let Some(delivered) = delivered.as_mut().filter(|_| error.is_temporary()) {
            // Port may have stored the entity although the request failed, so what it has is unknown.
            delivered.digest.clear();
        }
        self.update_status(resolved, synced, delivered).await;
    }

    fn log_failure(&self, key: &ResourceKey, error: &port::Error, is_known: bool) {
        let kind = R::kind(&());
        if is_known {
            debug!(
                %kind, namespace = %key.namespace, name = %key.name, %error,
                "still failing to deliver the entity to Port",
            );
        } else {
            warn!(
                %kind, namespace = %key.namespace, name = %key.name, blueprint = self.blueprint(), reason = error.reason(),
                advice = error.advice(), "failed to deliver the entity to Port; retrying: {error}",
            );
        }
    }

    /// Writes the status if it differs from the stored one, with Events for new problems. That it is based on other settings is not a
    /// difference. Returns whether the stored status is now as desired.
    async fn update_status(
        &self,
        resolved: &Resolved<R>,
        synced: DesiredCondition,
        entity: Option<DeliveredEntity>,
    ) -> bool {
        let Resolved { key, resource, stored, warnings, .. } = resolved;
        let before = resource.common_status();
        let events = new_problems(&before.conditions, &synced, warnings);
        let (common, now) = (desired_common_status(resolved, synced, entity), Timestamp::now());
        let unchanged = CommonStatus { observed_settings: before.observed_settings, ..common.clone() };
        if stored.as_ref() == Some(&resource.with_common_status(unchanged, now)) {
            self.outdated.forget(key);
            return true;
        }
        let written = self.write_status(key, resource, &self.with_settings(resource, common, now)).await;
        for event in events {
            self.context.runtime.events.publish(resource, &event).await;
        }
        let is_written = !matches!(written, StatusWrite::Failed);
        if is_written {
            self.outdated.forget(key);
        }
        is_written
    }

    /// The status with this condition `Synced` and this entity.
    pub(super) fn desired_status(
        &self,
        resolved: &Resolved<R>,
        synced: DesiredCondition,
        entity: Option<DeliveredEntity>,
    ) -> R::Status {
        self.with_settings(&resolved.resource, desired_common_status(resolved, synced, entity), Timestamp::now())
    }

    fn with_settings(&self, resource: &R, common: CommonStatus, now: Timestamp) -> R::Status {
        let observed_settings = Some(self.context.settings.digest().to_owned());
        resource.with_common_status(CommonStatus { observed_settings, ..common }, now)
    }

    /// Writes `status` by server-side apply.
    pub(super) async fn write_status(&self, key: &ResourceKey, resource: &R, status: &R::Status) -> StatusWrite<R> {
        // The UID keeps the status of a deleted resource from a new one with the same name.
        let metadata = ObjectMeta { name: Some(resource.name_any()), uid: resource.uid(), ..ObjectMeta::default() };
        let patch = json!({
            "apiVersion": R::api_version(&()),
            "kind": R::kind(&()),
            "metadata": metadata,
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match self.api(key).patch_status(&key.name, &parameters, &Patch::Apply(&patch)).await {
            Ok(Guarded(Ok(written))) => StatusWrite::Done(Box::new(written)),
            // Somebody has changed the resource meanwhile, so that it can't be decoded any more.
            Ok(Guarded(Err(_))) => StatusWrite::Gone,
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                // The next attempt reads what is there now, and forgets a resource that is gone.
                self.queue.add(key.clone());
                StatusWrite::Gone
            }
            Err(kube::Error::Api(status)) if status.is_invalid() => {
                self.report_refused_update(key, resource, &status).await;
                StatusWrite::Gone
            }
            Err(error) => {
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "failed to write the status; retrying",
                );
                self.retry(key);
                StatusWrite::Failed
            }
        }
    }
}

/// The fields of the status with this condition `Synced` and this entity, except the settings. Pure.
fn desired_common_status<R: Publishable>(
    resolved: &Resolved<R>,
    synced: DesiredCondition,
    entity: Option<DeliveredEntity>,
) -> CommonStatus {
    let Resolved { resource, warnings, .. } = resolved;
    let generation = resource.meta().generation;
    let mut common = resource.common_status();
    let valid = condition::valid(&synced, warnings);
    let _ = conditions::set(&mut common.conditions, synced.observed_generation(generation));
    match valid {
        Some(invalid) => {
            let _ = conditions::set(&mut common.conditions, invalid.observed_generation(generation));
        }
        None => {
            conditions::remove(&mut common.conditions, VALID);
        }
    }
    CommonStatus { observed_generation: generation, entity, ..common }
}

/// Events for what the conditions did not say `before`: another reason why the resource is not delivered, and other parts that can't be
/// used. Pure.
fn new_problems(before: &[Condition], synced: &DesiredCondition, warnings: &[String]) -> Vec<Event> {
    let mut events = Vec::new();
    let is_new = conditions::find(before, SYNCED).is_none_or(|before| before.reason != synced.reason);
    let is_problem = synced.status == ConditionStatus::False && !HELD_REASONS.contains(&synced.reason.as_str());
    if is_new && is_problem {
        events.push(warning_event(&synced.reason, "Publish", synced.message.clone()));
    }
    if !warnings.is_empty() {
        let invalid = condition::invalid(warnings);
        if conditions::find(before, VALID).is_none_or(|before| before.message != invalid.message) {
            events.push(warning_event(&invalid.reason, "Publish", invalid.message));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(desired: DesiredCondition) -> Vec<Condition> {
        let mut stored = Vec::new();
        let _ = conditions::set(&mut stored, desired);
        stored
    }

    fn reasons(before: &[Condition], synced: &DesiredCondition, warnings: &[&str]) -> Vec<String> {
        let warnings: Vec<String> = warnings.iter().map(|warning| (*warning).to_owned()).collect();
        new_problems(before, synced, &warnings).into_iter().map(|event| event.reason).collect()
    }

    #[test]
    fn another_reason_is_a_new_problem() {
        let failed = condition::not_delivered(&port::Error::NoCredentials);
        assert_eq!(reasons(&[], &failed, &[]), ["NoCredentials"]);
        assert_eq!(reasons(&stored(condition::delivered()), &failed, &[]), ["NoCredentials"]);
        assert!(reasons(&stored(failed.clone()), &failed, &[]).is_empty());
    }

    #[test]
    fn a_held_or_delivered_resource_is_no_problem() {
        for reason in HELD_REASONS {
            assert!(reasons(&[], &condition::held(reason, "message"), &[]).is_empty(), "{reason}");
        }
        assert!(reasons(&[], &condition::delivered(), &[]).is_empty());
        assert!(reasons(&[], &condition::sending(), &[]).is_empty());
    }

    #[test]
    fn refused_resource_is_one_problem() {
        for reason in REFUSED_REASONS {
            let refused = condition::held(reason, "message");
            assert_eq!(reasons(&stored(condition::delivered()), &refused, &[]), [reason]);
            assert!(reasons(&stored(refused.clone()), &refused, &[]).is_empty());
            let valid = condition::valid(&refused, &[]).unwrap();
            assert_eq!(
                (valid.status, valid.reason.as_str(), &valid.message),
                (ConditionStatus::False, reason, &refused.message)
            );
        }
        assert_eq!(condition::valid(&condition::delivered(), &[]), None);
    }

    #[test]
    fn another_warning_is_a_new_problem() {
        let before = stored(condition::invalid(&["a is invalid".to_owned()]));
        let delivered = condition::delivered();
        assert!(reasons(&before, &delivered, &["a is invalid"]).is_empty());
        assert_eq!(reasons(&before, &delivered, &["a is invalid", "so is b"]), ["PartiallyInvalid"]);
        assert!(reasons(&before, &delivered, &[]).is_empty());
    }
}
