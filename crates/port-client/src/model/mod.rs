//! What is exchanged: entities and blueprints.

pub mod blueprint;
pub mod blueprint_diff;
pub mod entity;

pub use blueprint::{Blueprint, NewBlueprint, Property, Relation, Schema};
pub use blueprint_diff::BlueprintDifference;
pub use entity::{Entity, StoredEntity, UpsertOptions, Upserted};
