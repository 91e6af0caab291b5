//! `make demo`: the whole way, from a rollout and an incident to Port, on this machine and without any account.

mod controller;
mod report;
mod screen;
mod shell;
mod story;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use cluster::Binaries;
use tokio::signal::unix::{SignalKind, signal};

use screen::Screen;
use story::{Stage, Until};

/// The root of the checkout, from where the examples and the chart are named as a user names them.
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Shows the whole way from a rollout and an incident to Port, on a cluster and with a stand-in for Port that end with it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Keep the cluster, the controller and the stand-in for Port running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to tell it to if stderr is closed.
            let _ = writeln!(io::stderr(), "demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    std::env::set_current_dir(CHECKOUT)
        .with_context(|| format!("{CHECKOUT}, the checkout that this demo was built from, can't be entered"))?;
    let until = if arguments.keep {
        Until::Interrupted
    } else if io::stdin().is_terminal() && io::stdout().is_terminal() {
        Until::Enter
    } else {
        Until::Shown
    };
    let screen = Screen::new();
    screen.line("From Kubernetes to Port: a local cluster, the controller, and a stand-in for Port.")?;
    screen.line("Nothing leaves this machine, and everything ends with the demo.")?;
    // Before there is a runtime, so that a signal ends a build as it ends any program.
    Binaries::ensure()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(until_interrupted(screen, until))
}

async fn until_interrupted(screen: Screen, until: Until) -> Result<ExitCode> {
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        result = demo(&screen, until) => result.map(|()| ExitCode::SUCCESS),
        // What has been started by then ends as it is dropped.
        _ = interrupt.recv() => {
            screen.line("\nEnded by Ctrl-C, with everything that the demo started.")?;
            Ok(if until == Until::Interrupted { ExitCode::SUCCESS } else { INTERRUPTED.into() })
        }
        _ = terminate.recv() => Err(anyhow!("ended by SIGTERM")),
        _ = hangup.recv() => Err(anyhow!("ended by SIGHUP: the terminal is gone")),
    }
}

async fn demo(screen: &Screen, until: Until) -> Result<()> {
    let begun = Instant::now();
    let mut stage = Stage::set_up(screen).await?;
    let logs = stage.logs();
    let played = async {
        stage.play().await?;
        stage.show_result(begun.elapsed())?;
        stage.linger(until).await
    };
    // Whatever failed, the reason is in one of the logs, which stay.
    played.await.map_err(|error| {
        anyhow!("{error:#}\nThe logs of the controller and of each part of the cluster are in {}", logs.display())
    })?;
    stage.take_down().await
}
