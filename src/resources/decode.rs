//! Decoding of `metadata` without what nobody reads.
//!
//! Most of a Deployment's JSON is `managedFields` and the annotation of the last `kubectl apply`. They are skipped while
//! they are parsed, so that not even a page of a list holds them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::ObjectMeta;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::GROUP;
use rollout::Metadata;

/// The revision that a Deployment is at, and that a ReplicaSet belongs to.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier revisions of a ReplicaSet that a rollback re-used.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    annotations: KeptEntries,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

/// Decodes `metadata` with only the annotations that the controller reads, and without `managedFields`.
///
/// # Errors
/// When `metadata` is not of the shape that Kubernetes gives it.
pub fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let KeptMetadata {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
        deletion_timestamp,
        annotations,
        labels,
        owner_references,
    } = KeptMetadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
        deletion_timestamp,
        annotations: annotations.0,
        labels,
        owner_references,
        ..ObjectMeta::default()
    })
}

/// Annotations that the controller reads; the others are skipped while they are parsed.
#[derive(Clone, Debug, Default)]
struct KeptEntries(Option<BTreeMap<String, String>>);

fn is_kept(key: &str) -> bool {
    key == REVISION || key == REVISION_HISTORY || own_key(key).is_some()
}

/// The part of `key` behind `dora.port.io/`.
#[must_use]
pub fn own_key(key: &str) -> Option<&str> {
    key.strip_prefix(GROUP)?.strip_prefix('/')
}

/// The entries of `map` that begin with `dora.port.io/`.
#[must_use]
pub fn own_entries(map: Option<&BTreeMap<String, String>>) -> Metadata {
    map.into_iter().flatten().filter_map(|(key, value)| Some((own_key(key)?, value.as_str()))).collect()
}

impl<'de> Deserialize<'de> for KeptEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = KeptEntries;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of strings")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(KeptEntries(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut kept = BTreeMap::new();
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    if is_kept(&key) {
                        kept.insert(key.into_owned(), entries.next_value()?);
                    } else {
                        entries.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(KeptEntries((!kept.is_empty()).then_some(kept)))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}
