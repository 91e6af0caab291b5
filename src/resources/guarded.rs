//! Decoding that doesn't fail: an object that can't be decoded must not hide the others.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::slim_metadata;

/// Characters of the longest [`Undecodable::problem`]. The path of a field can be long.
const PROBLEM_CHARACTERS: usize = 500;

/// An object of the API server, or why it can't be decoded.
///
/// Use it wherever a request or a watch brings objects of users. The schema of a resource accepts more than the types of the controller hold:
/// other versions of the schema have other values, `properties` can be nested more deeply than [`serde_json`] reads, and people can write any
/// `managedFields`, which are omitted if they can't be decoded. [`kube::core::DeserializeGuard`] doesn't help with the last two, because it reads the object as a tree first.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Box<Undecodable>>);

/// An object that can't be decoded.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Undecodable {
    /// The parts of the metadata that the controller reads.
    pub metadata: ObjectMeta,
    /// The first field that can't be decoded, and why.
    pub problem: String,
    json: Box<RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OnlyMetadata {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
}

impl Undecodable {
    fn new(json: Box<RawValue>, problem: &str) -> Self {
        let OnlyMetadata { metadata } = serde_json::from_str(json.get()).unwrap_or_default();
        Self { metadata, problem: shortened(problem), json }
    }

    /// Decodes one part of the object, such as `status`, without the others. The default if it is missing or can't be decoded.
    #[must_use]
    pub fn part<T: DeserializeOwned + Default>(&self, name: &str) -> T {
        let parts: BTreeMap<String, &RawValue> = serde_json::from_str(self.json.get()).unwrap_or_default();
        parts.get(name).and_then(|part| serde_json::from_str(part.get()).ok()).unwrap_or_default()
    }
}

/// `object` without `managedFields`: people can write any time and any path into them, and the controller can do without.
fn without_managed_fields(object: &RawValue) -> Result<String, serde_json::Error> {
    let mut parts: BTreeMap<String, Box<RawValue>> = serde_json::from_str(object.get())?;
    if let Some(metadata) = parts.get_mut("metadata") {
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(metadata.get())?;
        fields.remove("managedFields");
        *metadata = serde_json::value::to_raw_value(&fields)?;
    }
    serde_json::to_string(&parts)
}

/// Beginning and end of a long text: the path of the field is at its beginning, and the reason at its end.
fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= PROBLEM_CHARACTERS {
        return text.to_owned();
    }
    let half = PROBLEM_CHARACTERS / 2;
    let start: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(length.saturating_sub(half)).collect();
    format!("{start} … {end}")
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        if let Ok(object) = serde_json::from_str(json.get()) {
            return Ok(Self(Ok(object)));
        }
        let usable = without_managed_fields(&json).unwrap_or_else(|_| json.get().to_owned());
        let mut deserializer = serde_json::Deserializer::from_str(&usable);
        let object = serde_path_to_error::deserialize(&mut deserializer);
        Ok(Self(object.map_err(|error| Box::new(Undecodable::new(json, &error.to_string())))))
    }
}

/// For requests that send an object and get it back.
impl<K: Serialize> Serialize for Guarded<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(object) => object.serialize(serializer),
            Err(undecodable) => undecodable.json.serialize(serializer),
        }
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(undecodable) => &undecodable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(undecodable) => &mut undecodable.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::{DoraIncident, SlimDoraIncident};

    /// An incident whose properties are nested this deeply.
    fn nested(depth: usize) -> String {
        let properties = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        format!(
            r#"{{"apiVersion":"dora.port.io/v1alpha1","kind":"DoraIncident","metadata":{{"namespace":"shop","name":"deep","generation":3}},
                "spec":{{"properties":{properties}}},"status":{{"observedGeneration":2}}}}"#
        )
    }

    #[test]
    fn deep_resource_is_undecodable_alone() {
        let healthy = nested(10);
        let list =
            format!(r#"{{"apiVersion":"v1","kind":"List","metadata":{{}},"items":[{},{healthy}]}}"#, nested(5000));
        let list: ObjectList<Guarded<DoraIncident>> = serde_json::from_str(&list).unwrap();
        let [Guarded(Err(deep)), Guarded(Ok(_))] = &*list.items else { panic!("{list:?}") };
        assert_eq!((deep.metadata.name.as_deref(), deep.metadata.generation), (Some("deep"), Some(3)));
        assert!(
            deep.problem.starts_with("spec.properties.a.a.a") && deep.problem.contains("recursion limit"),
            "{deep}"
        );
        assert!(deep.problem.chars().count() <= PROBLEM_CHARACTERS + 3);
        assert_eq!(deep.part::<Value>("status"), json!({"observedGeneration": 2}));
        assert_eq!(deep.part::<Value>("spec"), Value::Null, "it is too deep as well");
    }

    #[test]
    fn deep_resource_does_not_end_a_watch() {
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, nested(5000));
        let event: WatchEvent<Guarded<SlimDoraIncident>> = serde_json::from_str(&event).unwrap();
        assert!(matches!(event, WatchEvent::Added(Guarded(Ok(_)))), "a slim view doesn't read the properties");
    }

    #[test]
    fn impossible_managed_fields_are_ignored() {
        let incident = |time: &str, spec: &Value| -> Guarded<DoraIncident> {
            let managed = json!([{"manager": "m", "operation": "Update", "time": time}]);
            serde_json::from_value(json!({"metadata": {"name": "down", "managedFields": managed}, "spec": spec}))
                .unwrap()
        };
        let managed = |time: &str| incident(time, &json!({})).0.unwrap().metadata.managed_fields.is_some();
        assert!(managed("2026-01-31T12:00:00Z") && !managed("9999-12-31T23:59:59Z"));
        let Guarded(other) = incident("9999-12-31T23:59:59Z", &json!({"status": "closed"}));
        let undecodable = other.unwrap_err();
        assert!(undecodable.problem.starts_with("spec.status: unknown variant"), "{undecodable}");
        assert_eq!(undecodable.metadata.name.as_deref(), Some("down"));
    }
}
