//! What keeps the process running well: work queue, backoff, watches, readiness, metrics, Events, HTTP.

mod backoff;
mod clock;
mod context;
mod events;
mod http;
mod listing;
mod metrics;
mod readiness;
mod watch;
mod work_queue;

pub use backoff::Backoff;
pub use clock::now;
pub use context::Context;
pub use events::Events;
pub use http::{HttpError, Pending, Waiting, serve};
pub use listing::{ListMark, Listing};
pub use metrics::Metrics;
pub use readiness::Readiness;
pub use watch::{Synced, watch_each};
pub use work_queue::WorkQueue;
