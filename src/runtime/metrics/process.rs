//! Metrics of the process itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::saturated;

/// The parts of the process that may freeze.
pub const PARTS: [&str; 6] =
    ["recorder", "automatic_incidents", "deployment_publisher", "incident_publisher", "deletions", "watch"];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct PartLabel {
    part: &'static str,
}

/// The process itself.
#[derive(Debug, Default)]
pub struct ProcessMetrics {
    leader: Gauge,
    conflicting_installations: Gauge,
    workloads: Gauge,
    revisions: Gauge,
    frozen: Family<PartLabel, Gauge>,
}

impl ProcessMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "1 if this replica is the leader and writes, otherwise 0";
        registry.register("leader", help, self.leader.clone());
        let help =
            "1 if this installation writes nothing because another one in the cluster was there first, otherwise 0";
        registry.register("conflicting_installations", help, self.conflicting_installations.clone());
        let help = "Workloads in the index";
        registry.register("indexed_workloads", help, self.workloads.clone());
        let help = "Revisions of workloads in the index, such as ReplicaSets of Deployments";
        registry.register("indexed_revisions", help, self.revisions.clone());
        let help = "Parts of the process that make no progress, by part";
        registry.register("frozen_parts", help, self.frozen.clone());
        for part in PARTS {
            let _ = self.frozen.get_or_create(&PartLabel { part });
        }
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the controller", version);
    }

    /// The index contains this many objects.
    pub fn set_indexed(&self, workloads: usize, revisions: usize) {
        self.workloads.set(saturated(workloads));
        self.revisions.set(saturated(revisions));
    }

    /// `count` parts with this name make no progress.
    pub fn set_frozen(&self, part: &'static str, count: usize) {
        self.frozen.get_or_create(&PartLabel { part }).set(saturated(count));
    }

    /// Whether this replica is the leader.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    /// Whether another installation in the cluster was there first, so that this one writes nothing.
    pub fn set_conflicting_installations(&self, is_second: bool) {
        self.conflicting_installations.set(i64::from(is_second));
    }
}
