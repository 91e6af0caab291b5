//! `port-dora-controller` records how every rollout in a Kubernetes cluster ends, and reports deployments and incidents to Port.
//!
//! # The flow of data
//!
//! ```text
//! Kubernetes ─watch─▶ workloads ─▶ rollout (decides) ─▶ records ─┬─▶ DoraDeployment ────────────┐
//!                                                                │                              ├─▶ publish ─▶ port-client ─▶ Port
//!                                                                └─▶ incidents ─▶ DoraIncident ─┘
//!                                                                                      ▲
//!                                           Alertmanager ─▶ alertmanager ──────────────┘
//! ```
//!
//! The cluster is the queue. The controller writes each rollout to a custom resource before it sends anything, so that nothing is lost
//! while Port, the network or the controller is away. Publishing is a loop over custom resources: read, build the entity, write it to
//! Port, write the result into `status`.
//!
//! # The rooms
//!
//! Two crates of the workspace know nothing of this one: `rollout` decides what a rollout is and how it ended, without clock and I/O, and
//! `port_client` speaks with Port. The modules of this crate are rooms in this order. A room uses only rooms before it in the list; the test
//! `walls` checks that.
//!
//! 1. [`resources`]: the custom resources and the slim views of them.
//! 2. [`runtime`]: work queue, backoff, watches, readiness, Events, metrics, HTTP.
//! 3. [`workloads`]: the index of compact rows; one file for each kind of workload.
//! 4. [`settings`]: flags, environment and settings file, validated once.
//! 5. [`records`]: rollouts become `DoraDeployment` resources.
//! 6. [`incidents`]: times and cause of an incident; incidents that the controller opens.
//! 7. [`alertmanager`]: alerts become incidents.
//! 8. [`publish`]: custom resource, entity, status.
//! 9. [`controller`]: the composition root, which builds the parts and connects them.
//!
//! # Where to begin
//!
//! - What is recorded for a change of a workload: `decide` in the crate `rollout`.
//! - What is sent to Port for a record: `publish::deployment`.
//! - When something is tried again: [`runtime::WorkQueue`] and [`runtime::Backoff`].
//! - What a user can set: [`settings::FileSettings`].
//!
//! docs/architecture.md follows one rollout and one incident through the rooms, and lists the decisions behind them.

// Times and durations panic when they overflow: use `checked_*` and `saturating_*`. clippy.toml allows numbers.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod alertmanager;
pub mod controller;
pub mod incidents;
pub mod publish;
pub mod records;
pub mod resources;
pub mod runtime;
pub mod settings;
pub mod workloads;
