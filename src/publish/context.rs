//! What the mapping to entities needs to know besides the resource.

use std::sync::Arc;

use super::blueprints::Blueprints;
use crate::settings::ActiveSettings;

/// What the mapping to entities needs to know besides the resource.
#[derive(Debug)]
pub struct PublishContext {
    /// The settings.
    pub settings: Arc<ActiveSettings>,
    /// The blueprints as Port has them.
    pub blueprints: Blueprints,
}

impl PublishContext {
    /// A context with these settings.
    #[must_use]
    pub fn new(settings: Arc<ActiveSettings>) -> Self {
        Self { settings, blueprints: Blueprints::default() }
    }
}
