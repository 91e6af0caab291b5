//! The part of the status that both custom resources share: the entity in Port.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{decode, schema};

/// The entity in Port, as the controller sent it last or is about to send it.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveredEntity {
    /// Identifier of the blueprint of the entity.
    pub blueprint: String,
    /// Identifier of the entity.
    pub identifier: String,
    /// When Port last accepted the entity, in RFC 3339 format. Absent before
    /// that.
    #[serde(default, deserialize_with = "decode::supported_time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_time")]
    pub delivered_at: Option<Time>,
    /// Hash of the entity that Port accepted. The controller sends the entity
    /// again when its hash differs. Empty while the state in Port is unknown.
    pub digest: String,
    /// Names of the properties that Port has, or may have. If one of them no
    /// longer has a value, the controller clears it in Port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
    /// Names of the relations that Port has, or may have. If one of them no
    /// longer has a value, the controller clears it in Port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<String>,
}
