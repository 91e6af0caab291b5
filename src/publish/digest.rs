//! A short digest of a value, to tell whether it has changed.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Characters that are kept: 64 bits, enough to tell the versions of one entity apart.
const CHARACTERS: usize = 16;

/// The digest of `value` as JSON; the same in every version of this program.
#[must_use]
pub fn digest(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut hex = String::with_capacity(CHARACTERS);
    for byte in Sha256::digest(json).iter().take(CHARACTERS / 2) {
        hex.push_str(&format!("{byte:02x}"));
    }
    hex
}
