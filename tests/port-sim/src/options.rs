//! The options of a stand-in.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::rate_limit::RateLimits;

/// The options of a [`PortSim`](crate::PortSim).
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on. Default: a free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// The accepted client ID. Default: `demo-id`.
    pub client_id: String,
    /// The accepted client secret. Default: `demo-secret`.
    pub client_secret: String,
    /// The lifetime of an access token. Default: 3 hours, as in Port.
    pub token_lifetime: Duration,
    /// The rate limits. Default: the limits that Port documents.
    pub rate_limits: RateLimits,
    /// The number of requests in the log. The oldest requests are removed first. Default: 200,000.
    pub request_log_capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            client_id: "demo-id".to_owned(),
            client_secret: "demo-secret".to_owned(),
            token_lifetime: Duration::from_hours(3),
            rate_limits: RateLimits::default(),
            request_log_capacity: 200_000,
        }
    }
}
