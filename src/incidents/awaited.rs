//! Incidents that wait until Port has the entity of their cause.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::groups::Groups;
use crate::resources::ResourceKey;

/// The incidents that wait for the entity of a record. The watch on records says when they have to be looked up again, so nothing polls.
#[derive(Debug, Default)]
pub struct AwaitedEntities(Mutex<Awaited>);

#[derive(Debug, Default)]
struct Awaited {
    /// Incidents, by the record that they wait for.
    incidents: Groups<ResourceKey, ResourceKey>,
    /// The record that an incident waits for.
    records: HashMap<ResourceKey, ResourceKey>,
}

impl AwaitedEntities {
    /// `incident` waits for the entity of `record`, and for no other any more.
    ///
    /// Call it before checking whether Port has the entity: the watch may bring that in between.
    pub fn wait(&self, incident: &ResourceKey, record: ResourceKey) {
        let mut awaited = self.0.lock();
        awaited.forget(incident);
        awaited.incidents.insert(record.clone(), incident.clone());
        awaited.records.insert(incident.clone(), record);
    }

    /// `incident` no longer waits.
    pub fn forget(&self, incident: &ResourceKey) {
        self.0.lock().forget(incident);
    }

    /// Removes and returns the incidents that wait for the entity of `record`.
    #[must_use]
    pub fn take(&self, record: &ResourceKey) -> Vec<ResourceKey> {
        let mut awaited = self.0.lock();
        let incidents: Vec<ResourceKey> = awaited.incidents.take(record).into_iter().collect();
        for incident in &incidents {
            awaited.records.remove(incident);
        }
        incidents
    }

    /// Removes and returns all incidents that wait.
    #[must_use]
    pub fn take_all(&self) -> Vec<ResourceKey> {
        std::mem::take(&mut *self.0.lock()).records.into_keys().collect()
    }
}

impl Awaited {
    fn forget(&mut self, incident: &ResourceKey) {
        if let Some(record) = self.records.remove(incident) {
            self.incidents.remove(&record, incident);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ResourceKey {
        ResourceKey { namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn incident_waits_for_one_record_until_it_is_taken() {
        let awaited = AwaitedEntities::default();
        awaited.wait(&key("down"), key("web-1"));
        awaited.wait(&key("slow"), key("web-2"));
        awaited.wait(&key("down"), key("web-2"));
        assert_eq!(awaited.take(&key("web-1")), []);
        assert_eq!(awaited.take(&key("web-2")), [key("down"), key("slow")]);
        assert_eq!(awaited.take(&key("web-2")), []);
        awaited.wait(&key("down"), key("web-2"));
        awaited.wait(&key("slow"), key("web-2"));
        awaited.forget(&key("down"));
        assert_eq!(awaited.take_all(), [key("slow")]);
        assert_eq!(awaited.0.lock().incidents.len(), 0);
    }
}
