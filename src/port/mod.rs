//! A client for the API of Port, the developer portal: entities, blueprints, one access token and one budget.
//!
//! It knows nothing of Kubernetes and can be used by anybody who writes to Port:
//!
//! ```no_run
//! use port_dora_controller::port::{
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
//! # What it does for its user
//! - **Token.** Requested when it is first needed, shared by all calls and clones, renewed before it expires and once after a 401. Credentials
//!   from files are read anew for each call, so that they can be rotated, or set for the first time, without a restart.
//! - **Errors.** Each answer of Port is an [`Error`] variant of its own, with Port's code, message and trace id; [`Error::kind`] is a short
//!   label, [`Error::is_temporary`] says whether waiting helps, [`Error::advice`] what a person does about it. No text or `Debug` output
//!   contains the client secret or the token, even if what answers repeats them.
//! - **Budget.** All clones stay below the limits that Port publishes ([`Limits`]), and none sends anything during the pause that a 429 asks for.
//! - **Bounds.** Each request has a timeout, and no answer takes more than [`MAX_ANSWER_BYTES`] of memory.
//!
//! What it leaves to its user is when to try again, and what to do with several entities at once.
//!
//! # TLS and proxies
//! TLS is rustls with ring, which the client names itself: no process-wide provider has to be installed. The trusted roots are Mozilla's,
//! compiled in (`webpki-roots`), so that it works in an image without any certificates. A further authority, such as that of a proxy that
//! decrypts, would be added to the root store that `wire.rs` builds. `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are honoured,
//! except for hosts on this machine. Redirects are not followed, since they would carry the credentials along.

mod answer;
mod base_url;
mod blueprint;
mod bulk;
mod client;
mod credentials;
mod entity;
mod error;
mod kind;
mod limits;
mod observe;
mod options;
mod redact;
mod retry_after;
mod token;
mod transport;
mod wire;

pub use base_url::{BaseUrl, BaseUrlError, DEFAULT_BASE_URL};
pub use blueprint::{Blueprint, Property, Relation, Schema};
pub use bulk::MAX_BULK_ENTITIES;
pub use client::Client;
pub use credentials::{CredentialError, CredentialSource, CredentialValue, Credentials};
pub use entity::{Entity, StoredEntity, UpsertOptions, Upserted};
pub use error::{Answer, Error};
pub use kind::Kind;
pub use limits::{Limit, Limits, RATE_LIMIT_PERIOD};
pub use observe::{Observer, Route, StatusClass};
pub use options::{ClientOptions, OptionsError};
pub use retry_after::{DEFAULT_PAUSE, LONGEST_PAUSE};
pub use transport::TransportProblem;
pub use wire::{MAX_ANSWER_BYTES, MAX_BODY_BYTES};
