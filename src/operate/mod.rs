//! What keeps the process running well: work queue, waits, health, metrics, Events.

mod events;
mod gates;
mod http;
mod metrics;
mod tools;
mod waits;
mod work_queue;

pub use events::Events;
pub use gates::Gates;
pub use http::{HttpError, Pending, Waiting, serve};
pub use metrics::Metrics;
pub use tools::Tools;
pub use waits::Waits;
pub use work_queue::WorkQueue;
