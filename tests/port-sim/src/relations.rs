//! The relations of an entity: validation, and resolution of their targets.

use serde_json::{Map, Value, json};

use crate::blueprints::{Blueprint, RelationModel};
use crate::catalog::Catalog;
use crate::entity::Entity;
use crate::errors::ApiError;
use crate::search::Query;

/// The blueprint and the identifier of a related entity that doesn't exist.
pub(crate) type MissingEntity = (String, String);

/// Sets the given relations, clears those given as `null`, and returns the related entities that don't exist.
///
/// # Errors
/// When a relation is unknown, a value doesn't match `many`, a query finds no entity (or several for a relation to
/// one), a required relation is missing, or a target blueprint doesn't exist.
pub(crate) fn set(
    entity: &mut Entity,
    model: &Blueprint,
    given: Option<&Map<String, Value>>,
    catalog: &Catalog,
) -> Result<Vec<MissingEntity>, ApiError> {
    let mut missing = Vec::new();
    for (name, value) in given.into_iter().flatten() {
        let relation = model.relations.get(name).ok_or_else(|| {
            ApiError::invalid(format!("relations/{name}: blueprint \"{}\" has no such relation", model.identifier))
        })?;
        if value.is_null() {
            entity.relations.remove(name);
            continue;
        }
        catalog.blueprint(&relation.target)?;
        let related = resolve(name, relation, value, catalog)?;
        for identifier in identifiers(&related) {
            if catalog.find(&relation.target, identifier).is_none() {
                missing.push((relation.target.clone(), identifier.to_owned()));
            }
        }
        entity.relations.insert(name.clone(), related);
    }
    for (name, relation) in &model.relations {
        if relation.required && !entity.relations.contains_key(name) {
            return Err(ApiError::invalid(format!("relations: \"{name}\" is a required relation")));
        }
    }
    Ok(missing)
}

/// The value of a relation: a string for a relation to one, an array of strings for a relation to many.
fn resolve(name: &str, relation: &RelationModel, value: &Value, catalog: &Catalog) -> Result<Value, ApiError> {
    match value {
        Value::String(_) if relation.many => {
            Err(ApiError::invalid(format!("relations/{name}: must be an array, since the relation is to many")))
        }
        Value::Array(_) if !relation.many => {
            Err(ApiError::invalid(format!("relations/{name}: must not be an array, since the relation is to one")))
        }
        Value::String(_) | Value::Array(_) => Ok(value.clone()),
        query => {
            let parsed = Query::parse(query)?;
            let found: Vec<_> = catalog
                .entities_of(&relation.target)
                .into_iter()
                .filter(|entity| parsed.matches(entity))
                .map(|entity| entity.identifier.as_str())
                .collect();
            match (relation.many, found.as_slice()) {
                (_, []) => Err(ApiError::no_entity_matches(&relation.target, query)),
                (true, many) => Ok(json!(many)),
                (false, [one]) => Ok(json!(one)),
                (false, several) => Err(ApiError::invalid(format!(
                    "relations/{name}: {} entities of blueprint \"{}\" match the query {query}, \
                     and the relation is to one",
                    several.len(),
                    relation.target
                ))),
            }
        }
    }
}

fn identifiers(related: &Value) -> impl Iterator<Item = &str> {
    let many = related.as_array().into_iter().flatten();
    many.chain(related.is_string().then_some(related)).filter_map(Value::as_str)
}
