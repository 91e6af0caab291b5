//! Stage `read`: the resource of a key, from its writer or from the API server.

use kube::Api;
use tracing::warn;

use super::finalizer::Terminating;
use super::{Publishable, PublishedKind, Publisher};
use crate::resources::{Guarded, ResourceKey, Undecodable};

/// The resource of a key.
pub enum ReadResource<R: Publishable> {
    /// A resource to publish.
    Present(Box<R>),
    /// A resource that is being deleted.
    Terminating(Box<Terminating<R>>),
    /// A resource that can't be decoded.
    Undecodable(Box<Undecodable>),
}

impl<R: Publishable> ReadResource<R> {
    fn of(Guarded(resource): Guarded<R>) -> Self {
        match resource {
            Ok(resource) => match Terminating::of(&resource) {
                Some(terminating) => Self::Terminating(Box::new(terminating)),
                None => Self::Present(Box::new(resource)),
            },
            // A resource that can't be decoded can still be deleted.
            Err(undecodable) => match Terminating::of_undecodable(&undecodable) {
                Some(terminating) => Self::Terminating(Box::new(terminating)),
                None => Self::Undecodable(undecodable),
            },
        }
    }
}

impl<R: Publishable> Publisher<R> {
    /// Reads the resource. `None` if it no longer exists, or if it can't be read now; then it is retried.
    pub(super) async fn read(&self, key: &ResourceKey) -> Option<ReadResource<R>> {
        match self.get(key).await {
            Ok(Some(read)) => Some(read),
            Ok(None) => {
                self.forget(key);
                if R::KIND == PublishedKind::Incident {
                    self.context.awaited.forget(key);
                }
                None
            }
            Err(error) => {
                self.retry(key);
                warn!(
                    kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                    error = &error as &dyn std::error::Error,
                    "failed to read the resource; retrying",
                );
                None
            }
        }
    }

    async fn get(&self, key: &ResourceKey) -> Result<Option<ReadResource<R>>, kube::Error> {
        let written = self.written.lock().remove(key);
        match written {
            Some(resource) => Ok(Some(ReadResource::of(Guarded(Ok(resource))))),
            None => self.fetch(key).await,
        }
    }

    /// Reads the resource from the API server.
    pub(super) async fn fetch(&self, key: &ResourceKey) -> Result<Option<ReadResource<R>>, kube::Error> {
        Ok(self.api(key).get_opt(&key.name).await?.map(ReadResource::of))
    }

    pub(super) fn api(&self, key: &ResourceKey) -> Api<Guarded<R>> {
        Api::namespaced(self.context.runtime.client.clone(), &key.namespace)
    }
}
