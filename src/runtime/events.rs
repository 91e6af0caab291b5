//! Events on the resources that they concern.

use k8s_controller::events::{Event, EventRecorder, Reporter};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use tracing::warn;

use crate::resources::GROUP;

/// Publishes Events. One that can't be published is logged and changes nothing else.
#[derive(Debug)]
pub struct Events(EventRecorder);

impl Events {
    /// Events of this replica.
    #[must_use]
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter { controller: format!("{GROUP}/controller"), instance: Some(identity.to_owned()) };
        Self(EventRecorder::new(client, reporter))
    }

    /// Publishes `event` on `resource`.
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
                "an Event can't be published",
            );
        }
    }
}
