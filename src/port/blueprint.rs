//! Blueprints: the schema of entities, as far as a writer of entities needs it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A blueprint as Port returns it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Blueprint {
    /// Unique in the organisation.
    pub identifier: String,
    /// The name that Port shows.
    #[serde(default)]
    pub title: Option<String>,
    /// Which properties an entity may and must have.
    #[serde(default)]
    pub schema: Schema,
    /// Which relations an entity may and must have.
    #[serde(default)]
    pub relations: BTreeMap<String, Relation>,
}

/// The properties of a blueprint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Schema {
    /// By name. A property that is not here is refused with 422.
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
    /// Names of the properties that an entity must have.
    #[serde(default)]
    pub required: Vec<String>,
}

/// One property of a blueprint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Property {
    /// `string`, `number`, `boolean`, `object` or `array`; a text, so that a type that Port adds does no harm.
    #[serde(rename = "type", default)]
    pub value_type: Option<String>,
    /// Such as `date-time` or `url`.
    #[serde(default)]
    pub format: Option<String>,
    /// The only values that are accepted; empty if all are.
    #[serde(rename = "enum", default, deserialize_with = "null_as_empty")]
    pub allowed: Vec<Value>,
    /// The name that Port shows.
    #[serde(default)]
    pub title: Option<String>,
}

/// One relation of a blueprint.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Relation {
    /// The blueprint of the related entities.
    pub target: String,
    /// Whether an entity must have it.
    #[serde(default)]
    pub required: bool,
    /// Whether it takes several entities, written as an array.
    #[serde(default)]
    pub many: bool,
}

fn null_as_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_a_writer_needs_and_ignores_the_rest() {
        let blueprint: Blueprint = serde_json::from_value(json!({
            "identifier": "dora_incident",
            "title": "Incident",
            "icon": "Alert",
            "schema": {
                "properties": {
                    "status": {"type": "string", "enum": ["Open", "Resolved"], "enumColors": {"Open": "red"}},
                    "created_at": {"type": "string", "format": "date-time", "enum": null}
                },
                "required": ["status"]
            },
            "relations": {"group": {"title": "Group", "target": "group", "required": false, "many": true}},
            "calculationProperties": {}
        }))
        .unwrap();
        assert_eq!(blueprint.schema.required, ["status"]);
        assert_eq!(blueprint.schema.properties["status"].allowed, ["Open", "Resolved"]);
        let created = &blueprint.schema.properties["created_at"];
        assert_eq!(created.format.as_deref(), Some("date-time"));
        assert!(created.allowed.is_empty());
        assert!(blueprint.relations["group"].many && !blueprint.relations["group"].required);
    }
}
