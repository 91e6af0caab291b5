//! Namespace and name of a custom resource.

use std::sync::Arc;

use kube::api::ObjectMeta;

/// Namespace and name of a resource whose kind is known from the context.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ResourceKey {
    /// Namespace of the resource.
    pub namespace: Arc<str>,
    /// Name of the resource.
    pub name: Arc<str>,
}

impl ResourceKey {
    /// The key of the resource with this metadata. `None` if the namespace or the name is missing, which doesn't happen
    /// for objects from the API server.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        Some(Self { namespace: metadata.namespace.as_deref()?.into(), name: metadata.name.as_deref()?.into() })
    }
}
