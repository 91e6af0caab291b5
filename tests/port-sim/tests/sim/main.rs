//! Tests of the stand-in for Port over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]

mod blueprints;
mod bulk;
mod client;
mod control;
mod examples;
mod faults;
mod page;
mod process;
mod rate_limits;
mod refusals;
mod relations;
mod search;
mod tokens;
mod writes;
