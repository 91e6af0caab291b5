//! Credentials, and the access token that Port issues for them.

mod credentials;
mod reader;
mod source;
pub(crate) mod token;
pub(crate) mod token_cache;

pub use credentials::Credentials;
pub(crate) use reader::CredentialReader;
pub use source::{CredentialError, CredentialSource, CredentialValue};
