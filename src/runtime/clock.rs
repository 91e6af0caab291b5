//! The time, as Kubernetes keeps it.

use jiff::Timestamp;

/// The present time in whole seconds: Kubernetes keeps no finer one, so it would differ from what is read back.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
