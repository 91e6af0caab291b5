//! An entity as the stand-in stores it, and as Port shows it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The author of all writes: the user of the client credentials.
pub(crate) const AUTHOR: &str = "port-sim-client";

/// An entity as the stand-in stores it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entity {
    /// Unique within the blueprint.
    pub identifier: String,
    /// Its blueprint.
    pub blueprint: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The name of an icon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// The teams that own it.
    #[serde(default)]
    pub team: Vec<String>,
    /// The properties with a value. A property that was cleared with `null` is absent.
    pub properties: Map<String, Value>,
    /// The relations that are set: a string for a relation to one entity, an array for a relation to many.
    pub relations: Map<String, Value>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Who created it.
    pub created_by: String,
    /// When it was last written, even if nothing changed.
    pub updated_at: Timestamp,
    /// Who last wrote it.
    pub updated_by: String,
    /// The User-Agent of the last writer, which Port makes searchable as `$datasource`.
    #[serde(rename = "$datasource")]
    pub datasource: String,
    /// The action run of the last write, from `run_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The number of writes: 1 after the creation.
    pub writes: u64,
    /// The position in the order of creation: newer entities have larger numbers.
    pub sequence: u64,
}

impl Entity {
    /// The entity in the answers of `GET` and of searches.
    pub(crate) fn port_view(&self) -> Map<String, Value> {
        let mut view = Map::new();
        view.insert("identifier".to_owned(), json!(self.identifier));
        view.insert("title".to_owned(), json!(self.title()));
        if let Some(icon) = &self.icon {
            view.insert("icon".to_owned(), json!(icon));
        }
        view.insert("blueprint".to_owned(), json!(self.blueprint));
        view.insert("team".to_owned(), json!(self.team));
        view.insert("properties".to_owned(), Value::Object(self.properties.clone()));
        view.insert("relations".to_owned(), Value::Object(self.relations.clone()));
        view.insert("createdAt".to_owned(), json!(port_time(self.created_at)));
        view.insert("createdBy".to_owned(), json!(self.created_by));
        view.insert("updatedAt".to_owned(), json!(port_time(self.updated_at)));
        view.insert("updatedBy".to_owned(), json!(self.updated_by));
        view
    }

    /// The title, or the identifier if the entity has no title.
    pub(crate) fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.identifier)
    }

    /// The value of a property, or of a meta-property such as `$identifier`, for a search.
    pub(crate) fn value(&self, property: &str) -> Value {
        match property {
            "$identifier" => json!(self.identifier),
            "$title" => json!(self.title()),
            "$blueprint" => json!(self.blueprint),
            "$icon" => json!(self.icon),
            "$team" => json!(self.team),
            "$datasource" => json!(self.datasource),
            "$createdAt" => json!(port_time(self.created_at)),
            "$createdBy" => json!(self.created_by),
            "$updatedAt" => json!(port_time(self.updated_at)),
            "$updatedBy" => json!(self.updated_by),
            other => self.properties.get(other).cloned().unwrap_or(Value::Null),
        }
    }

    /// Whether a relation of this entity leads to `target`.
    pub(crate) fn relates_to(&self, relation: &str, target: &str) -> bool {
        match self.relations.get(relation) {
            Some(Value::String(one)) => one == target,
            Some(Value::Array(many)) => many.iter().any(|one| one == target),
            _ => false,
        }
    }

    /// Removes `target` from a relation of this entity.
    pub(crate) fn unrelate(&mut self, relation: &str, target: &str) {
        match self.relations.get_mut(relation) {
            Some(Value::Array(many)) => many.retain(|one| one != target),
            Some(_) => {
                self.relations.remove(relation);
            }
            None => {}
        }
    }
}

/// A time as Port writes it: RFC 3339 in UTC with milliseconds.
pub(crate) fn port_time(time: Timestamp) -> String {
    format!("{time:.3}")
}
