//! A lock for each group of alerts.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// One lock for each group, so that a group with slow requests doesn't delay the others. Locks that nobody uses are removed.
#[derive(Debug, Default)]
pub struct GroupLocks(Mutex<HashMap<String, Lock>>);

#[derive(Debug, Default)]
struct Lock {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Notifications that hold the lock or wait for it.
    users: usize,
}

impl GroupLocks {
    /// Runs `work` while no other work of the same group runs.
    pub async fn run<T>(&self, group: &str, work: impl Future<Output = T>) -> T {
        let user = self.user(group);
        let _guard = user.lock.lock().await;
        work.await
    }

    fn user(&self, group: &str) -> User<'_> {
        let mut locks = self.0.lock();
        let entry = locks.entry(group.to_owned()).or_default();
        entry.users = entry.users.saturating_add(1);
        User { locks: self, group: group.to_owned(), lock: Arc::clone(&entry.lock) }
    }
}

/// One notification that holds the lock of its group or waits for it. Its request may end at any time, because of a timeout.
struct User<'a> {
    locks: &'a GroupLocks,
    group: String,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        let mut locks = self.locks.0.lock();
        if let Some(entry) = locks.get_mut(&self.group) {
            entry.users = entry.users.saturating_sub(1);
            if entry.users == 0 {
                locks.remove(&self.group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slow_group_delays_only_itself() {
        let locks = GroupLocks::default();
        let moment = Duration::from_millis(1);
        let slow = locks.run("slow", std::future::pending::<()>());
        let others = async {
            assert!(timeout(moment, locks.run("slow", async {})).await.is_err());
            assert!(timeout(moment, locks.run("other", async {})).await.is_ok());
            locks.0.lock().len()
        };
        tokio::select! {
            biased;
            () = slow => unreachable!(),
            locked = others => assert_eq!(locked, 1),
        }
        assert!(locks.0.lock().is_empty(), "also after a request that was cancelled");
    }
}
