//! Credentials, and the access token that they give.

pub mod credentials;
pub mod token;

pub use credentials::{CredentialError, CredentialSource, CredentialValue, Credentials};
