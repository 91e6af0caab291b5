//! `port-sim`: the stand-in for Port as a process of its own.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program for the terminal")]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use port_sim::{Options, PortSim};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for Port's API: takes entities, shows them in a browser, and fails on request.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The client ID that is let in.
    #[arg(long, default_value = "demo-id")]
    client_id: String,
    /// The client secret that belongs to it.
    #[arg(long, default_value = "demo-secret")]
    client_secret: String,
    /// How long an access token lives, in seconds.
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
    .with_context(|| format!("can't listen on {listen}; choose a free one with --listen, or port 0 for any"))?;
    writeln!(io::stdout(), "port-sim listens on {}", port.base_url())
        .context("can't say on which address it listens")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    port.stop().await;
    Ok(())
}
