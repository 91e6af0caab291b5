//! The fields that a blueprint does not define, and the fields that it requires although the controller does not always send them. Pure.

use port_client::{Blueprint, BlueprintDifference, ExpectedFields, Property, Sent};

use crate::settings::{Naming, Vocabulary};

/// The differences between a blueprint and the fields that the controller sends, by the names of the fields in Port.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MissingFields {
    /// Properties that the blueprint does not define. The controller omits them.
    pub properties: Vec<String>,
    /// Relations that the blueprint does not define. The controller omits them.
    pub relations: Vec<String>,
    /// Properties and relations that the blueprint requires, but the controller does not always send. Port refuses entities without them.
    pub required: Vec<String>,
}

impl MissingFields {
    /// Compares a blueprint with the fields that the controller sends.
    #[must_use]
    pub fn of(blueprint: &Blueprint, naming: &Naming, vocabulary: &Vocabulary) -> Self {
        let always: Vec<&str> = vocabulary.always.iter().filter_map(|name| naming.property(name)).collect();
        let is_always_sent = |difference: &BlueprintDifference| matches!(difference, BlueprintDifference::RequiredProperty { name } if always.contains(&name.as_str()));
        let differences = blueprint.differences(&expected_fields(naming, vocabulary));
        differences.into_iter().filter(|difference| !is_always_sent(difference)).collect()
    }

    /// The number of fields.
    #[must_use]
    pub fn count(&self) -> usize {
        self.properties.len() + self.relations.len() + self.required.len()
    }

    /// What the differences mean and what to do, for the log and the Event; `None` if there are none.
    #[must_use]
    pub fn explain(&self, blueprint: &str) -> Option<String> {
        let Self { properties, relations, required } = self;
        let mut sentences = Vec::new();
        if !properties.is_empty() {
            sentences.push(format!(
                "the blueprint {blueprint} does not define {}: the controller omits these properties. Add them in Port (Builder, {blueprint}, \
                 New property), or map them to other names in the setting naming",
                properties.join(", ")
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

impl FromIterator<BlueprintDifference> for MissingFields {
    fn from_iter<I: IntoIterator<Item = BlueprintDifference>>(differences: I) -> Self {
        let mut fields = Self::default();
        for difference in differences {
            match difference {
                BlueprintDifference::MissingProperty { name, .. } => fields.properties.push(name),
                BlueprintDifference::MissingRelation { name, .. } => fields.relations.push(name),
                BlueprintDifference::RequiredProperty { name } | BlueprintDifference::RequiredRelation { name } => {
                    fields.required.push(name);
                }
                // `expected_fields` accepts every type and every target, so there are no others.
                _ => {}
            }
        }
        fields
    }
}

/// The fields of Port's DORA blueprints that the controller sends, under the names of the settings.
///
/// Further fields of the vocabulary are not expected, since the controller sends them only if the blueprint defines them. Types and targets
/// are not expected either, since the settings may map a field to a property of another type. Which properties are always sent is decided
/// in [`MissingFields::of`], for the further ones as well.
fn expected_fields(naming: &Naming, vocabulary: &Vocabulary) -> ExpectedFields {
    let mut expected = ExpectedFields::default();
    for name in vocabulary.properties {
        if let Some(renamed) = naming.property(name) {
            expected = expected.with_property(renamed, Property::any(), Sent::Sometimes);
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
}
