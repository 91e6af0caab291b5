//! Entities: what is written to Port and what is read back.

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
    /// Unique in its blueprint: letters, digits and `@_.+:\/=-`, at most 1000 characters, and neither `.` nor `..`.
    pub identifier: String,
    /// The name that Port shows; without one it shows the identifier, or keeps the title that the entity has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Values of properties. `null` clears a property that was sent before; one that is absent keeps its value if written with `merge`.
    pub properties: Map<String, Value>,
    /// Related entities: an identifier, an array of identifiers, `null` to clear, or a search query.
    pub relations: Map<String, Value>,
}

impl Entity {
    /// An entity with nothing but its identifier.
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

/// How entities are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpsertOptions {
    /// Change only the fields that are given and keep the others, such as those that people filled in by hand (the default).
    /// Without it, an entity that exists is overwritten as a whole.
    pub merge: bool,
    /// Let Port create related entities that do not exist, instead of refusing with 404 (default: no).
    pub create_missing_related_entities: bool,
    /// Check only and store nothing (default: no).
    pub validation_only: bool,
}

impl Default for UpsertOptions {
    fn default() -> Self {
        Self { merge: true, create_missing_related_entities: false, validation_only: false }
    }
}

impl UpsertOptions {
    /// As query parameters. `upsert` is always on: writing the same entity twice must be harmless.
    pub(crate) fn query(self) -> Vec<(&'static str, &'static str)> {
        let Self { merge, create_missing_related_entities, validation_only } = self;
        let mut query = vec![("upsert", "true"), ("merge", if merge { "true" } else { "false" })];
        if create_missing_related_entities {
            query.push(("create_missing_related_entities", "true"));
        }
        if validation_only {
            query.push(("validation_only", "true"));
        }
        query
    }
}

/// Port's word that an entity is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upserted {
    /// The identifier under which Port keeps it.
    pub identifier: String,
    /// Whether the entity is new. Port says so for bulk writes only.
    pub created: Option<bool>,
    /// Port's trace id of the request, for its support.
    pub trace_id: Option<String>,
}

/// An entity as Port returns it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StoredEntity {
    /// Unique in its blueprint.
    pub identifier: String,
    /// The name that Port shows.
    #[serde(default)]
    pub title: Option<String>,
    /// Values of properties.
    #[serde(default)]
    pub properties: Map<String, Value>,
    /// Related entities.
    #[serde(default)]
    pub relations: Map<String, Value>,
    /// All else that Port returns, such as `createdAt` and `updatedAt`; its specification does not list these.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_is_sent_and_an_absent_title_is_not() {
        let entity = Entity::new("a").with_property("resolved_at", Value::Null).with_relation("group", Value::Null);
        assert_eq!(
            serde_json::to_value(&entity).unwrap(),
            json!({"identifier": "a", "properties": {"resolved_at": null}, "relations": {"group": null}})
        );
    }

    #[test]
    fn writes_are_upserts_that_merge_unless_told_otherwise() {
        assert_eq!(UpsertOptions::default().query(), [("upsert", "true"), ("merge", "true")]);
        let all = UpsertOptions { merge: false, create_missing_related_entities: true, validation_only: true };
        assert_eq!(
            all.query(),
            [
                ("upsert", "true"),
                ("merge", "false"),
                ("create_missing_related_entities", "true"),
                ("validation_only", "true")
            ]
        );
    }
}
