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

/// A real Kubernetes cluster on this machine, without root: the control plane, and one simulated node.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster, print how to reach it, and end it on Ctrl-C.
    Up {
        /// Folder for the cluster's state and logs: a new or empty one, or that of an earlier cluster, of which
        /// nothing is kept. By default, one in the cache.
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
            // Before there is a runtime, so that a signal ends a build as it ends any program.
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
        // What has been started by then ends as it is dropped.
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

/// Ends only when a part of the control plane does.
async fn serve(folder: Option<PathBuf>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let cluster = LocalCluster::start(ClusterOptions { folder, ..ClusterOptions::default() }).await?;
    let exports = format!(
        "export KUBECONFIG={}\nexport KUBECACHEDIR={}\nexport PATH={}:\"$PATH\"\n",
        quoted(cluster.kubeconfig()),
        quoted(&cluster.folder().join("kubectl")),
        quoted(cluster.binaries().folder()),
    );
    // As a whole: a reader that stops after the line it wants must not end the cluster.
    std::io::stdout().lock().write_all(exports.as_bytes()).context("cannot write to the standard output")?;
    eprintln!(
        "ready after {:.1} s at {}; logs are in {}; Ctrl-C ends it",
        begun.elapsed().as_secs_f64(),
        cluster.server(),
        cluster.folder().join("logs").display(),
    );
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        cluster.check()?;
    }
}

/// A path as one word of a shell's command.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
