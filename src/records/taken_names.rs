//! Rollouts whose records have no name left, because other objects have the names.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use rollout::Uid;
use tokio::time::Instant;

use crate::resources::ResourceKey;
use crate::runtime::later;

/// Time until a record is created again whose names are taken, unless one of the objects is deleted before.
pub(super) const RETRY_TAKEN_NAME: Duration = Duration::from_mins(30);

/// Rollouts whose records have no name left, by the first name of the record.
#[derive(Debug, Default)]
pub(super) struct TakenNames(Mutex<HashMap<ResourceKey, Taken>>);

#[derive(Debug)]
struct Taken {
    uid: Uid,
    /// The second name of the record.
    other_name: String,
    retry_at: Instant,
}

impl TakenNames {
    /// Whether it is too early to create the record `key` again.
    pub fn is_waiting(&self, key: &ResourceKey) -> bool {
        self.0.lock().get(key).is_some_and(|taken| Instant::now() < taken.retry_at)
    }

    /// Notes that other objects have both names of a record of the workload `uid`. Returns whether that is new.
    pub fn add(&self, key: ResourceKey, other_name: String, uid: Uid) -> bool {
        let taken = Taken { uid, other_name, retry_at: later(Instant::now(), RETRY_TAKEN_NAME) };
        self.0.lock().insert(key, taken).is_none()
    }

    /// Notes that an object was deleted. Returns the workload whose record can have its name now.
    pub fn released(&self, namespace: &str, name: &str) -> Option<Uid> {
        let mut all = self.0.lock();
        let is_name = |key: &ResourceKey, taken: &Taken| {
            *key.namespace == *namespace && (*key.name == *name || taken.other_name == name)
        };
        let key = all.iter().find(|(key, taken)| is_name(key, taken)).map(|(key, _)| key.clone())?;
        all.remove(&key).map(|taken| taken.uid)
    }

    /// Forgets the workload `uid`: its rollouts are recorded, or can't be recorded any more.
    pub fn forget(&self, uid: &Uid) {
        self.0.lock().retain(|_, taken| taken.uid != *uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ResourceKey {
        ResourceKey { namespace: "shop".into(), name: name.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn record_waits_until_an_object_is_deleted() {
        for released in ["web-1-d", "web-1-d-r"] {
            let names = TakenNames::default();
            assert!(!names.is_waiting(&key("web-1-d")));
            assert!(names.add(key("web-1-d"), "web-1-d-r".to_owned(), "d".into()));
            assert!(!names.add(key("web-1-d"), "web-1-d-r".to_owned(), "d".into()), "known");
            assert!(names.is_waiting(&key("web-1-d")));
            assert_eq!((names.released("other", released), names.released("shop", "web-2-d")), (None, None));
            assert_eq!(names.released("shop", released), Some("d".into()));
            assert!(!names.is_waiting(&key("web-1-d")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn record_waits_for_a_limited_time() {
        let names = TakenNames::default();
        names.add(key("web-1-d"), String::new(), "d".into());
        tokio::time::advance(RETRY_TAKEN_NAME).await;
        assert!(!names.is_waiting(&key("web-1-d")));
        names.forget(&"d".into());
        assert!(names.0.lock().is_empty());
    }
}
