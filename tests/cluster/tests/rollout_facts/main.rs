//! The behaviour of the Deployment controller of Kubernetes that this project relies on, tested with the real
//! controller.
//!
//! No code of this project is tested here. If a version of Kubernetes breaks one of these tests, an assumption of
//! `crates/rollout` no longer holds, and the name of the test says which one.

mod adoption;
mod deletion;
mod history_limit;
mod identity;
mod kinds;
mod pausing;
mod progressing;
mod refusals;
mod snapshots;
mod states;
mod strategies;
mod test_env;
mod zero_replicas;
