//! The current time, in the resolution of the Kubernetes API.

use jiff::Timestamp;

/// The current time in whole seconds.
///
/// The Kubernetes API stores times in whole seconds (`metav1.Time`). A finer time would differ from the one that is
/// read back.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
