//! Metrics of what the controller writes to the cluster.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rollout::Outcome;

/// The statuses of a notification from Alertmanager.
const ALERT_STATUSES: [&str; 2] = ["firing", "resolved"];

/// The results of a notification from Alertmanager.
const ALERT_RESULTS: [&str; 4] = ["stored", "unchanged", "refused", "failed"];

/// Why a rollout is not recorded.
const DROP_REASONS: [&str; 3] = ["TooManyRevisions", "NamespaceDeleted", "NameTaken"];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AlertLabels {
    status: &'static str,
    result: &'static str,
}

/// What the controller writes to the cluster.
#[derive(Debug, Default)]
pub struct RecordMetrics {
    rollouts: Family<OutcomeLabel, Counter>,
    dropped: Family<ReasonLabel, Counter>,
    alerts: Family<AlertLabels, Counter>,
}

impl RecordMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Writes of rollout records, by the outcome after the write";
        registry.register("rollouts_recorded", help, self.rollouts.clone());
        let help = "Rollouts that the controller observed and could not record, by reason";
        registry.register("rollouts_dropped", help, self.dropped.clone());
        let help = "Notifications from Alertmanager, by status and result";
        registry.register("alerts_received", help, self.alerts.clone());
        for outcome in Outcome::ALL {
            let _ = self.rollouts.get_or_create(&OutcomeLabel { outcome: outcome.as_str() });
        }
        for reason in DROP_REASONS {
            let _ = self.dropped.get_or_create(&ReasonLabel { reason });
        }
        for status in ALERT_STATUSES {
            for result in ALERT_RESULTS {
                let _ = self.alerts.get_or_create(&AlertLabels { status, result });
            }
        }
    }

    /// The controller wrote the record of a rollout, which now has `outcome`.
    pub fn rollout_recorded(&self, outcome: Outcome) {
        self.rollouts.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }

    /// The controller observed a rollout that it can't record any more. `reason` is `TooManyRevisions`, `NamespaceDeleted` or `NameTaken`.
    pub fn dropped(&self, reason: &'static str) {
        self.dropped.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Alertmanager sent a notification. `result` is `stored`, `unchanged`, `refused` or `failed`.
    pub fn alert_received(&self, status: &'static str, result: &'static str) {
        self.alerts.get_or_create(&AlertLabels { status, result }).inc();
    }
}
