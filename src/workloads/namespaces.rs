//! Namespaces: their annotations and labels speak of all workloads in them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource};
use rollout::Metadata;
use serde::Deserialize;

use super::index::Index;
use crate::resources::{own_entries, slim_metadata};
use crate::runtime::{Synced, watch_each};

/// A Namespace with only what is read of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Namespace)]
pub struct SlimNamespace {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
}

impl SlimNamespace {
    /// Its name, and its annotations and labels.
    #[must_use]
    pub fn row(&self) -> Option<(Arc<str>, Metadata, Metadata)> {
        let Self { metadata } = self;
        let (annotations, labels) = (metadata.annotations.as_ref(), metadata.labels.as_ref());
        Some((metadata.name.as_deref()?.into(), own_entries(annotations), own_entries(labels)))
    }
}

/// Feeds the Namespaces into `index`, for ever.
pub fn watch_namespaces(client: Client, index: &Index, synced: Synced) -> impl Future<Output = ()> {
    watch_each(Api::<SlimNamespace>::all(client), synced, move |event| match event {
        Event::Init => index.namespaces_listed_anew(),
        Event::InitDone => index.namespaces_listed(),
        Event::Apply(namespace) | Event::InitApply(namespace) => {
            if let Some((name, annotations, labels)) = namespace.row() {
                index.namespace_applied(name, annotations, labels);
            }
        }
        Event::Delete(namespace) => {
            if let Some((name, ..)) = namespace.row() {
                index.namespace_deleted(&name);
            }
        }
    })
}
