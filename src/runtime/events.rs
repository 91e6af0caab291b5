//! Kubernetes Events about the resources that they concern.

use k8s_controller::events::{Event, EventRecorder, EventType, PublishError, Reporter};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use tracing::{debug, warn};

use super::is_namespace_gone;
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
            if matches!(&error, PublishError::Kube(error) if is_namespace_gone(error)) {
                debug!(
                    kind,
                    namespace,
                    name,
                    reason = event.reason,
                    "the namespace is being deleted; nobody gets this Event"
                );
                return;
            }
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

/// An Event of the type `Warning`. `reason` and `action` are one word in CamelCase, `note` says what happened and what to do.
#[must_use]
pub fn warning_event(reason: &str, action: &str, note: String) -> Event {
    event(EventType::Warning, reason, action, note)
}

/// An Event of the type `Normal`. For the arguments, see [`warning_event`].
#[must_use]
pub fn normal_event(reason: &str, action: &str, note: String) -> Event {
    event(EventType::Normal, reason, action, note)
}

fn event(type_: EventType, reason: &str, action: &str, note: String) -> Event {
    Event { type_, reason: reason.to_owned(), action: action.to_owned(), note: Some(note), related: None }
}
