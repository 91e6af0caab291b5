//! The clients that every part of the controller shares.

use std::sync::Arc;

use kube::Client;

use super::{Events, Metrics};

/// Access to the API server, Events and metrics, for every part of the controller that writes. Clones share them.
#[derive(Clone)]
pub struct Context {
    /// The client of the API server.
    pub client: Client,
    /// Publishes Events.
    pub events: Arc<Events>,
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
}
