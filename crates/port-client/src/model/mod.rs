//! The resources of Port: entities and blueprints.

mod blueprint;
mod blueprint_diff;
mod conform;
mod entity;
mod expected_fields;
mod new_blueprint;
mod property;
mod relation;
mod upsert;

pub use blueprint::{Blueprint, Schema};
pub use blueprint_diff::BlueprintDifference;
pub use conform::ConformError;
pub use entity::{Entity, StoredEntity};
pub use expected_fields::{ExpectedFields, Sent};
pub use new_blueprint::NewBlueprint;
pub use property::Property;
pub use relation::Relation;
pub use upsert::{UpsertOptions, Upserted};
