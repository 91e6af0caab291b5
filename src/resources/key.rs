//! A resource by namespace and name.

use std::sync::Arc;

use kube::api::ObjectMeta;

/// A resource of a kind that is known from the context, by namespace and name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ResourceKey {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ResourceKey {
    /// The key of the resource with this metadata; `None` without a namespace or a name, which the API server always gives.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        Some(Self { namespace: metadata.namespace.as_deref()?.into(), name: metadata.name.as_deref()?.into() })
    }
}
