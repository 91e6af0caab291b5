//! The routes of Port's API that the client calls.

use std::fmt;

/// A route of Port's API. The set is small and fixed, so that routes can be metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    /// `POST /v1/auth/access_token`
    Token,
    /// `POST /v1/blueprints/{blueprint}/entities`
    Upsert,
    /// `POST /v1/blueprints/{blueprint}/entities/bulk`
    UpsertBulk,
    /// `GET /v1/blueprints/{blueprint}`
    GetBlueprint,
    /// `POST /v1/blueprints`
    CreateBlueprint,
    /// `GET /v1/blueprints/{blueprint}/entities/{entity}`
    GetEntity,
    /// `DELETE /v1/blueprints/{blueprint}/entities/{entity}`
    DeleteEntity,
}

impl Route {
    /// All routes, for example to register metrics in advance.
    pub const ALL: [Self; 7] = [
        Self::Token,
        Self::Upsert,
        Self::UpsertBulk,
        Self::GetBlueprint,
        Self::CreateBlueprint,
        Self::GetEntity,
        Self::DeleteEntity,
    ];

    /// The route as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Upsert => "upsert",
            Self::UpsertBulk => "upsert_bulk",
            Self::GetBlueprint => "get_blueprint",
            Self::CreateBlueprint => "create_blueprint",
            Self::GetEntity => "get_entity",
            Self::DeleteEntity => "delete_entity",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
