//! Decodes `metadata` without the parts that the controller doesn't read, and times that the API server accepts.
//!
//! Most of the JSON of a Deployment is `managedFields` and the annotation of the last `kubectl apply`. They are skipped
//! during parsing, so not even one page of a list keeps them in memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::ObjectMeta;
use rollout::{Metadata, is_supported_time};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::GROUP;

/// Annotation with the current revision of a Deployment, and with the revision of a ReplicaSet.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation with the earlier revisions of a ReplicaSet that a rollback used again.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Label that Velero sets on each object that it restores from a backup.
const RESTORE_NAME: &str = "velero.io/restore-name";

/// Decodes a time; `None` if this process can't hold it. The API server accepts times that it can't, such as those with an offset of 26
/// hours.
///
/// # Errors
/// If the value is neither a text nor `null`.
pub fn readable_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    let text: Option<Cow<'de, str>> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()).map(Time))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    #[serde(default, deserialize_with = "time")]
    creation_timestamp: Option<Time>,
    #[serde(default, deserialize_with = "time")]
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
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
        finalizers,
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
        finalizers,
        annotations,
        labels,
        owner_references,
        ..ObjectMeta::default()
    })
}

/// Decodes an optional time. A time that [`Timestamp`] can't hold becomes [`Timestamp::MAX`], which [`is_supported_time`] refuses.
///
/// The API server accepts the years 0 to 9999, any offset, and any number of digits after the second.
///
/// # Errors
/// If the value is not a text.
pub fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
    Ok(text.map(|text| Time(text.parse().or_else(|_| whole_seconds(&text).parse()).unwrap_or(Timestamp::MAX))))
}

/// Decodes an optional time. A time that [`is_supported_time`] refuses is absent, and so is one that [`Timestamp`] can't hold.
///
/// # Errors
/// If the value is not a text.
pub fn supported_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    Ok(time(deserializer)?.filter(|time| is_supported_time(time.0)))
}

/// Decodes a value, or its default if it is null.
///
/// # Errors
/// If the value has another type.
pub fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `text` without its fraction of a second, which may have more digits than [`Timestamp`] reads.
fn whole_seconds(text: &str) -> String {
    let Some((seconds, rest)) = text.split_once(['.', ',']) else {
        return text.to_owned();
    };
    format!("{seconds}{}", rest.trim_start_matches(|character: char| character.is_ascii_digit()))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    struct Times {
        #[serde(default, deserialize_with = "time")]
        any: Option<Time>,
        #[serde(default, deserialize_with = "supported_time")]
        supported: Option<Time>,
    }

    /// Times that the real API server stores in a field with `format: date-time`, and what becomes of them.
    #[test]
    fn each_time_of_the_api_server_is_decoded() {
        let (noon, max) = ("2026-01-31T12:00:00Z", &*Timestamp::MAX.to_string());
        for (text, expected) in [
            (noon, noon),
            ("2026-01-31t12:00:00z", noon),
            ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456789Z"),
            ("2026-01-31T12:00:00.1234567890123456789Z", noon),
            ("2026-01-31T14:00:00.1234567890123456789+02:00", noon),
            ("2026-02-01T12:00:00+24:00", noon),
            ("2026-01-30T12:01:00-23:59", noon),
            ("2199-12-31T23:59:59Z", "2199-12-31T23:59:59Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00Z"),
            ("9999-12-31T23:59:59Z", max),
            ("2026-01-31T12:00:00+26:00", max),
            ("2026-01-31T12:00:00-99:99", max),
        ] {
            let Times { any, supported } = serde_json::from_value(json!({"any": text, "supported": text})).unwrap();
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(any, Some(Time(expected)), "{text}");
            assert_eq!(supported.map(|time| time.0), Some(expected).filter(|time| is_supported_time(*time)), "{text}");
        }
        for absent in [json!({}), json!({"any": null, "supported": null})] {
            let Times { any, supported } = serde_json::from_value(absent).unwrap();
            assert_eq!((any, supported), (None, None));
        }
    }
}
