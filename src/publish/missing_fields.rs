//! The fields that a blueprint does not define or defines with another type, and the fields that it requires although the controller does
//! not always send them. Pure.

use port_client::{Blueprint, BlueprintDifference, ExpectedFields, Property, Sent};

use super::templates;
use crate::settings::{Naming, Vocabulary};

/// The differences between a blueprint and the fields that the controller sends, by the names of the fields in Port.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MissingFields {
    /// Properties that the blueprint does not define. The controller omits them.
    pub properties: Vec<String>,
    /// Properties that the blueprint defines with another type, and both types, such as `revision as boolean (not number)`. The controller
    /// omits the values that it can't convert.
    pub other_types: Vec<String>,
    /// Relations that the blueprint does not define. The controller omits them.
    pub relations: Vec<String>,
    /// Properties and relations that the blueprint requires, but the controller does not always send. Port refuses entities without them.
    pub required: Vec<String>,
}

impl MissingFields {
    /// Compares a blueprint with the fields that the controller sends.
    #[must_use]
    pub fn of(blueprint: &Blueprint, naming: &Naming, vocabulary: &Vocabulary) -> Self {
        let renamed =
            |names: &[&'static str]| -> Vec<&str> { names.iter().filter_map(|name| naming.property(name)).collect() };
        let (standard, mut always) = (renamed(vocabulary.properties), renamed(vocabulary.always));
        let differences = blueprint.differences(&expected_fields(naming, vocabulary));
        let mut fields = Self::default();
        for difference in &differences {
            match difference {
                // Further properties are sent only if the blueprint defines them.
                BlueprintDifference::MissingProperty { name, .. } if standard.contains(&name.as_str()) => {
                    fields.properties.push(name.clone());
                }
                BlueprintDifference::DifferentProperty { name, expected, found } => {
                    fields.other_types.push(format!("{name} as {found} (not {expected})"));
                    always.retain(|always| always != name);
                }
                BlueprintDifference::MissingRelation { name, .. } => fields.relations.push(name.clone()),
                // The controller expects relations to any blueprint.
                _ => {}
            }
        }
        for difference in differences {
            match difference {
                BlueprintDifference::RequiredProperty { name } if !always.contains(&name.as_str()) => {
                    fields.required.push(name);
                }
                BlueprintDifference::RequiredRelation { name } => fields.required.push(name),
                _ => {}
            }
        }
        fields
    }

    /// The number of fields.
    #[must_use]
    pub fn count(&self) -> usize {
        let Self { properties, other_types, relations, required } = self;
        properties.len() + other_types.len() + relations.len() + required.len()
    }

    /// What the differences mean and what to do, for the log and the Event; `None` if there are none.
    #[must_use]
    pub fn explain(&self, blueprint: &str) -> Option<String> {
        let Self { properties, other_types, relations, required } = self;
        let mut sentences = Vec::new();
        if !properties.is_empty() {
            sentences.push(format!(
                "the blueprint {blueprint} does not define {}: the controller omits these properties. Add them in Port (Builder, {blueprint}, \
                 New property), or map them to other names in the setting naming",
                properties.join(", ")
            ));
        }
        if !other_types.is_empty() {
            sentences.push(format!(
                "the blueprint {blueprint} defines {}: the controller omits values that it can't convert. Change these types in Port (Builder, \
                 {blueprint}), or map the properties to other names in the setting naming",
                other_types.join(", ")
            ));
        }
        if !relations.is_empty() {
            sentences.push(format!(
                "the blueprint {blueprint} does not define {}: the controller omits these relations. Add them in Port (Builder, {blueprint}, \
                 New relation), or map them to other names in the setting naming",
                relations.join(", ")
            ));
        }
        if !required.is_empty() {
            sentences.push(format!(
                "the blueprint {blueprint} requires {}, which the controller does not always send: Port refuses entities without these fields. \
                 Make them optional in Port, or set them in spec.properties and spec.relations",
                required.join(", ")
            ));
        }
        (!sentences.is_empty()).then(|| sentences.join(". "))
    }
}

/// The type of the values that the controller sends for a property, by the name in Port's DORA blueprints. Any type if the settings map its
/// values to others.
pub fn sent_property(name: &str, naming: &Naming) -> Property {
    if naming.values.contains_key(name) { Property::any() } else { templates::property(name) }
}

/// The fields that the controller sends, under the names of the settings.
///
/// Targets of relations are not expected, since the settings may map a field to a relation with another target. Which properties are always
/// sent is decided in [`MissingFields::of`], as is that further properties may be missing.
fn expected_fields(naming: &Naming, vocabulary: &Vocabulary) -> ExpectedFields {
    let mut expected = ExpectedFields::default();
    // Standard properties come last, so that they count if the settings give two properties the same name.
    for name in vocabulary.further_properties.iter().chain(vocabulary.properties) {
        if let Some(renamed) = naming.property(name) {
            expected = expected.with_property(renamed, sent_property(name, naming), Sent::Sometimes);
        }
    }
    for name in vocabulary.relations {
        if let Some(renamed) = naming.relation(name) {
            // Every entity has the relations of Port's DORA blueprints, since the settings have defaults for them.
            expected = expected.with_relation(renamed, None, Sent::Always);
        }
    }
    expected
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const VOCABULARY: Vocabulary = Vocabulary {
        properties: &["status", "environment", "lead_time_hours"],
        always: &["status", "cluster"],
        relations: &["group"],
        further_properties: &["change", "cluster"],
        further_relations: &["service"],
    };

    fn missing(naming: &str, schema: &Value, relations: &Value) -> MissingFields {
        let naming: Naming = serde_saphyr::from_str(naming).unwrap();
        let blueprint = json!({"identifier": "deployment", "schema": schema, "relations": relations});
        MissingFields::of(&serde_json::from_value(blueprint).unwrap(), &naming, &VOCABULARY)
    }

    #[test]
    fn missing_and_required_fields_are_explained() {
        let schema = json!({
            "properties": {"status": {"type": "string"}, "lead_time_hours": {"type": "number"}, "cost": {"type": "number"}, "cluster": {}},
            // Every entity has `cluster`, if the blueprint defines it.
            "required": ["status", "lead_time_hours", "cost", "cluster"],
        });
        let missing = missing("{}", &schema, &json!({"service": {"target": "service", "required": true}}));
        assert_eq!(missing.properties, ["environment"]);
        assert_eq!(missing.relations, ["group"]);
        assert_eq!(missing.required, ["lead_time_hours", "cost", "service"]);
        assert_eq!(missing.count(), 5);
        let note = missing.explain("deployment").unwrap();
        for part in
            ["does not define environment:", "does not define group:", "requires lead_time_hours, cost, service,"]
        {
            assert!(note.contains(part), "{note}");
        }
    }

    #[test]
    fn complete_blueprint_needs_no_explanation() {
        let naming = "properties: {status: state, environment: ''}\nrelations: {group: team}";
        let schema = json!({"properties": {"state": {"type": "string"}, "lead_time_hours": {}}, "required": ["state"]});
        let relations = json!({"team": {"target": "team", "required": true, "many": true}});
        let missing = missing(naming, &schema, &relations);
        assert_eq!(missing, MissingFields::default());
        assert_eq!(missing.explain("deployment"), None);
    }

    #[test]
    fn other_types_are_explained_unless_values_convert() {
        let schema = json!({
            "properties": {
                "status": {"type": "number"}, "environment": {"type": "number"}, "lead_time_hours": {"type": "string"},
                "change": {"type": "boolean"}, "cluster": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["status", "cluster"],
        });
        let relations = json!({"group": {"target": "group"}});
        // The values of the environment are those of the settings.
        let missing = missing("values: {environment: {production: '1'}}", &schema, &relations);
        assert_eq!(missing.other_types, ["change as boolean (not string)", "status as number (not string)"]);
        assert_eq!(missing.required, ["status"], "the controller can't send what the blueprint requires");
        assert_eq!((missing.properties.len(), missing.count()), (0, 3));
        let note = missing.explain("deployment").unwrap();
        assert!(note.contains("defines change as boolean (not string), status as number (not string):"), "{note}");
    }
}
