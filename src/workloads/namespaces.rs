//! Namespaces: their annotations and labels apply to all workloads in them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use rollout::Metadata;
use serde::Deserialize;

use super::watch::{Watch, WatchContext};
use crate::resources::{Guarded, own_entries, slim_metadata};
use crate::runtime::{Synced, decoded};

/// The watch on namespaces.
pub const NAMESPACES: Watch =
    Watch { resource: "Namespaces", run: |context, synced| Box::pin(watch_namespaces(context, synced)) };

/// A Namespace with only the fields that the controller reads.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Namespace)]
struct SlimNamespace {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
}

impl SlimNamespace {
    /// Its name, its annotations and its labels.
    fn name_and_metadata(&self) -> Option<(Arc<str>, Metadata, Metadata)> {
        let Self { metadata } = self;
        let (annotations, labels) = (metadata.annotations.as_ref(), metadata.labels.as_ref());
        Some((metadata.name.as_deref()?.into(), own_entries(annotations), own_entries(labels)))
    }
}

async fn watch_namespaces(context: &WatchContext, synced: Synced) {
    let WatchContext { client, index, selection: _ } = context;
    let handle = move |event: Event<Guarded<SlimNamespace>>| match event {
        Event::Init => index.namespace_list_started(),
        Event::InitDone => index.namespace_list_completed(),
        Event::Apply(namespace) | Event::InitApply(namespace) => {
            if let Some(namespace) = decoded(namespace)
                && let Some((name, annotations, labels)) = namespace.name_and_metadata()
            {
                let created = namespace.metadata.creation_timestamp.as_ref().map(|time| time.0);
                index.namespace_applied(name, annotations, labels, created);
            }
        }
        Event::Delete(namespace) => {
            if let Some(name) = &namespace.meta().name {
                index.namespace_deleted(name);
            }
        }
    };
    client.watch_each(synced, handle).await;
}
