//! A client for the API of Port, the developer portal: entities, blueprints, one access token and one budget.
//!
//! It knows nothing of Kubernetes and can be used by anybody who writes to Port:
//!
//! ```no_run
//! use port_client::{
//!     Client, ClientOptions, CredentialSource, DEFAULT_BASE_URL, Entity, UpsertOptions,
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(ClientOptions::new(
//!     DEFAULT_BASE_URL.parse()?,
//!     CredentialSource::files("/etc/port/client-id", "/etc/port/client-secret"),
//!     "my-deployment-reporter/1.0",
//! ))?;
//!
//! let deployment = Entity::new("checkout-42")
//!     .with_title("Checkout 42")
//!     .with_property("deployment_time", "2025-01-01T00:00:00.000Z")
//!     .with_property("environment", "production")
//!     .with_property("status", "success")
//!     .with_relation("group", "all_teams");
//!
//! match client.upsert("dora_deployment", &deployment, UpsertOptions::default()).await {
//!     Ok(stored) => println!("stored as {}", stored.identifier),
//!     Err(error) if error.is_temporary() => eprintln!("try again later: {error}"),
//!     Err(error) => eprintln!("{error}. {}", error.advice().unwrap_or_default()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `examples/port_client.rs` is a whole program: it reads the blueprint, sends what fits it, and tries again while that helps.
//!
//! # What it does for its user
//! - **Token.** Requested when it is first needed, shared by all calls and clones, renewed before it expires and once after a 401; while Port
//!   accepts not even a new one, none is asked for more than once a minute. Credentials from files are read anew for each call, so that they
//!   can be rotated, or set for the first time, without a restart.
//! - **Errors.** Each answer of Port is an [`Error`] variant of its own, with Port's code, message and trace id; [`Error::kind`] is a short
//!   label, [`Error::is_temporary`] says whether waiting helps, [`Error::advice`] what a person does about it, [`Error::missing`] what it is
//!   that does not exist. No text or `Debug` output contains the client secret or the token, even if what answers repeats them.
//! - **Budget.** All clones stay below the limits that Port publishes ([`Limits`]). When little is left of one, because others use it as well,
//!   the rest is spread over the time until the reset, so that Port need not refuse anything. None sends anything during the pause that a 429
//!   asks for.
//! - **Bulk.** [`Client::upsert_bulk`] has a result for each entity, also if they are too large together or one spoils the whole request.
//! - **Blueprints.** [`Client::get_blueprint`] reads one, [`Blueprint::differences`] says how it differs from what is expected, [`Property::fitting`]
//!   writes a value as the blueprint does, and [`Client::create_blueprint`] makes one and never changes one.
//! - **Bounds.** Each request has a timeout, and no answer takes more than [`MAX_ANSWER_BYTES`] of memory.
//! - **Metrics.** An [`Observer`] is told of each request, each pause and each wait.
//!
//! What it leaves to its user is when to try again.
//!
//! # TLS and proxies
//! TLS is rustls with ring, which the client names itself: no process-wide provider has to be installed. The trusted roots are Mozilla's,
//! compiled in (`webpki-roots`), so that it works in an image without any certificates, and those of the file
//! [`ClientOptions::extra_ca`], such as that of a proxy that decrypts. `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are honoured,
//! except for hosts on this machine. Plain `http` is refused except for these, or with [`BaseUrl::parse_allowing_http`]. Redirects are not
//! followed, since they would carry the credentials along.

mod auth;
mod base_url;
mod client;
mod error;
mod http;
mod model;
mod observer;
mod options;
mod rate_limit;

pub use auth::{CredentialError, CredentialSource, CredentialValue, Credentials};
pub use base_url::{BaseUrl, BaseUrlError, DEFAULT_BASE_URL};
pub use client::{BlueprintCreation, Client};
pub use error::{Answer, Error, Kind, Missing, TransportProblem};
pub use http::{MAX_ANSWER_BYTES, MAX_BODY_BYTES, MAX_BULK_ENTITIES};
pub use model::{
    Blueprint, BlueprintDifference, Entity, NewBlueprint, Property, Relation, Schema, StoredEntity, UpsertOptions,
    Upserted,
};
pub use observer::{Observer, Route, StatusClass};
pub use options::{ClientOptions, OptionsError};
pub use rate_limit::{DEFAULT_PAUSE, LONGEST_PAUSE, Limit, Limits, RATE_LIMIT_PERIOD};
