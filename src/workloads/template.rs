//! A pod template as two fingerprints, which are computed while it is decoded, so that most of the template is never stored.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use rollout::{Fingerprint, Metadata};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::resources::own_key;

/// Annotations and labels that don't change what runs. `kubectl rollout restart` sets the first, and the Deployment controller sets the
/// second on the template of each ReplicaSet.
const IGNORED_KEYS: [&str; 2] = ["kubectl.kubernetes.io/restartedAt", "pod-template-hash"];

/// What is kept of a pod template.
#[derive(Clone, Debug, Default)]
pub struct PodTemplate {
    /// Its annotations that begin with `dora.port.io/`.
    pub annotations: Metadata,
    /// Its labels that begin with `dora.port.io/`.
    pub labels: Metadata,
    /// Fingerprint of the names and images of its containers and init containers.
    pub images: Fingerprint,
    /// Fingerprint of the whole template without [`IGNORED_KEYS`].
    pub fingerprint: Fingerprint,
}

fn fingerprint_of(content: impl Hash) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Adds an entry to the fingerprint of an object. The order of entries does not matter.
fn add(object: &mut Fingerprint, key: &str, value: Fingerprint) {
    *object = object.wrapping_add(fingerprint_of((key, value)));
}

impl<'de> Deserialize<'de> for PodTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TemplateVisitor;
        impl<'de> Visitor<'de> for TemplateVisitor {
            type Value = PodTemplate;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a pod template")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<PodTemplate, A::Error> {
                let mut template = PodTemplate::default();
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    let value = match &*key {
                        "metadata" => {
                            let TemplateMetadata { annotations, labels, fingerprint } = entries.next_value()?;
                            (template.annotations, template.labels) = (annotations, labels);
                            fingerprint
                        }
                        "spec" => {
                            let PodSpec { images, fingerprint } = entries.next_value()?;
                            template.images = images;
                            fingerprint
                        }
                        _ => entries.next_value::<AnyValue>()?.0,
                    };
                    add(&mut template.fingerprint, &key, value);
                }
                Ok(template)
            }
        }
        deserializer.deserialize_map(TemplateVisitor)
    }
}

#[derive(Default)]
struct TemplateMetadata {
    annotations: Metadata,
    labels: Metadata,
    fingerprint: Fingerprint,
}

impl<'de> Deserialize<'de> for TemplateMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;
        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = TemplateMetadata;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the metadata of a pod template")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<TemplateMetadata, A::Error> {
                let mut metadata = TemplateMetadata::default();
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    let value = match &*key {
                        "annotations" => {
                            let Entries { own, fingerprint } = entries.next_value()?;
                            metadata.annotations = own;
                            fingerprint
                        }
                        "labels" => {
                            let Entries { own, fingerprint } = entries.next_value()?;
                            metadata.labels = own;
                            fingerprint
                        }
                        _ => entries.next_value::<AnyValue>()?.0,
                    };
                    // A map with nothing but ignored keys is the same as no map.
                    if value != 0 {
                        add(&mut metadata.fingerprint, &key, value);
                    }
                }
                Ok(metadata)
            }
        }
        deserializer.deserialize_map(MetadataVisitor)
    }
}

/// Annotations or labels; those that begin with `dora.port.io/` are kept.
#[derive(Default)]
struct Entries {
    own: Metadata,
    fingerprint: Fingerprint,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of strings")
            }

            fn visit_unit<E>(self) -> Result<Entries, E> {
                Ok(Entries::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Entries, A::Error> {
                let mut kept = Entries::default();
                while let Some((key, value)) = entries.next_entry::<Cow<'de, str>, Cow<'de, str>>()? {
                    if IGNORED_KEYS.contains(&&*key) {
                        continue;
                    }
                    add(&mut kept.fingerprint, &key, fingerprint_of(&value));
                    if let Some(own) = own_key(&key) {
                        kept.own.insert(own, &value);
                    }
                }
                Ok(kept)
            }
        }
        deserializer.deserialize_any(EntriesVisitor)
    }
}

/// The spec of a pod.
#[derive(Default)]
struct PodSpec {
    images: Fingerprint,
    fingerprint: Fingerprint,
}

impl<'de> Deserialize<'de> for PodSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpecVisitor;
        impl<'de> Visitor<'de> for SpecVisitor {
            type Value = PodSpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the spec of a pod")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<PodSpec, A::Error> {
                let mut spec = PodSpec::default();
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    let value = match &*key {
                        "containers" | "initContainers" => {
                            let containers: Option<Vec<Container>> = entries.next_value()?;
                            let containers = containers.unwrap_or_default();
                            for container in &containers {
                                spec.images = spec.images.wrapping_add(container.image);
                            }
                            fingerprint_of(containers.iter().map(|container| container.fingerprint).collect::<Vec<_>>())
                        }
                        _ => entries.next_value::<AnyValue>()?.0,
                    };
                    add(&mut spec.fingerprint, &key, value);
                }
                Ok(spec)
            }
        }
        deserializer.deserialize_map(SpecVisitor)
    }
}

struct Container {
    /// Fingerprint of its name and image.
    image: Fingerprint,
    fingerprint: Fingerprint,
}

impl<'de> Deserialize<'de> for Container {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContainerVisitor;
        impl<'de> Visitor<'de> for ContainerVisitor {
            type Value = Container;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a container")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Container, A::Error> {
                let mut container = Container { image: 0, fingerprint: 0 };
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    let value = entries.next_value::<AnyValue>()?.0;
                    if matches!(&*key, "name" | "image") {
                        add(&mut container.image, &key, value);
                    }
                    add(&mut container.fingerprint, &key, value);
                }
                // Without this, two containers that swap their images would have the same sum.
                container.image = fingerprint_of(container.image);
                Ok(container)
            }
        }
        deserializer.deserialize_map(ContainerVisitor)
    }
}

/// The fingerprint of a value of any type.
struct AnyValue(Fingerprint);

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = AnyValue;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<AnyValue, E> {
                Ok(AnyValue(0))
            }

            fn visit_bool<E>(self, value: bool) -> Result<AnyValue, E> {
                Ok(AnyValue(fingerprint_of(value)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<AnyValue, E> {
                Ok(AnyValue(fingerprint_of(value)))
            }

            fn visit_u64<E>(self, value: u64) -> Result<AnyValue, E> {
                Ok(AnyValue(fingerprint_of(value)))
            }

            fn visit_f64<E>(self, value: f64) -> Result<AnyValue, E> {
                Ok(AnyValue(fingerprint_of(value.to_bits())))
            }

            fn visit_str<E>(self, value: &str) -> Result<AnyValue, E> {
                Ok(AnyValue(fingerprint_of(value)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<AnyValue, A::Error> {
                let mut all = DefaultHasher::new();
                while let Some(AnyValue(element)) = elements.next_element()? {
                    element.hash(&mut all);
                }
                Ok(AnyValue(all.finish()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<AnyValue, A::Error> {
                let mut fingerprint = 1;
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    let AnyValue(value) = entries.next_value()?;
                    add(&mut fingerprint, &key, value);
                }
                Ok(AnyValue(fingerprint))
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn template(metadata: &Value, container: &Value) -> PodTemplate {
        let template = json!({
            "metadata": metadata,
            "spec": {"containers": [container, {"name": "proxy", "image": "proxy:1"}], "restartPolicy": "Always"},
        });
        serde_json::from_str(&template.to_string()).unwrap()
    }

    #[test]
    fn image_changes_both_fingerprints_and_the_rest_one() {
        let base =
            || template(&json!({"labels": {"app": "web"}}), &json!({"name": "app", "image": "app:1", "env": []}));
        let same = base();
        assert_eq!((base().images, base().fingerprint), (same.images, same.fingerprint));
        let other = template(&json!({"labels": {"app": "web"}}), &json!({"name": "app", "image": "app:2", "env": []}));
        assert_ne!(base().images, other.images);
        assert_ne!(base().fingerprint, other.fingerprint);
        for (metadata, container) in [
            (json!({"labels": {"app": "web", "x": "y"}}), json!({"name": "app", "image": "app:1", "env": []})),
            (json!({"labels": {"app": "web"}}), json!({"name": "app", "image": "app:1", "env": [{"name": "A"}]})),
            (
                json!({"labels": {"app": "web"}, "annotations": {"a": "b"}}),
                json!({"name": "app", "image": "app:1", "env": []}),
            ),
        ] {
            let other = template(&metadata, &container);
            assert_eq!(base().images, other.images);
            assert_ne!(base().fingerprint, other.fingerprint);
        }
    }

    #[test]
    fn swapped_images_are_a_change() {
        let pair = |first: &str, second: &str| -> PodTemplate {
            let containers = json!([{"name": "a", "image": first}, {"name": "b", "image": second}]);
            serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap()
        };
        assert_ne!(pair("one", "two").images, pair("two", "one").images);
    }

    #[test]
    fn image_of_an_init_container_counts() {
        let with = |image: &str| -> PodTemplate {
            let spec = json!({"initContainers": [{"name": "init", "image": image}], "containers": [{"name": "a", "image": "a"}]});
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        assert_ne!(with("one").images, with("two").images);
    }

    #[test]
    fn restart_and_order_of_entries_change_nothing() {
        let container = || json!({"name": "app", "image": "app:1"});
        let base = template(&json!({"labels": {"app": "web"}}), &container());
        for metadata in [
            json!({"labels": {"app": "web", "pod-template-hash": "5f"}}),
            json!({"labels": {"app": "web"}, "annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}}),
            json!({"annotations": {}, "labels": {"app": "web"}}),
        ] {
            assert_eq!(base.fingerprint, template(&metadata, &container()).fingerprint, "{metadata}");
        }
        let text = |fields: &str| format!(r#"{{"spec": {{"containers": [{{{fields}}}]}}}}"#);
        let of = |fields: &str| serde_json::from_str::<PodTemplate>(&text(fields)).unwrap().fingerprint;
        assert_eq!(of(r#""name": "a", "image": "b""#), of(r#""image": "b", "name": "a""#));
        assert_ne!(of(r#""args": ["a", "b"]"#), of(r#""args": ["b", "a"]"#));
    }

    #[test]
    fn dora_metadata_is_kept() {
        let metadata = json!({"labels": {"dora.port.io/group": "shop"}, "annotations": {"dora.port.io/environment": "staging", "x": "y"}});
        let kept = template(&metadata, &json!({"name": "app", "image": "app:1"}));
        assert_eq!(kept.annotations, [("environment", "staging")].into_iter().collect());
        assert_eq!(kept.labels, [("group", "shop")].into_iter().collect());
    }
}
