//! Metrics of the incidents that the controller opens.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why the controller opens incidents.
const CAUSES: [&str; 3] = ["FailedRollout", "RolledBackRollout", "LostAvailability"];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CauseLabel {
    cause: &'static str,
}

/// The incidents that the controller opens.
#[derive(Debug, Default)]
pub struct IncidentMetrics {
    opened: Family<CauseLabel, Counter>,
}

impl IncidentMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Incidents that the controller opened, by cause";
        registry.register("incidents_opened", help, self.opened.clone());
        for cause in CAUSES {
            let _ = self.opened.get_or_create(&CauseLabel { cause });
        }
    }

    /// The controller opened an incident, because of `cause`.
    pub fn opened(&self, cause: &'static str) {
        self.opened.get_or_create(&CauseLabel { cause }).inc();
    }
}
