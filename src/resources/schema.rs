//! Schema fragments that both resources share.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A map from a name to any JSON value.
///
/// `Value` alone has no structural schema, so the API server would prune what it holds.
pub fn free_form_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "x-kubernetes-preserve-unknown-fields": true, "nullable": true },
    })
}

/// The status conditions, as a list that server-side apply merges by `type`.
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let condition = generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>();
    json_schema!({
        "type": "array",
        "items": condition,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
