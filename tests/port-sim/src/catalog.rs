//! The stored blueprints and entities, and the rules of writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::blueprints::Blueprint;
use crate::entity::{AUTHOR, Entity};
use crate::errors::ApiError;
use crate::relations;
use crate::search::Query;

/// The query parameters of Port's routes that write entities.
#[allow(clippy::struct_excessive_bools, reason = "they are independent query parameters of Port")]
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WriteOptions {
    /// Overwrites an existing entity instead of refusing it.
    pub upsert: bool,
    /// With `upsert`, keeps the values that the request doesn't contain.
    pub merge: bool,
    /// Creates missing related entities instead of refusing the request.
    pub create_missing_related_entities: bool,
    /// Validates the request without storing anything.
    pub validation_only: bool,
    /// The action run of the write.
    pub run_id: Option<String>,
}

/// The result of an accepted write.
#[derive(Debug)]
pub(crate) struct Written {
    pub entity: Entity,
    pub created: bool,
}

/// All blueprints and entities.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    blueprints: BTreeMap<String, Arc<Blueprint>>,
    entities: BTreeMap<String, BTreeMap<String, Entity>>,
    last_sequence: u64,
}

impl Catalog {
    pub(crate) fn blueprints(&self) -> impl Iterator<Item = &Arc<Blueprint>> {
        self.blueprints.values()
    }

    pub(crate) fn blueprint(&self, identifier: &str) -> Result<&Arc<Blueprint>, ApiError> {
        self.blueprints.get(identifier).ok_or_else(|| ApiError::blueprint_not_found(identifier))
    }

    /// Adds a new blueprint. The targets of its relations must exist.
    pub(crate) fn add_blueprint(&mut self, blueprint: Blueprint) -> Result<(), ApiError> {
        if self.blueprints.contains_key(&blueprint.identifier) {
            return Err(ApiError::taken("Blueprint", &blueprint.identifier));
        }
        self.replace_blueprint(blueprint)
    }

    /// Adds or replaces a blueprint. Entities keep the properties and relations that the new blueprint defines.
    pub(crate) fn replace_blueprint(&mut self, blueprint: Blueprint) -> Result<(), ApiError> {
        for relation in blueprint.relations.values() {
            if relation.target != blueprint.identifier {
                self.blueprint(&relation.target)?;
            }
        }
        if let Some(entities) = self.entities.get_mut(&blueprint.identifier) {
            let known = &blueprint.document()["schema"]["properties"];
            for entity in entities.values_mut() {
                entity.properties.retain(|name, _| known.get(name).is_some());
                entity.relations.retain(|name, _| blueprint.relations.contains_key(name));
            }
        }
        self.blueprints.insert(blueprint.identifier.clone(), Arc::new(blueprint));
        Ok(())
    }

    /// Removes a blueprint with its entities, even if others relate to it.
    pub(crate) fn remove_blueprint(&mut self, identifier: &str) -> bool {
        self.entities.remove(identifier);
        self.blueprints.remove(identifier).is_some()
    }

    /// All entities, in the order of their creation.
    pub(crate) fn entities(&self) -> Vec<&Entity> {
        in_order(self.entities.values().flat_map(BTreeMap::values))
    }

    /// The entities of a blueprint, in the order of their creation. Empty if the blueprint doesn't exist.
    pub(crate) fn entities_of(&self, blueprint: &str) -> Vec<&Entity> {
        in_order(self.entities.get(blueprint).into_iter().flat_map(BTreeMap::values))
    }

    /// Removes all entities of the blueprints for which `matches` is true.
    pub(crate) fn clear_entities(&mut self, matches: impl Fn(&str) -> bool) {
        self.entities.retain(|blueprint, _| !matches(blueprint));
    }

    pub(crate) fn find(&self, blueprint: &str, identifier: &str) -> Option<&Entity> {
        self.entities.get(blueprint)?.get(identifier)
    }

    pub(crate) fn get(&self, blueprint: &str, identifier: &str) -> Result<&Entity, ApiError> {
        self.blueprint(blueprint)?;
        self.find(blueprint, identifier).ok_or_else(|| ApiError::entity_not_found(blueprint, identifier))
    }

    /// Creates or changes one entity. `given` must already match the schema of the route.
    pub(crate) fn write(
        &mut self,
        blueprint: &str,
        given: &Value,
        options: &WriteOptions,
        user_agent: &str,
    ) -> Result<Written, ApiError> {
        let model = Arc::clone(self.blueprint(blueprint)?);
        let identifier = self.identifier(blueprint, given)?;
        let existing = self.find(blueprint, &identifier);
        if existing.is_some() && !options.upsert {
            return Err(ApiError::taken("Entity", &identifier));
        }
        let created = existing.is_none();
        let mut entity = match existing {
            Some(existing) if options.merge => existing.clone(),
            existing => overwritten(blueprint, &identifier, existing, self.last_sequence + 1),
        };
        entity.updated_at = Timestamp::now();
        user_agent.clone_into(&mut entity.datasource);
        entity.run_id.clone_from(&options.run_id);
        entity.writes += 1;
        if let Some(title) = given["title"].as_str() {
            entity.title = Some(title.to_owned());
        }
        if let Some(icon) = given["icon"].as_str() {
            entity.icon = Some(icon.to_owned());
        }
        set_team(&mut entity, &given["team"])?;
        set_properties(&mut entity, &model, given["properties"].as_object())?;
        let missing = relations::set(&mut entity, &model, given["relations"].as_object(), self)?;
        if let Some((target, related)) = missing.first()
            && !options.create_missing_related_entities
        {
            return Err(ApiError::entity_not_found(target, related));
        }
        if options.validation_only {
            return Ok(Written { entity, created });
        }
        for (target, related) in missing {
            let options = WriteOptions { upsert: true, merge: true, ..WriteOptions::default() };
            self.write(&target, &json!({"identifier": related}), &options, user_agent)?;
        }
        if created {
            self.last_sequence += 1;
            entity.sequence = self.last_sequence;
        }
        self.entities.entry(blueprint.to_owned()).or_default().insert(identifier, entity.clone());
        Ok(Written { entity, created })
    }

    /// The identifier of a request: as given, found by a query, or a new one if the request has none.
    fn identifier(&self, blueprint: &str, given: &Value) -> Result<String, ApiError> {
        match &given["identifier"] {
            Value::String(identifier) => Ok(identifier.clone()),
            Value::Null => Ok(format!("e_{}", &Uuid::new_v4().simple().to_string()[..16])),
            query => {
                let parsed = Query::parse(query)?;
                let mut found = self.entities_of(blueprint).into_iter().filter(|entity| parsed.matches(entity));
                match (found.next(), found.next()) {
                    (Some(one), None) => Ok(one.identifier.clone()),
                    (None, _) => Err(ApiError::no_entity_matches(blueprint, query)),
                    (Some(_), Some(_)) => Err(ApiError::invalid(format!(
                        "identifier: more than one entity of blueprint \"{blueprint}\" matches the query {query}"
                    ))),
                }
            }
        }
    }

    /// Deletes an entity. With `dependents`, also deletes all entities that relate to it, directly or indirectly.
    ///
    /// Port doesn't document what happens to dependents otherwise. Here, an optional relation is cleared, and a
    /// required relation prevents the deletion.
    pub(crate) fn delete(&mut self, blueprint: &str, identifier: &str, dependents: bool) -> Result<(), ApiError> {
        self.get(blueprint, identifier)?;
        let affected = self.dependents(blueprint, identifier);
        if !dependents && let Some((_, dependent, _, _)) = affected.iter().find(|(_, _, _, required)| *required) {
            return Err(ApiError::has_dependents(blueprint, identifier, dependent));
        }
        if let Some(entities) = self.entities.get_mut(blueprint) {
            entities.remove(identifier);
        }
        for (source, dependent, relation, _) in affected {
            if dependents {
                // It may already be deleted, if dependents relate to each other.
                if self.find(&source, &dependent).is_some() {
                    self.delete(&source, &dependent, true)?;
                }
            } else if let Some(entity) =
                self.entities.get_mut(&source).and_then(|entities| entities.get_mut(&dependent))
            {
                entity.unrelate(&relation, identifier);
            }
        }
        Ok(())
    }

    /// The dependents of an entity, each as blueprint, identifier, name of the relation, and whether the relation is
    /// required.
    fn dependents(&self, blueprint: &str, identifier: &str) -> Vec<(String, String, String, bool)> {
        let mut found = Vec::new();
        for model in self.blueprints.values() {
            let relations = model.relations.iter().filter(|(_, relation)| relation.target == blueprint);
            for (name, relation) in relations {
                for entity in self.entities_of(&model.identifier) {
                    if entity.relates_to(name, identifier) {
                        found.push((
                            model.identifier.clone(),
                            entity.identifier.clone(),
                            name.clone(),
                            relation.required,
                        ));
                    }
                }
            }
        }
        found
    }
}

/// A new entity, or an existing one without its contents.
fn overwritten(blueprint: &str, identifier: &str, existing: Option<&Entity>, new_sequence: u64) -> Entity {
    let now = Timestamp::now();
    Entity {
        identifier: identifier.to_owned(),
        blueprint: blueprint.to_owned(),
        title: None,
        icon: None,
        team: Vec::new(),
        properties: Map::new(),
        relations: Map::new(),
        created_at: existing.map_or(now, |entity| entity.created_at),
        created_by: existing.map_or(AUTHOR.to_owned(), |entity| entity.created_by.clone()),
        updated_at: now,
        updated_by: AUTHOR.to_owned(),
        datasource: String::new(),
        run_id: None,
        writes: existing.map_or(0, |entity| entity.writes),
        sequence: existing.map_or(new_sequence, |entity| entity.sequence),
    }
}

fn in_order<'a>(entities: impl Iterator<Item = &'a Entity>) -> Vec<&'a Entity> {
    let mut entities: Vec<_> = entities.collect();
    entities.sort_by_key(|entity| entity.sequence);
    entities
}

fn set_team(entity: &mut Entity, given: &Value) -> Result<(), ApiError> {
    match given {
        Value::Null => {}
        Value::String(team) => entity.team = vec![team.clone()],
        Value::Array(teams) => {
            entity.team = teams.iter().filter_map(|team| team.as_str().map(str::to_owned)).collect();
        }
        _ => {
            return Err(ApiError::invalid("team: the stand-in can't search for teams; use their names"));
        }
    }
    Ok(())
}

/// Sets the given properties, and clears those that are given as `null`.
fn set_properties(entity: &mut Entity, model: &Blueprint, given: Option<&Map<String, Value>>) -> Result<(), ApiError> {
    let known = &model.document()["schema"]["properties"];
    let mut values = Map::new();
    for (name, value) in given.into_iter().flatten() {
        // A null has no type to check, but an unknown name is refused.
        if value.is_null() && known.get(name).is_some() {
            entity.properties.remove(name);
        } else {
            values.insert(name.clone(), value.clone());
        }
    }
    model.properties.check_given(&values)?;
    entity.properties.extend(values);
    model.properties.check_required(&entity.properties)
}
