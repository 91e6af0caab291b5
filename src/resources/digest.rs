//! A short digest of a value, to tell whether it has changed.

use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Characters that are kept: 64 bits, enough to tell the versions of one entity apart.
const CHARACTERS: usize = 16;

/// The digest of `value` as JSON; the same in every version of this program.
#[must_use]
pub fn digest(value: &impl Serialize) -> String {
    digest_bytes(&serde_json::to_vec(value).unwrap_or_default())
}

/// The digest of `bytes`: the first 64 bits of their SHA-256, as 16 hexadecimal digits. The same in every version of this program.
#[must_use]
pub fn digest_bytes(bytes: &[u8]) -> String {
    let mut hex = base16(&Sha256::digest(bytes));
    hex.truncate(CHARACTERS);
    hex
}

fn base16(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing into a String can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
