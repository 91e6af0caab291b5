//! Metrics of the watches.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::SecondsGauge;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ResourceLabel {
    resource: String,
}

impl ResourceLabel {
    fn of(resource: &str) -> Self {
        Self { resource: resource.to_owned() }
    }
}

/// The watches. The settings say which resources are watched.
#[derive(Debug, Default)]
pub struct WatchMetrics {
    errors: Family<ResourceLabel, Counter>,
    relists: Family<ResourceLabel, Counter>,
    age: Family<ResourceLabel, SecondsGauge>,
}

impl WatchMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Interruptions of a watch with an error, by resource";
        registry.register("watch_errors", help, self.errors.clone());
        let help = "Lists after the first one, because a watch could not be resumed, by resource";
        registry.register("watch_relists", help, self.relists.clone());
        let help = "Seconds since the API server last sent something on a watch, by resource";
        registry.register("watch_last_event_age_seconds", help, self.age.clone());
    }

    /// A watch on `resource` (in the plural: `deployments`) starts.
    pub fn started(&self, resource: &str) {
        let label = ResourceLabel::of(resource);
        for counter in [&self.errors, &self.relists] {
            let _ = counter.get_or_create(&label);
        }
    }

    /// The watch on `resource` was interrupted with an error.
    pub fn failed(&self, resource: &str) {
        self.errors.get_or_create(&ResourceLabel::of(resource)).inc();
    }

    /// The watch on `resource` has listed all objects again.
    pub fn relisted(&self, resource: &str) {
        self.relists.get_or_create(&ResourceLabel::of(resource)).inc();
    }

    /// The API server sent something on the watch on `resource` this long ago.
    pub fn set_age(&self, resource: &str, age: Duration) {
        self.age.get_or_create(&ResourceLabel::of(resource)).set(age.as_secs_f64());
    }
}
