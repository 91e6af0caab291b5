//! One property of a blueprint.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::model::blueprint::null_as_default;

/// One property of a blueprint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Property {
    /// `string`, `number`, `boolean`, `object` or `array`. A text, so that a type that Port adds later can be read.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub value_type: Option<String>,
    /// The format of a text, such as `date-time` or `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The values that Port accepts (`enum`); empty if it accepts all values.
    #[serde(rename = "enum", default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub allowed_values: Vec<Value>,
    /// What each value of an `array` has to match; `None` if it may have any values, or if the definition can't be read.
    #[serde(default, deserialize_with = "readable", skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<Property>>,
    /// The title that Port shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The description that Port shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Property {
    /// A property of any type. Port refuses it in a new blueprint; in [`ExpectedFields`](crate::ExpectedFields) it matches every type.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

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

    /// A time in the format of RFC 3339.
    #[must_use]
    pub fn date_time() -> Self {
        Self { format: Some("date-time".to_owned()), ..Self::string() }
    }

    /// A URL.
    #[must_use]
    pub fn url() -> Self {
        Self { format: Some("url".to_owned()), ..Self::string() }
    }

    /// Sets the title, of at most 100 characters.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the values that Port accepts.
    #[must_use]
    pub fn with_allowed_values<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.allowed_values = values.into_iter().map(Into::into).collect();
        self
    }

    /// The type, with the format of a text and the type of the values in an array, such as `string (date-time)` and `array of number`.
    #[must_use]
    pub fn type_name(&self) -> String {
        let value_type = self.value_type.as_deref().unwrap_or("any");
        match (&self.format, &self.items) {
            (Some(format), _) => format!("{value_type} ({format})"),
            (None, Some(items)) if value_type == "array" => format!("{value_type} of {}", items.type_name()),
            (None, _) => value_type.to_owned(),
        }
    }
}

/// A definition that has no known form must not make the whole blueprint unreadable.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Property>>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn definition_of_items_is_read_if_it_can_be() {
        let read = |items: Value| serde_json::from_value::<Property>(json!({"type": "array", "items": items})).unwrap();
        assert_eq!(read(json!({"type": "string", "format": "url"})).items.as_deref(), Some(&Property::url()));
        for unreadable in [json!(null), json!([{"type": "string"}]), json!({"type": 7}), json!(true)] {
            assert_eq!(read(unreadable.clone()).items, None, "{unreadable}");
        }
    }

    #[test]
    fn type_name_has_format_and_items() {
        let name = |property: Value| serde_json::from_value::<Property>(property).unwrap().type_name();
        assert_eq!(name(json!({"type": "number"})), "number");
        assert_eq!(name(json!({"type": "string", "format": "url"})), "string (url)");
        assert_eq!(name(json!({"type": "array"})), "array");
        assert_eq!(name(json!({"type": "array", "items": {"type": "number"}})), "array of number");
        assert_eq!(name(json!({})), "any");
    }
}
