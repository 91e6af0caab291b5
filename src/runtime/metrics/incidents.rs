//! Metrics of the incidents that the controller opens, and of the look-up of causes.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why a change of an incident is not written.
const DROP_REASONS: [&str; 2] = ["NamespaceGone", "NameTaken"];

/// Why a change of an incident is retried.
const RETRY_REASONS: [&str; 2] = ["Refused", "Failed"];

/// Why the controller opens incidents.
const CAUSES: [&str; 3] = ["FailedRollout", "RolledBackRollout", "LostAvailability"];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabel {
    reason: &'static str,
}

/// The incidents that the controller opens, and the causes of all incidents.
#[derive(Debug, Default)]
pub struct IncidentMetrics {
    opened: Family<CauseLabel, Counter>,
    dropped: Family<ReasonLabel, Counter>,
    retried: Family<ReasonLabel, Counter>,
    failed_lookups: Counter,
}

impl IncidentMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Incidents that the controller opened, by cause";
        registry.register("incidents_opened", help, self.opened.clone());
        let help = "Changes of automatic incidents that can't be written, by reason";
        registry.register("incident_writes_dropped", help, self.dropped.clone());
        let help =
            "Changes of automatic incidents that are retried because the API server refused them or failed, by reason";
        registry.register("incident_writes_retried", help, self.retried.clone());
        let help =
            "Failed look-ups of what an incident refers to; the incident is delivered, and the look-up is repeated";
        registry.register("lookups_failed", help, self.failed_lookups.clone());
        for cause in CAUSES {
            let _ = self.opened.get_or_create(&CauseLabel { cause });
        }
        for reason in DROP_REASONS {
            let _ = self.dropped.get_or_create(&ReasonLabel { reason });
        }
        for reason in RETRY_REASONS {
            let _ = self.retried.get_or_create(&ReasonLabel { reason });
        }
    }

    /// A change of an automatic incident can't be written. `reason` is `NamespaceGone` or `NameTaken`.
    pub fn write_dropped(&self, reason: &'static str) {
        self.dropped.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A change of an automatic incident is retried. `is_refused` is whether the API server refused it.
    pub fn write_retried(&self, is_refused: bool) {
        let reason = if is_refused { "Refused" } else { "Failed" };
        self.retried.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// What an incident refers to could not be looked up.
    pub fn lookup_failed(&self) {
        self.failed_lookups.inc();
    }

    /// The controller opened an incident, because of `cause`.
    pub fn opened(&self, cause: &'static str) {
        self.opened.get_or_create(&CauseLabel { cause }).inc();
    }
}
