//! Stage `resolve`: checks who owns the identifier, and looks up what a resource refers to, such as the cause of an incident.

use jiff::Timestamp;
use tracing::warn;

use super::{Hold, Publishable, Publisher};
use crate::incidents::{CauseContext, Lookup};
use crate::resources::ResourceKey;

/// A resource whose references are looked up.
pub struct Resolved<R: Publishable> {
    /// Its key.
    pub key: ResourceKey,
    /// The resource, with the answers in its `status`.
    pub resource: R,
    /// The `status` as the API server has it.
    pub stored: Option<R::Status>,
    /// Whether to look up again after some time although the resource does not change.
    pub is_repeated: bool,
    /// The parts of the resource that can't be used, a sentence for each.
    pub warnings: Vec<String>,
    /// Why the resource must not be sent, if its identifier belongs to another one.
    pub refusal: Option<Hold>,
}

impl<R: Publishable> Publisher<R> {
    /// Writes the metadata, and looks up the references. `None` if the resource is not to be published now; then it is in the queue again,
    /// or gone. A resource without a right to its identifier is not touched. A failed look-up never stops the delivery: it is repeated later.
    pub(super) async fn resolve(&self, key: &ResourceKey, resource: R) -> Option<Resolved<R>> {
        if let Some(refusal) = self.refusal(key, &resource) {
            let refusal = Hold { reason: refusal.reason(), message: refusal.to_string(), warnings: Vec::new() };
            let stored = resource.status().cloned();
            let (is_repeated, warnings, refusal) = (false, Vec::new(), Some(refusal));
            return Some(Resolved { key: key.clone(), resource, stored, is_repeated, warnings, refusal });
        }
        let resource = self.sync_metadata(key, resource).await?;
        let stored = resource.status().cloned();
        let around = CauseContext {
            client: &self.context.runtime.client,
            settings: &self.context.settings,
            records: &self.context.records,
            awaited: &self.context.awaited,
            publishing_since: *self.started.lock(),
            now: Timestamp::now(),
        };
        let Lookup { resource, is_repeated, warnings, error } = resource.resolve(&around).await;
        if let Some(error) = error {
            self.report_failed_lookup(key, &error);
        }
        if !is_repeated {
            self.recheck_backoff.forget(key);
        }
        Some(Resolved { key: key.clone(), resource, stored, is_repeated, warnings, refusal: None })
    }

    /// Counts a failed look-up, and logs the first one of a resource.
    fn report_failed_lookup(&self, key: &ResourceKey, error: &kube::Error) {
        self.context.runtime.metrics.incidents.lookup_failed();
        if !self.recheck_backoff.is_failing(key) {
            warn!(
                kind = %R::kind(&()), namespace = %key.namespace, name = %key.name,
                error = error as &dyn std::error::Error,
                "failed to look up what the resource refers to; it is delivered with what is known, and the look-up is repeated",
            );
        }
    }
}
