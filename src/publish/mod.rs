//! From custom resource to Port entity, and what happened into the status: one loop for both kinds.

mod announce;
mod backlog;
mod blueprints;
mod condition;
mod context;
mod credentials;
mod deployment;
mod digest;
mod finalizer;
mod fit;
mod incident;
mod lookup;
pub mod new_blueprints;
mod publisher;
mod record;
mod settle;

pub use backlog::{SlimDoraDeployment, SlimDoraIncident, SlimIncidentSpec, SlimSpec, readable, watch_incidents};
pub use blueprints::{Blueprints, Change as BlueprintChange, Wanted};
pub use context::Context;
pub use credentials::hasten_when_credentials_change;
pub use digest::digest;
pub use finalizer::LONGEST_FAREWELL;
pub use lookup::{LookedUp, Surroundings};
pub use publisher::{Key, Publisher};
pub use record::{Assessment, Mapped, Record};
