//! The base on which the other modules run: work queue, backoff, watches, readiness, metrics, Events and HTTP.

mod backoff;
mod clock;
mod context;
mod errors;
mod events;
mod http;
mod listing;
mod metrics;
mod readiness;
mod watch;
mod work_queue;

pub use backoff::Backoff;
pub use clock::{now, requeue_delay, whole_seconds};
pub use context::Context;
pub use errors::{is_namespace_gone, is_namespace_terminating};
pub use events::{Events, normal_event, warning_event};
pub use http::{HttpError, PendingFn, PendingResources, serve};
pub use listing::{ListMark, Listing};
pub use metrics::Metrics;
pub use readiness::Readiness;
pub use watch::{Synced, decoded, watch_each};
pub use work_queue::{Gate, WorkQueue};
