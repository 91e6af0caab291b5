//! Parts of the OpenAPI schema that both custom resources share.

use super::MAX_NAME_LENGTH;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A map from a name to any JSON value.
///
/// The schema that schemars derives for `Value` has no type, so the API server would prune the values.
pub fn free_form_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "x-kubernetes-preserve-unknown-fields": true, "nullable": true },
    })
}

/// The status conditions, as a list that server-side apply merges by `type`.
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": generator.subschema_for::<Condition>(),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

/// A time in the years 1970 to 2199 (see [`rollout::is_supported_time`]), with the description of its field.
///
/// The API server accepts any year, and offsets such as `+99:99`. With such times, sums would overflow, and the types of the controller
/// can't hold all of them. A time that the rule can't read fails the rule.
pub fn optional_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "date-time",
        "nullable": true,
        "x-kubernetes-validations": [{
            "rule": "self >= timestamp('1970-01-01T00:00:00Z') && self < timestamp('2200-01-01T00:00:00Z')",
            "message": "must be an RFC 3339 time in the years 1970 to 2199, such as 2026-01-31T12:00:00Z",
        }],
    })
}

/// The name of an object, as [`is_object_name`](super::is_object_name) checks it, with the description of its field.
pub fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_NAME_LENGTH,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
            "message": "must be the name of an object in Kubernetes: lower-case letters, digits, '-' and '.', such as checkout-web",
        }],
    })
}

/// An optional enum with the description of its field.
///
/// The derived schema of an `Option` has the description of the enum, which says less.
pub fn optional_enum<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    schema.remove("description");
    schema.insert("nullable".to_owned(), true.into());
    schema
}
