//! When the API server last sent something on each watch.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// When the API server last sent something on each watch: an object, the start of a response, or a bookmark, which it usually sends once
/// a minute. A watch without changes is thus different from one that doesn't work.
#[derive(Debug, Default)]
pub struct WatchActivity(Mutex<BTreeMap<String, Instant>>);

impl WatchActivity {
    /// A watch on `resource` (in the plural: `deployments`) starts.
    pub fn start(&self, resource: &str) {
        self.0.lock().insert(resource.to_owned(), Instant::now());
    }

    /// The API server sent something on the watch on `resource`.
    pub fn note(&self, resource: &str) {
        if let Some(time) = self.0.lock().get_mut(resource) {
            *time = Instant::now();
        }
    }

    /// The time since the API server last sent something, for each watch that has started.
    #[must_use]
    pub fn ages(&self) -> Vec<(String, Duration)> {
        self.0.lock().iter().map(|(resource, time)| (resource.clone(), time.elapsed())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn age_counts_from_the_last_activity() {
        let activity = WatchActivity::default();
        activity.start("deployments");
        activity.start("namespaces");
        tokio::time::advance(Duration::from_secs(60)).await;
        activity.note("deployments");
        activity.note("unknown");
        tokio::time::advance(Duration::from_secs(5)).await;
        let age = |resource: &str, seconds| (resource.to_owned(), Duration::from_secs(seconds));
        assert_eq!(activity.ages(), [age("deployments", 5), age("namespaces", 65)]);
    }
}
