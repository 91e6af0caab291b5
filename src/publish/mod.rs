//! From custom resource to entity in Port, and from Port's answer to `status`: one pipeline for both kinds.
//!
//! | stage | module | what it does |
//! |---|---|---|
//! | read | `read` | Takes the resource from its writer, or reads it from the API server |
//! | resolve | `resolve` | Looks up what the resource refers to, such as the cause of an incident |
//! | build | `build` | Makes the entity from resource, settings and blueprint, without any I/O |
//! | write ahead | `write_ahead` | Writes into `status` which fields Port is about to get |
//! | deliver | `deliver` | Sends one entity alone, and several in bulk |
//! | report | `report` | Writes status and conditions, publishes Events, counts metrics |
//!
//! `publisher` has the queue, and calls the stages in this order. A resource that is being deleted goes to `finalizer` instead, and one that
//! can't be decoded to `unusable`.
//! What differs between the kinds is in `deployment` and `incident`, behind the trait [`Publishable`].

#[cfg(test)]
mod any_resource;
mod blueprints;
mod build;
mod condition;
mod conform;
mod context;
mod credentials_watch;
mod deliver;
mod deployment;
mod finalizer;
mod incident;
mod lead_time;
mod missing_fields;
mod publishable;
mod publisher;
mod publishing;
mod read;
mod report;
mod resolve;
pub mod templates;
mod unusable;
mod write_ahead;

pub use blueprints::{BlueprintChange, Blueprints, Wanted};
pub use build::{BuildInput, Built, Drafted, Hold, build};
pub use context::PublishContext;
pub use credentials_watch::retry_when_credentials_change;
pub use finalizer::FINALIZE_TIMEOUT;
pub use lead_time::hours;
pub use publishable::{CommonStatus, Publishable};
pub use publisher::Publisher;
pub use publishing::Publishing;
