//! Times in a spec that the controller can't use.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rollout::is_supported_time;

/// A time in a spec that [`is_supported_time`] refuses. The text is for the condition `Valid`.
///
/// The API server stores such a time only if it was applied before the CustomResourceDefinition had a rule against it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0} is not an RFC 3339 time in the years 1970 to 2199, such as 2026-01-31T12:00:00Z, so the controller ignores it: correct it, or create \
     another resource"
)]
pub struct UnsupportedTime(&'static str);

/// `time`, if the controller can use it.
///
/// # Errors
/// If it can't. `field` is the path of the field, such as `spec.createdAt`.
pub fn supported(field: &'static str, time: Option<&Time>) -> Result<Option<Timestamp>, UnsupportedTime> {
    match time {
        Some(time) if !is_supported_time(time.0) => Err(UnsupportedTime(field)),
        time => Ok(time.map(|time| time.0)),
    }
}
