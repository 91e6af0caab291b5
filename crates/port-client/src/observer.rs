//! A hook for metrics and logs.

use std::time::Duration;

use crate::http::{Route, StatusClass};

/// Observes the requests of a client, for metrics and logs.
///
/// The client calls it on the task that made the request, so it must not block. A closure with the arguments of [`Observer::on_request`]
/// is an observer too.
pub trait Observer: Send + Sync {
    /// A request ended after `duration`, counted from the start of the request to the last byte of the response. Waiting for the rate
    /// limit is not included.
    fn on_request(&self, route: Route, status: StatusClass, duration: Duration);

    /// Port asked to pause all requests (429). If a pause extends an earlier one, `duration` is only the difference, so that the sum of
    /// all calls is the time paused.
    fn on_pause(&self, duration: Duration) {
        let _ = duration;
    }

    /// A request waited for `duration` before it was sent: for the client's own [`Limits`](crate::Limits), for its share of the requests
    /// that Port still allows in this window, or for the end of a pause.
    fn on_wait(&self, route: Route, duration: Duration) {
        let _ = (route, duration);
    }
}

impl<F: Fn(Route, StatusClass, Duration) + Send + Sync> Observer for F {
    fn on_request(&self, route: Route, status: StatusClass, duration: Duration) {
        self(route, status, duration);
    }
}
