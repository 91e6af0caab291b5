//! Which resources have to be looked at: those that changed since their status was written.

use crate::resources::{DeliveryState, ResourceKey};

use super::{Publisher, Record};

impl<R: Record> Publisher<R> {
    /// Takes in that the resource at `key` is in this `state`. `listed`: it comes from a list, and what this process knew of it may be lost
    /// or was never known.
    pub fn observed(&self, key: ResourceKey, state: DeliveryState, listed: bool) {
        match state {
            DeliveryState::Settled => self.queue().forget(&key),
            // Its own status write must not cut short the wait before the next attempt.
            DeliveryState::Failed if !listed => {}
            DeliveryState::Failed | DeliveryState::New => self.queue().add(key),
        }
    }
}
