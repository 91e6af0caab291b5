//! Metrics of the delivery of custom resources to Port.

use std::time::Duration;

use port_client::ErrorKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{SecondsGauge, saturated};
use crate::resources::conditions::{FOREIGN_IDENTIFIER, IDENTIFIER_TAKEN, UNDECODABLE, UPDATE_REFUSED};

/// The kinds of custom resources that are delivered.
const KINDS: [&str; 2] = ["DoraDeployment", "DoraIncident"];

/// Why the controller doesn't send a resource that it was asked to send.
const REFUSAL_REASONS: [&str; 4] = [UNDECODABLE, UPDATE_REFUSED, IDENTIFIER_TAKEN, FOREIGN_IDENTIFIER];

/// The errors because of which all deliveries may wait.
const PAUSE_REASONS: [ErrorKind; 8] = [
    ErrorKind::Unreachable,
    ErrorKind::TimedOut,
    ErrorKind::Unauthorized,
    ErrorKind::WrongCredentials,
    ErrorKind::Forbidden,
    ErrorKind::RateLimited,
    ErrorKind::ServerError,
    ErrorKind::UnexpectedResponse,
];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KindLabel {
    kind: String,
}

impl KindLabel {
    fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned() }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabels {
    kind: String,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ProbeLabel {
    result: &'static str,
}

impl ProbeLabel {
    fn of(has_succeeded: bool) -> Self {
        Self { result: if has_succeeded { "succeeded" } else { "failed" } }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BlueprintLabel {
    blueprint: String,
}

/// Delivery of custom resources to Port.
#[derive(Debug, Default)]
pub struct DeliveryMetrics {
    delivered: Family<KindLabel, Counter>,
    failed: Family<ReasonLabels, Counter>,
    retried: Family<KindLabel, Counter>,
    refused: Family<ReasonLabels, Counter>,
    pending: Family<KindLabel, Gauge>,
    oldest: Family<KindLabel, SecondsGauge>,
    orphaned: Family<KindLabel, Counter>,
    missing_fields: Family<BlueprintLabel, Gauge>,
    parked: Family<KindLabel, Gauge>,
    outdated: Family<KindLabel, Gauge>,
    paused: Family<ReasonLabel, Gauge>,
    pauses: Family<ReasonLabel, Counter>,
    probes: Family<ProbeLabel, Counter>,
}

impl DeliveryMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Custom resources that Port accepted, by kind";
        registry.register("resources_delivered", help, self.delivered.clone());
        let help = "Failed attempts to deliver a custom resource, by kind and reason";
        registry.register("deliveries_failed", help, self.failed.clone());
        let help = "Attempts to deliver a custom resource after a failed attempt, by kind";
        registry.register("deliveries_retried", help, self.retried.clone());
        let help = "Versions of custom resources that the controller refuses to send, by kind and reason";
        registry.register("resources_refused", help, self.refused.clone());
        let help = "Custom resources that wait to be processed or delivered, by kind";
        registry.register("resources_pending", help, self.pending.clone());
        let help = "Seconds for which the oldest pending custom resource has waited in this process, by kind";
        registry.register("oldest_pending_seconds", help, self.oldest.clone());
        let help = "Entities that stayed in Port although their resource was deleted with the policy Delete, by kind";
        registry.register("entities_orphaned", help, self.orphaned.clone());
        let help = "Properties and relations that the blueprint doesn't define or defines with another type, and \
                    required ones that the controller can't always fill, by blueprint";
        registry.register("blueprint_missing_fields", help, self.missing_fields.clone());
        let help = "Custom resources that Port refuses and that wait until a retry of one of them succeeds, by kind";
        registry.register("resources_parked", help, self.parked.clone());
        let help = "Custom resources that the leader has not yet compared with the current settings, by kind";
        registry.register("resources_outdated", help, self.outdated.clone());
        let help = "1 while all deliveries wait because Port can't be used, by reason";
        registry.register("delivery_paused", help, self.paused.clone());
        let help = "How often all deliveries began to wait because Port can't be used, by reason";
        registry.register("delivery_pauses", help, self.pauses.clone());
        let help = "Deliveries of one resource that found out whether Port can be used again, by result";
        registry.register("delivery_probes", help, self.probes.clone());
        for result in [true, false] {
            let _ = self.probes.get_or_create(&ProbeLabel::of(result));
        }
        for reason in PAUSE_REASONS.map(ErrorKind::as_str) {
            let _ = self.pauses.get_or_create(&ReasonLabel { reason });
        }
        self.set_paused(None);
        for kind in KINDS {
            self.set_parked(kind, 0);
            self.set_outdated(kind, 0);
            for counter in [&self.delivered, &self.retried, &self.orphaned] {
                let _ = counter.get_or_create(&KindLabel::of(kind));
            }
            for reason in ErrorKind::ALL.map(ErrorKind::as_str) {
                let _ = self.failed.get_or_create(&ReasonLabels { kind: kind.to_owned(), reason });
            }
            for reason in REFUSAL_REASONS {
                let _ = self.refused.get_or_create(&ReasonLabels { kind: kind.to_owned(), reason });
            }
        }
    }

    /// Port accepted a resource of this kind.
    pub fn delivered(&self, kind: &str) {
        self.delivered.get_or_create(&KindLabel::of(kind)).inc();
    }

    /// An attempt to deliver a resource of this kind failed. `reason` is that of the [`port_client::Error`].
    pub fn failed(&self, kind: &str, reason: &'static str) {
        self.failed.get_or_create(&ReasonLabels { kind: kind.to_owned(), reason }).inc();
    }

    /// The controller tries again to deliver a resource of this kind, after a failed attempt.
    pub fn retried(&self, kind: &str) {
        self.retried.get_or_create(&KindLabel::of(kind)).inc();
    }

    /// The controller doesn't send this version of a resource of this kind. `reason` is one of [`REFUSAL_REASONS`].
    pub fn refused(&self, kind: &str, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { kind: kind.to_owned(), reason }).inc();
    }

    /// The entity of a resource of this kind stays in Port, although it should have been deleted with the resource.
    pub fn orphaned(&self, kind: &str) {
        self.orphaned.get_or_create(&KindLabel::of(kind)).inc();
    }

    /// `count` resources of this kind are pending, and the oldest has waited for `oldest`.
    pub fn set_pending(&self, kind: &str, count: usize, oldest: Duration) {
        let label = KindLabel::of(kind);
        self.pending.get_or_create(&label).set(saturated(count));
        self.oldest.get_or_create(&label).set(oldest.as_secs_f64());
    }

    /// `count` properties and relations are missing in `blueprint`, have another type there, or are required and not always filled.
    pub fn set_missing_fields(&self, blueprint: &str, count: usize) {
        let label = BlueprintLabel { blueprint: blueprint.to_owned() };
        self.missing_fields.get_or_create(&label).set(saturated(count));
    }

    /// `count` resources of this kind wait, because Port refuses them.
    pub fn set_parked(&self, kind: &str, count: usize) {
        self.parked.get_or_create(&KindLabel::of(kind)).set(saturated(count));
    }

    /// `count` resources of this kind have to be compared with the settings.
    pub fn set_outdated(&self, kind: &str, count: usize) {
        self.outdated.get_or_create(&KindLabel::of(kind)).set(saturated(count));
    }

    /// All deliveries begin to wait, for the reason of this [`port_client::Error`].
    pub fn delivery_paused(&self, reason: &'static str) {
        self.pauses.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// All deliveries wait for this reason, or don't wait any more.
    pub fn set_paused(&self, reason: Option<ErrorKind>) {
        for kind in PAUSE_REASONS {
            let label = ReasonLabel { reason: kind.as_str() };
            self.paused.get_or_create(&label).set(i64::from(reason == Some(kind)));
        }
    }

    /// A delivery found out whether Port can be used again.
    pub fn probed(&self, has_succeeded: bool) {
        self.probes.get_or_create(&ProbeLabel::of(has_succeeded)).inc();
    }
}
