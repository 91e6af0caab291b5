//! A real Kubernetes cluster on this machine, for tests, demo and bench: etcd, kube-apiserver, kube-controller-manager
//! and kube-scheduler, and a node that KWOK simulates. The real controllers roll out Deployments; only the pods are
//! simulated.
//!
//! It needs Go to build the programs once (see the crate `programs`). It needs neither root nor a container runtime.
//! Several clusters can run at once.
//!
//! The tag of the first image of a pod decides what happens to its containers:
//! * `broken` can't be pulled (`ErrImagePull`, then `ImagePullBackOff`);
//! * `crash` crashes repeatedly (`CrashLoopBackOff`);
//! * any other image becomes ready, at once or after the Go duration in the annotation `test/ready-after` of the pod.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use std::process::Command;
//! use std::time::Duration;
//! use cluster::{LocalCluster, Process, wait_for};
//!
//! let cluster = LocalCluster::shared().await;
//! let namespace = cluster.namespace("shop").await?;
//! cluster.kubectl(["-n", &namespace, "create", "deployment", "web", "--image=web:1"]).await?;
//!
//! let mut command = Command::new("path/to/the/controller");
//! command.env("KUBECONFIG", cluster.service_account_kubeconfig(&namespace, "default").await?);
//! let mut controller = Process::start(cluster, "controller", command)?;
//! wait_for("the controller to see the namespace", Duration::from_secs(20), async || {
//!     Ok(controller.log()?.contains(&namespace).then_some(()))
//! })
//! .await?;
//! controller.terminate(Duration::from_secs(10)).await?;
//! # Ok(()) }
//! ```

#![allow(clippy::print_stderr, reason = "a failed test shows its logs on stderr")]

mod access;
mod cache;
mod certificates;
pub mod clock;
mod component;
mod error;
mod gate;
mod lifeline;
mod local_cluster;
mod node;
mod ports;
mod process;
mod text;
mod wait;
pub mod workload;

pub use component::Component;
pub use error::{Error, Result};
pub use gate::Gate;
pub use local_cluster::{ClusterOptions, LocalCluster};
pub use process::Process;
pub use programs::{Binaries, Program, ensure_one};
pub use wait::{DEADLINE, NotYet, WaitError, wait_for};
