//! Kubernetes Events about the resources that they concern.

use k8s_controller::events::{Event, EventRecorder, Reporter};
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
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, resource: &K, event: &Event) {
        if let Err(error) = self.0.publish(resource, event).await {
            let metadata = resource.meta();
            warn!(
                kind = %K::kind(&()), namespace = metadata.namespace, name = metadata.name, reason = event.reason,
                error = &error as &dyn std::error::Error,
                "failed to publish an Event",
            );
        }
    }
}
