//! Waits for the clock. Kubernetes writes times in whole seconds, so two times differ only if a second has passed
//! between them.

use k8s_openapi::jiff::Timestamp;

use crate::wait::{DEADLINE, WaitError, wait_for};

/// Waits until the current second is over, so that all later times of the API server are greater than all earlier ones.
///
/// # Errors
/// When the clock doesn't advance.
pub async fn next_second() -> Result<(), WaitError> {
    seconds_after(Timestamp::now(), 0).await
}

/// Waits until more than `seconds` whole seconds have passed since `time`.
///
/// # Errors
/// When that takes longer than [`DEADLINE`].
pub async fn seconds_after(time: Timestamp, seconds: i64) -> Result<(), WaitError> {
    let end = time.as_second() + seconds;
    wait_for(format!("more than {seconds} s to pass since {time}"), DEADLINE, async || {
        Ok((Timestamp::now().as_second() > end).then_some(()))
    })
    .await
}
