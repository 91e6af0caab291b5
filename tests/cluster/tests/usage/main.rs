//! What users of a local cluster rely on.

mod access;
mod rollouts;
