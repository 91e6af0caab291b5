//! From custom resource to Port entity, and what happened into the status: one pipeline for both kinds.

mod blueprints;
mod condition;
mod conform;
mod context;
mod credentials_watch;
mod deployment;
mod finalizer;
mod incident;
mod lead_time;
mod missing_fields;
mod pending;
mod publishable;
mod publisher;
mod publishing;
mod report;
pub mod templates;
mod write_ahead;

pub use blueprints::{BlueprintChange, Blueprints, Wanted};
pub use context::PublishContext;
pub use credentials_watch::retry_when_credentials_change;
pub use finalizer::FINALIZE_TIMEOUT;
pub use lead_time::hours;
pub use publishable::{Assessment, Mapped, Record};
pub use publisher::Publisher;
pub use publishing::Publishing;
