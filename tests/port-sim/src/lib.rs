//! A stand-in for Port's API, for tests, the demo and the benchmark of `port-dora-controller`.
//!
//! It answers the routes that a client needs to deliver DORA metrics, as strictly as is known of Port: tokens that expire,
//! blueprints with types, enums, formats and relations, single and bulk writes of entities, search, rate limits, and Port's error bodies.
//! What is *not* known of Port is decided here and said at the place where it is.
//! On top, it can be made to fail in every way a network can, and tells every request that it got.
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
//! It holds from the start the blueprints `dora_deployment`, `dora_incident` and `group`, and of `group` the entity `all_teams`.
//! A person looks at it in a browser at [`PortSim::base_url`]; other processes use the [control API](mod@control).

#![allow(clippy::must_use_candidate, reason = "a caller may ignore whether there was something to remove")]

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

/// A blueprint that the stand-in refuses, with the message that Port would give.
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
    /// Starts to listen and serve, in a thread of its own. It is ready when this returns.
    ///
    /// # Errors
    /// When the address can't be bound, or no thread or runtime can be had.
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

    /// Where it listens: `http://127.0.0.1:<port>`, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The zero of the clock that [`Request::received_after`] is on.
    #[must_use]
    pub fn started_at(&self) -> Instant {
        self.shared.log.started()
    }

    /// The entities of a blueprint, in the order of their creation. None, if there is no such blueprint.
    #[must_use]
    pub fn entities(&self, blueprint: &str) -> Vec<Entity> {
        let catalog = self.shared.catalog.lock();
        catalog.entities_of(blueprint).into_iter().cloned().collect()
    }

    /// One entity.
    #[must_use]
    pub fn entity(&self, blueprint: &str, identifier: &str) -> Option<Entity> {
        self.shared.catalog.lock().find(blueprint, identifier).cloned()
    }

    /// Removes all entities of a blueprint, whatever relates to them.
    pub fn clear_entities(&self, blueprint: &str) {
        self.shared.catalog.lock().clear_entities(|known| known == blueprint);
    }

    /// Every request to Port's routes in the order of arrival, as far as the log reaches back.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests_after(0)
    }

    /// The requests that arrived after the one of this id.
    #[must_use]
    pub fn requests_after(&self, id: u64) -> Vec<Request> {
        self.shared.log.requests_after(id)
    }

    /// Forgets the requests. Ids go on counting.
    pub fn clear_requests(&self) {
        self.shared.log.clear();
    }

    /// Makes something go wrong from now on. Of several faults that are for a request, the one set first happens.
    ///
    /// # Errors
    /// When its regular expression, method or status is none.
    pub fn set_fault(&self, fault: Fault) -> Result<FaultId, FaultError> {
        self.shared.faults.set(fault)
    }

    /// The faults that are set, also those whose times are used up.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultState> {
        self.shared.faults.states()
    }

    /// Clears one fault. `false`, if it was cleared before.
    pub fn clear_fault(&self, id: FaultId) -> bool {
        self.shared.faults.clear_one(id)
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// The active access token is refused from now on; a new one can be had.
    pub fn revoke_tokens(&self) {
        self.shared.auth.revoke();
    }

    /// Lets in only these credentials, and refuses the token that the former ones obtained.
    pub fn set_credentials(&self, client_id: impl Into<String>, client_secret: impl Into<String>) {
        self.shared.auth.set_credentials(client_id.into(), client_secret.into());
    }

    /// Replaces the rate limits; what was used of the former ones is forgotten.
    pub fn set_rate_limits(&self, limits: RateLimits) {
        self.shared.limiters.replace(limits);
    }

    /// Adds a blueprint, or replaces one: then its entities keep what the new one still has.
    /// `blueprint` is the body of Port's `POST /v1/blueprints`.
    ///
    /// # Errors
    /// When Port would refuse it.
    pub fn create_blueprint(&self, blueprint: &Value) -> Result<(), BlueprintError> {
        control::replace_blueprint(&self.shared, blueprint).map_err(|error| BlueprintError(error.message))
    }

    /// Removes a blueprint with its entities. `false`, if there is none.
    pub fn remove_blueprint(&self, identifier: &str) -> bool {
        self.shared.catalog.lock().remove_blueprint(identifier)
    }

    /// Closes the port and all connections, so that connecting is refused, or opens the same port again.
    /// What it holds stays.
    ///
    /// # Errors
    /// When another process takes the port in the moment between closing and reserving it.
    pub async fn set_reachable(&self, reachable: bool) -> io::Result<()> {
        self.server.set_reachable(reachable).await
    }

    /// Stops: when this returns, the port is closed, and so are all connections.
    pub async fn stop(self) {
        // Waits for a thread: not for the caller's runtime to do.
        let stopped = tokio::task::spawn_blocking(move || drop(self));
        // It can only fail if the runtime itself is ending.
        let _ = stopped.await;
    }
}

fn filled_catalog() -> Result<Catalog, String> {
    let mut catalog = Catalog::default();
    for body in blueprints::preloaded() {
        let body = body.map_err(|error| error.to_string())?;
        let blueprint = Blueprint::parse(&body, entity::AUTHOR).map_err(|error| error.message)?;
        catalog.add_blueprint(blueprint).map_err(|error| error.message)?;
    }
    catalog
        .write("group", &json!({"identifier": "all_teams", "title": "All teams"}), &WriteOptions::default(), "port-sim")
        .map_err(|error| error.message)?;
    Ok(catalog)
}
