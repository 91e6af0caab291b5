//! The part of the status that both resources share: what Port has been told.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The entity in Port as it was last delivered, or is about to be.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveredEntity {
    /// Identifier of the blueprint that the entity belongs to.
    pub blueprint: String,
    /// Identifier of the entity.
    pub identifier: String,
    /// When Port last accepted it. Absent as long as it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Time>,
    /// Digest of what was delivered: the entity is sent again when it would differ. Empty while it is not known what Port has.
    pub digest: String,
    /// Properties that Port was given, or may have been; one that no longer has a value is cleared there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
    /// Relations that Port was given, or may have been; one that no longer has a value is cleared there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<String>,
}
