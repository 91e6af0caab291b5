//! Credentials, and the access token that Port issues for them.

mod credentials;
mod source;
pub(crate) mod token;
pub(crate) mod token_cache;

pub use credentials::Credentials;
pub use source::{CredentialError, CredentialSource, CredentialValue};
