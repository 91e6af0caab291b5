//! Conforms an entity to its blueprint: the names, the values, and the fields that the blueprint defines. Pure.

use std::collections::BTreeMap;

use port_client::{Blueprint, ConformError, Entity, Property};
use serde_json::{Map, Value};

use super::missing_fields::sent_property;
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

/// The most characters of a value that a warning quotes.
const MAX_QUOTED_CHARACTERS: usize = 100;

/// Conforms `draft` to `blueprint`. While the blueprint can't be read (`None`), the entity has the fields of Port's own DORA blueprints.
///
/// Values are converted to the types of the blueprint where nothing is lost, see [`Property::conform`]. Fields that the blueprint does not
/// define, and values that it does not allow, are omitted, since Port would refuse the whole entity. Each omission is a warning, except for
/// what concerns every entity alike: [`MissingFields`](super::missing_fields::MissingFields) reports once per blueprint that it does not
/// define a field of the controller, or defines it with another type.
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
        if let Some(renamed) = naming.property(&name)
            && let Err(omission) = conformed.set_property(renamed, value, blueprint)
            && !omission.concerns_every_entity(&sent_property(&name, naming))
        {
            conformed.warnings.push(omission.explain(renamed));
        }
    }
    let further_relations = further_relations.into_iter().filter(|_| blueprint.is_some());
    for (name, value) in relations.into_iter().chain(further_relations) {
        if let Some(renamed) = naming.relation(&name) {
            // `MissingFields` reports a relation that the blueprint does not define, and these have one entity each.
            let _ = conformed.set_relation(renamed, value, blueprint);
        }
    }
    for (name, value) in own_properties {
        if let Err(omission) = conformed.set_property(&name, value, blueprint) {
            conformed.warnings.push(omission.explain(&format!("spec.properties.{name}")));
        }
    }
    for (name, value) in own_relations {
        if let Err(omission) = conformed.set_relation(&name, value, blueprint) {
            conformed.warnings.push(omission.explain(&format!("spec.relations.{name}")));
        }
    }
    conformed
}

/// Why a field is omitted.
enum Omission<'a> {
    /// The blueprint does not define the field.
    Undefined { blueprint: &'a str },
    /// The blueprint does not accept the value of the property.
    Value { value: Value, property: &'a Property, error: ConformError },
    /// The relation leads to one entity.
    SeveralEntities { blueprint: &'a str },
}

impl Omission<'_> {
    /// Whether the reason is the blueprint and not the value of one entity. `sent` is the type of the property in all entities.
    fn concerns_every_entity(&self, sent: &Property) -> bool {
        match self {
            Self::Undefined { .. } => true,
            Self::Value { property, error: ConformError::OtherType { .. }, .. } => !property.converts_all_of(sent),
            Self::Value { .. } | Self::SeveralEntities { .. } => false,
        }
    }

    /// What is omitted and what to do about it. `field` is its name, such as `spec.properties.colour`.
    fn explain(&self, field: &str) -> String {
        match self {
            Self::Undefined { blueprint } => format!(
                "the blueprint {blueprint} does not define {field}: the controller omits it. Add it to the blueprint, or remove it from the \
                 resource"
            ),
            Self::Value { value, error: ConformError::OtherType { expected }, .. } => format!(
                "{field} is {}, but the blueprint defines it as {expected}: the controller omits it. Correct the value, or change the type in \
                 the blueprint",
                quoted(value)
            ),
            Self::Value { value, error: ConformError::NotAllowed { allowed }, .. } => format!(
                "{field} is {}, which the blueprint does not allow: the controller omits it. Use one of the allowed values ({}), add the value \
                 to the blueprint, or map it to an allowed one in the setting naming",
                quoted(value),
                listed(allowed)
            ),
            Self::SeveralEntities { blueprint } => format!(
                "{field} is a list, but the relation of the blueprint {blueprint} has one entity: the controller omits it. Name one entity, or \
                 change the relation in the blueprint"
            ),
        }
    }
}

impl Conformed {
    fn set_property<'a>(
        &mut self,
        name: &str,
        value: Value,
        blueprint: Option<&'a Blueprint>,
    ) -> Result<(), Omission<'a>> {
        let value = match blueprint {
            None => value,
            Some(blueprint) => {
                let Some(property) = blueprint.schema.properties.get(name) else {
                    return Err(Omission::Undefined { blueprint: &blueprint.identifier });
                };
                property.conform(&value).map_err(|error| Omission::Value { value, property, error })?
            }
        };
        self.entity.properties.insert(name.to_owned(), value);
        Ok(())
    }

    fn set_relation<'a>(
        &mut self,
        name: &str,
        value: Value,
        blueprint: Option<&'a Blueprint>,
    ) -> Result<(), Omission<'a>> {
        let value = match blueprint {
            None => value,
            Some(blueprint) => {
                let identifier = &blueprint.identifier;
                let relation = blueprint.relations.get(name).ok_or(Omission::Undefined { blueprint: identifier })?;
                match value {
                    // Port expects an array for a relation to several entities, and no array for a relation to one.
                    Value::String(_) if relation.many => Value::Array(vec![value]),
                    Value::Array(entities) if !relation.many => match <[Value; 1]>::try_from(entities) {
                        Ok([entity]) => entity,
                        Err(_) => return Err(Omission::SeveralEntities { blueprint: identifier }),
                    },
                    value => value,
                }
            }
        };
        self.entity.relations.insert(name.to_owned(), value);
        Ok(())
    }
}

fn quoted(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn listed(allowed: &[Value]) -> String {
    let mut listed: Vec<String> = allowed.iter().take(MAX_LISTED_VALUES).map(quoted).collect();
    if allowed.len() > MAX_LISTED_VALUES {
        listed.push("…".to_owned());
    }
    listed.join(", ")
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

    fn blueprint(properties: &Value, relations: &Value) -> Blueprint {
        let body = json!({"identifier": "thing", "schema": {"properties": properties}, "relations": relations});
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn other_types_of_the_controllers_fields_need_no_warning() {
        let draft =
            Draft { further_properties: serde_json::Map::from_iter([("revision".to_owned(), json!(7))]), ..draft() };
        for (definition, expected) in [
            (json!({"type": "string"}), Some(json!("7"))),
            (json!({"type": "array", "items": {"type": "string"}}), Some(json!(["7"]))),
            (json!({"type": "boolean"}), None),
            (json!({"type": "string", "format": "date-time"}), None),
            (json!({"type": "object"}), None),
        ] {
            let blueprint = blueprint(
                &json!({"revision": definition, "colour": {"type": "string"}}),
                &json!({"owners": {"target": "x"}}),
            );
            let Conformed { entity, warnings } = conform(draft.clone(), &Naming::default(), Some(&blueprint));
            assert_eq!(entity.properties.get("revision"), expected.as_ref(), "{definition}");
            assert!(warnings.is_empty(), "the blueprint is reported once: {warnings:?}");
        }
    }

    #[test]
    fn unusable_values_of_one_resource_are_warnings() {
        let url = |url: &str| serde_json::Map::from_iter([("incident_url".to_owned(), json!(url))]);
        let own = BTreeMap::from([
            ("colour".to_owned(), json!({"a": "x".repeat(1000)})),
            ("count".to_owned(), json!("seven")),
        ]);
        let draft = Draft { properties: url("nowhere"), own_properties: own, ..Draft::default() };
        let definitions = json!({
            "incident_url": {"type": "string", "format": "url"}, "colour": {"type": "string"}, "count": {"type": "number"},
        });
        let blueprint = blueprint(&definitions, &json!({}));
        let Conformed { entity, warnings } = conform(draft, &Naming::default(), Some(&blueprint));
        assert!(entity.properties.is_empty(), "{entity:?}");
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        for (warning, part) in warnings.iter().zip([
            "incident_url is \"nowhere\", but the blueprint defines it as string (url)",
            "spec.properties.colour is {\"a\":\"xxx",
            "spec.properties.count is \"seven\", but the blueprint defines it as number",
        ]) {
            assert!(warning.starts_with(part) && warning.chars().count() < 400, "{warning}");
        }
        let valid = Draft { properties: url("https://example.com/"), ..Draft::default() };
        assert!(conform(valid, &Naming::default(), Some(&blueprint)).warnings.is_empty());
    }

    #[test]
    fn mapped_values_may_have_the_type_of_the_blueprint() {
        let naming: Naming = serde_saphyr::from_str("values: {environment: {production: '1'}}").unwrap();
        let blueprint = blueprint(&json!({"environment": {"type": "number"}}), &json!({}));
        let of = |environment: &str| {
            let properties = serde_json::Map::from_iter([("environment".to_owned(), json!(environment))]);
            conform(Draft { properties, ..Draft::default() }, &naming, Some(&blueprint))
        };
        assert_eq!(json!(of("production").entity.properties), json!({"environment": 1}));
        assert_eq!(of("staging").warnings.len(), 1, "the settings have no number for it");
    }

    #[test]
    fn relations_have_as_many_entities_as_the_blueprint_says() {
        let own = [("one", json!(["a"])), ("several", json!(["a", "b"])), ("none", json!([])), ("list", json!("a"))];
        let own_relations = own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let one = json!({"target": "x"});
        let relations = json!({"one": one, "several": one, "none": one, "list": {"target": "x", "many": true}});
        let draft = Draft { own_relations, ..Draft::default() };
        let Conformed { entity, warnings } =
            conform(draft, &Naming::default(), Some(&blueprint(&json!({}), &relations)));
        assert_eq!(json!(entity.relations), json!({"one": "a", "list": ["a"]}));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("has one entity")), "{warnings:?}");
    }
}
