//! Kubernetes Events about the resources that they concern.

use k8s_controller::events::{Event, EventRecorder, Reporter};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use tracing::warn;

use crate::resources::GROUP;

/// Publishes Events. An Event that can't be published is logged; nothing else depends on it.
#[derive(Debug)]
pub struct Events(EventRecorder);

impl Events {
    /// Publishes Events in the name of this replica. `identity` is the replica's name in the lease.
    #[must_use]
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter { controller: format!("{GROUP}/controller"), instance: Some(identity.to_owned()) };
        Self(EventRecorder::new(client, reporter))
    }

    /// Publishes `event` about `resource`.
    pub async fn publish<K>(&self, resource: &K, event: &Event)
    where
        K: Resource,
        K::DynamicType: Default,
    {
        if let Err(error) = self.0.publish(resource, event).await {
            let ObjectReference { kind, namespace, name, .. } = resource.object_ref(&K::DynamicType::default());
            warn!(
                kind,
                namespace,
                name,
                reason = event.reason,
                error = &error as &dyn std::error::Error,
                "failed to publish an Event",
            );
        }
    }
}
