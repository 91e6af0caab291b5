//! Entities.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An entity to write.
///
/// ```
/// use port_client::Entity;
///
/// let deployment = Entity::new("checkout-42")
///     .with_title("Checkout 42")
///     .with_property("environment", "production")
///     .with_property("lead_time_hours", 1.5)
///     .with_relation("group", "all_teams");
/// assert_eq!(deployment.properties["environment"], "production");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entity {
    /// The identifier, which is unique in its blueprint: letters, digits and `@_.+:\/=-`, at most 1000 characters, except `.` and `..`.
    pub identifier: String,
    /// The title that Port shows. Without it, Port keeps the title of the entity, or shows the identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The properties by name. `null` clears a property. With `merge`, a property that is not in the map keeps its value.
    pub properties: Map<String, Value>,
    /// The related entities by relation: an identifier, an array of identifiers, a search query, or `null` to clear the relation.
    pub relations: Map<String, Value>,
}

impl Entity {
    /// An entity without a title, properties and relations.
    pub fn new(identifier: impl Into<String>) -> Self {
        Self { identifier: identifier.into(), title: None, properties: Map::new(), relations: Map::new() }
    }

    /// Sets the title.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets a property; [`Value::Null`] clears it.
    #[must_use]
    pub fn with_property(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Sets a relation; [`Value::Null`] clears it.
    #[must_use]
    pub fn with_relation(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.relations.insert(name.into(), value.into());
        self
    }
}

/// An entity, as Port returns it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StoredEntity {
    /// The identifier, which is unique in its blueprint.
    pub identifier: String,
    /// The title that Port shows.
    #[serde(default)]
    pub title: Option<String>,
    /// The properties by name.
    #[serde(default)]
    pub properties: Map<String, Value>,
    /// The related entities by relation.
    #[serde(default)]
    pub relations: Map<String, Value>,
    /// All other fields, such as `createdAt` and `updatedAt`, which Port's API reference does not list.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_is_sent_and_a_missing_title_is_not() {
        let entity = Entity::new("a").with_property("resolved_at", Value::Null).with_relation("group", Value::Null);
        assert_eq!(
            serde_json::to_value(&entity).unwrap(),
            json!({"identifier": "a", "properties": {"resolved_at": null}, "relations": {"group": null}})
        );
    }
}
