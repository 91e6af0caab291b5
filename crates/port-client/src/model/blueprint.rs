//! Blueprints: the schema of entities, as far as a writer of entities needs it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A blueprint as Port returns it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Blueprint {
    /// Unique in the organisation.
    pub identifier: String,
    /// The name that Port shows.
    #[serde(default)]
    pub title: Option<String>,
    /// Which properties an entity may and must have.
    #[serde(default)]
    pub schema: Schema,
    /// Which relations an entity may and must have.
    #[serde(default)]
    pub relations: BTreeMap<String, Relation>,
}

/// A blueprint to create: the body of `POST /v1/blueprints`, as far as a writer of entities needs it.
///
/// ```
/// use port_client::{NewBlueprint, Property, Relation};
///
/// let deployments = NewBlueprint::new("dora_deployment", "DORA Deployment")
///     .with_icon("Deployment")
///     .with_property("deployment_time", Property::date_time().with_title("Deployment time"))
///     .with_property("status", Property::string().with_allowed(["success", "failed"]))
///     .with_required("status")
///     .with_relation("group", Relation::to("group").with_title("Group"));
/// assert_eq!(deployments.schema.properties["status"].value_type.as_deref(), Some("string"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewBlueprint {
    /// Unique in the organisation: letters, digits and `@_.+:\/-`, at most 100 characters.
    pub identifier: String,
    /// The name that Port shows: 1 to 100 characters.
    pub title: String,
    /// What it is for: at most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The name of one of Port's icons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// Which properties an entity may and must have.
    pub schema: Schema,
    /// Which relations an entity may and must have. The blueprints that they lead to must exist.
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

    /// Sets what it is for.
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

    /// Adds a property. Its name has letters of ASCII, digits and `@_=\-`, and at most 100 characters.
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

    /// Adds a relation. What is said of the names of properties is true of its name.
    #[must_use]
    pub fn with_relation(mut self, name: impl Into<String>, relation: Relation) -> Self {
        self.relations.insert(name.into(), relation);
        self
    }
}

/// The properties of a blueprint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// By name. A property that is not here is refused with 422.
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
    /// Names of the properties that an entity must have.
    #[serde(default, deserialize_with = "null_as_default")]
    pub required: Vec<String>,
}

/// One property of a blueprint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Property {
    /// `string`, `number`, `boolean`, `object` or `array`; a text, so that a type that Port adds does no harm.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub value_type: Option<String>,
    /// Such as `date-time` or `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The only values that are accepted; empty if all are.
    #[serde(rename = "enum", default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Value>,
    /// The name that Port shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Property {
    /// A text.
    #[must_use]
    pub fn string() -> Self {
        Self { value_type: Some("string".to_owned()), ..Self::default() }
    }

    /// A number.
    #[must_use]
    pub fn number() -> Self {
        Self { value_type: Some("number".to_owned()), ..Self::default() }
    }

    /// A time, written as RFC 3339.
    #[must_use]
    pub fn date_time() -> Self {
        Self { format: Some("date-time".to_owned()), ..Self::string() }
    }

    /// An address of the web.
    #[must_use]
    pub fn url() -> Self {
        Self { format: Some("url".to_owned()), ..Self::string() }
    }

    /// Sets the title: at most 100 characters.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets what it means.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Accepts these values only.
    #[must_use]
    pub fn with_allowed<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.allowed = values.into_iter().map(Into::into).collect();
        self
    }

    /// The value to send in place of `value`: the same, or the allowed one that differs from it only in upper and lower case. `None` if the
    /// blueprint allows neither.
    ///
    /// ```
    /// use port_client::Property;
    ///
    /// let status = Property::string().with_allowed(["Success", "Failed"]);
    /// assert_eq!(status.fitting(&"success".into()), Some("Success".into()));
    /// assert_eq!(status.fitting(&"superseded".into()), None);
    /// ```
    #[must_use]
    pub fn fitting(&self, value: &Value) -> Option<Value> {
        if self.allowed.is_empty() || value.is_null() || self.allowed.contains(value) {
            return Some(value.clone());
        }
        let wanted = value.as_str()?.to_lowercase();
        self.allowed.iter().find(|allowed| allowed.as_str().is_some_and(|text| text.to_lowercase() == wanted)).cloned()
    }
}

/// One relation of a blueprint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// The blueprint of the related entities.
    pub target: String,
    /// Whether an entity must have it.
    #[serde(default)]
    pub required: bool,
    /// Whether it takes several entities, written as an array.
    #[serde(default)]
    pub many: bool,
    /// The name that Port shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl Relation {
    /// A relation to one entity of a blueprint, which an entity may have.
    pub fn to(target: impl Into<String>) -> Self {
        Self { target: target.into(), ..Self::default() }
    }

    /// Sets the title: at most 100 characters.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Makes it one that an entity must have.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Makes it one to several entities.
    #[must_use]
    pub fn many(mut self) -> Self {
        self.many = true;
        self
    }
}

fn null_as_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_a_writer_needs_and_ignores_the_rest() {
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
        assert_eq!(blueprint.schema.properties["status"].allowed, ["Open", "Resolved"]);
        let created = &blueprint.schema.properties["created_at"];
        assert_eq!(created.format.as_deref(), Some("date-time"));
        assert!(created.allowed.is_empty());
        assert!(blueprint.relations["group"].many && !blueprint.relations["group"].required);
    }

    #[test]
    fn a_new_blueprint_is_written_as_ports_specification_has_it() {
        let blueprint = NewBlueprint::new("thing", "Thing")
            .with_description("For the test")
            .with_icon("Box")
            .with_property("at", Property::date_time().with_title("At").with_description("When"))
            .with_property("count", Property::number())
            .with_property("link", Property::url())
            .with_property("status", Property::string().with_allowed(["on", "off"]))
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

    #[test]
    fn values_fit_without_regard_to_case_and_as_they_are_if_they_can() {
        let both = Property::string().with_allowed(["Low", "low", "HIGH"]);
        assert_eq!(both.fitting(&json!("low")), Some(json!("low")));
        assert_eq!(both.fitting(&json!("LOW")), Some(json!("Low")));
        assert_eq!(both.fitting(&json!("high")), Some(json!("HIGH")));
        assert_eq!(both.fitting(&json!("medium")), None);
        assert_eq!(both.fitting(&json!(1)), None);
        assert_eq!(both.fitting(&Value::Null), Some(Value::Null), "null clears, whatever is allowed");
        assert_eq!(Property::string().fitting(&json!("any")), Some(json!("any")));
        assert_eq!(Property::number().with_allowed([1, 2]).fitting(&json!(2)), Some(json!(2)));
    }
}
