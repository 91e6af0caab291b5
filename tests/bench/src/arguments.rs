//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// Measures memory and latency of the controller's binary on a real local cluster. Nothing here asserts a time: it fails
/// only if an entity never arrives.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// The binary to measure. Default: the one beside this program.
    #[arg(long, value_name = "FILE")]
    controller: Option<PathBuf>,
    /// Deployments that are there and complete before the controller is started.
    #[arg(long, default_value_t = 5000, value_name = "NUMBER")]
    pub deployments: usize,
    /// Namespaces that they are spread over.
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    pub namespaces: usize,
    /// Delivered DoraDeployments of Deployments that are gone, there before the controller that is measured is started.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub records: usize,
    /// Rollouts, each of another Deployment.
    #[arg(long, default_value_t = 600, value_name = "NUMBER")]
    pub rollouts: usize,
    /// Rollouts that are started in a second, on schedule: none waits for another.
    #[arg(long, default_value_t = 20.0, value_name = "NUMBER")]
    pub rate: f64,
    /// How long the controller is left alone, in seconds, before its settled memory is read.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    settle: u64,
    /// How long to wait, in seconds, for the cluster to roll everything out and, after that, for each entity.
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    deadline: u64,
    /// Also write what was measured to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Arguments {
    /// The arguments that the process was started with.
    ///
    /// # Errors
    /// When they can't be measured with; the text says what to change.
    pub fn from_command_line() -> Result<Self> {
        let arguments = Self::parse();
        ensure!(
            arguments.deployments > 0 && arguments.namespaces > 0,
            "--deployments and --namespaces must be at least 1"
        );
        ensure!(
            (1..=arguments.deployments).contains(&arguments.rollouts),
            "--rollouts must be from 1 to {}, the number of Deployments: each is rolled out once",
            arguments.deployments
        );
        ensure!(arguments.rate.is_finite() && arguments.rate > 0.0, "--rate must be greater than 0");
        Ok(arguments)
    }

    /// How long the controller is left alone.
    pub fn settle(&self) -> Duration {
        Duration::from_secs(self.settle)
    }

    /// How long to wait for what may take long on a busy machine.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline)
    }

    /// The binary to measure.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn controller(&self) -> Result<PathBuf> {
        let path = match &self.controller {
            Some(path) => path.clone(),
            None => std::env::current_exe()
                .context("where this program is isn't known")?
                .with_file_name("port-dora-controller"),
        };
        ensure!(
            path.is_file(),
            "there is no {}: run `cargo build --release --package port-dora-controller`, or name a binary with --controller",
            path.display()
        );
        Ok(path)
    }
}
