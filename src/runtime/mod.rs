//! The base on which the other modules run: work queue, backoff, client of the API server, watches, readiness, metrics, Events and HTTP.

mod api;
mod backoff;
mod clock;
mod context;
mod errors;
mod events;
mod frozen;
mod http;
mod listing;
mod metrics;
mod readiness;
mod shrink;
mod watch;
mod watch_activity;
mod work_queue;

pub use api::{ApiClientError, api_client};
pub use backoff::Backoff;
pub use clock::{later, now, requeue_delay, whole_seconds};
pub use context::Context;
pub use errors::{is_namespace_gone, is_namespace_terminating};
pub use events::{Events, normal_event, warning_event};
pub use frozen::{FROZEN_AFTER, FrozenFn, FrozenPart, frozen_worker};
pub use http::{HttpError, HttpLimits, PendingFn, PendingResources, Probes, serve};
pub use listing::{ListMark, Listing};
pub use metrics::Metrics;
pub use readiness::Readiness;
pub use shrink::shrink_if_sparse;
pub use watch::{Synced, WatchClient, decoded};
pub use watch_activity::WatchActivity;
pub use work_queue::{Gate, WorkQueue};
