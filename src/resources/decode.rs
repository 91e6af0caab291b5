//! Decodes `metadata` without the parts that the controller doesn't read.
//!
//! Most of the JSON of a Deployment is `managedFields` and the annotation of the last `kubectl apply`. They are skipped
//! during parsing, so not even one page of a list keeps them in memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::ObjectMeta;
use rollout::Metadata;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::GROUP;

/// Annotation with the current revision of a Deployment, and with the revision of a ReplicaSet.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation with the earlier revisions of a ReplicaSet that a rollback used again.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Label that Velero sets on each object that it restores from a backup.
const RESTORE_NAME: &str = "velero.io/restore-name";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    annotations: SlimAnnotations,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

/// Decodes `metadata` without `managedFields` and with only those annotations that the controller reads.
///
/// # Errors
/// If `metadata` doesn't have the schema of Kubernetes.
pub fn slim_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let SlimMetadata {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
        deletion_timestamp,
        annotations: SlimAnnotations(annotations),
        labels,
        owner_references,
    } = SlimMetadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
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
        ..ObjectMeta::default()
    })
}

/// The part of `key` after `dora.port.io/`, if it has this prefix.
#[must_use]
pub fn own_key(key: &str) -> Option<&str> {
    key.strip_prefix(GROUP)?.strip_prefix('/')
}

/// The annotations or labels with the prefix `dora.port.io/`, without the prefix.
#[must_use]
pub fn own_entries(map: Option<&BTreeMap<String, String>>) -> Metadata {
    map.into_iter().flatten().filter_map(|(key, value)| Some((own_key(key)?, value.as_str()))).collect()
}

/// Whether a restore of a backup created the object with these labels.
#[must_use]
pub fn is_restored(labels: Option<&BTreeMap<String, String>>) -> bool {
    labels.is_some_and(|labels| labels.contains_key(RESTORE_NAME))
}

/// The annotations that the controller reads. The others are skipped during parsing.
#[derive(Clone, Debug, Default)]
struct SlimAnnotations(Option<BTreeMap<String, String>>);

fn is_read(key: &str) -> bool {
    key == REVISION || key == REVISION_HISTORY || own_key(key).is_some()
}

impl<'de> Deserialize<'de> for SlimAnnotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnnotationsVisitor)
    }
}

struct AnnotationsVisitor;

impl<'de> Visitor<'de> for AnnotationsVisitor {
    type Value = SlimAnnotations;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of strings")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(SlimAnnotations(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut annotations = BTreeMap::new();
        while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
            if is_read(&key) {
                annotations.insert(key.into_owned(), entries.next_value()?);
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(SlimAnnotations((!annotations.is_empty()).then_some(annotations)))
    }
}
