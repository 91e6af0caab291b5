//! What Port may have of a resource, and what has to be cleared there. Pure.

use serde_json::Value;

use crate::resources::DeliveredEntity;
use port_client::{Blueprint, Entity};

/// What Port may have once `entity` is sent, on top of what it may have `before`.
pub fn announced(before: Option<&DeliveredEntity>, blueprint: &str, entity: &Entity) -> DeliveredEntity {
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
pub fn with_cleared_fields(entity: &Entity, before: Option<DeliveredEntity>, blueprint: Option<&Blueprint>) -> Entity {
    let mut entity = entity.clone();
    let Some(delivered) = before else {
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
