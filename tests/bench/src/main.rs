//! Measures the controller's release binary against a real control plane: memory with thousands of Deployments, time to
//! ready, and the time from a completed rollout to its entity in the stand-in for Port.
//!
//! The order of things: the Deployments are created and rolled out by the real controllers, with a pod each that KWOK
//! plays; the controller is started; it is left alone and its memory is read; then other Deployments are rolled out on
//! a schedule that waits for nothing. All times are of one clock, that of this process, since the times that a cluster
//! states have whole seconds only.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program for the terminal")]

mod arguments;
mod controller;
mod history;
mod load;
mod lone;
mod machine;
mod observer;
mod report;
mod statistics;
mod workload;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster::{ClusterOptions, LocalCluster, wait_for};
use kube::Client;
use port_sim::PortSim;

use arguments::Arguments;
use controller::Controller;
use load::BLUEPRINT;
use machine::Machine;
use observer::Observer;
use report::{Report, Requests, Setup, seconds};

/// The definitions of the custom resources, as the repository ships them.
const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crds");

/// Records that are written one after the other.
const LONE_RECORDS: usize = 100;

/// How long the API server may take to serve a new definition.
const DEFINITIONS_SERVED: &str = "60s";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(missing) if missing.is_empty() => ExitCode::SUCCESS,
        Ok(missing) => {
            eprintln!("bench: entities that never arrived: {}", missing.join(", "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the entities that are missing.
async fn run() -> Result<Vec<String>> {
    let arguments = Arguments::from_command_line()?;
    let binary = arguments.controller()?;
    let machine = Machine::current()?;
    let cluster = LocalCluster::start(ClusterOptions::default()).await?;
    say(&format!("{} runs, logs are in {}", cluster.server(), cluster.folder().join("logs").display()));
    let report = measure(&arguments, &binary, machine, &cluster).await?;
    println!("{}", report.table());
    if report.watch_interruptions > 0 {
        println!(
            "The bench's own watch was interrupted {} times: some latencies are too short.",
            report.watch_interruptions
        );
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    cluster.stop().await?;
    Ok(report.latency.missing)
}

async fn measure(arguments: &Arguments, binary: &Path, machine: Machine, cluster: &LocalCluster) -> Result<Report> {
    let deadline = arguments.deadline();
    let client = cluster.client().await?;
    cluster.kubectl(["apply", "--server-side", "--filename", DEFINITIONS]).await?;
    cluster
        .kubectl(["wait", "--for=condition=Established", "--timeout", DEFINITIONS_SERVED, "--filename", DEFINITIONS])
        .await?;
    let own_namespace = cluster.namespace("port-dora-controller").await?;
    let port = PortSim::start(port_sim::Options::default())?;

    say(&format!("{} Deployments are created and rolled out", arguments.deployments));
    let observer = Observer::start(cluster).await?;
    let begun = Instant::now();
    let targets = workload::create(cluster, &client, arguments.deployments, arguments.namespaces).await?;
    wait_for("all Deployments to be complete", deadline, async || {
        cluster.check()?;
        let complete = observer.complete(1);
        if complete < targets.len() {
            Err(format!("{complete} of {} are", targets.len()))?;
        }
        Ok(Some(()))
    })
    .await?;
    let setup_seconds = seconds(begun.elapsed());
    let records_delivered_seconds = match arguments.records {
        0 => None,
        records => {
            Some(seconds(deliver_history(records, binary, cluster, &client, &own_namespace, &port, deadline).await?))
        }
    };
    let setup = Setup {
        deployments: targets.len(),
        namespaces: arguments.namespaces.min(targets.len()),
        mean_sizes: workload::mean_sizes(&client).await?,
        seconds: setup_seconds,
        records: arguments.records,
        records_delivered_seconds,
    };

    say(&format!("complete after {setup_seconds:.0} s; the controller is started"));
    port.clear_requests();
    let mut controller = Controller::start(binary, cluster, &own_namespace, &port)?;
    let ready = controller.ready(deadline).await?;
    let at_ready = controller.usage()?;
    controller.leads(deadline).await?;
    say(&format!("ready after {:.2} s; it is left alone for {} s", ready.as_secs_f64(), arguments.settle().as_secs()));
    tokio::time::sleep(arguments.settle()).await;
    let settled = controller.usage()?;

    say(&format!("{LONE_RECORDS} records, one after the other"));
    let lone = cluster.namespace("lone").await?;
    let lone_milliseconds = lone::measure(&client, &lone, &port, LONE_RECORDS, deadline).await?;

    say(&format!("{} rollouts, {} in a second", arguments.rollouts, arguments.rate));
    // Spread over all of them, so that what is large or small about the first few counts for nothing.
    let rolled_out: Vec<_> =
        (0..arguments.rollouts).map(|number| targets[number * targets.len() / arguments.rollouts].clone()).collect();
    let latency = load::measure(cluster, &client, &observer, &port, &rolled_out, arguments.rate, deadline).await?;
    let after_load = controller.usage()?;
    let requests = Requests::count(&port.requests());
    controller.stop().await?;
    Ok(Report {
        machine,
        controller: binary.to_path_buf(),
        setup,
        ready_seconds: seconds(ready),
        at_ready,
        settle_seconds: arguments.settle().as_secs(),
        settled,
        lone_milliseconds,
        latency,
        after_load,
        requests,
        watch_interruptions: observer.interruptions(),
    })
}

/// Creates records and has a controller deliver them, so that the one that is measured finds them settled. Returns how
/// long the delivery took.
async fn deliver_history(
    records: usize,
    binary: &Path,
    cluster: &LocalCluster,
    client: &Client,
    own_namespace: &str,
    port: &PortSim,
    deadline: Duration,
) -> Result<Duration> {
    say(&format!("{records} records are created and delivered"));
    history::create(client, &cluster.namespace("history").await?, records).await?;
    let mut controller = Controller::start(binary, cluster, own_namespace, port)?;
    let begun = Instant::now();
    controller.ready(deadline).await?;
    wait_for("all records to be delivered", deadline, async || {
        let delivered = port.entities(BLUEPRINT).len();
        if delivered < records {
            Err(format!("{delivered} of {records} are"))?;
        }
        Ok(Some(()))
    })
    .await?;
    let delivered = begun.elapsed();
    controller.settled(deadline).await?;
    controller.stop().await?;
    Ok(delivered)
}

fn say(message: &str) {
    eprintln!("bench: {message}");
}
