//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// Measures memory and latency of the binary of the controller on a real local cluster. It fails only if an entity
/// never arrives, and asserts no times.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// The binary to measure. Default: the binary in the folder of this program.
    #[arg(long, value_name = "FILE")]
    controller: Option<PathBuf>,
    /// Number of complete Deployments before the controller is started.
    #[arg(long, default_value_t = 5000, value_name = "NUMBER")]
    pub deployments: usize,
    /// Number of namespaces of these Deployments.
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    pub namespaces: usize,
    /// Number of delivered DoraDeployments of deleted Deployments before the measured controller is started.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub records: usize,
    /// Number of rollouts, each of another Deployment.
    #[arg(long, default_value_t = 600, value_name = "NUMBER")]
    pub rollouts: usize,
    /// Number of rollouts per second. They start on schedule, without waiting for each other.
    #[arg(long, default_value_t = 20.0, value_name = "NUMBER")]
    pub rate: f64,
    /// Idle time in seconds before the settled memory of the controller is read.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    settle: u64,
    /// Deadline in seconds for the rollouts, and after that for the entities.
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    deadline: u64,
    /// Also write the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Arguments {
    /// The arguments that the process was started with.
    ///
    /// # Errors
    /// When they are invalid. The error says what to change.
    pub fn from_command_line() -> Result<Self> {
        let arguments = Self::parse();
        ensure!(
            arguments.deployments > 0 && arguments.namespaces > 0,
            "--deployments and --namespaces must be at least 1"
        );
        ensure!(
            (1..=arguments.deployments).contains(&arguments.rollouts),
            "--rollouts must be from 1 to {}, the number of Deployments, since each is rolled out once",
            arguments.deployments
        );
        ensure!(arguments.rate.is_finite() && arguments.rate > 0.0, "--rate must be greater than 0");
        Ok(arguments)
    }

    /// The idle time before the settled memory is read.
    pub fn settle(&self) -> Duration {
        Duration::from_secs(self.settle)
    }

    /// The deadline of waits.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline)
    }

    /// The binary to measure.
    ///
    /// # Errors
    /// When the file doesn't exist.
    pub fn controller(&self) -> Result<PathBuf> {
        let path = match &self.controller {
            Some(path) => path.clone(),
            None => std::env::current_exe()
                .context("the path of this program is unknown")?
                .with_file_name("port-dora-controller"),
        };
        ensure!(
            path.is_file(),
            "{} doesn't exist: run `cargo build --release --package port-dora-controller`, or set --controller",
            path.display()
        );
        Ok(path)
    }
}
