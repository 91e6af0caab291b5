//! One relation of a blueprint.

use serde::{Deserialize, Serialize};

/// One relation of a blueprint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// The blueprint of the related entities.
    pub target: String,
    /// Whether an entity must have the relation.
    #[serde(default)]
    pub required: bool,
    /// Whether the relation has several entities, written as an array.
    #[serde(default)]
    pub many: bool,
    /// The title that Port shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl Relation {
    /// An optional relation to one entity of a blueprint.
    pub fn to(target: impl Into<String>) -> Self {
        Self { target: target.into(), ..Self::default() }
    }

    /// Sets the title, of at most 100 characters.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Makes the relation required.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Makes it a relation to several entities.
    #[must_use]
    pub fn many(mut self) -> Self {
        self.many = true;
        self
    }
}
