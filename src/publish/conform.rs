//! Fits an entity to the blueprint that it is made of: names, values, and what the blueprint doesn't have. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::settings::{Naming, Vocabulary};
use port_client::{Blueprint, Entity, Property};

/// What is to be said to Port of a resource, under the names of Port's DORA blueprints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// Identifier of the entity.
    pub identifier: String,
    /// Its title.
    pub title: String,
    /// Properties that Port's DORA blueprints have.
    pub properties: Map<String, Value>,
    /// Relations that they have.
    pub relations: Map<String, Value>,
    /// Further properties, for blueprints that have them.
    pub further_properties: Map<String, Value>,
    /// Further relations, for blueprints that have them.
    pub further_relations: Map<String, Value>,
    /// Properties as the resource has them, under their own names. They win.
    pub own_properties: BTreeMap<String, Value>,
    /// Relations as the resource has them, under their own names. They win.
    pub own_relations: BTreeMap<String, Value>,
}

/// The entity, and what of the resource did not fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// What is sent.
    pub entity: Entity,
    /// What could not be used, in sentences that say what to do.
    pub warnings: Vec<String>,
}

/// Most values of an enum that are listed in a warning.
const LISTED_VALUES: usize = 12;

/// The entity of `draft` for `blueprint`, which is `None` while it can't be read: then what Port's own DORA blueprints have is sent.
///
/// What the blueprint lacks of `properties` and `relations` is left out, since Port refuses the whole entity for it; [`missing_fields`] says
/// so once for all. The values of an enum are matched without regard to case.
#[must_use]
pub fn conform(draft: Draft, naming: &Naming, blueprint: Option<&Blueprint>) -> Fitted {
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
    let mut warnings = Vec::new();
    let mut entity = Entity::new(identifier).with_title(title);
    let further_properties = further_properties.into_iter().filter(|_| blueprint.is_some());
    for (name, value) in properties.into_iter().chain(further_properties) {
        let value = naming.value(&name, value);
        let Some(name) = naming.property(&name) else {
            continue;
        };
        match blueprint.map(|blueprint| blueprint.schema.properties.get(name)) {
            Some(None) => {}
            None => {
                entity.properties.insert(name.to_owned(), value);
            }
            Some(Some(property)) => {
                if let Some(value) = fitting(name, &value, property, &mut warnings) {
                    entity.properties.insert(name.to_owned(), value);
                }
            }
        }
    }
    let further_relations = further_relations.into_iter().filter(|_| blueprint.is_some());
    for (name, value) in relations.into_iter().chain(further_relations) {
        let Some(name) = naming.relation(&name) else {
            continue;
        };
        match blueprint.map(|blueprint| blueprint.relations.get(name)) {
            Some(None) => {}
            None => {
                entity.relations.insert(name.to_owned(), value);
            }
            Some(Some(relation)) => {
                entity.relations.insert(name.to_owned(), as_many(value, relation.many));
            }
        }
    }
    for (name, value) in own_properties {
        match blueprint.map(|blueprint| blueprint.schema.properties.get(&name)) {
            Some(None) => warnings.push(format!(
                "spec.properties.{name}: the blueprint {} has no such property; add it there, or remove it here. It is left out",
                named(blueprint)
            )),
            Some(Some(property)) => {
                if let Some(value) = fitting(&name, &value, property, &mut warnings) {
                    entity.properties.insert(name, value);
                }
            }
            None => {
                entity.properties.insert(name, value);
            }
        }
    }
    for (name, value) in own_relations {
        match blueprint.map(|blueprint| blueprint.relations.get(&name)) {
            Some(None) => warnings.push(format!(
                "spec.relations.{name}: the blueprint {} has no such relation; add it there, or remove it here. It is left out",
                named(blueprint)
            )),
            Some(Some(relation)) => {
                entity.relations.insert(name, as_many(value, relation.many));
            }
            None => {
                entity.relations.insert(name, value);
            }
        }
    }
    Fitted { entity, warnings }
}

fn named(blueprint: Option<&Blueprint>) -> &str {
    blueprint.map_or("", |blueprint| &blueprint.identifier)
}

/// A relation to many entities takes a list.
fn as_many(value: Value, many: bool) -> Value {
    if many && value.is_string() { Value::Array(vec![value]) } else { value }
}

/// `value` as the enum of the property writes it; `None` if it isn't one of them.
fn fitting(name: &str, value: &Value, property: &Property, warnings: &mut Vec<String>) -> Option<Value> {
    if let Some(value) = property.conform(value) {
        return Some(value);
    }
    let mut listed: Vec<String> = property.allowed_values.iter().take(LISTED_VALUES).map(Value::to_string).collect();
    if property.allowed_values.len() > LISTED_VALUES {
        listed.push("…".to_owned());
    }
    warnings.push(format!(
        "{name} is {value}, and the blueprint only takes {}: use one of them, add it to the blueprint, or translate it in the setting \
         values. It is left out",
        listed.join(", ")
    ));
    None
}

/// What a blueprint lacks of what the controller has to say, and what it asks for that the controller can't fill.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lacking {
    /// Properties of Port's DORA blueprints that it doesn't have.
    pub properties: Vec<String>,
    /// Relations of them that it doesn't have.
    pub relations: Vec<String>,
    /// Properties that it requires and that the controller doesn't always send.
    pub required: Vec<String>,
}

impl Lacking {
    /// How much it lacks, and asks for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.properties.len() + self.relations.len() + self.required.len()
    }

    /// Whether that is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What that means and what to do, in a sentence for each.
    #[must_use]
    pub fn explained(&self, blueprint: &str) -> String {
        let mut sentences = Vec::new();
        if !self.properties.is_empty() {
            sentences.push(format!(
                "the blueprint {blueprint} has no property {}: left out of every entity. Add them in Port (Builder, {blueprint}, New \
                 property), or name others in the setting properties",
                self.properties.join(", ")
            ));
        }
        if !self.relations.is_empty() {
            sentences.push(format!(
                "the blueprint {blueprint} has no relation {}: left out of every entity. Add it in Port (Builder, {blueprint}, New \
                 relation), or name another in the setting relations",
                self.relations.join(", ")
            ));
        }
        if !self.required.is_empty() {
            sentences.push(format!(
                "the blueprint {blueprint} requires {}, which the controller can't always fill: Port refuses the entities that lack it. Make it \
                 optional in Port, or give it in spec.properties",
                self.required.join(", ")
            ));
        }
        sentences.join(". ")
    }
}

/// What `blueprint` lacks of what the controller has to say.
#[must_use]
pub fn missing_fields(blueprint: &Blueprint, naming: &Naming, vocabulary: &Vocabulary) -> Lacking {
    let has = |name: &str| blueprint.schema.properties.contains_key(name);
    let properties = vocabulary.properties.iter().filter_map(|name| naming.property(name));
    let relations = vocabulary.relations.iter().filter_map(|name| naming.relation(name));
    let always: Vec<&str> = vocabulary.always.iter().filter_map(|name| naming.property(name)).collect();
    let required = blueprint.schema.required.iter().filter(|name| !always.contains(&name.as_str()));
    Lacking {
        properties: properties.filter(|name| !has(name)).map(str::to_owned).collect(),
        relations: relations.filter(|name| !blueprint.relations.contains_key(*name)).map(str::to_owned).collect(),
        required: required.cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn blueprint(json: Value) -> Blueprint {
        serde_json::from_value(json).unwrap()
    }

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

    fn naming(yaml: &str) -> Naming {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn what_the_blueprint_has_is_sent_as_it_wants_it_and_nothing_else() {
        let blueprint = blueprint(json!({
            "identifier": "dora_deployment",
            "schema": {"properties": {
                "status": {"type": "string", "enum": ["Success", "Failed"]},
                "environment": {"type": "string", "enum": ["Staging"]},
                "change": {"type": "string"},
            }},
            "relations": {"group": {"target": "group", "many": true}, "service": {"target": "service"}},
        }));
        let Fitted { entity, warnings } = conform(draft(), &Naming::default(), Some(&blueprint));
        assert_eq!(json!(entity.properties), json!({"status": "Success", "change": "Release"}));
        assert_eq!(json!(entity.relations), json!({"group": ["all_teams"], "service": "shop"}));
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(
            warnings[0].contains("environment is \"production\"") && warnings[0].contains("\"Staging\""),
            "{warnings:?}"
        );
        assert!(
            warnings[1].contains("spec.properties.colour") && warnings[1].contains("dora_deployment"),
            "{warnings:?}"
        );
        assert!(warnings[2].contains("spec.relations.owners"), "{warnings:?}");
    }

    #[test]
    fn what_ports_own_blueprints_have_is_sent_while_the_blueprint_can_not_be_read() {
        let Fitted { entity, warnings } = conform(draft(), &Naming::default(), None);
        assert_eq!(
            json!(entity.properties),
            json!({"status": "success", "environment": "production", "lead_time_hours": 2, "colour": "red"})
        );
        assert_eq!(json!(entity.relations), json!({"group": "all_teams", "owners": "me"}));
        assert!(warnings.is_empty());
    }

    #[test]
    fn names_and_values_are_those_of_the_settings() {
        let naming = naming(
            "properties: {status: deploymentStatus, lead_time_hours: ''}\nrelations: {group: team}\nvalues: {environment: {Production: prod}}",
        );
        let Fitted { entity, .. } = conform(draft(), &naming, None);
        assert_eq!(
            json!(entity.properties),
            json!({"deploymentStatus": "success", "environment": "prod", "colour": "red"})
        );
        assert_eq!(json!(entity.relations), json!({"team": "all_teams", "owners": "me"}));
    }

    #[test]
    fn what_a_blueprint_lacks_is_explained() {
        let vocabulary = Vocabulary {
            properties: &["status", "environment"],
            always: &["status"],
            relations: &["group"],
            further_properties: &["change"],
            further_relations: &[],
        };
        let blueprint = blueprint(json!({
            "identifier": "deployment",
            "schema": {"properties": {"status": {"type": "string"}, "cost": {"type": "number"}}, "required": ["status", "cost"]},
        }));
        let missing_fields = missing_fields(&blueprint, &Naming::default(), &vocabulary);
        assert_eq!(
            (missing_fields.properties.as_slice(), missing_fields.relations.as_slice()),
            (&["environment".to_owned()][..], &["group".to_owned()][..])
        );
        assert_eq!(missing_fields.required, ["cost"]);
        let said = missing_fields.explained("deployment");
        for part in ["no property environment", "no relation group", "requires cost"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
