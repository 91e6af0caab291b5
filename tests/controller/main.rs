//! Tests of the whole controller: installed with its chart on a real control plane, with a stand-in for Port.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod alertmanager;
mod automatic_incidents;
mod bad_input;
mod blueprints;
mod change_kinds;
mod chaos;
mod chart;
mod delivery;
mod downtime;
mod failure_reasons;
mod fixture;
mod history;
mod incident_cause;
mod incident_deletion;
mod incident_documents;
mod incident_roles;
mod incident_rules;
mod incident_times;
mod incidents;
mod no_deadline;
mod objects;
mod outcomes;
mod pool;
mod random_run;
mod restarts;
mod retention;
mod rollouts;
mod selection;
mod settings;
mod soak;
mod test_env;
mod times;
mod web;
mod without_credentials;

/// Any error that ends a test.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of a test or of one of its steps.
type TestResult = Result<(), Error>;
