//! The stand-in for Port, over HTTP as any client sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

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
