//! The options and the result of a write.

/// How entities are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpsertOptions {
    /// Whether to change only the given fields and keep all others, such as those that people filled in (default: yes). Otherwise an
    /// existing entity is replaced.
    pub merge: bool,
    /// Whether Port creates related entities that do not exist, instead of responding with 404 (default: no).
    pub create_missing_related_entities: bool,
    /// Whether Port only validates the request and stores nothing (default: no).
    pub validation_only: bool,
}

impl Default for UpsertOptions {
    fn default() -> Self {
        Self { merge: true, create_missing_related_entities: false, validation_only: false }
    }
}

impl UpsertOptions {
    /// The query parameters. `upsert` is always set, so that it is harmless to write the same entity twice.
    pub(crate) fn query(self) -> Vec<(&'static str, &'static str)> {
        let Self { merge, create_missing_related_entities, validation_only } = self;
        let mut query = vec![("upsert", "true"), ("merge", if merge { "true" } else { "false" })];
        if create_missing_related_entities {
            query.push(("create_missing_related_entities", "true"));
        }
        if validation_only {
            query.push(("validation_only", "true"));
        }
        query
    }
}

/// The result of a successful write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upserted {
    /// The identifier of the entity in Port.
    pub identifier: String,
    /// Whether the entity is new. Port reports this for bulk writes only.
    pub created: Option<bool>,
    /// Port's trace id of the request, by which its support finds it.
    pub trace_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_merge_by_default() {
        assert_eq!(UpsertOptions::default().query(), [("upsert", "true"), ("merge", "true")]);
        let all = UpsertOptions { merge: false, create_missing_related_entities: true, validation_only: true };
        assert_eq!(
            all.query(),
            [
                ("upsert", "true"),
                ("merge", "false"),
                ("create_missing_related_entities", "true"),
                ("validation_only", "true")
            ]
        );
    }
}
