//! Blueprints, as Port returns them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{Property, Relation};

/// A blueprint, as Port returns it: the schema of its entities. Only the parts that concern a writer of entities are read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Blueprint {
    /// The identifier, which is unique in the organisation.
    pub identifier: String,
    /// The title that Port shows.
    #[serde(default)]
    pub title: Option<String>,
    /// The properties that an entity may have.
    #[serde(default)]
    pub schema: Schema,
    /// The relations that an entity may have, by name.
    #[serde(default)]
    pub relations: BTreeMap<String, Relation>,
}

/// The properties of a blueprint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// The properties by name. Port refuses an entity with any other property (422).
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
    /// The names of the properties that an entity must have.
    #[serde(default, deserialize_with = "null_as_default")]
    pub required: Vec<String>,
}

/// Port writes `null` in place of some empty lists.
pub(super) fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blueprint_with_unknown_fields_is_read() {
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
        assert_eq!(blueprint.schema.properties["status"].allowed_values, ["Open", "Resolved"]);
        let created = &blueprint.schema.properties["created_at"];
        assert_eq!(created.format.as_deref(), Some("date-time"));
        assert!(created.allowed_values.is_empty());
        assert!(blueprint.relations["group"].many && !blueprint.relations["group"].required);
    }
}
