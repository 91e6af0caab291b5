//! The client ID and the client secret.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// The client credentials of an organisation in Port: an ID and the secret that belongs to it.
///
/// Port shows them in its "..." menu, under Credentials. The `Debug` output contains neither of them.
#[derive(Clone)]
pub struct Credentials {
    /// The client ID.
    pub client_id: String,
    /// The client secret.
    pub client_secret: SecretString,
}

impl Credentials {
    /// Credentials with these two values.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), client_secret: client_secret.into().into() }
    }

    /// Whether both values are equal, so that a token issued for one is valid for the other.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.client_id == other.client_id && self.client_secret.expose_secret() == other.client_secret.expose_secret()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").finish_non_exhaustive()
    }
}
