//! Honest DORA metrics from Kubernetes to Port.

pub mod alertmanager;
pub mod controller;
pub mod incidents;
pub mod publish;
pub mod records;
pub mod resources;
pub mod runtime;
pub mod settings;
pub mod workloads;
