//! What a client tells about the requests that it sends, for metrics and logs of any kind.

use std::fmt;
use std::time::Duration;

/// The routes that the client calls; few and fixed, so that they make good metric labels.
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

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatusClass {
    /// 200 to 299.
    Success,
    /// 300 to 399, which Port does not use, and 1xx.
    Redirect,
    /// 400 to 499.
    ClientError,
    /// 500 and above.
    ServerError,
    /// No complete answer: a network error, a timeout, or an answer that ended in the middle.
    NoAnswer,
}

impl StatusClass {
    /// The class of an HTTP status.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            0..=399 => Self::Redirect,
            400..=499 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// The class as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::NoAnswer => "none",
        }
    }
}

impl fmt::Display for StatusClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Is told about each request that was sent, once it has ended, and about each time that nothing could be sent.
///
/// It is called on the task that made the request and must not block. A closure with the arguments of [`Observer::on_request`] is an
/// observer too.
pub trait Observer: Send + Sync {
    /// A request ended after `duration`, counted from sending it to the last byte of the answer; waiting for the rate limit is not part of it.
    fn on_request(&self, route: Route, status: StatusClass, duration: Duration);

    /// Port asked for a pause of all requests (429). Of a pause that is longer than the one under way, `duration` is only what it adds:
    /// the sum of all is the time paused.
    fn on_pause(&self, duration: Duration) {
        let _ = duration;
    }

    /// A request had to wait for `duration` before it was sent: for the client's own [`Limits`](crate::Limits), for its turn among the last
    /// that Port allows until the next reset, or for the end of a pause.
    fn on_wait(&self, route: Route, duration: Duration) {
        let _ = (route, duration);
    }
}

impl<F: Fn(Route, StatusClass, Duration) + Send + Sync> Observer for F {
    fn on_request(&self, route: Route, status: StatusClass, duration: Duration) {
        self(route, status, duration);
    }
}
