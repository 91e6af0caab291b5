//! From custom resource to entity in Port, and from Port's answer to `status`: one pipeline for both kinds.
//!
//! | stage | module | what it does |
//! |---|---|---|
//! | read | `read` | Takes the resource from its writer, or reads it from the API server |
//! | resolve | `resolve` | Checks who owns the identifier, and looks up what the resource refers to, such as the cause of an incident |
//! | build | `build` | Makes the entity from resource, settings and blueprint, without any I/O |
//! | write ahead | `write_ahead` | Writes into `status` which fields Port is about to get |
//! | deliver | `deliver` | Sends one entity alone, and several in bulk |
//! | report | `report` | Writes status and conditions, publishes Events, counts metrics |
//!
//! `publisher` has the queue, and calls the stages in this order. A resource that is being deleted goes to `finalizer` instead, whose queues
//! are in `deletions`, and one that can't be decoded to `unusable`. `claims` knows which resource owns which identifier, and `metadata`
//! writes finalizers and annotations. `feed` takes in what the watches see, and `retry` decides when a resource is tried again. Three
//! mechanisms keep the number of attempts small: `gate` while Port can't be used, `parking` for what Port refuses, and `outdated` after a
//! change of the settings.
//!
//! What differs between the kinds is in `deployment` and `incident`, behind the trait [`Publishable`].

#[cfg(test)]
mod any_resource;
mod blueprints;
mod build;
mod claims;
mod condition;
mod conform;
mod context;
mod credentials_watch;
mod deletions;
mod deliver;
mod deployment;
mod feed;
mod finalizer;
mod gate;
mod incident;
mod lead_time;
mod metadata;
mod missing_fields;
mod outdated;
mod parking;
mod publishable;
mod publisher;
mod publishing;
mod read;
mod report;
mod resolve;
mod retry;
mod settings_mark;
pub mod templates;
mod unusable;
mod write_ahead;

pub use blueprints::{BlueprintChange, Blueprints, Wanted};
pub use build::{BuildInput, Built, Drafted, Hold, build};
pub use claims::{Claimant, IdentifierClaims, PublishedKind, Refusal};
pub use context::PublishContext;
pub use credentials_watch::retry_when_credentials_change;
pub use deletions::{Deletions, FINALIZE_TIMEOUT};
pub use gate::{Pause, PortGate};
pub use lead_time::hours;
pub use publishable::{BackupAnnotations, CommonStatus, Publishable};
pub use publisher::Publisher;
pub use publishing::Publishing;
