//! How a stand-in is started.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::rate_limit::RateLimits;

/// How a [`PortSim`](crate::PortSim) is started. Start from `Options::default()`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. The default is a free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// The only client identifier that is let in. Default `demo-id`.
    pub client_id: String,
    /// The secret that belongs to it. Default `demo-secret`.
    pub client_secret: String,
    /// How long an access token lives. Port's lives 3 hours, which is the default.
    pub token_lifetime: Duration,
    /// What Port lets through in five minutes. The default is what Port documents.
    pub rate_limits: RateLimits,
    /// How many requests are kept for reading back; the oldest are forgotten first. Default 200,000.
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
