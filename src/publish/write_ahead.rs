//! Stage `write ahead`: writes into `status` which fields Port is about to get, before it gets them.
//!
//! With `merge`, Port keeps the value of a property that is absent from an entity, so a property without a value any more has to be
//! cleared. The status tells which fields that may be. An answer that is lost, or the end of the process between the answer and the write
//! of the status, would leave that unknown.

use port_client::{Blueprint, Entity};
use serde_json::Value;

use super::deliver::Outgoing;
use super::report::StatusWrite;
use super::resolve::Resolved;
use super::{Publishable, Publisher, condition};
use crate::resources::DeliveredEntity;

impl<R: Publishable> Publisher<R> {
    /// Writes ahead, if a later version of the resource may have fewer fields. `None` if the entity is not to be sent now.
    pub(super) async fn write_ahead(&self, outgoing: Outgoing<R>) -> Option<Outgoing<R>> {
        let Resolved { key, resource, .. } = &outgoing.resolved;
        let delivered = resource.common_status().entity;
        let pending = with_pending_fields(delivered.as_ref(), self.blueprint(), &outgoing.entity);
        if !resource.may_lose_fields() || delivered.as_ref() == Some(&pending) {
            return Some(outgoing);
        }
        let status = self.desired_status(&outgoing.resolved, condition::sending(), Some(pending));
        match self.write_status(key, resource, &status).await {
            StatusWrite::Done(written) if written.meta().generation == resource.meta().generation => {
                let stored = written.status().cloned();
                let resolved = Resolved { resource: *written, stored, ..outgoing.resolved };
                Some(Outgoing { resolved, ..outgoing })
            }
            // There is a newer version, which is sent instead.
            StatusWrite::Done(_) => {
                self.queue.add(key.clone());
                None
            }
            StatusWrite::Gone | StatusWrite::Failed => None,
        }
    }
}

/// What Port may have once `entity` is sent, in addition to what it may have already (`delivered`). Without a digest if `entity` adds
/// anything.
pub fn with_pending_fields(delivered: Option<&DeliveredEntity>, blueprint: &str, entity: &Entity) -> DeliveredEntity {
    let mut pending = delivered.cloned().unwrap_or_default();
    let mut adds = pending.blueprint != blueprint || pending.identifier != entity.identifier;
    for (names, sent) in [(&mut pending.properties, &entity.properties), (&mut pending.relations, &entity.relations)] {
        for name in sent.keys() {
            if !names.contains(name) {
                names.push(name.clone());
                adds = true;
            }
        }
    }
    if adds {
        pending.digest.clear();
    }
    DeliveredEntity { blueprint: blueprint.to_owned(), identifier: entity.identifier.clone(), ..pending }
}

/// The entity with `null` for each field that Port may have and that has no value any more.
///
/// A field that the blueprint doesn't define any more needs no clearing, and Port would refuse the entity for it.
pub fn with_cleared_fields(
    entity: &Entity,
    delivered: Option<DeliveredEntity>,
    blueprint: Option<&Blueprint>,
) -> Entity {
    let mut entity = entity.clone();
    let Some(DeliveredEntity { properties, relations, .. }) = delivered else {
        return entity;
    };
    for name in properties {
        if blueprint.is_none_or(|blueprint| blueprint.schema.properties.contains_key(&name)) {
            entity.properties.entry(name).or_insert(Value::Null);
        }
    }
    for name in relations {
        if blueprint.is_none_or(|blueprint| blueprint.relations.contains_key(&name)) {
            entity.relations.entry(name).or_insert(Value::Null);
        }
    }
    entity
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entity(properties: &Value, relations: &Value) -> Entity {
        let map = |fields: &Value| fields.as_object().unwrap().clone();
        Entity { properties: map(properties), relations: map(relations), ..Entity::new("a") }
    }

    fn delivered(properties: &[&str], relations: &[&str]) -> DeliveredEntity {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        DeliveredEntity {
            blueprint: "incident".to_owned(),
            identifier: "a".to_owned(),
            digest: "digest".to_owned(),
            properties: owned(properties),
            relations: owned(relations),
            ..DeliveredEntity::default()
        }
    }

    #[test]
    fn pending_fields_add_to_delivered_ones() {
        let before = delivered(&["status", "url"], &["group"]);
        let pending = |properties: &Value, relations: &Value| {
            with_pending_fields(Some(&before), "incident", &entity(properties, relations))
        };
        assert_eq!(pending(&json!({"status": "open"}), &json!({})), before, "nothing is added");
        let expected =
            DeliveredEntity { digest: String::new(), ..delivered(&["status", "url", "priority"], &["group"]) };
        assert_eq!(pending(&json!({"priority": "high", "status": "open"}), &json!({"group": "a"})), expected);
    }

    #[test]
    fn another_blueprint_makes_the_digest_unknown() {
        let (before, entity) = (delivered(&["status"], &[]), entity(&json!({"status": "open"}), &json!({})));
        let pending = with_pending_fields(Some(&before), "other", &entity);
        assert_eq!((pending.blueprint.as_str(), pending.digest.as_str()), ("other", ""));
    }

    #[test]
    fn fields_without_a_value_are_cleared() {
        let entity = entity(&json!({"status": "open"}), &json!({"group": "a"}));
        let cleared = with_cleared_fields(&entity, Some(delivered(&["status", "url"], &["group", "service"])), None);
        assert_eq!(json!(cleared.properties), json!({"status": "open", "url": null}));
        assert_eq!(json!(cleared.relations), json!({"group": "a", "service": null}));
        assert_eq!(with_cleared_fields(&entity, None, None), entity);
    }

    #[test]
    fn fields_that_left_the_blueprint_are_not_cleared() {
        let blueprint: Blueprint = serde_json::from_value(json!({
            "identifier": "incident", "schema": {"properties": {"status": {"type": "string"}, "url": {"type": "string"}}},
        }))
        .unwrap();
        let delivered = delivered(&["status", "url", "cost"], &["service"]);
        let cleared = with_cleared_fields(&entity(&json!({}), &json!({})), Some(delivered), Some(&blueprint));
        assert_eq!(json!(cleared.properties), json!({"status": null, "url": null}));
        assert!(cleared.relations.is_empty(), "{cleared:?}");
    }
}
