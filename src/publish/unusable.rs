//! Resources that can't be decoded or updated: each version is reported once, and then left alone until it changes.

use k8s_controller::conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::core::{PartialObjectMeta, PartialObjectMetaExt as _, Status};
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

use super::{Publishable, Publisher, condition};
use crate::resources::conditions::{UNDECODABLE, UPDATE_REFUSED};
use crate::resources::{FIELD_MANAGER, ResourceKey, Undecodable};
use crate::runtime::warning_event;

impl<R: Publishable> Publisher<R> {
    /// Reports in the status, an Event and the metrics that the resource can't be decoded, unless its status says so already.
    pub(super) async fn report_undecodable(&self, key: &ResourceKey, undecodable: &Undecodable) {
        let ObjectMeta { generation, name, uid, .. } = &undecodable.metadata;
        let stored: Map<String, Value> = undecodable.part("status");
        let status = undecodable_status(&stored, &undecodable.problem, *generation);
        if status == stored {
            self.forget(key);
            return;
        }
        let patch = json!({
            "apiVersion": R::api_version(&()),
            "kind": R::kind(&()),
            "metadata": {"name": name, "uid": uid},
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match self.api(key).patch_status(&key.name, &parameters, &Patch::Apply(&patch)).await {
            Ok(_) => {}
            // The watch brings what is left to do.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => return,
            // Another attempt would be refused as well. An Event is the only place that is left.
            Err(kube::Error::Api(status)) if status.is_invalid() => {
                debug!(kind = %R::kind(&()), namespace = %key.namespace, name = %key.name, %status, "the status can't be written");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name, error,
                    "failed to write the status; retrying",
                );
                self.retry(key);
                return;
            }
        }
        self.forget(key);
        if status.get("conditions") != stored.get("conditions") {
            self.announce_undecodable(key, undecodable).await;
        }
    }

    /// Reports that the API server refuses to update the resource, whatever the update is: a field that the rules don't allow any more blocks
    /// all updates. The status can't say so, but an Event can.
    pub(super) async fn report_refused_update(&self, key: &ResourceKey, resource: &R, status: &Status) {
        let runtime = &self.context.runtime;
        runtime.metrics.delivery.refused(&R::kind(&()), UPDATE_REFUSED);
        warn!(
            kind = %R::kind(&()), namespace = %key.namespace, name = %key.name, problem = status.message,
            "the API server refuses to update the resource; it is ignored until it changes",
        );
        let note = format!(
            "The API server refuses to update the resource, so the controller ignores it: {}. Correct it, or delete it and create another one",
            status.message.trim_end_matches('.')
        );
        runtime.events.publish(resource, &warning_event(UPDATE_REFUSED, "Publish", note)).await;
        self.queue.unschedule(key);
        self.forget(key);
    }

    async fn announce_undecodable(&self, key: &ResourceKey, undecodable: &Undecodable) {
        let runtime = &self.context.runtime;
        runtime.metrics.delivery.refused(&R::kind(&()), UNDECODABLE);
        warn!(
            kind = %R::kind(&()), namespace = %key.namespace, name = %key.name, problem = undecodable.problem,
            "failed to decode the resource; it is ignored until it changes (if the controller was updated, apply its \
             CustomResourceDefinitions)",
        );
        let [_, valid] = condition::undecodable(&undecodable.problem);
        let object: PartialObjectMeta<R> = undecodable.metadata.clone().into_response_partial();
        runtime.events.publish(&object, &warning_event(UNDECODABLE, "Publish", valid.message)).await;
    }
}

/// The `stored` status with conditions that say why the resource can't be decoded. All other fields stay: server-side apply would remove
/// them, and the entity is needed to delete it. Pure.
fn undecodable_status(stored: &Map<String, Value>, problem: &str, generation: Option<i64>) -> Map<String, Value> {
    let mut status = stored.clone();
    let mut entries = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    for desired in condition::undecodable(problem) {
        let type_ = Value::from(desired.type_.as_str());
        let position = entries.iter().position(|entry| entry.get("type") == Some(&type_));
        let before = position.and_then(|position| entries.get(position)).cloned();
        let before: Option<Condition> = before.and_then(|before| serde_json::from_value(before).ok());
        let mut conditions: Vec<Condition> = before.into_iter().collect();
        let _ = conditions::set(&mut conditions, desired.observed_generation(generation));
        let entry = json!(conditions.first());
        match position.and_then(|position| entries.get_mut(position)) {
            Some(before) => *before = entry,
            None => entries.push(entry),
        }
    }
    status.insert("conditions".to_owned(), entries.into());
    status.insert("observedGeneration".to_owned(), json!(generation));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{DeliveryState, DoraIncident, Guarded};

    fn stored(status: &Value) -> Map<String, Value> {
        status.as_object().unwrap().clone()
    }

    #[test]
    fn undecodable_version_is_reported_once() {
        let before = stored(&json!({
            "entity": {"blueprint": "dora_incident", "identifier": "e", "digest": "d"},
            "conditions": [
                {"type": "Other", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "9999-12-31T23:59:59Z"},
                {"type": "Synced", "status": "True", "reason": "Delivered", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ],
        }));
        let reported = undecodable_status(&before, "spec.status: invalid", Some(3));
        assert_eq!(reported["entity"], before["entity"], "the entity is needed for its deletion");
        assert_eq!(reported["conditions"][0], before["conditions"][0]);
        let reason = |type_: &str| {
            let conditions = reported["conditions"].as_array().unwrap();
            conditions.iter().find(|condition| condition["type"] == type_).unwrap()["reason"].clone()
        };
        assert_eq!((reason("Synced"), reason("Valid")), ("Undecodable".into(), "Undecodable".into()));
        let again = undecodable_status(&reported, "spec.status: invalid", Some(3));
        assert_eq!(again, reported, "the same version changes nothing");
        assert_ne!(undecodable_status(&reported, "spec.status: invalid", Some(4)), reported);
    }

    #[test]
    fn reported_version_is_left_alone() {
        let state = |generation: i64, status: &Map<String, Value>| {
            let incident = json!({"metadata": {"name": "a", "generation": generation}, "spec": 1, "status": status});
            let Guarded(incident): Guarded<DoraIncident> = serde_json::from_value(incident).unwrap();
            incident.unwrap_err().delivery_state()
        };
        assert_eq!(state(3, &Map::new()), DeliveryState::New);
        let reported = undecodable_status(&Map::new(), "spec: invalid", Some(3));
        assert_eq!(state(3, &reported), DeliveryState::Settled);
        assert_eq!(state(4, &reported), DeliveryState::New);
    }
}
