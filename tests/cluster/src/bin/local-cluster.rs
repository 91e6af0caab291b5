//! Runs a local Kubernetes cluster in the foreground.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program for the terminal")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Parser, Subcommand};
use cluster::{Binaries, ClusterOptions, LocalCluster};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a real Kubernetes control plane with one simulated node on this machine, without root.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster, print its environment variables, and stop it on Ctrl-C.
    Up {
        /// Folder for the state and logs of the cluster: a new or empty folder, or that of a stopped cluster, which is
        /// cleared. By default, a new folder in the cache.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up { dir } => {
            // Before the runtime is started, so that a signal ends a build as it ends any program.
            Binaries::ensure()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(up(dir))
        }
    }
}

async fn up(folder: Option<PathBuf>) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        result = serve(folder) => result,
        // The cluster ends when it is dropped.
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

/// Returns only when a component of the control plane ends.
async fn serve(folder: Option<PathBuf>) -> anyhow::Result<()> {
    let start = Instant::now();
    let cluster = LocalCluster::start(ClusterOptions { folder, ..ClusterOptions::default() }).await?;
    let exports = format!(
        "export KUBECONFIG={}\nexport KUBECACHEDIR={}\nexport PATH={}:\"$PATH\"\n",
        quoted(cluster.kubeconfig()),
        quoted(&cluster.folder().join("kubectl")),
        quoted(cluster.binaries().folder()),
    );
    // In one write, so that a reader that closes the pipe after the first line doesn't end the cluster.
    std::io::stdout().lock().write_all(exports.as_bytes()).context("cannot write to standard output")?;
    eprintln!(
        "ready after {:.1} s at {}; logs are in {}; press Ctrl-C to stop the cluster",
        start.elapsed().as_secs_f64(),
        cluster.server(),
        cluster.folder().join("logs").display(),
    );
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        cluster.check()?;
    }
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
