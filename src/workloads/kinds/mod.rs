//! The kinds of workloads, one file each.

mod deployment;

pub use deployment::{watch_deployments, watch_replica_sets};
