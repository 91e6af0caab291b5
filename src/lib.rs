//! Honest DORA metrics from Kubernetes to Port.
//!
//! What happens in the cluster flows one way: [`cluster`] reads rows, [`rollout`] decides what they mean, [`ledger`] writes it
//! down as [`resources`], [`publish`] tells Port by way of [`port`].

pub mod alertmanager;
pub mod cluster;
pub mod controller;
pub mod incident;
pub mod ledger;
pub mod mapping;
pub mod operate;
pub mod port;
pub mod publish;
pub mod resources;
pub mod rollout;
pub mod settings;
