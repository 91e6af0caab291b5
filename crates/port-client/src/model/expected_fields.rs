//! The fields that a writer of entities sends, and therefore expects in a blueprint.

use std::collections::BTreeMap;

use crate::model::{NewBlueprint, Property, Relation};

/// The fields that a writer of entities sends, and therefore expects in a blueprint. See [`Blueprint::differences`](crate::Blueprint::differences).
///
/// ```
/// use port_client::{ExpectedFields, Property, Relation, Sent};
///
/// let expected = ExpectedFields::default()
///     .with_property("deployment_time", Property::date_time(), Sent::Always)
///     .with_property("lead_time_hours", Property::number(), Sent::Sometimes)
///     .with_relation("group", Relation::to("group"), Sent::Always);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpectedFields {
    pub(super) properties: BTreeMap<String, (Property, Sent)>,
    pub(super) relations: BTreeMap<String, (Option<Relation>, Sent)>,
}

/// How often a writer sends a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Every entity has the field, so the blueprint may require it.
    Always,
    /// Some entities have the field.
    Sometimes,
}

impl ExpectedFields {
    /// Adds a property. [`Property::any`] matches a property of every type.
    #[must_use]
    pub fn with_property(mut self, name: impl Into<String>, property: Property, sent: Sent) -> Self {
        self.properties.insert(name.into(), (property, sent));
        self
    }

    /// Adds a relation. `None` matches a relation to any blueprint.
    #[must_use]
    pub fn with_relation(mut self, name: impl Into<String>, relation: impl Into<Option<Relation>>, sent: Sent) -> Self {
        self.relations.insert(name.into(), (relation.into(), sent));
        self
    }
}

impl From<&NewBlueprint> for ExpectedFields {
    /// The fields of a blueprint that the writer would create itself. It always sends those that the blueprint requires.
    fn from(blueprint: &NewBlueprint) -> Self {
        let sent = |is_required| if is_required { Sent::Always } else { Sent::Sometimes };
        let properties = blueprint.schema.properties.iter();
        let relations = blueprint.relations.iter();
        Self {
            properties: properties
                .map(|(name, property)| {
                    (name.clone(), (property.clone(), sent(blueprint.schema.required.contains(name))))
                })
                .collect(),
            relations: relations
                .map(|(name, relation)| (name.clone(), (Some(relation.clone()), sent(relation.required))))
                .collect(),
        }
    }
}
