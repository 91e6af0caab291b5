//! One property of a blueprint.

use serde::{Deserialize, Serialize};
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

    /// The value to send for `value`: `value` itself if it is allowed, or an allowed value that differs only in upper and lower case.
    /// `None` if there is no such value.
    ///
    /// ```
    /// use port_client::Property;
    ///
    /// let status = Property::string().with_allowed_values(["Success", "Failed"]);
    /// assert_eq!(status.conform(&"success".into()), Some("Success".into()));
    /// assert_eq!(status.conform(&"superseded".into()), None);
    /// ```
    #[must_use]
    pub fn conform(&self, value: &Value) -> Option<Value> {
        let allowed = &self.allowed_values;
        if allowed.is_empty() || value.is_null() || allowed.contains(value) {
            return Some(value.clone());
        }
        let lower_case = value.as_str()?.to_lowercase();
        allowed.iter().find(|allowed| allowed.as_str().is_some_and(|text| text.to_lowercase() == lower_case)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn exact_value_precedes_one_in_another_case() {
        let both = Property::string().with_allowed_values(["Low", "low", "HIGH"]);
        assert_eq!(both.conform(&json!("low")), Some(json!("low")));
        assert_eq!(both.conform(&json!("LOW")), Some(json!("Low")));
        assert_eq!(both.conform(&json!("high")), Some(json!("HIGH")));
        assert_eq!(both.conform(&json!("medium")), None);
        assert_eq!(both.conform(&json!(1)), None);
        assert_eq!(both.conform(&Value::Null), Some(Value::Null), "null clears the property, so it is always allowed");
        assert_eq!(Property::string().conform(&json!("any")), Some(json!("any")));
        assert_eq!(Property::number().with_allowed_values([1, 2]).conform(&json!(2)), Some(json!(2)));
    }
}
