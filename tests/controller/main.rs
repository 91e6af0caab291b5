//! Tests of the whole controller: installed with its chart on a real control plane, with a stand-in for Port.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod alertmanager;
mod automatic_incidents;
mod backlog;
mod bad_input;
mod blueprints;
mod change_kinds;
mod chaos;
mod chart;
mod deleted_namespaces;
mod delivery;
mod downtime;
mod failure_reasons;
mod fixture;
mod history;
mod hostile_resources;
mod incident_cause;
mod incident_deletion;
mod incident_documents;
mod incident_ends;
mod incident_load;
mod incident_roles;
mod incident_times;
mod incidents;
mod installations;
mod lossy_proxy;
mod lost_connections;
mod no_deadline;
mod objects;
mod outages;
mod outcomes;
mod ownership;
mod pool;
mod random_run;
mod record_names;
mod restarts;
mod restored_backups;
mod restored_workloads;
mod retention;
mod rollouts;
mod rules;
mod selection;
mod settings;
mod settings_changes;
mod soak;
mod stale_revisions;
mod test_env;
mod times;
mod web;
mod without_credentials;

/// Any error that ends a test.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of a test or of one of its steps.
type TestResult = Result<(), Error>;
