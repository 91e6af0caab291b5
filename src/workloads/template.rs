//! A pod template as two fingerprints, made while it is decoded: most of it is never kept.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::resources::own_key;
use rollout::{Fingerprint, Metadata};

/// What is set by `kubectl rollout restart`, and by the Deployment controller on the template of each ReplicaSet: neither
/// changes what runs.
const NO_CHANGE: [&str; 2] = ["kubectl.kubernetes.io/restartedAt", "pod-template-hash"];

/// What is kept of a pod template.
#[derive(Clone, Debug, Default)]
pub struct PodTemplate {
    /// Its annotations that begin with `dora.port.io/`.
    pub annotations: Metadata,
    /// Its labels that do.
    pub labels: Metadata,
    /// Of the names and images of its containers, init containers too.
    pub images: Fingerprint,
    /// Of all of it, but for [`NO_CHANGE`].
    pub whole: Fingerprint,
}

fn fingerprint(content: impl Hash) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Adds an entry to the fingerprint of an object: the order of its entries means nothing.
fn add(whole: &mut Fingerprint, key: &str, value: Fingerprint) {
    *whole = whole.wrapping_add(fingerprint((key, value)));
}

impl<'de> Deserialize<'de> for PodTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Template;
        impl<'de> Visitor<'de> for Template {
            type Value = PodTemplate;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a pod template")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<PodTemplate, A::Error> {
                let mut template = PodTemplate::default();
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    let value = match &*key {
                        "metadata" => {
                            let TemplateMetadata { annotations, labels, whole } = entries.next_value()?;
                            (template.annotations, template.labels) = (annotations, labels);
                            whole
                        }
                        "spec" => {
                            let Containers { images, whole } = entries.next_value()?;
                            template.images = images;
                            whole
                        }
                        _ => entries.next_value::<Anything>()?.0,
                    };
                    add(&mut template.whole, &key, value);
                }
                Ok(template)
            }
        }
        deserializer.deserialize_map(Template)
    }
}

#[derive(Default)]
struct TemplateMetadata {
    annotations: Metadata,
    labels: Metadata,
    whole: Fingerprint,
}

impl<'de> Deserialize<'de> for TemplateMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = TemplateMetadata;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the metadata of a pod template")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<TemplateMetadata, A::Error> {
                let mut metadata = TemplateMetadata::default();
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    let value = match &*key {
                        "annotations" => {
                            let Entries { own, whole } = entries.next_value()?;
                            metadata.annotations = own;
                            whole
                        }
                        "labels" => {
                            let Entries { own, whole } = entries.next_value()?;
                            metadata.labels = own;
                            whole
                        }
                        _ => entries.next_value::<Anything>()?.0,
                    };
                    // A map that restartedAt alone was in is the same as none.
                    if value != 0 {
                        add(&mut metadata.whole, &key, value);
                    }
                }
                Ok(metadata)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Annotations or labels.
#[derive(Default)]
struct Entries {
    own: Metadata,
    whole: Fingerprint,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
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
                    if NO_CHANGE.contains(&&*key) {
                        continue;
                    }
                    add(&mut kept.whole, &key, fingerprint(&value));
                    if let Some(own) = own_key(&key) {
                        kept.own.insert(own, &value);
                    }
                }
                Ok(kept)
            }
        }
        deserializer.deserialize_any(Each)
    }
}

/// The spec of a pod.
#[derive(Default)]
struct Containers {
    images: Fingerprint,
    whole: Fingerprint,
}

impl<'de> Deserialize<'de> for Containers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Containers;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the spec of a pod")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Containers, A::Error> {
                let mut containers = Containers::default();
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    let value = match &*key {
                        "containers" | "initContainers" => {
                            let each: Option<Vec<Container>> = entries.next_value()?;
                            let each = each.unwrap_or_default();
                            for container in &each {
                                containers.images = containers.images.wrapping_add(container.image);
                            }
                            fingerprint(each.iter().map(|container| container.whole).collect::<Vec<_>>())
                        }
                        _ => entries.next_value::<Anything>()?.0,
                    };
                    add(&mut containers.whole, &key, value);
                }
                Ok(containers)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

struct Container {
    image: Fingerprint,
    whole: Fingerprint,
}

impl<'de> Deserialize<'de> for Container {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Container;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a container")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Container, A::Error> {
                let mut container = Container { image: 0, whole: 0 };
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    let value = entries.next_value::<Anything>()?.0;
                    if matches!(&*key, "name" | "image") {
                        add(&mut container.image, &key, value);
                    }
                    add(&mut container.whole, &key, value);
                }
                // Otherwise two containers that swap their images would look like none.
                container.image = fingerprint(container.image);
                Ok(container)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The fingerprint of any value.
struct Anything(Fingerprint);

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Anything;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Anything, E> {
                Ok(Anything(0))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Anything, E> {
                Ok(Anything(fingerprint(value)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Anything, E> {
                Ok(Anything(fingerprint(value)))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Anything, E> {
                Ok(Anything(fingerprint(value)))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Anything, E> {
                Ok(Anything(fingerprint(value.to_bits())))
            }

            fn visit_str<E>(self, value: &str) -> Result<Anything, E> {
                Ok(Anything(fingerprint(value)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Anything, A::Error> {
                let mut all = DefaultHasher::new();
                while let Some(Anything(element)) = elements.next_element()? {
                    element.hash(&mut all);
                }
                Ok(Anything(all.finish()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Anything, A::Error> {
                let mut whole = 1;
                while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
                    let Anything(value) = entries.next_value()?;
                    add(&mut whole, &key, value);
                }
                Ok(Anything(whole))
            }
        }
        deserializer.deserialize_any(Any)
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
    fn an_image_changes_both_fingerprints_and_anything_else_only_one() {
        let base =
            || template(&json!({"labels": {"app": "web"}}), &json!({"name": "app", "image": "app:1", "env": []}));
        let same = base();
        assert_eq!((base().images, base().whole), (same.images, same.whole));
        let other = template(&json!({"labels": {"app": "web"}}), &json!({"name": "app", "image": "app:2", "env": []}));
        assert_ne!(base().images, other.images);
        assert_ne!(base().whole, other.whole);
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
            assert_ne!(base().whole, other.whole);
        }
    }

    #[test]
    fn containers_that_swap_their_images_have_changed_them() {
        let pair = |first: &str, second: &str| -> PodTemplate {
            let containers = json!([{"name": "a", "image": first}, {"name": "b", "image": second}]);
            serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap()
        };
        assert_ne!(pair("one", "two").images, pair("two", "one").images);
    }

    #[test]
    fn the_image_of_an_init_container_counts() {
        let with = |image: &str| -> PodTemplate {
            let spec = json!({"initContainers": [{"name": "init", "image": image}], "containers": [{"name": "a", "image": "a"}]});
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        assert_ne!(with("one").images, with("two").images);
    }

    #[test]
    fn a_restart_changes_nothing_and_neither_does_the_order_of_entries() {
        let container = || json!({"name": "app", "image": "app:1"});
        let base = template(&json!({"labels": {"app": "web"}}), &container());
        for metadata in [
            json!({"labels": {"app": "web", "pod-template-hash": "5f"}}),
            json!({"labels": {"app": "web"}, "annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}}),
            json!({"annotations": {}, "labels": {"app": "web"}}),
        ] {
            assert_eq!(base.whole, template(&metadata, &container()).whole, "{metadata}");
        }
        let text = |fields: &str| format!(r#"{{"spec": {{"containers": [{{{fields}}}]}}}}"#);
        let of = |fields: &str| serde_json::from_str::<PodTemplate>(&text(fields)).unwrap().whole;
        assert_eq!(of(r#""name": "a", "image": "b""#), of(r#""image": "b", "name": "a""#));
        assert_ne!(of(r#""args": ["a", "b"]"#), of(r#""args": ["b", "a"]"#));
    }

    #[test]
    fn own_metadata_is_kept() {
        let metadata = json!({"labels": {"dora.port.io/group": "shop"}, "annotations": {"dora.port.io/environment": "staging", "x": "y"}});
        let kept = template(&metadata, &json!({"name": "app", "image": "app:1"}));
        assert_eq!(kept.annotations, [("environment", "staging")].into_iter().collect());
        assert_eq!(kept.labels, [("group", "shop")].into_iter().collect());
    }
}
