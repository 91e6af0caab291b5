//! Conforms values to a property: its type, its format and its allowed values. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Number, Value};
use url::Url;

use crate::model::Property;

const STRING: &str = "string";
const NUMBER: &str = "number";
const BOOLEAN: &str = "boolean";
const OBJECT: &str = "object";
const ARRAY: &str = "array";

/// Why Port would refuse a value of a property.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConformError {
    /// The value has another type or format than the property, and can't be converted without a loss.
    #[error("the property has the type {expected}")]
    OtherType {
        /// The type of the property, such as `string (date-time)`.
        expected: String,
    },
    /// The property has a list of allowed values that does not contain the value.
    #[error("the value is not one of the allowed values")]
    NotAllowed {
        /// The values that Port accepts.
        allowed: Vec<Value>,
    },
}

impl Property {
    /// The value to send for `value`, so that Port accepts it.
    ///
    /// - A number or a boolean becomes a text if the property has the type `string`.
    /// - A text becomes a number if the property has the type `number`, and the text is exactly how that number is written.
    /// - One value becomes an array of one value if the property has the type `array`.
    /// - A text that differs from an allowed value only in upper and lower case becomes the allowed value.
    ///
    /// `null` clears a property, so it is always right. Types and formats that this client does not know accept every value.
    ///
    /// ```
    /// use port_client::Property;
    ///
    /// let status = Property::string().with_allowed_values(["Success", "Failed"]);
    /// assert_eq!(status.conform(&"success".into()), Ok("Success".into()));
    /// assert!(status.conform(&"superseded".into()).is_err());
    /// assert_eq!(Property::string().conform(&7.into()), Ok("7".into()));
    /// assert!(Property::number().conform(&"seven".into()).is_err());
    /// ```
    ///
    /// # Errors
    /// If there is no such value. The caller can omit the property.
    pub fn conform(&self, value: &Value) -> Result<Value, ConformError> {
        if value.is_null() {
            return Ok(Value::Null);
        }
        let value = self.converted(value)?;
        self.allowed(value)
    }

    /// Whether [`Property::conform`] finds a value of this property for every value of the property `sent`, as far as types and formats
    /// decide it. Allowed values are not compared. A property without a type, or with one that this client does not know, accepts
    /// everything.
    #[must_use]
    pub fn converts_all_of(&self, sent: &Self) -> bool {
        let (Some(own), Some(other)) = (known_type(self), known_type(sent)) else {
            return true;
        };
        match (own, other) {
            (STRING, STRING) => {
                let format = self.format.as_deref();
                format.is_none_or(|format| !is_checked(format)) || self.format == sent.format
            }
            (STRING, NUMBER | BOOLEAN) => self.format.as_deref().is_none_or(|format| !is_checked(format)),
            (ARRAY, ARRAY) => match (&self.items, &sent.items) {
                (Some(own), Some(other)) => own.converts_all_of(other),
                (own, _) => own.is_none(),
            },
            (ARRAY, _) => self.items.as_ref().is_none_or(|items| items.converts_all_of(sent)),
            (own, other) => own == other,
        }
    }

    /// The value with the type and the format of the property.
    fn converted(&self, value: &Value) -> Result<Value, ConformError> {
        let Some(own) = known_type(self) else {
            return Ok(value.clone());
        };
        let converted = match (own, value) {
            (STRING, Value::Number(number)) => Some(Value::String(number.to_string())),
            (STRING, Value::Bool(boolean)) => Some(Value::String(boolean.to_string())),
            (NUMBER, Value::String(text)) => exact_number(text).map(Value::Number),
            (ARRAY, Value::Array(values)) => return self.items_of(values),
            (ARRAY, value) => return self.items_of(std::slice::from_ref(value)),
            (own, value) => (own == type_of(value)).then(|| value.clone()),
        };
        let has_format = |value: &Value| match (value, &self.format) {
            (Value::String(text), Some(format)) => has_format(text, format),
            _ => true,
        };
        converted.filter(has_format).ok_or_else(|| self.other_type())
    }

    fn items_of(&self, values: &[Value]) -> Result<Value, ConformError> {
        let Some(items) = &self.items else {
            return Ok(Value::Array(values.to_vec()));
        };
        let conformed = |value: &Value| {
            // In an array, `null` clears nothing.
            if value.is_null() { Err(self.other_type()) } else { items.conform(value) }
        };
        values.iter().map(conformed).collect::<Result<_, _>>().map(Value::Array)
    }

    /// The value, or the allowed value that differs from it only in upper and lower case.
    fn allowed(&self, value: Value) -> Result<Value, ConformError> {
        let allowed = &self.allowed_values;
        if allowed.is_empty() || allowed.iter().any(|allowed| is_equal(allowed, &value)) {
            return Ok(value);
        }
        let lower_case = |value: &Value| value.as_str().map(str::to_lowercase);
        let wanted = lower_case(&value);
        let found = allowed.iter().find(|allowed| wanted.is_some() && lower_case(allowed) == wanted);
        found.cloned().ok_or_else(|| ConformError::NotAllowed { allowed: allowed.clone() })
    }

    fn other_type(&self) -> ConformError {
        ConformError::OtherType { expected: self.type_name() }
    }
}

/// The type of a property; `None` if it has none, or one that this client does not know.
fn known_type(property: &Property) -> Option<&str> {
    property.value_type.as_deref().filter(|name| [STRING, NUMBER, BOOLEAN, OBJECT, ARRAY].contains(name))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => BOOLEAN,
        Value::Number(_) => NUMBER,
        Value::String(_) => STRING,
        Value::Array(_) => ARRAY,
        Value::Object(_) => OBJECT,
    }
}

/// The number that is written exactly as `text`: not for `007`, `1e3` or a number that needs more digits than JSON keeps.
fn exact_number(text: &str) -> Option<Number> {
    text.parse::<Number>().ok().filter(|number| number.to_string() == text)
}

/// Whether Port would compare the values as equal: for JSON, 1 and 1.0 are the same number.
#[expect(clippy::float_cmp, reason = "an allowed number is exactly that number")]
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// The formats that [`has_format`] checks. Any text is right for the others, such as `markdown`, or only Port knows which texts are right,
/// such as for `user`.
fn is_checked(format: &str) -> bool {
    matches!(format, "date-time" | "url" | "email" | "idn-email" | "ipv4" | "ipv6")
}

/// Whether `text` has a format, as far as it can be checked.
fn has_format(text: &str, format: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "url" => Url::parse(text).is_ok_and(|url| url.has_host()),
        "email" | "idn-email" => text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn property(definition: Value) -> Property {
        serde_json::from_value(definition).unwrap()
    }

    #[test]
    fn exact_value_precedes_one_in_another_case() {
        let both = Property::string().with_allowed_values(["Low", "low", "HIGH"]);
        let not_allowed = Err(ConformError::NotAllowed { allowed: both.allowed_values.clone() });
        assert_eq!(both.conform(&json!("low")), Ok(json!("low")));
        assert_eq!(both.conform(&json!("LOW")), Ok(json!("Low")));
        assert_eq!(both.conform(&json!("high")), Ok(json!("HIGH")));
        assert_eq!(both.conform(&json!("medium")), not_allowed);
        assert_eq!(both.conform(&json!(1)), not_allowed);
        assert_eq!(both.conform(&Value::Null), Ok(Value::Null), "null clears the property, so it is always right");
    }

    #[test]
    fn values_are_converted_only_without_a_loss() {
        let text = || json!({"type": "string"});
        let number = || json!({"type": "number"});
        let texts = || json!({"type": "array", "items": {"type": "string"}});
        for (definition, value, expected) in [
            (text(), json!("any"), Some(json!("any"))),
            (text(), json!(7), Some(json!("7"))),
            (text(), json!(1.5), Some(json!("1.5"))),
            (text(), json!(true), Some(json!("true"))),
            (text(), json!(["a"]), None),
            (text(), json!({"a": 1}), None),
            (number(), json!(7), Some(json!(7))),
            (number(), json!("7"), Some(json!(7))),
            (number(), json!("-1.5"), Some(json!(-1.5))),
            (number(), json!("007"), None),
            (number(), json!("1e3"), None),
            (number(), json!("0.1000000000000000000001"), None),
            (number(), json!(" 7"), None),
            (number(), json!("seven"), None),
            (number(), json!(true), None),
            (json!({"type": "boolean"}), json!(true), Some(json!(true))),
            (json!({"type": "boolean"}), json!(1), None),
            (json!({"type": "boolean"}), json!("yes"), None),
            (json!({"type": "object"}), json!({"a": 1}), Some(json!({"a": 1}))),
            (json!({"type": "object"}), json!("a"), None),
            (json!({"type": "array"}), json!("a"), Some(json!(["a"]))),
            (json!({"type": "array"}), json!(["a", 1]), Some(json!(["a", 1]))),
            (texts(), json!(7), Some(json!(["7"]))),
            (texts(), json!([7, "a"]), Some(json!(["7", "a"]))),
            (texts(), json!([null]), None),
            (texts(), json!({"a": 1}), None),
            (json!({"type": "new type"}), json!(7), Some(json!(7))),
            (json!({}), json!({"a": 1}), Some(json!({"a": 1}))),
        ] {
            let conformed = property(definition.clone()).conform(&value);
            assert_eq!(conformed.clone().ok(), expected, "{value} for {definition}: {conformed:?}");
        }
    }

    #[test]
    fn texts_have_the_format_of_the_property() {
        let accepts =
            |format: &str, value: Value| property(json!({"type": "string", "format": format})).conform(&value).is_ok();
        for (format, right, wrong) in [
            ("date-time", "2026-01-31T12:00:00.000Z", "yesterday"),
            ("url", "https://example.com/a", "example"),
            ("email", "me@example.com", "me"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "::1", "10.0.0.1"),
        ] {
            assert!(accepts(format, json!(right)), "{format}");
            assert!(!accepts(format, json!(wrong)), "{format}");
            assert!(!accepts(format, json!(7)), "{format}");
        }
        assert!(accepts("markdown", json!("any")) && accepts("user", json!("me")), "only Port knows this format");
    }

    #[test]
    fn allowed_values_are_compared_after_the_conversion() {
        let conform = |definition: Value, value: Value| property(definition).conform(&value).ok();
        let levels = || json!({"type": "number", "enum": [1, 2.5]});
        assert_eq!(conform(levels(), json!(1.0)), Some(json!(1.0)), "1 and 1.0 are the same number");
        assert_eq!(conform(levels(), json!("2.5")), Some(json!(2.5)));
        assert_eq!(conform(levels(), json!(3)), None);
        assert_eq!(conform(json!({"type": "string", "enum": ["7"]}), json!(7)), Some(json!("7")));
        let tags = json!({"type": "array", "items": {"type": "string", "enum": ["Red", "Blue"]}});
        assert_eq!(conform(tags.clone(), json!("red")), Some(json!(["Red"])));
        assert_eq!(conform(tags, json!(["red", "green"])), None);
    }

    #[test]
    fn conversions_of_all_values_are_known_in_advance() {
        let converts = |own: Value, sent: &Property| property(own).converts_all_of(sent);
        let (text, number, time) = (Property::string(), Property::number(), Property::date_time());
        assert!(converts(json!({"type": "string"}), &number));
        assert!(converts(json!({"type": "string"}), &time), "every text is right");
        assert!(converts(json!({"type": "string", "format": "markdown"}), &text), "every text is right");
        assert!(converts(json!({"type": "array", "items": {"type": "string"}}), &number));
        assert!(converts(json!({"type": "new type"}), &number) && converts(json!({}), &number));
        assert!(!converts(json!({"type": "number"}), &text));
        assert!(!converts(json!({"type": "boolean"}), &number));
        assert!(!converts(json!({"type": "string", "format": "date-time"}), &number));
        assert!(!converts(json!({"type": "string", "format": "date-time"}), &text));
        assert!(!converts(json!({"type": "string", "format": "url"}), &time));
        assert!(!converts(json!({"type": "array", "items": {"type": "number"}}), &text));
    }
}
