//! Writes the finalizer and the annotations of a resource, before its entity is sent.

use std::collections::BTreeMap;
use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::warn;

use super::publisher::version_of;
use super::{BackupAnnotations, Publishable, Publisher};
use crate::resources::{DeletionPolicy, FIELD_MANAGER, FINALIZER, Guarded, ResourceKey};
use crate::runtime::warning_event;

/// What to change in the metadata of a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataChange {
    /// The whole list, if the finalizer is to be added or removed.
    finalizers: Option<Vec<String>>,
    /// The annotations to set, or to remove if the value is `None`.
    annotations: BTreeMap<&'static str, Option<String>>,
}

impl MetadataChange {
    /// Adds or removes the finalizer, and keeps those of others.
    #[must_use]
    pub fn finalizer(metadata: &ObjectMeta, is_wanted: bool) -> Self {
        let others = metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != FINALIZER).cloned();
        let finalizers = others.chain(is_wanted.then(|| FINALIZER.to_owned())).collect();
        Self { finalizers: Some(finalizers), ..Self::default() }
    }

    /// What differs in `resource` from the finalizer that its deletion policy asks for, and from these `annotations`.
    fn needed<R: Publishable>(resource: &R, annotations: BackupAnnotations, is_dry_run: bool) -> Self {
        let (metadata, is_wanted) = (resource.meta(), resource.deletion_policy() == DeletionPolicy::Delete);
        let has_finalizer = has_finalizer(metadata);
        if is_dry_run {
            // A dry run sends nothing, so there is nothing to delete or to keep.
            return if has_finalizer && !is_wanted { Self::finalizer(metadata, false) } else { Self::default() };
        }
        let change = if is_wanted == has_finalizer { Self::default() } else { Self::finalizer(metadata, is_wanted) };
        let current = |key: &str| metadata.annotations.as_ref()?.get(key);
        let annotations = annotations.into_iter().filter(|(key, value)| current(key) != value.as_ref()).collect();
        Self { annotations, ..change }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The merge patch. With the version of `metadata`, it can't overwrite what was written after that was read.
    fn patch(&self, metadata: &ObjectMeta) -> Value {
        let mut patch = json!({"resourceVersion": metadata.resource_version, "uid": metadata.uid});
        if let Some(finalizers) = &self.finalizers {
            patch["finalizers"] = json!(finalizers);
        }
        if !self.annotations.is_empty() {
            patch["annotations"] = json!(self.annotations);
        }
        json!({ "metadata": patch })
    }
}

/// Whether the resource has the finalizer of this controller.
pub fn has_finalizer(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

impl<R: Publishable> Publisher<R> {
    /// Brings the finalizer and the annotations of `resource` up to date: the finalizer if its entity is to be deleted with it, and the
    /// annotations that keep in a backup what the entity is built from. `None` if the resource has changed or is gone.
    pub(super) async fn sync_metadata(&self, key: &ResourceKey, resource: R) -> Option<R> {
        let settings = &self.context.settings;
        let annotations = resource.backup_annotations(&settings.cluster, Timestamp::now());
        let change = MetadataChange::needed(&resource, annotations, settings.dry_run);
        if change.is_empty() {
            return Some(resource);
        }
        self.metadata_written.lock().insert(key.clone(), version_of(resource.meta()));
        match self.write_metadata::<Guarded<R>>(key, resource.meta(), &change).await {
            Ok(written) => {
                if written.is_some() && !change.annotations.is_empty() {
                    self.report_replaced(&resource).await;
                }
                written.and_then(|Guarded(written)| written.ok())
            }
            Err(kube::Error::Api(status)) if status.is_invalid() => {
                self.report_refused_update(key, &resource, &status).await;
                None
            }
            Err(error) => {
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "failed to write the finalizer or the annotations; retrying",
                );
                self.retry(key);
                None
            }
        }
    }

    /// Reports the annotations of `resource` that could not be used, and that are replaced now.
    async fn report_replaced(&self, resource: &R) {
        let invalid = resource.invalid_annotations();
        if !invalid.is_empty() {
            let event = warning_event("AnnotationReplaced", "Publish", invalid.join("; "));
            self.context.runtime.events.publish(resource, &event).await;
        }
    }

    /// Writes `change`. `None` if the resource has changed, which adds it to the queue, or is gone.
    pub(super) async fn write_metadata<T>(
        &self,
        key: &ResourceKey,
        metadata: &ObjectMeta,
        change: &MetadataChange,
    ) -> Result<Option<T>, kube::Error>
    where
        T: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<T> = Api::namespaced(self.context.runtime.client.clone(), &key.namespace);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch(&key.name, &parameters, &Patch::Merge(&change.patch(metadata))).await {
            Ok(resource) => Ok(Some(resource)),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                self.queue.add(key.clone());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{DoraDeployment, DoraIncident};

    fn incident(spec: &Value, metadata: &Value) -> DoraIncident {
        let mut incident = json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "spec": spec,
            "metadata": {
                "name": "down", "namespace": "shop", "uid": "0123456789", "resourceVersion": "7",
                "creationTimestamp": "2026-01-31T10:00:00Z",
            },
        });
        incident["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        serde_json::from_value(incident).unwrap()
    }

    fn needed(spec: &Value, metadata: &Value, is_dry_run: bool) -> Option<Value> {
        let incident = incident(spec, metadata);
        let annotations = incident.backup_annotations("prod", "2026-01-31T12:00:00Z".parse().unwrap());
        let change = MetadataChange::needed(&incident, annotations, is_dry_run);
        let mut patch = (!change.is_empty()).then(|| change.patch(&incident.metadata))?;
        let metadata = patch["metadata"].as_object_mut().unwrap();
        assert_eq!(
            (metadata.remove("uid"), metadata.remove("resourceVersion")),
            (Some("0123456789".into()), Some("7".into()))
        );
        Some(patch["metadata"].take())
    }

    #[test]
    fn finalizer_and_annotations_are_one_write() {
        let annotations =
            json!({"dora.port.io/entity": "prod:shop:down:01234567", "dora.port.io/opened-at": "2026-01-31T10:00:00Z"});
        let delete = json!({"deletionPolicy": "Delete"});
        let expected = json!({"annotations": annotations, "finalizers": ["example.com/mine", FINALIZER]});
        assert_eq!(needed(&delete, &json!({"finalizers": ["example.com/mine"]}), false), Some(expected));
        let written = json!({"annotations": annotations, "finalizers": [FINALIZER]});
        assert_eq!(needed(&delete, &written, false), None, "nothing has changed");
        assert_eq!(needed(&json!({}), &written, false), Some(json!({"finalizers": []})));
        let resolved = json!({"annotations": {"dora.port.io/resolved-at": "2026-01-31T12:00:00Z"}});
        assert_eq!(needed(&json!({"status": "resolved"}), &json!({"annotations": annotations}), false), Some(resolved));
    }

    #[test]
    fn reopened_incident_loses_the_annotation() {
        let annotations = json!({
            "dora.port.io/entity": "prod:shop:down:01234567", "dora.port.io/opened-at": "2026-01-31T10:00:00Z",
            "dora.port.io/resolved-at": "2026-01-31T12:00:00Z",
        });
        let expected = json!({"annotations": {"dora.port.io/resolved-at": null}});
        assert_eq!(needed(&json!({}), &json!({"annotations": annotations}), false), Some(expected));
    }

    #[test]
    fn dry_run_only_removes_the_finalizer() {
        let finalizer = json!({"finalizers": [FINALIZER]});
        assert_eq!(needed(&json!({"deletionPolicy": "Delete"}), &json!({}), true), None);
        assert_eq!(needed(&json!({"deletionPolicy": "Delete"}), &finalizer, true), None);
        assert_eq!(needed(&json!({}), &finalizer, true), Some(json!({"finalizers": []})));
    }

    #[test]
    fn records_need_no_annotations() {
        let record: DoraDeployment = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment",
            "metadata": {"name": "payroll", "namespace": "shop"}, "spec": {"outcome": "Succeeded"},
        }))
        .unwrap();
        assert!(record.backup_annotations("prod", Timestamp::UNIX_EPOCH).is_empty());
    }
}
