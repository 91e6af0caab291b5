//! The bearer token of Alertmanager's requests.

use std::io;
use std::path::PathBuf;

use secrecy::zeroize::Zeroizing;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The file with the bearer token. It is read again for each request, so that a rotation needs no restart.
#[derive(Clone, Debug)]
pub struct TokenFile(pub PathBuf);

/// Whether a request is authorized.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Authorization {
    /// The request has the bearer token.
    Granted,
    /// The request has no bearer token, or another one.
    Denied,
}

/// Why there is no token to compare with.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file can't be read.
    #[error(
        "the bearer token can't be read from {} (ALERTMANAGER_TOKEN_FILE): {error}; check that the Secret is mounted",
        path.display()
    )]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The file has no token.
    #[error(
        "the bearer token can't be read from {} (ALERTMANAGER_TOKEN_FILE): the file is empty; write the token into it",
        path.display()
    )]
    Empty {
        /// Path of the file.
        path: PathBuf,
    },
}

impl TokenFile {
    /// Checks the value of the header `Authorization`.
    ///
    /// # Errors
    /// If there is no token to compare with.
    pub async fn authorize(&self, header: Option<&str>) -> Result<Authorization, TokenError> {
        let path = || self.0.clone();
        let text = tokio::fs::read_to_string(&self.0).await;
        let text = Zeroizing::new(text.map_err(|error| TokenError::Unreadable { path: path(), error })?);
        let expected = text.trim();
        if expected.is_empty() {
            return Err(TokenError::Empty { path: path() });
        }
        let presented =
            header.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        Ok(match presented {
            Some((_, presented)) if is_equal(presented.trim(), expected) => Authorization::Granted,
            _ => Authorization::Denied,
        })
    }
}

/// Compares two tokens in constant time. Their digests have the same length, so the time doesn't depend on the length of the token.
fn is_equal(presented: &str, expected: &str) -> bool {
    Sha256::digest(presented).as_slice().ct_eq(Sha256::digest(expected).as_slice()).into()
}
