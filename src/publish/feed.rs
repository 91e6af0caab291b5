//! What the watches and the recorder pass to a publisher. A standby takes it in as well, so that it knows what is pending.

use kube::api::ObjectMeta;

use super::publisher::version_of;
use super::{Publishable, Publisher};
use crate::resources::{DeliveryState, ResourceKey};

/// How many resources the publisher keeps as their writer got them back. It reads further ones, so that no backlog is in memory.
const MAX_WRITTEN: usize = 100;

impl<R: Publishable> Publisher<R> {
    /// Handles a resource that the watch has brought, in this `state`. `listed` is true if it comes from a list: then it may have changed
    /// while nothing was watched.
    pub fn observed(&self, key: ResourceKey, state: DeliveryState, listed: bool) {
        // The status that the publisher itself wrote must not cut short the delay before the next attempt, and neither must a list.
        let is_scheduled = self.is_running()
            && (self.queue.contains(&key)
                || !listed && state != DeliveryState::Failed
                || state == DeliveryState::Undecided && self.recheck.contains(&key));
        match state {
            DeliveryState::Settled => self.deleted(&key),
            DeliveryState::Outdated => {
                self.deleted(&key);
                self.outdated.add(key);
            }
            DeliveryState::Failed | DeliveryState::Undecided | DeliveryState::Refused if is_scheduled => {
                self.outdated.forget(&key);
            }
            // Whether it is still refused depends on other resources, so the leader decides again.
            DeliveryState::Undecided | DeliveryState::Refused => {
                self.deleted(&key);
                self.recheck.add(key);
            }
            DeliveryState::Failed => {
                self.outdated.forget(&key);
                if !self.queue.contains(&key) {
                    self.queue.add(key);
                }
            }
            DeliveryState::New => {
                self.outdated.forget(&key);
                self.unpark(&key);
                self.queue.add(key);
            }
        }
    }

    /// Forgets a resource that was deleted, or that has nothing left to do.
    pub fn deleted(&self, key: &ResourceKey) {
        self.queue.forget(key);
        self.deletions.forget(key);
        self.forget(key);
    }

    /// A list of all resources starts. Call [`Publisher::listed`] for each of them, and then [`Publisher::list_finished`].
    pub fn list_started(&self) {
        let known = [self.queue.keys(), self.recheck.keys(), self.outdated.keys(), self.deletions.keys()];
        *self.unlisted.lock() = known.into_iter().flatten().collect();
    }

    /// The list contains a resource.
    pub fn listed(&self, key: &ResourceKey) {
        self.unlisted.lock().remove(key);
    }

    /// The list is complete. The resources that were known when it started and that it doesn't contain are gone.
    pub fn list_finished(&self) {
        let gone = std::mem::take(&mut *self.unlisted.lock());
        for key in &gone {
            self.deleted(key);
        }
    }

    /// Whether an attempt with this generation of the resource is under way and has written its metadata. The watch then brings back that
    /// write, which must not cause another attempt.
    #[must_use]
    pub fn is_own_write(&self, key: &ResourceKey, metadata: &ObjectMeta) -> bool {
        self.is_running()
            && self.metadata_written.lock().get(key).is_some_and(|version| *version == version_of(metadata))
    }

    /// Publishes `resource` as its writer got it back from the API server: no attempt has to wait for the watch, or to read it.
    ///
    /// While an attempt with the resource is under way, the next one reads it, since the attempt is about to change its status. While Port
    /// can't be used, and if there are many, the next attempt reads it as well.
    pub fn publish_written(&self, resource: R) {
        let Some(key) = ResourceKey::of(resource.meta()) else {
            return;
        };
        let is_sent_soon = self.context.gate.is_open() && !self.queue.is_working_on(&key);
        {
            let mut written = self.written.lock();
            if is_sent_soon && (written.len() < MAX_WRITTEN || written.contains_key(&key)) {
                written.insert(key.clone(), resource);
            } else {
                // What is kept would be older.
                written.remove(&key);
            }
        }
        self.outdated.forget(&key);
        self.unpark(&key);
        self.queue.add(key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use kube::Client;
    use port_client::{ClientOptions, Credentials, UpsertOptions};
    use serde_json::json;

    use super::*;
    use crate::incidents::AwaitedEntities;
    use crate::publish::{Blueprints, IdentifierClaims, PortGate, PublishContext};
    use crate::records::Records;
    use crate::resources::DoraIncident;
    use crate::runtime::{Context, Events, Metrics, WorkQueue};
    use crate::settings::{ActiveSettings, FileSettings};

    /// A publisher that has neither an API server nor Port.
    fn publisher() -> Publisher<DoraIncident> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let (events, metrics) = (Arc::new(Events::new(client.clone(), "test")), Arc::new(Metrics::default()));
        let credentials = Credentials::new("id", "secret");
        let options = ClientOptions::new("http://127.0.0.1:1".parse().unwrap(), credentials, "test/1");
        let settings = Arc::new(ActiveSettings::new("test".to_owned(), FileSettings::default(), false));
        let context = PublishContext {
            claims: IdentifierClaims::new(&settings),
            awaited: AwaitedEntities::default(),
            gate: PortGate::new(Arc::clone(&metrics)),
            runtime: Context { client, events, metrics },
            port: port_client::Client::new(options).unwrap(),
            options: UpsertOptions::default(),
            settings,
            records: Arc::new(Records::default()),
            blueprints: Blueprints::default(),
        };
        Publisher::new(Arc::new(context), Arc::new(WorkQueue::default()), Arc::default())
    }

    fn key(name: &str) -> ResourceKey {
        ResourceKey { namespace: "shop".into(), name: name.into() }
    }

    fn incident(name: &str) -> DoraIncident {
        serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {"namespace": "shop", "name": name}, "spec": {},
        }))
        .unwrap()
    }

    /// Keys that something is kept of.
    fn kept(publisher: &Publisher<DoraIncident>) -> usize {
        let Publisher { queue, recheck, outdated, parking, written, .. } = publisher;
        queue.len() + recheck.len() + outdated.len() + parking.len() + written.lock().len()
    }

    /// Makes `key` known in each way, and lets an attempt with it fail.
    fn fill(publisher: &Publisher<DoraIncident>, names: [&str; 4]) {
        let [new, outdated, refused, failing] = names;
        publisher.observed(key(new), DeliveryState::New, false);
        publisher.publish_written(incident(new));
        publisher.observed(key(outdated), DeliveryState::Outdated, true);
        let missing = port_client::Error::InvalidIdentifier { what: "entity identifier", value: String::new() };
        publisher.retry_after_failure(&key(refused), "entity", &missing);
        publisher.retry(&key(failing));
        publisher.recheck.add(key(failing));
        publisher.recheck_backoff.next_delay(&key(failing));
    }

    #[tokio::test]
    async fn deleted_resources_leave_nothing_behind() {
        let publisher = publisher();
        let names = ["new", "outdated", "refused", "failing"];
        fill(&publisher, names);
        assert_eq!((publisher.queue.len(), kept(&publisher)), (3, 7));
        for name in names {
            publisher.deleted(&key(name));
        }
        assert_eq!(kept(&publisher), 0);
        assert!(!publisher.is_failing(&key("failing")) && !publisher.recheck_backoff.is_failing(&key("failing")));
    }

    #[tokio::test]
    async fn resources_missing_in_a_list_are_not_pending() {
        let publisher = publisher();
        fill(&publisher, ["new", "outdated", "refused", "failing"]);
        publisher.list_started();
        publisher.listed(&key("new"));
        publisher.observed(key("later"), DeliveryState::New, false);
        publisher.list_finished();
        let mut left = publisher.queue.keys();
        left.sort_unstable();
        assert_eq!(left, [key("later"), key("new")]);
        assert!(publisher.outdated.is_empty() && publisher.recheck.is_empty() && publisher.parking.len() == 0);
    }

    #[tokio::test]
    async fn settled_resources_are_forgotten() {
        let publisher = publisher();
        let names = ["new", "outdated", "refused", "failing"];
        fill(&publisher, names);
        for name in names {
            publisher.observed(key(name), DeliveryState::Settled, false);
        }
        assert_eq!(kept(&publisher), 0);
    }

    #[tokio::test]
    async fn standby_follows_what_the_leader_delivers() {
        let publisher = publisher();
        let pending = |state| {
            publisher.observed(key("down"), state, false);
            (publisher.queue.len(), publisher.recheck.len(), publisher.outdated.len())
        };
        assert_eq!(pending(DeliveryState::New), (1, 0, 0));
        assert_eq!(pending(DeliveryState::Failed), (1, 0, 0));
        assert_eq!(pending(DeliveryState::Undecided), (0, 1, 0), "it is delivered");
        assert_eq!(pending(DeliveryState::Settled), (0, 0, 0));
        assert_eq!(pending(DeliveryState::Outdated), (0, 0, 1), "the leader has other settings");
        assert_eq!(pending(DeliveryState::Failed), (1, 0, 0), "the leader failed to send it again");
        assert_eq!(pending(DeliveryState::Settled), (0, 0, 0));
    }

    #[tokio::test]
    async fn refused_resource_waits_in_spite_of_a_list() {
        let publisher = publisher();
        fill(&publisher, ["new", "outdated", "refused", "failing"]);
        publisher.queue.forget(&key("new"));
        publisher.observed(key("refused"), DeliveryState::Failed, true);
        assert_eq!(publisher.queue.drain(), [], "nothing is due");
        publisher.observed(key("unknown"), DeliveryState::Failed, true);
        assert_eq!(publisher.queue.drain(), [key("unknown")]);
        publisher.observed(key("refused"), DeliveryState::New, false);
        assert_eq!((publisher.queue.drain(), publisher.parking.len()), (vec![key("refused")], 0));
    }

    #[tokio::test]
    async fn backlog_of_written_resources_is_not_in_memory() {
        let publisher = publisher();
        for number in 0..2 * MAX_WRITTEN {
            publisher.publish_written(incident(&format!("down-{number}")));
        }
        assert_eq!((publisher.queue.len(), publisher.written.lock().len()), (2 * MAX_WRITTEN, MAX_WRITTEN));
        let limited = port_client::Error::RateLimited { retry_after: Duration::from_secs(9), response: None };
        publisher.context.gate.observe(["a"].into_iter(), &[Err(limited)]);
        publisher.publish_written(incident("down-0"));
        assert_eq!(publisher.written.lock().len(), MAX_WRITTEN - 1, "Port can't be used");
    }
}
