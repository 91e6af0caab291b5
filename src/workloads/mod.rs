//! What is read of the cluster: slim types, watches, and the index of compact rows.
//!
//! Whole objects are never kept: a Deployment of 8 kB becomes a row of a few hundred bytes while it is decoded.

mod entry;
mod index;
mod kinds;
mod namespaces;
mod pods;
mod selection;
mod template;

pub use index::{Index, Snapshot};
pub use kinds::{RECORDED_KINDS, watch_deployments, watch_replica_sets};
pub use namespaces::watch_namespaces;
pub use pods::pods_of;
pub use selection::{Group, Selection};
