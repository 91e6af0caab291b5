//! The workloads of the cluster: slim types, watches, and the index that they feed.
//!
//! Whole objects are never stored. A Deployment of 8 kB becomes a few hundred bytes while it is decoded.

mod entry;
mod index;
mod kinds;
mod namespaces;
mod object;
mod pods;
mod selection;
mod template;
mod watch;

pub use index::{Index, NamespaceState, Snapshot};
pub use kinds::{supported_kinds, unavailable_message};
pub use object::{WorkloadObject, workload_exists};
pub use pods::pods_of_revision;
pub use selection::{
    NamespacePattern, NamespacePatternError, Selection, WorkloadLabels, WorkloadLabelsError, WorkloadSelector,
};
pub use watch::{Watch, WatchContext, watch_all, watches};
