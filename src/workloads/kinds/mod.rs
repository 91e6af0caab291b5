//! The kinds of workloads, one file each.

mod deployment;

use rollout::WorkloadKind;

pub use deployment::{watch_deployments, watch_replica_sets};

/// The kinds whose rollouts are recorded.
pub const RECORDED_KINDS: [WorkloadKind; 1] = [WorkloadKind::Deployment];
