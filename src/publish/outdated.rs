//! Resources whose status was written with other settings. They are assessed again slowly.
//!
//! A change of the settings concerns all resources at once, and most of them not at all. So each of them is read and its entity is built;
//! only if that is another entity than Port has, it is sent and the status is written. The lease states with which settings all resources
//! were assessed, so that a restart reads nothing.

use std::collections::HashSet;
use std::hash::Hash;
use std::time::Duration;

use futures::future::join;
use indexmap::IndexSet;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::info;

use super::settings_mark::SettingsMark;
use super::{Publishable, Publisher, Publishing};

/// How many resources of each kind are assessed in each [`PERIOD`].
const BATCH: usize = 20;

/// See [`BATCH`].
const PERIOD: Duration = Duration::from_secs(1);

/// The resources of one kind whose status was written with other settings.
#[derive(Debug)]
pub struct Outdated<K> {
    state: Mutex<State<K>>,
    added: Notify,
}

#[derive(Debug)]
struct State<K> {
    waiting: IndexSet<K>,
    /// Taken, and not assessed yet.
    taken: HashSet<K>,
}

impl<K> Default for Outdated<K> {
    fn default() -> Self {
        let state = State { waiting: IndexSet::new(), taken: HashSet::new() };
        Self { state: Mutex::new(state), added: Notify::new() }
    }
}

impl<K: Clone + Eq + Hash> Outdated<K> {
    /// Adds the resource `key`.
    pub fn add(&self, key: K) {
        let mut state = self.state.lock();
        state.taken.remove(&key);
        state.waiting.insert(key);
        self.added.notify_one();
    }

    /// Takes at most `max` resources. Each counts until [`Outdated::forget`].
    pub fn take(&self, max: usize) -> Vec<K> {
        let State { waiting, taken } = &mut *self.state.lock();
        let keys: Vec<K> = std::iter::from_fn(|| waiting.pop()).take(max).collect();
        taken.extend(keys.iter().cloned());
        keys
    }

    /// Forgets the resource `key`, because it is assessed, has changed or is gone.
    pub fn forget(&self, key: &K) {
        let mut state = self.state.lock();
        if !state.taken.remove(key) {
            state.waiting.swap_remove(key);
        }
    }

    /// All keys.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        let state = self.state.lock();
        state.waiting.iter().chain(&state.taken).cloned().collect()
    }

    /// How many resources are not assessed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.state.lock();
        state.waiting.len() + state.taken.len()
    }

    /// Whether all resources are assessed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all resources, now and whenever one is added. Never returns.
    async fn discard(&self) {
        loop {
            *self.state.lock() = State { waiting: IndexSet::new(), taken: HashSet::new() };
            self.added.notified().await;
        }
    }
}

impl<R: Publishable> Publisher<R> {
    /// Assesses the outdated resources, while Port can be used.
    async fn assess(&self) {
        while !self.outdated.is_empty() {
            self.context.gate.opened().await;
            for key in self.outdated.take(BATCH) {
                self.queue.add(key);
            }
            self.context.runtime.metrics.delivery.set_outdated(&R::kind(&()), self.outdated.len());
            tokio::time::sleep(PERIOD).await;
        }
        self.context.runtime.metrics.delivery.set_outdated(&R::kind(&()), 0);
    }
}

impl Publishing {
    /// Reads whether all resources were assessed with the current settings. If not, the lease states so from now on. Call this before
    /// anything is published.
    pub(super) async fn begin_assessment(&self) -> bool {
        let mark = self.settings_mark();
        let is_assessed = mark.read().await.as_deref() == Some(self.context.settings.digest());
        if !is_assessed {
            mark.write(None).await;
        }
        is_assessed
    }

    /// Assesses the outdated resources, unless that was done. Never returns.
    pub(super) async fn assess(&self, is_assessed: bool) {
        let (deployments, incidents) = (&self.deployments, &self.incidents);
        if !is_assessed {
            while !(deployments.outdated.is_empty() && incidents.outdated.is_empty()) {
                join(deployments.assess(), incidents.assess()).await;
            }
            self.settings_mark().write(Some(self.context.settings.digest())).await;
            info!("all resources are up to date with the settings");
        }
        join(deployments.outdated.discard(), incidents.outdated.discard()).await;
    }

    fn settings_mark(&self) -> SettingsMark<'_> {
        SettingsMark { client: &self.context.runtime.client, lease: &self.lease }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_counts_until_it_is_assessed() {
        let outdated = Outdated::default();
        for key in 0..30 {
            outdated.add(key);
        }
        let taken = outdated.take(BATCH);
        assert_eq!((taken.len(), outdated.len(), outdated.keys().len()), (BATCH, 30, 30));
        for key in &taken {
            outdated.forget(key);
        }
        assert_eq!(outdated.len(), 10);
        let rest = outdated.take(BATCH);
        outdated.add(rest[0]);
        assert_eq!(
            (rest.len(), outdated.len(), outdated.take(BATCH)),
            (10, 10, vec![rest[0]]),
            "it has changed meanwhile"
        );
        for key in rest {
            outdated.forget(&key);
        }
        assert!(outdated.is_empty());
    }
}
