//! A blueprint to create.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{Property, Relation, Schema};

/// A blueprint to create: the body of `POST /v1/blueprints`, with the parts that concern a writer of entities.
///
/// ```
/// use port_client::{NewBlueprint, Property, Relation};
///
/// let deployments = NewBlueprint::new("dora_deployment", "DORA Deployment")
///     .with_icon("Deployment")
///     .with_property("deployment_time", Property::date_time().with_title("Deployment time"))
///     .with_property("status", Property::string().with_allowed_values(["success", "failed"]))
///     .with_required("status")
///     .with_relation("group", Relation::to("group").with_title("Group"));
/// assert_eq!(deployments.schema.properties["status"].value_type.as_deref(), Some("string"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewBlueprint {
    /// The identifier, which is unique in the organisation: letters, digits and `@_.+:\/-`, at most 100 characters.
    pub identifier: String,
    /// The title that Port shows: 1 to 100 characters.
    pub title: String,
    /// The description that Port shows: at most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The name of one of Port's icons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// The properties that an entity may have.
    pub schema: Schema,
    /// The relations that an entity may have, by name. Their target blueprints must exist.
    pub relations: BTreeMap<String, Relation>,
}

impl NewBlueprint {
    /// A blueprint without properties and relations.
    pub fn new(identifier: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            identifier: identifier.into(),
            title: title.into(),
            description: None,
            icon: None,
            schema: Schema::default(),
            relations: BTreeMap::new(),
        }
    }

    /// Sets the description.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the icon.
    #[must_use]
    pub fn with_icon(mut self, icon: impl Into<String>) -> Self {
        self.icon = Some(icon.into());
        self
    }

    /// Adds a property. Its name has ASCII letters, digits and `@_=\-`, and at most 100 characters.
    #[must_use]
    pub fn with_property(mut self, name: impl Into<String>, property: Property) -> Self {
        self.schema.properties.insert(name.into(), property);
        self
    }

    /// Makes a property required.
    #[must_use]
    pub fn with_required(mut self, name: impl Into<String>) -> Self {
        self.schema.required.push(name.into());
        self
    }

    /// Adds a relation. Its name follows the rules for names of properties.
    #[must_use]
    pub fn with_relation(mut self, name: impl Into<String>, relation: Relation) -> Self {
        self.relations.insert(name.into(), relation);
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn body_follows_the_api_reference() {
        let blueprint = NewBlueprint::new("thing", "Thing")
            .with_description("For the test")
            .with_icon("Box")
            .with_property("at", Property::date_time().with_title("At").with_description("When"))
            .with_property("count", Property::number())
            .with_property("link", Property::url())
            .with_property("status", Property::string().with_allowed_values(["on", "off"]))
            .with_required("status")
            .with_relation("group", Relation::to("group").with_title("Group"))
            .with_relation("services", Relation::to("service").many().required());
        assert_eq!(
            serde_json::to_value(&blueprint).unwrap(),
            json!({
                "identifier": "thing",
                "title": "Thing",
                "description": "For the test",
                "icon": "Box",
                "schema": {
                    "properties": {
                        "at": {"type": "string", "format": "date-time", "title": "At", "description": "When"},
                        "count": {"type": "number"},
                        "link": {"type": "string", "format": "url"},
                        "status": {"type": "string", "enum": ["on", "off"]}
                    },
                    "required": ["status"]
                },
                "relations": {
                    "group": {"target": "group", "required": false, "many": false, "title": "Group"},
                    "services": {"target": "service", "required": true, "many": true}
                }
            })
        );
    }
}
