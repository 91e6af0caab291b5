//! A stand-in for Port's API, for tests, the demo and the benchmark of `port-dora-controller`.
//!
//! It implements the routes that a client needs to deliver DORA metrics, as strictly as Port is known to be: tokens
//! that expire, blueprints with types, enums, formats and relations, single and bulk writes of entities, search, rate
//! limits, and error bodies. Comments in the code name the behaviour that Port doesn't document. It can also simulate
//! failures of Port and of the network, and it logs all requests.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use port_sim::{Effect, Fault, Options, PortSim};
//!
//! let port = PortSim::start(Options::default())?;
//! port.set_fault(Fault::new(Effect::status(503)).path_prefix("/v1/blueprints/").times(1))
//!     .map_err(std::io::Error::other)?;
//! println!("deliver to {}", port.base_url());
//! // …
//! for deployment in port.entities("dora_deployment") {
//!     println!("{}: {}", deployment.identifier, deployment.properties["status"]);
//! }
//! port.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! At the start, it has the blueprints `dora_deployment`, `dora_incident` and `group`, and the entity `all_teams` of
//! `group`. [`PortSim::base_url`] is a page for browsers. Other processes use the [control API](mod@control).

#![allow(clippy::must_use_candidate, reason = "a caller may ignore whether something was removed")]

mod auth;
mod blueprints;
mod catalog;
pub mod control;
mod entity;
mod entity_routes;
mod errors;
mod faults;
mod options;
mod page;
mod pipeline;
mod rate_limit;
mod relations;
mod request_log;
mod search;
mod seconds;
mod server;
mod validation;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

pub use entity::Entity;
pub use faults::{Effect, Fault, FaultError, FaultId, FaultState};
pub use options::Options;
pub use rate_limit::{Limit, RateLimits, ResetFormat};
pub use request_log::Request;

use auth::Auth;
use blueprints::Blueprint;
use catalog::{Catalog, WriteOptions};
use parking_lot::Mutex;
use server::{Server, Shared};

/// Why the stand-in refuses a blueprint, with the message of Port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BlueprintError(String);

/// A running stand-in for Port. It stops when it is dropped.
#[derive(Debug)]
pub struct PortSim {
    shared: Arc<Shared>,
    server: Server,
}

impl PortSim {
    /// Starts the server in a thread of its own. It is ready when this returns.
    ///
    /// # Errors
    /// When the address can't be bound, or the thread or its runtime can't be created.
    pub fn start(options: Options) -> io::Result<Self> {
        let Options { listen, client_id, client_secret, token_lifetime, rate_limits, request_log_capacity } = options;
        let shared = Arc::new(Shared {
            schemas: validation::RouteSchemas::compile()?,
            auth: Auth::new(client_id, client_secret, token_lifetime),
            catalog: Mutex::new(filled_catalog().map_err(io::Error::other)?),
            faults: faults::Faults::default(),
            limiters: rate_limit::RateLimiters::new(rate_limits),
            log: request_log::RequestLog::new(request_log_capacity),
        });
        let server = Server::start(listen, server::router(Arc::clone(&shared)))?;
        Ok(Self { shared, server })
    }

    /// The base URL: `http://127.0.0.1:<port>`, without a trailing slash.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// The address of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The start of the clock of [`Request::received_after`].
    #[must_use]
    pub fn started_at(&self) -> Instant {
        self.shared.log.started()
    }

    /// The entities of a blueprint, in the order of their creation. Empty if the blueprint doesn't exist.
    #[must_use]
    pub fn entities(&self, blueprint: &str) -> Vec<Entity> {
        let catalog = self.shared.catalog.lock();
        catalog.entities_of(blueprint).into_iter().cloned().collect()
    }

    /// An entity, or `None` if it doesn't exist.
    #[must_use]
    pub fn entity(&self, blueprint: &str, identifier: &str) -> Option<Entity> {
        self.shared.catalog.lock().find(blueprint, identifier).cloned()
    }

    /// Removes all entities of a blueprint, even if others relate to them.
    pub fn clear_entities(&self, blueprint: &str) {
        self.shared.catalog.lock().clear_entities(|known| known == blueprint);
    }

    /// All requests to the routes of Port in the log, in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests_after(0)
    }

    /// The requests that arrived after the one with this id.
    #[must_use]
    pub fn requests_after(&self, id: u64) -> Vec<Request> {
        self.shared.log.requests_after(id)
    }

    /// Clears the request log. Ids continue to increase.
    pub fn clear_requests(&self) {
        self.shared.log.clear();
    }

    /// Sets a fault. If several faults apply to a request, the first one that was set is used.
    ///
    /// # Errors
    /// When the regular expression, the method or the status of the fault is invalid.
    pub fn set_fault(&self, fault: Fault) -> Result<FaultId, FaultError> {
        self.shared.faults.set(fault)
    }

    /// The active faults, including those that have reached their number of requests.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultState> {
        self.shared.faults.states()
    }

    /// Clears one fault. Returns false if it doesn't exist any more.
    pub fn clear_fault(&self, id: FaultId) -> bool {
        self.shared.faults.clear_one(id)
    }

    /// Clears all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Revokes the active access token. Clients can obtain a new one.
    pub fn revoke_tokens(&self) {
        self.shared.auth.revoke();
    }

    /// Replaces the accepted credentials, and revokes the token of the old ones.
    pub fn set_credentials(&self, client_id: impl Into<String>, client_secret: impl Into<String>) {
        self.shared.auth.set_credentials(client_id.into(), client_secret.into());
    }

    /// Replaces the rate limits, and resets their counters.
    pub fn set_rate_limits(&self, limits: RateLimits) {
        self.shared.limiters.replace(limits);
    }

    /// Adds or replaces a blueprint. Entities keep the properties and relations that the new blueprint defines.
    /// `blueprint` is the body of `POST /v1/blueprints`.
    ///
    /// # Errors
    /// When Port would refuse the blueprint.
    pub fn create_blueprint(&self, blueprint: &Value) -> Result<(), BlueprintError> {
        control::replace_blueprint(&self.shared, blueprint).map_err(|error| BlueprintError(error.message))
    }

    /// Removes a blueprint with its entities. Returns false if it doesn't exist.
    pub fn remove_blueprint(&self, identifier: &str) -> bool {
        self.shared.catalog.lock().remove_blueprint(identifier)
    }

    /// Closes the port and all connections, so that new connections are refused, or opens the same port again.
    /// Blueprints and entities are kept.
    ///
    /// # Errors
    /// When another process takes the port between closing and reserving it.
    pub async fn set_reachable(&self, reachable: bool) -> io::Result<()> {
        self.server.set_reachable(reachable).await
    }

    /// Stops the server. The port and all connections are closed when this returns.
    pub async fn stop(self) {
        // The drop waits for a thread, which must not block the runtime of the caller.
        let stopped = tokio::task::spawn_blocking(move || drop(self));
        // An error means that the runtime is shutting down.
        let _ = stopped.await;
    }
}

fn filled_catalog() -> Result<Catalog, BlueprintError> {
    let mut catalog = Catalog::default();
    for body in blueprints::preloaded() {
        let body = body.map_err(|error| BlueprintError(error.to_string()))?;
        let blueprint = Blueprint::parse(&body, entity::AUTHOR).map_err(|error| BlueprintError(error.message))?;
        catalog.add_blueprint(blueprint).map_err(|error| BlueprintError(error.message))?;
    }
    catalog
        .write("group", &json!({"identifier": "all_teams", "title": "All teams"}), &WriteOptions::default(), "port-sim")
        .map_err(|error| BlueprintError(error.message))?;
    Ok(catalog)
}
