//! Automatic incidents: the controller opens an incident when a rollout fails, is rolled back, or a workload becomes unavailable.
//!
//! [`AutoIncidentController`] reconciles one workload at a time: it reads the workload with its records and incidents, [`decide`]s
//! what to write, and writes it. [`IncidentIndex`] says which workloads to reconcile.

mod controller;
mod decide;
mod index;
mod input;
mod manifest;

pub use controller::AutoIncidentController;
pub use decide::{
    Decision, Incident, IncidentInput, IncidentPolicy, MAX_FAILURE_AGE, NewIncident, OpenedBy, RecordDetails,
    RolloutRecord, WorkloadState, Write, decide, may_open, unavailable_incident_name,
};
pub use index::IncidentIndex;
pub use manifest::OPENED_BY;
