//! What users of a cluster rely on.

use std::time::Duration;

mod access;
mod rollouts;

/// How long is waited for anything. Long, for machines that do other things as well: it asserts nothing.
const SOON: Duration = Duration::from_mins(4);
