//! A short hash of a value, to find out whether it has changed.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The first 16 hexadecimal digits (64 bits) of the SHA-256 hash of `value` as JSON.
///
/// Statuses in the cluster contain these hashes. If they changed with a version of the controller, it would send every
/// entity again.
#[must_use]
pub fn digest(value: &impl Serialize) -> String {
    digest_bytes(&serde_json::to_vec(value).unwrap_or_default())
}

/// The first 16 hexadecimal digits (64 bits) of the SHA-256 hash of `bytes`. The same in every version of the controller.
#[must_use]
pub fn digest_bytes(bytes: &[u8]) -> String {
    format!("{:.16x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn digest_is_the_start_of_the_sha_256_of_the_json() {
        // printf '{"a":1}' | sha256sum
        assert_eq!(digest(&json!({"a": 1})), "015abd7f5cc57a2d");
    }
}
