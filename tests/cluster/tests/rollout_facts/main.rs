//! What this project takes for granted about Kubernetes' Deployment controller, each fact as a test of the real one.
//!
//! Nothing of our own is tested here. When a version of Kubernetes breaks one of these tests, an assumption of
//! `rollout/` no longer holds, and the name of the test says which.

mod adoption;
mod deletion;
mod history_limit;
mod identity;
mod kinds;
mod pausing;
mod progressing;
mod refusals;
mod snapshots;
mod stage;
mod states;
mod strategies;
mod zero_replicas;
