//! The clients of the API server.

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};

use crate::runtime::{ApiClientError, Metrics, WatchActivity, WatchClient, api_client};
use crate::settings::{ApiSettings, Settings};

/// The clients of the API server.
pub struct Clients {
    /// For all requests except those below.
    pub requests: Client,
    /// For the lease. Its timeout is shorter, so that a lost connection doesn't cost the lease.
    pub lease: Client,
    pub watches: WatchClient,
}

impl Clients {
    /// The clients of the API server in `config`. Nothing is sent yet.
    ///
    /// # Errors
    /// If `config` is invalid.
    pub fn new(
        config: &Config,
        settings: &Settings,
        metrics: &Arc<Metrics>,
        activity: &Arc<WatchActivity>,
    ) -> Result<Self, ApiClientError> {
        let client = |timeout| api_client(config.clone(), timeout, metrics, activity);
        let ApiSettings { timeout, watch_seconds } = settings.api;
        let requests = client(timeout)?;
        // A renewal may be tried twice before its deadline.
        let lease = client(timeout.min(renew_deadline(settings).mul_f64(0.5)))?;
        let watches =
            WatchClient::new(requests.clone(), watch_seconds.into(), Arc::clone(metrics), Arc::clone(activity));
        Ok(Self { requests, lease, watches })
    }
}

/// Time after which a leader that can't renew its lease stops.
pub fn renew_deadline(settings: &Settings) -> Duration {
    settings.replica.lease_duration.mul_f64(2.0 / 3.0)
}
