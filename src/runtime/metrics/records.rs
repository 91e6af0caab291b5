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

/// Why rollouts are not recorded.
const DROP_REASONS: [&str; 3] = ["TooManyRevisions", "NamespaceDeleted", "NameTaken"];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AlertLabels {
    status: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DropLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ExpiryLabel {
    delivered: &'static str,
}

impl ExpiryLabel {
    fn new(is_delivered: bool) -> Self {
        Self { delivered: if is_delivered { "true" } else { "false" } }
    }
}

/// What the controller writes to the cluster.
#[derive(Debug, Default)]
pub struct RecordMetrics {
    rollouts: Family<OutcomeLabel, Counter>,
    dropped: Family<DropLabel, Counter>,
    retried: Counter,
    expired: Family<ExpiryLabel, Counter>,
    alerts: Family<AlertLabels, Counter>,
}

impl RecordMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Writes of rollout records, by the outcome after the write";
        registry.register("rollouts_recorded", help, self.rollouts.clone());
        let help = "Rollouts that the controller didn't record, by reason";
        registry.register("rollouts_dropped", help, self.dropped.clone());
        let help = "Writes and deletions of records that failed, or came too late, and are tried again";
        registry.register("record_writes_retried", help, self.retried.clone());
        let help = "Records that the controller deleted at the end of their retention, by whether they were delivered";
        registry.register("records_expired", help, self.expired.clone());
        let help = "Notifications from Alertmanager, by status and result";
        registry.register("alerts_received", help, self.alerts.clone());
        for outcome in Outcome::ALL {
            let _ = self.rollouts.get_or_create(&OutcomeLabel { outcome: outcome.as_str() });
        }
        for reason in DROP_REASONS {
            let _ = self.dropped.get_or_create(&DropLabel { reason });
        }
        for is_delivered in [true, false] {
            let _ = self.expired.get_or_create(&ExpiryLabel::new(is_delivered));
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

    /// The controller did not record a rollout. `reason` is `TooManyRevisions`, `NamespaceDeleted` or `NameTaken`.
    pub fn dropped(&self, reason: &'static str) {
        self.dropped.get_or_create(&DropLabel { reason }).inc();
    }

    /// A write or a deletion of a record failed, or somebody else was faster. It is tried again.
    pub fn write_retried(&self) {
        self.retried.inc();
    }

    /// The controller deleted a record at the end of its retention. `is_delivered` is whether nothing was left to deliver.
    pub fn expired(&self, is_delivered: bool) {
        self.expired.get_or_create(&ExpiryLabel::new(is_delivered)).inc();
    }

    /// Alertmanager sent a notification. `result` is `stored`, `unchanged`, `refused` or `failed`.
    pub fn alert_received(&self, status: &'static str, result: &'static str) {
        self.alerts.get_or_create(&AlertLabels { status, result }).inc();
    }
}
