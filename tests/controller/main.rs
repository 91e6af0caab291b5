//! The controller as its users meet it: installed with its chart on a real control plane, with the stand-in for Port.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod absence;
mod alertmanager;
mod automatic_incidents;
mod bad_input;
mod blueprints;
mod chaos;
mod chart;
mod delivery;
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
mod kinds;
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
mod stage;
mod times;
mod web;
mod without_credentials;

/// Tests wait for conditions and give their failures as they come.
type TestResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;
