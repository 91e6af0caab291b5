//! The controller as its users meet it: installed with its chart on a real control plane, with the stand-in for Port.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod bad_input;
mod chart;
mod fixture;
mod incidents;
mod restarts;
mod rollouts;
mod settings;
mod without_credentials;

/// Tests wait for conditions and give their failures as they come.
type TestResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;
