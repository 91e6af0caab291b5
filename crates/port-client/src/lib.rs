//! A client for the API of [Port](https://www.port.io), the developer portal. It writes, reads and deletes entities, and reads and creates
//! blueprints.
//!
//! ```no_run
//! use port_client::{Client, ClientOptions, CredentialSource, DEFAULT_BASE_URL, Entity, UpsertOptions};
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
//!     Ok(upserted) => println!("stored as {}", upserted.identifier),
//!     Err(error) if error.is_temporary() => eprintln!("try again later: {error}"),
//!     Err(error) => eprintln!("{error}. {}", error.advice().unwrap_or_default()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The example `port_client` is a whole program: it reads the blueprint, sends the properties that the blueprint defines, and retries
//! temporary errors.
//!
//! # Features
//! - **Access token.** The client requests a token when it first needs one, and shares it between all calls and clones. It renews the token
//!   before it expires, and once after a 401. If Port rejects even a new token, the client requests at most one per minute. It reads
//!   credential files again for each call, so that credentials can be rotated, or set for the first time, without a restart.
//! - **Errors.** Each kind of response is a variant of [`Error`], with Port's code, message and trace id. [`Error::kind`] is a short label,
//!   [`Error::is_temporary`] tells whether a retry can help, [`Error::advice`] says what a person can do, and [`Error::missing_resource`]
//!   names the resource that does not exist. No text and no `Debug` output contains the client secret or the token, even if a response
//!   repeats them.
//! - **Rate limits.** All clones together stay below the limits that Port publishes ([`Limits`]). When few requests remain, because other
//!   clients use the same limit, the client spreads them over the time until the reset, so that Port does not have to refuse any. After a
//!   429, all clones pause as long as Port asks for.
//! - **Bulk writes.** [`Client::upsert_bulk`] returns a result for each entity, even if the entities are too large for one request, or one
//!   of them makes Port refuse the whole request.
//! - **Blueprints.** [`Client::get_blueprint`] reads a blueprint, [`Blueprint::differences`] compares it with the fields that a writer sends,
//!   [`Property::conform`] converts a value to the type and the allowed values of a property, and [`Client::create_blueprint`] creates a blueprint but never changes one.
//! - **Bounded resources.** Each request has a timeout, and a response takes at most [`MAX_RESPONSE_BYTES`] of memory.
//! - **Metrics.** An [`Observer`] is called for each request, each pause and each wait.
//!
//! The client does not retry failed requests: when to retry is up to the caller.
//!
//! # TLS and proxies
//! TLS is rustls with ring; the process does not have to install a provider. The client trusts Mozilla's root certificates, which are
//! compiled in (`webpki-roots`), so it works in a container image without certificates. It also trusts the certificates in the file
//! [`ClientOptions::extra_ca`], for example those of a proxy that decrypts the traffic.
//!
//! The client uses the proxy in `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, except for the hosts in `NO_PROXY` and for loopback hosts. It
//! refuses plain `http`, except for loopback hosts or with [`BaseUrl::parse_allowing_http`]. It does not follow redirects, since they would
//! send the credentials to another address.

// Times and durations panic when they overflow: use `checked_*` and `saturating_*`. clippy.toml allows numbers.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod auth;
mod base_url;
mod client;
mod error;
mod http;
mod instant;
mod model;
mod observer;
mod options;
mod rate_limit;

pub use auth::{CredentialError, CredentialSource, CredentialValue, Credentials};
pub use base_url::{BaseUrl, BaseUrlError, DEFAULT_BASE_URL};
pub use client::{BlueprintCreation, Client};
pub use error::{Error, ErrorKind, ErrorResponse, MissingResource, TransportProblem};
pub use http::{CaFileError, MAX_BODY_BYTES, MAX_BULK_ENTITIES, MAX_RESPONSE_BYTES, Route, StatusClass};
pub use model::{
    Blueprint, BlueprintDifference, ConformError, Entity, ExpectedFields, NewBlueprint, Property, Relation, Schema,
    Sent, StoredEntity, UpsertOptions, Upserted,
};
pub use observer::Observer;
pub use options::{ClientOptions, OptionsError};
pub use rate_limit::{DEFAULT_PAUSE, Limit, Limits, MAX_PAUSE, RATE_LIMIT_PERIOD};
