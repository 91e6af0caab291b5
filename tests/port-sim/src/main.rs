//! `port-sim`: the stand-in for Port as a process of its own.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program for the terminal")]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use port_sim::{Options, PortSim};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a stand-in for Port's API. It stores entities, shows them in a browser, and can simulate failures.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The address to listen on. Port 0 selects a free port.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The accepted client ID.
    #[arg(long, default_value = "demo-id")]
    client_id: String,
    /// The accepted client secret.
    #[arg(long, default_value = "demo-secret")]
    client_secret: String,
    /// The lifetime of an access token, in seconds.
    #[arg(long, default_value_t = 10_800, value_name = "SECONDS")]
    token_lifetime: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, client_id, client_secret, token_lifetime } = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
    let port = PortSim::start(Options {
        listen,
        client_id,
        client_secret,
        token_lifetime: Duration::from_secs(token_lifetime),
        ..Options::default()
    })
    .with_context(|| {
        format!("can't listen on {listen}: choose a free address with --listen, or port 0 for any port")
    })?;
    writeln!(io::stdout(), "port-sim listens on {}", port.base_url())
        .context("can't write the address to standard output")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    port.stop().await;
    Ok(())
}
