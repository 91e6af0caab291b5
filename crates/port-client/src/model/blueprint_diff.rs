//! The differences between a blueprint and the fields that a writer sends.

use std::fmt;

use crate::model::{Blueprint, ExpectedFields, Relation, Sent};

/// One difference between a blueprint and the fields that a writer sends. Its text says what to change in the blueprint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlueprintDifference {
    /// The blueprint does not define the property. Port refuses entities that have it.
    MissingProperty {
        /// The name of the property.
        name: String,
        /// The expected type, with its format if it has one, such as `string (date-time)`; `None` for every type.
        expected: Option<String>,
    },
    /// The property has another type or format, and not all values can be converted. Port refuses values that do not match it.
    DifferentProperty {
        /// The name of the property.
        name: String,
        /// The expected type.
        expected: String,
        /// The type in the blueprint.
        found: String,
    },
    /// The blueprint requires a property that is not always sent. Port refuses entities without it.
    RequiredProperty {
        /// The name of the property.
        name: String,
    },
    /// The blueprint does not define the relation. Port refuses entities that have it.
    MissingRelation {
        /// The name of the relation.
        name: String,
        /// The expected relation, such as `one entity of "group"`; `None` for a relation to any blueprint.
        expected: Option<String>,
    },
    /// The relation leads to another blueprint, or differs in whether it has one entity or several.
    DifferentRelation {
        /// The name of the relation.
        name: String,
        /// The expected relation.
        expected: String,
        /// The relation in the blueprint.
        found: String,
    },
    /// The blueprint requires a relation that is not always sent. Port refuses entities without it.
    RequiredRelation {
        /// The name of the relation.
        name: String,
    },
}

impl Blueprint {
    /// The differences between this blueprint and the fields that a writer sends. Without differences, Port accepts the fields of every
    /// entity.
    ///
    /// Further fields of the blueprint are no difference, unless they are required. A type into which
    /// [`Property::conform`](crate::Property::conform) converts all values is no difference either, such as `string` for a number. Allowed
    /// values are not compared.
    ///
    /// ```
    /// use port_client::{Blueprint, BlueprintDifference, ExpectedFields, Property, Sent};
    ///
    /// let blueprint: Blueprint = serde_json::from_str(
    ///     r#"{"identifier": "service", "schema": {"properties": {"tier": {"type": "string"}}, "required": ["tier"]}}"#,
    /// )?;
    /// let expected = ExpectedFields::default()
    ///     .with_property("owner", Property::string(), Sent::Always)
    ///     .with_property("tier", Property::string(), Sent::Sometimes);
    /// let differences: Vec<_> = blueprint.differences(&expected).iter().map(ToString::to_string).collect();
    /// assert_eq!(differences, [
    ///     "the property \"owner\" is missing: add it with the type string",
    ///     "the property \"tier\" is required, but not always sent: make it optional",
    /// ]);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn differences(&self, expected: &ExpectedFields) -> Vec<BlueprintDifference> {
        let mut differences = self.property_differences(expected);
        differences.extend(self.relation_differences(expected));
        differences
    }

    fn property_differences(&self, expected: &ExpectedFields) -> Vec<BlueprintDifference> {
        let Self { schema, .. } = self;
        let differing =
            expected.properties.iter().filter_map(|(name, (expected, _))| match schema.properties.get(name) {
                None => Some(BlueprintDifference::MissingProperty {
                    name: name.clone(),
                    expected: expected.value_type.as_ref().map(|_| expected.type_name()),
                }),
                Some(found) if !found.converts_all_of(expected) => Some(BlueprintDifference::DifferentProperty {
                    name: name.clone(),
                    expected: expected.type_name(),
                    found: found.type_name(),
                }),
                Some(_) => None,
            });
        let is_always_sent = |name: &str| matches!(expected.properties.get(name), Some((_, Sent::Always)));
        let required = schema.required.iter().filter(|name| !is_always_sent(name));
        let required = required.map(|name| BlueprintDifference::RequiredProperty { name: name.clone() });
        differing.chain(required).collect()
    }

    fn relation_differences(&self, expected: &ExpectedFields) -> Vec<BlueprintDifference> {
        let differing =
            expected.relations.iter().filter_map(|(name, (expected, _))| match (self.relations.get(name), expected) {
                (None, expected) => Some(BlueprintDifference::MissingRelation {
                    name: name.clone(),
                    expected: expected.as_ref().map(related_entities),
                }),
                (Some(found), Some(expected)) if (&found.target, found.many) != (&expected.target, expected.many) => {
                    Some(BlueprintDifference::DifferentRelation {
                        name: name.clone(),
                        expected: related_entities(expected),
                        found: related_entities(found),
                    })
                }
                (Some(_), _) => None,
            });
        let is_always_sent = |name: &str| matches!(expected.relations.get(name), Some((_, Sent::Always)));
        let required = self.relations.iter().filter(|(name, found)| found.required && !is_always_sent(name));
        let required = required.map(|(name, _)| BlueprintDifference::RequiredRelation { name: name.clone() });
        differing.chain(required).collect()
    }
}

fn related_entities(relation: &Relation) -> String {
    let count = if relation.many { "several entities" } else { "one entity" };
    format!("{count} of \"{}\"", relation.target)
}

impl fmt::Display for BlueprintDifference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingProperty { name, expected: None } => {
                write!(formatter, "the property \"{name}\" is missing: add it")
            }
            Self::MissingProperty { name, expected: Some(expected) } => {
                write!(formatter, "the property \"{name}\" is missing: add it with the type {expected}")
            }
            Self::DifferentProperty { name, expected, found } => {
                write!(
                    formatter,
                    "the property \"{name}\" has the type {found}, but {expected} is sent: change its type"
                )
            }
            Self::RequiredProperty { name } => {
                write!(formatter, "the property \"{name}\" is required, but not always sent: make it optional")
            }
            Self::MissingRelation { name, expected: None } => {
                write!(formatter, "the relation \"{name}\" is missing: add it")
            }
            Self::MissingRelation { name, expected: Some(expected) } => {
                write!(formatter, "the relation \"{name}\" is missing: add it, to {expected}")
            }
            Self::DifferentRelation { name, expected, found } => {
                write!(formatter, "the relation \"{name}\" has {found}, but {expected} is sent: change its target")
            }
            Self::RequiredRelation { name } => {
                write!(formatter, "the relation \"{name}\" is required, but not always sent: make it optional")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Property;

    fn expected() -> ExpectedFields {
        ExpectedFields::default()
            .with_property("at", Property::date_time(), Sent::Always)
            .with_property("status", Property::string(), Sent::Always)
            .with_property("note", Property::any(), Sent::Sometimes)
            .with_relation("group", Relation::to("group"), Sent::Always)
            .with_relation("owner", None, Sent::Sometimes)
    }

    fn differences(schema: &Value, relations: &Value) -> Vec<String> {
        let body = json!({"identifier": "thing", "schema": schema, "relations": relations});
        let blueprint: Blueprint = serde_json::from_value(body).unwrap();
        blueprint.differences(&expected()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn compatible_blueprint_has_no_differences() {
        let schema = json!({
            "properties": {
                "at": {"type": "string"},
                "status": {"type": "string", "enum": ["A"]},
                "note": {"type": "array"},
                "more": {"type": "number"}
            },
            "required": ["status"]
        });
        let relations = json!({
            "group": {"target": "group", "required": true, "many": false},
            "owner": {"target": "user", "many": true},
            "service": {"target": "service", "required": false, "many": true}
        });
        assert_eq!(differences(&schema, &relations), Vec::<String>::new());
    }

    #[test]
    fn each_difference_says_what_to_change() {
        let schema = json!({
            "properties": {"status": {"type": "number"}, "note": {"type": "string"}, "cost": {"type": "string"}},
            "required": ["cost", "note"]
        });
        let relations = json!({
            "group": {"target": "team", "required": false, "many": true},
            "owner": {"target": "user", "required": true},
            "service": {"target": "service", "required": true, "many": false}
        });
        assert_eq!(
            differences(&schema, &relations),
            [
                "the property \"at\" is missing: add it with the type string (date-time)",
                "the property \"status\" has the type number, but string is sent: change its type",
                "the property \"cost\" is required, but not always sent: make it optional",
                "the property \"note\" is required, but not always sent: make it optional",
                "the relation \"group\" has several entities of \"team\", but one entity of \"group\" is sent: change its target",
                "the relation \"owner\" is required, but not always sent: make it optional",
                "the relation \"service\" is required, but not always sent: make it optional",
            ]
        );
        let of_empty_blueprint = differences(&json!({}), &json!({}));
        for difference in [
            "the property \"note\" is missing: add it",
            "the relation \"group\" is missing: add it, to one entity of \"group\"",
            "the relation \"owner\" is missing: add it",
        ] {
            assert!(of_empty_blueprint.contains(&difference.to_owned()), "{of_empty_blueprint:?}");
        }
    }

    #[test]
    fn other_format_is_a_difference() {
        let schema = json!({"properties": {
            "at": {"type": "string", "format": "date-time"},
            "status": {"type": "string", "format": "url"},
            "note": {"type": "string", "format": "markdown"}
        }});
        let relations =
            json!({"group": {"target": "group", "required": false, "many": false}, "owner": {"target": "user"}});
        assert_eq!(
            differences(&schema, &relations),
            ["the property \"status\" has the type string (url), but string is sent: change its type"]
        );
    }
}
