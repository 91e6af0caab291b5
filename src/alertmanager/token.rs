//! The bearer token that Alertmanager has to show.

use std::path::PathBuf;

use secrecy::zeroize::Zeroizing;
use sha2::{Digest as _, Sha256};

/// The file with the token. It is read anew for each request, so that a rotation needs no restart.
#[derive(Clone, Debug)]
pub struct TokenFile(pub PathBuf);

/// What a request may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// It shows the token.
    Granted,
    /// It shows none, or another one.
    Denied,
    /// There is no token to compare with, for this reason: nobody is let in.
    Undecided(String),
}

impl TokenFile {
    /// Whether a request with this header `Authorization` may go on.
    pub async fn admits(&self, authorization: Option<&str>) -> Admission {
        let path = self.0.display();
        let token = match tokio::fs::read_to_string(&self.0).await {
            Ok(text) => Zeroizing::new(text),
            Err(error) => {
                return Admission::Undecided(format!("{path} (ALERTMANAGER_TOKEN_FILE) can't be read: {error}"));
            }
        };
        let token = token.trim();
        if token.is_empty() {
            return Admission::Undecided(format!("{path} (ALERTMANAGER_TOKEN_FILE) is empty: write the token into it"));
        }
        let shown = authorization
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match shown {
            // How long it takes to compare two digests tells nothing of the token.
            Some((_, shown)) if Sha256::digest(shown.trim()) == Sha256::digest(token) => Admission::Granted,
            _ => Admission::Denied,
        }
    }
}
