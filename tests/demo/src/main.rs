//! `make demo`: shows rollouts and incidents on their way to Port, on this machine and without an account.

mod controller;
mod report;
mod scenario;
mod screen;
mod shell;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use cluster::Binaries;
use tokio::signal::unix::{SignalKind, signal};

use scenario::{Scenario, StopWhen};
use screen::Screen;

/// The root of the checkout, where users run commands with the examples and the chart.
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The exit code of a program that was ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Shows how rollouts and incidents get from Kubernetes to Port, with a local cluster and a stand-in for Port.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Keep the cluster, the controller and the stand-in for Port running until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // If stderr is closed, the error can't be shown.
            let _ = writeln!(io::stderr(), "demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    std::env::set_current_dir(CHECKOUT)
        .with_context(|| format!("failed to enter {CHECKOUT}, the checkout of this demo"))?;
    let stop_when = if arguments.keep {
        StopWhen::Interrupted
    } else if io::stdin().is_terminal() && io::stdout().is_terminal() {
        StopWhen::EnterPressed
    } else {
        StopWhen::Finished
    };
    let screen = Screen::new();
    screen.line("This demo shows how rollouts and incidents in Kubernetes get to Port.")?;
    screen.line("It runs a local cluster, the controller and a stand-in for Port, and stops them at the end.")?;
    screen.line("Nothing leaves this machine.")?;
    // Before the runtime is started, so that a signal ends a build as it ends any program.
    Binaries::ensure()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(until_interrupted(screen, stop_when))
}

/// Runs the demo until it ends or a signal arrives.
async fn until_interrupted(screen: Screen, stop_when: StopWhen) -> Result<ExitCode> {
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        result = demo(&screen, stop_when) => result.map(|()| ExitCode::SUCCESS),
        // All processes end when the scenario is dropped.
        _ = interrupt.recv() => {
            screen.line("\nCtrl-C: the cluster, the controller and the stand-in for Port are stopped.")?;
            Ok(if stop_when == StopWhen::Interrupted { ExitCode::SUCCESS } else { INTERRUPTED.into() })
        }
        _ = terminate.recv() => Err(anyhow!("stopped by SIGTERM")),
        _ = hangup.recv() => Err(anyhow!("stopped by SIGHUP: the terminal was closed")),
    }
}

async fn demo(screen: &Screen, stop_when: StopWhen) -> Result<()> {
    let start = Instant::now();
    let mut scenario = Scenario::start(screen).await?;
    let logs = scenario.logs();
    let steps = async {
        scenario.run().await?;
        scenario.show_result(start.elapsed())?;
        scenario.wait_for_user(stop_when).await
    };
    // The logs are kept, and show the reason of a failure.
    steps.await.map_err(|error| {
        anyhow!("{error:#}\nThe logs of the controller and of the cluster are in {}", logs.display())
    })?;
    scenario.stop().await
}
