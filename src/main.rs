//! The binary: it parses the arguments, sets up TLS, the log and the runtime, and starts the controller.

// Times and durations panic when they overflow: use `checked_*` and `saturating_*`. clippy.toml allows numbers.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use port_dora_controller::settings::{Arguments, Command, LogFormat, RunArguments, Settings};
use port_dora_controller::{controller, resources};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let Arguments { command, run } = Arguments::parse();
    let result = match command {
        None | Some(Command::Run) => self::run(run),
        Some(Command::Crds { directory }) => crds(directory.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            // If stderr is closed, nobody can read the error.
            let _ = writeln!(std::io::stderr(), "port-dora-controller: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread is enough for work that nearly always waits for the network, and it needs less memory than several.
fn run(arguments: RunArguments) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(run_controller(arguments));
    // Otherwise the process would wait for a file or a name server that doesn't respond.
    runtime.shutdown_background();
    result
}

async fn run_controller(arguments: RunArguments) -> Result<(), Box<dyn std::error::Error>> {
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")));
    match arguments.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    // kube and reqwest share this provider. With two providers linked, rustls refuses to choose one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings::load(arguments)?;
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopped.cancel();
    });
    Box::pin(controller::run(settings, stop)).await?;
    Ok(())
}

fn crds(directory: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write as _;
    for (file, definition) in resources::definitions() {
        let yaml = serde_saphyr::to_string(&definition)?;
        match directory {
            Some(directory) => {
                std::fs::create_dir_all(directory)?;
                std::fs::write(directory.join(file), yaml)?;
            }
            None => writeln!(std::io::stdout(), "---\n{}", yaml.trim_end())?,
        }
    }
    Ok(())
}
