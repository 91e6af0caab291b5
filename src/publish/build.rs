//! Stage `build`: from a resource, the settings and the blueprint to the entity. Pure.

use jiff::Timestamp;
use port_client::{Blueprint, Entity};
use serde_json::{Map, Value};

use super::Publishable;
use super::blueprints::Wanted;
use super::conform::{Conformed, Draft, conform};
use crate::resources::digest;
use crate::settings::ActiveSettings;

/// What an entity is built from, besides the resource.
#[derive(Clone, Copy, Debug)]
pub struct BuildInput<'a> {
    /// The settings.
    pub settings: &'a ActiveSettings,
    /// The blueprint of the entity; `None` if it can't be read.
    pub blueprint: Option<&'a Blueprint>,
    /// The current time.
    pub now: Timestamp,
}

/// Why a resource is not sent to Port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hold {
    /// Reason for the condition `Synced`, one of [`HELD_REASONS`](crate::resources::conditions::HELD_REASONS) or
    /// [`REFUSED_REASONS`](crate::resources::conditions::REFUSED_REASONS).
    pub reason: &'static str,
    /// The message of the condition.
    pub message: String,
    /// The parts of the resource that can't be used, a sentence for each.
    pub warnings: Vec<String>,
}

/// An entity before it is adapted to its blueprint.
#[derive(Clone, Debug, PartialEq)]
pub struct Drafted {
    /// The entity, under the names of Port's DORA blueprints.
    pub draft: Draft,
    /// The parts of the resource that can't be used, a sentence for each.
    pub warnings: Vec<String>,
}

/// An entity that is ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The entity.
    pub entity: Entity,
    /// Digest of the entity and of its blueprint's identifier: it changes when the entity has to be sent again.
    pub digest: String,
    /// The parts of the resource that can't be used, a sentence for each.
    pub warnings: Vec<String>,
}

/// The entity of `resource`.
#[must_use]
pub fn build<R: Publishable>(resource: &R, input: &BuildInput<'_>) -> Built {
    let Wanted { identifier, naming, vocabulary: _ } = R::blueprint(&input.settings.file);
    let Drafted { draft, mut warnings } = resource.draft(input);
    let Conformed { entity, warnings: of_blueprint } = conform(draft, naming, input.blueprint);
    warnings.extend(of_blueprint);
    Built { digest: digest(&(identifier, &entity)), entity, warnings }
}

/// A time as Port's documentation writes it: RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn port_time(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// The fields that have a value.
#[must_use]
pub fn fields<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
