//! What every part that writes needs.

use std::sync::Arc;

use kube::Client;

use super::{Events, Metrics};

/// What every part that writes needs: the way to the API server, and where to say what happened. Clones share it.
#[derive(Clone)]
pub struct Context {
    /// The client of the API server.
    pub client: Client,
    /// Events on the resources that they concern.
    pub events: Arc<Events>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}
