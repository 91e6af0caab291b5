//! How a blueprint in Port differs from what a writer of entities expects of it.

use std::fmt;

use crate::model::blueprint::{Blueprint, NewBlueprint, Property, Relation};

/// One difference between a blueprint and what is expected of it. Its text says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlueprintDifference {
    /// There is no such property: Port refuses entities that have it.
    NoProperty {
        /// Its name.
        name: String,
        /// Its type, with its format if it has one: `string (date-time)`.
        expected: String,
    },
    /// The property has another type or format: Port refuses values that do not fit.
    OtherType {
        /// The name of the property.
        name: String,
        /// As it is expected.
        expected: String,
        /// As it is in Port.
        found: String,
    },
    /// The blueprint requires a property that is not among the expected ones: Port refuses entities without it.
    UnknownRequiredProperty {
        /// Its name.
        name: String,
    },
    /// There is no such relation: Port refuses entities that have it.
    NoRelation {
        /// Its name.
        name: String,
        /// The blueprint that it is expected to lead to.
        target: String,
    },
    /// The relation leads to another blueprint, or takes one entity in place of several, or several in place of one.
    OtherRelation {
        /// Its name.
        name: String,
        /// As it is expected: `one entity of "group"`.
        expected: String,
        /// As it is in Port.
        found: String,
    },
    /// The blueprint requires a relation that is not among the expected ones: Port refuses entities without it.
    UnknownRequiredRelation {
        /// Its name.
        name: String,
    },
}

impl Blueprint {
    /// What this blueprint lacks, or has in another way, compared with what a writer of entities expects; empty if the entities fit.
    ///
    /// Allowed values are not compared: whether a value fits says [`Property::fitting`]. What the blueprint has beyond is no difference, unless it is
    /// required.
    #[must_use]
    pub fn differences(&self, expected: &NewBlueprint) -> Vec<BlueprintDifference> {
        let name = |name: &str| name.to_owned();
        let properties =
            expected.schema.properties.iter().filter_map(|(key, expected)| match self.schema.properties.get(key) {
                None => Some(BlueprintDifference::NoProperty { name: name(key), expected: described(expected) }),
                Some(found) if !is_compatible(expected, found) => Some(BlueprintDifference::OtherType {
                    name: name(key),
                    expected: described(expected),
                    found: described(found),
                }),
                Some(_) => None,
            });
        let required_properties = self.schema.required.iter().filter_map(|key| {
            let is_known = expected.schema.properties.contains_key(key);
            (!is_known).then(|| BlueprintDifference::UnknownRequiredProperty { name: name(key) })
        });
        let relations = expected.relations.iter().filter_map(|(key, expected)| match self.relations.get(key) {
            None => Some(BlueprintDifference::NoRelation { name: name(key), target: expected.target.clone() }),
            Some(found) if (&found.target, found.many) != (&expected.target, expected.many) => {
                Some(BlueprintDifference::OtherRelation {
                    name: name(key),
                    expected: leading(expected),
                    found: leading(found),
                })
            }
            Some(_) => None,
        });
        let required_relations = self.relations.iter().filter_map(|(key, found)| {
            let is_known = expected.relations.contains_key(key);
            (found.required && !is_known).then(|| BlueprintDifference::UnknownRequiredRelation { name: name(key) })
        });
        properties.chain(required_properties).chain(relations).chain(required_relations).collect()
    }
}

/// Whether values of the expected kind are accepted. A text without a format takes every text.
fn is_compatible(expected: &Property, found: &Property) -> bool {
    let same_type = found.value_type.is_none() || found.value_type == expected.value_type;
    same_type && (found.format.is_none() || found.format == expected.format)
}

fn described(property: &Property) -> String {
    let value_type = property.value_type.as_deref().unwrap_or("any");
    match &property.format {
        Some(format) => format!("{value_type} ({format})"),
        None => value_type.to_owned(),
    }
}

fn leading(relation: &Relation) -> String {
    let count = if relation.many { "several entities" } else { "one entity" };
    format!("{count} of \"{}\"", relation.target)
}

impl fmt::Display for BlueprintDifference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProperty { name, expected } => {
                write!(formatter, "it has no property \"{name}\": add it with the type {expected}")
            }
            Self::OtherType { name, expected, found } => {
                write!(formatter, "its property \"{name}\" is {found}, while {expected} is sent: change its type")
            }
            Self::UnknownRequiredProperty { name } => {
                write!(formatter, "it requires the property \"{name}\", which is never sent: make it optional")
            }
            Self::NoRelation { name, target } => {
                write!(formatter, "it has no relation \"{name}\": add it, to the blueprint \"{target}\"")
            }
            Self::OtherRelation { name, expected, found } => {
                write!(formatter, "its relation \"{name}\" is to {found}, while {expected} is sent: change it")
            }
            Self::UnknownRequiredRelation { name } => {
                write!(formatter, "it requires the relation \"{name}\", which is never sent: make it optional")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn expected() -> NewBlueprint {
        NewBlueprint::new("thing", "Thing")
            .with_property("at", Property::date_time())
            .with_property("status", Property::string())
            .with_relation("group", Relation::to("group"))
    }

    fn found(schema: &Value, relations: &Value) -> Vec<String> {
        let body = json!({"identifier": "thing", "schema": schema, "relations": relations});
        let blueprint: Blueprint = serde_json::from_value(body).unwrap();
        blueprint.differences(&expected()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_blueprint_that_takes_what_is_sent_has_no_gap_whatever_else_it_has() {
        let schema = json!({
            "properties": {
                "at": {"type": "string"},
                "status": {"type": "string", "enum": ["A"]},
                "more": {"type": "number"}
            },
            "required": ["status"]
        });
        let relations = json!({
            "group": {"target": "group", "required": true, "many": false},
            "service": {"target": "service", "required": false, "many": true}
        });
        assert_eq!(found(&schema, &relations), Vec::<String>::new());
    }

    #[test]
    fn each_gap_says_what_to_do() {
        let schema = json!({
            "properties": {"status": {"type": "number"}, "owner": {"type": "string"}},
            "required": ["owner"]
        });
        let relations = json!({
            "group": {"target": "team", "required": false, "many": true},
            "service": {"target": "service", "required": true, "many": false}
        });
        assert_eq!(
            found(&schema, &relations),
            [
                "it has no property \"at\": add it with the type string (date-time)",
                "its property \"status\" is number, while string is sent: change its type",
                "it requires the property \"owner\", which is never sent: make it optional",
                "its relation \"group\" is to several entities of \"team\", while one entity of \"group\" is sent: change it",
                "it requires the relation \"service\", which is never sent: make it optional",
            ]
        );
        let nothing = found(&json!({}), &json!({}));
        assert!(nothing.contains(&"it has no relation \"group\": add it, to the blueprint \"group\"".to_owned()));
    }

    #[test]
    fn a_format_that_is_not_sent_is_a_gap() {
        let schema = json!({"properties": {"at": {"type": "string", "format": "date-time"}, "status": {"type": "string", "format": "url"}}});
        let relations = json!({"group": {"target": "group", "required": false, "many": false}});
        assert_eq!(
            found(&schema, &relations),
            ["its property \"status\" is string (url), while string is sent: change its type"]
        );
    }
}
