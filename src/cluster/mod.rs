//! What is read of the cluster: slim types, watches, and the index of compact rows.
//!
//! Whole objects are never kept: a Deployment of 8 kB becomes a row of a few hundred bytes while it is decoded.

mod decode;
mod entry;
mod index;
mod pods;
mod selection;
mod slim;
mod template;
mod watch;

pub use decode::metadata as slim_metadata;
pub use index::{Index, Snapshot};
pub use pods::pods_of;
pub use selection::{Group, Selection};
pub use slim::{SlimDeployment, SlimNamespace, SlimReplicaSet};
pub use watch::{Synced, watch_deployments, watch_each, watch_namespaces, watch_replica_sets};
