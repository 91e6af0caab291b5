//! Conforms an entity to its blueprint: the names, the values, and the fields that the blueprint defines. Pure.

use std::collections::BTreeMap;

use port_client::{Blueprint, Entity, Property};
use serde_json::{Map, Value};

use crate::settings::Naming;

/// An entity under the names of Port's DORA blueprints, before it is conformed to the actual blueprint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The identifier of the entity.
    pub identifier: String,
    /// The title of the entity.
    pub title: String,
    /// Properties that Port's DORA blueprints define.
    pub properties: Map<String, Value>,
    /// Relations that Port's DORA blueprints define.
    pub relations: Map<String, Value>,
    /// Further properties, which are sent only if the blueprint defines them.
    pub further_properties: Map<String, Value>,
    /// Further relations, which are sent only if the blueprint defines them.
    pub further_relations: Map<String, Value>,
    /// The properties in the spec of the resource, under their own names. They take precedence.
    pub own_properties: BTreeMap<String, Value>,
    /// The relations in the spec of the resource, under their own names. They take precedence.
    pub own_relations: BTreeMap<String, Value>,
}

/// An entity that matches its blueprint.
#[derive(Clone, Debug, PartialEq)]
pub struct Conformed {
    /// The entity to send.
    pub entity: Entity,
    /// What was omitted and what to do about it, in one sentence each.
    pub warnings: Vec<String>,
}

/// The most allowed values that a warning lists.
const MAX_LISTED_VALUES: usize = 12;

/// Conforms `draft` to `blueprint`. While the blueprint can't be read (`None`), the entity has the fields of Port's own DORA blueprints.
///
/// Fields that the blueprint does not define are omitted, since Port would refuse the whole entity. There is a warning only for those in
/// the spec of the resource; [`MissingFields`](super::missing_fields::MissingFields) reports the others once per blueprint. Values of an
/// enum match regardless of upper and lower case.
#[must_use]
pub fn conform(draft: Draft, naming: &Naming, blueprint: Option<&Blueprint>) -> Conformed {
    let Draft {
        identifier,
        title,
        properties,
        relations,
        further_properties,
        further_relations,
        own_properties,
        own_relations,
    } = draft;
    let mut conformed = Conformed { entity: Entity::new(identifier).with_title(title), warnings: Vec::new() };
    let further_properties = further_properties.into_iter().filter(|_| blueprint.is_some());
    for (name, value) in properties.into_iter().chain(further_properties) {
        let value = naming.value(&name, value);
        if let Some(name) = naming.property(&name) {
            conformed.set_property(name, value, blueprint);
        }
    }
    let further_relations = further_relations.into_iter().filter(|_| blueprint.is_some());
    for (name, value) in relations.into_iter().chain(further_relations) {
        if let Some(name) = naming.relation(&name) {
            conformed.set_relation(name, value, blueprint);
        }
    }
    for (name, value) in own_properties {
        if let Defined::No { blueprint } = conformed.set_property(&name, value, blueprint) {
            conformed.warnings.push(undefined("properties", &name, blueprint));
        }
    }
    for (name, value) in own_relations {
        if let Defined::No { blueprint } = conformed.set_relation(&name, value, blueprint) {
            conformed.warnings.push(undefined("relations", &name, blueprint));
        }
    }
    conformed
}

/// Whether a blueprint defines a field.
enum Defined<'a> {
    /// It does, or it can't be read.
    Yes,
    /// It does not.
    No { blueprint: &'a str },
}

impl Conformed {
    fn set_property<'a>(&mut self, name: &str, value: Value, blueprint: Option<&'a Blueprint>) -> Defined<'a> {
        let value = match blueprint {
            None => Some(value),
            Some(blueprint) => match blueprint.schema.properties.get(name) {
                None => return Defined::No { blueprint: &blueprint.identifier },
                Some(property) => self.allowed_value(name, &value, property),
            },
        };
        if let Some(value) = value {
            self.entity.properties.insert(name.to_owned(), value);
        }
        Defined::Yes
    }

    fn set_relation<'a>(&mut self, name: &str, value: Value, blueprint: Option<&'a Blueprint>) -> Defined<'a> {
        let value = match blueprint {
            None => value,
            Some(blueprint) => match blueprint.relations.get(name) {
                None => return Defined::No { blueprint: &blueprint.identifier },
                // Port expects an array for a relation to several entities.
                Some(relation) if relation.many && value.is_string() => Value::Array(vec![value]),
                Some(_) => value,
            },
        };
        self.entity.relations.insert(name.to_owned(), value);
        Defined::Yes
    }

    /// The allowed value for `value`; `None`, with a warning, if there is no such value.
    fn allowed_value(&mut self, name: &str, value: &Value, property: &Property) -> Option<Value> {
        let conformed = property.conform(value);
        if conformed.is_none() {
            let allowed = &property.allowed_values;
            let mut listed: Vec<String> = allowed.iter().take(MAX_LISTED_VALUES).map(Value::to_string).collect();
            if allowed.len() > MAX_LISTED_VALUES {
                listed.push("…".to_owned());
            }
            self.warnings.push(format!(
                "{name} is {value}, which the blueprint does not allow: the controller omits it. Use one of the allowed values ({}), add the \
                 value to the blueprint, or map it to an allowed one in the setting naming",
                listed.join(", ")
            ));
        }
        conformed
    }
}

fn undefined(section: &str, name: &str, blueprint: &str) -> String {
    format!(
        "the blueprint {blueprint} does not define spec.{section}.{name}: the controller omits it. Add it to the blueprint, or remove it from \
         the resource"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft() -> Draft {
        let map = |json: Value| json.as_object().cloned().unwrap();
        Draft {
            identifier: "a".to_owned(),
            title: "A".to_owned(),
            properties: map(json!({"status": "success", "environment": "production", "lead_time_hours": 2})),
            relations: map(json!({"group": "all_teams"})),
            further_properties: map(json!({"change": "Release"})),
            further_relations: map(json!({"service": "shop"})),
            own_properties: BTreeMap::from([("colour".to_owned(), json!("red"))]),
            own_relations: BTreeMap::from([("owners".to_owned(), json!("me"))]),
        }
    }

    #[test]
    fn fields_and_values_follow_the_blueprint() {
        let blueprint = serde_json::from_value(json!({
            "identifier": "dora_deployment",
            "schema": {"properties": {
                "status": {"type": "string", "enum": ["Success", "Failed"]},
                "environment": {"type": "string", "enum": ["Staging"]},
                "change": {"type": "string"},
            }},
            "relations": {"group": {"target": "group", "many": true}, "service": {"target": "service"}},
        }))
        .unwrap();
        let Conformed { entity, warnings } = conform(draft(), &Naming::default(), Some(&blueprint));
        assert_eq!(json!(entity.properties), json!({"status": "Success", "change": "Release"}));
        assert_eq!(json!(entity.relations), json!({"group": ["all_teams"], "service": "shop"}));
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        for (warning, parts) in warnings.iter().zip([
            ["environment is \"production\"", "\"Staging\""],
            ["spec.properties.colour", "dora_deployment"],
            ["spec.relations.owners", "dora_deployment"],
        ]) {
            assert!(parts.iter().all(|part| warning.contains(part)), "{warning}");
        }
    }

    #[test]
    fn unreadable_blueprint_gets_the_fields_of_port() {
        let Conformed { entity, warnings } = conform(draft(), &Naming::default(), None);
        assert_eq!(
            json!(entity.properties),
            json!({"status": "success", "environment": "production", "lead_time_hours": 2, "colour": "red"})
        );
        assert_eq!(json!(entity.relations), json!({"group": "all_teams", "owners": "me"}));
        assert!(warnings.is_empty());
    }

    #[test]
    fn settings_rename_fields_and_values() {
        let naming: Naming = serde_saphyr::from_str(
            "properties: {status: deploymentStatus, lead_time_hours: ''}\nrelations: {group: team}\nvalues: {environment: {Production: prod}}",
        )
        .unwrap();
        let Conformed { entity, .. } = conform(draft(), &naming, None);
        assert_eq!(
            json!(entity.properties),
            json!({"deploymentStatus": "success", "environment": "prod", "colour": "red"})
        );
        assert_eq!(json!(entity.relations), json!({"team": "all_teams", "owners": "me"}));
    }
}
