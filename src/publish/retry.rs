//! When a resource is tried again.
//!
//! | after | it is tried again |
//! |---|---|
//! | a temporary error | with exponential backoff, and when Port can be used again ([`gate`](super::gate)) |
//! | a refusal | when a retry of one resource with the same cause is not refused ([`parking`](super::parking)) |
//! | an answer about its references that may change | with exponential backoff |

use port_client as port;

use super::parking::{Cause, Refusal};
use super::resolve::Resolved;
use super::{Publishable, Publisher};
use crate::resources::ResourceKey;

impl<R: Publishable> Publisher<R> {
    /// Retries `key` with exponential backoff.
    pub(super) fn retry(&self, key: &ResourceKey) {
        self.queue.add_after(key.clone(), self.backoff.next_delay(key));
    }

    /// Retries `key`, whose entity has this `identifier`, after `error`.
    pub(super) fn retry_after_failure(&self, key: &ResourceKey, identifier: &str, error: &port::Error) {
        let Some(cause) = Cause::of(error, identifier) else {
            return self.retry(key);
        };
        self.backoff.forget(key);
        let Refusal { retry_after, released } = self.parking.refused(key, cause);
        match retry_after {
            Some(delay) => self.queue.add_after(key.clone(), delay),
            None => self.queue.park(key.clone()),
        }
        self.release(released);
    }

    /// Retries all resources whose last attempt failed, since the reason may be gone.
    pub(super) fn retry_all_now(&self) {
        self.release(self.parking.release_all());
        self.queue.retry_all_now();
    }

    fn release(&self, keys: Vec<ResourceKey>) {
        for key in keys {
            self.queue.add(key);
        }
        self.update_parked();
    }

    /// The resource of `key` is not refused any more, because it has changed, is gone, or isn't sent.
    pub(super) fn unpark(&self, key: &ResourceKey) {
        if let Some((other, delay)) = self.parking.leave(key) {
            self.queue.add_after(other, delay);
        }
        self.update_parked();
    }

    fn update_parked(&self) {
        self.context.runtime.metrics.delivery.set_parked(&R::kind(&()), self.parking.len());
    }

    /// Looks up the references again later, if the look-up asks for it. Not after a refusal, since that would send the entity again.
    pub(super) fn recheck_later(&self, resolved: &Resolved<R>) {
        if resolved.is_repeated {
            let key = &resolved.key;
            self.recheck.add_after(key.clone(), self.recheck_backoff.next_delay(key));
        }
    }

    /// Whether the last attempt with `key` failed.
    pub(super) fn is_failing(&self, key: &ResourceKey) -> bool {
        self.backoff.is_failing(key) || self.parking.contains(key)
    }

    /// Port has accepted the entity of `key`.
    pub(super) fn accepted(&self, key: &ResourceKey) {
        self.release(self.parking.accepted(key));
    }

    /// The attempt with `key` has reached its end without a failure.
    pub(super) fn concluded(&self, key: &ResourceKey) {
        self.backoff.forget(key);
        self.unpark(key);
    }

    /// Forgets `key`, whose resource is gone or has nothing left to do. An attempt that is under way continues.
    pub(super) fn forget(&self, key: &ResourceKey) {
        self.backoff.forget(key);
        self.recheck_backoff.forget(key);
        self.recheck.forget(key);
        self.outdated.forget(key);
        self.written.lock().remove(key);
        self.unpark(key);
    }
}
