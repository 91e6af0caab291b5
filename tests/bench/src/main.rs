//! Measures the release binary of the controller on a real control plane: memory with thousands of Deployments, time to
//! ready, and the time from a completed rollout to its entity in the stand-in for Port.
//!
//! First the real controllers of Kubernetes roll out the Deployments, each with one pod that KWOK simulates. Then the
//! controller is started, and its memory is read after an idle time. Then some of the Deployments are rolled out on a
//! fixed schedule. All times are from the clock of this process, since Kubernetes writes times in whole seconds.

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
use workload::Target;

/// The shipped definitions of the custom resources.
const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crds");

/// Number of records that are written one after another.
const LONE_RECORDS: usize = 100;

/// The deadline for the API server to serve the definitions.
const DEFINITIONS_TIMEOUT: &str = "60s";

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

/// Runs the bench, and returns the missing entities.
async fn run() -> Result<Vec<String>> {
    let arguments = Arguments::from_command_line()?;
    let binary = arguments.controller()?;
    let machine = Machine::current()?;
    let cluster = LocalCluster::start(ClusterOptions::default()).await?;
    say(&format!("{} is running; logs are in {}", cluster.server(), cluster.folder().join("logs").display()));
    let report = measure(&arguments, &binary, machine, &cluster).await?;
    println!("{}", report.table());
    if report.watch_interruptions > 0 {
        println!(
            "The watch of the bench was interrupted {} times, so some latencies are too short.",
            report.watch_interruptions
        );
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    cluster.stop().await?;
    Ok(report.latency.missing)
}

/// Where the controller runs: the cluster with a client, its own namespace, and the stand-in for Port.
struct Installation<'a> {
    binary: &'a Path,
    cluster: &'a LocalCluster,
    client: Client,
    namespace: String,
    port: PortSim,
    deadline: Duration,
}

impl<'a> Installation<'a> {
    /// Installs the custom resource definitions, and starts the stand-in for Port.
    async fn new(binary: &'a Path, cluster: &'a LocalCluster, deadline: Duration) -> Result<Self> {
        cluster.kubectl(["apply", "--server-side", "--filename", DEFINITIONS]).await?;
        let timeout = ["--timeout", DEFINITIONS_TIMEOUT, "--filename", DEFINITIONS];
        cluster.kubectl(["wait", "--for=condition=Established"].into_iter().chain(timeout)).await?;
        let namespace = cluster.namespace("port-dora-controller").await?;
        let port = PortSim::start(port_sim::Options::default())?;
        Ok(Self { binary, cluster, client: cluster.client().await?, namespace, port, deadline })
    }

    fn start_controller(&self) -> Result<Controller> {
        Controller::start(self.binary, self.cluster, &self.namespace, &self.port)
    }
}

/// Measures all figures, in the order of the module documentation.
async fn measure(arguments: &Arguments, binary: &Path, machine: Machine, cluster: &LocalCluster) -> Result<Report> {
    let setup = Installation::new(binary, cluster, arguments.deadline()).await?;
    let Installation { client, port, deadline, .. } = &setup;
    let observer = Observer::start(cluster).await?;
    let (targets, existing) = prepare(arguments, &setup, &observer).await?;

    say(&format!("complete after {:.0} s; starting the controller", existing.seconds));
    port.clear_requests();
    let mut controller = setup.start_controller()?;
    let ready = controller.ready(*deadline).await?;
    let at_ready = controller.usage()?;
    controller.leads(*deadline).await?;
    say(&format!("ready after {:.2} s; idle for {} s", ready.as_secs_f64(), arguments.settle().as_secs()));
    tokio::time::sleep(arguments.settle()).await;
    let settled = controller.usage()?;

    say(&format!("writing {LONE_RECORDS} records, one after another"));
    let lone = cluster.namespace("lone").await?;
    let lone_milliseconds = lone::measure(client, &lone, port, LONE_RECORDS, *deadline).await?;

    say(&format!("{} rollouts, {} per second", arguments.rollouts, arguments.rate));
    // Spread over all Deployments, so that the properties of the first ones don't matter.
    let rolled_out: Vec<_> =
        (0..arguments.rollouts).map(|number| targets[number * targets.len() / arguments.rollouts].clone()).collect();
    let latency = load::measure(cluster, client, &observer, port, &rolled_out, arguments.rate, *deadline).await?;
    let after_load = controller.usage()?;
    let requests = Requests::count(&port.requests());
    controller.stop().await?;
    Ok(Report {
        machine,
        controller: binary.to_path_buf(),
        setup: existing,
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

/// Creates the Deployments and waits until they are complete. Then creates and delivers the existing records.
async fn prepare(arguments: &Arguments, setup: &Installation<'_>, observer: &Observer) -> Result<(Vec<Target>, Setup)> {
    say(&format!("creating and rolling out {} Deployments", arguments.deployments));
    let start = Instant::now();
    let targets = workload::create(setup.cluster, &setup.client, arguments.deployments, arguments.namespaces).await?;
    wait_for("all Deployments to be complete", setup.deadline, async || {
        setup.cluster.check()?;
        let complete = observer.complete(1);
        if complete < targets.len() {
            Err(format!("{complete} of {} are", targets.len()))?;
        }
        Ok(Some(()))
    })
    .await?;
    let setup_seconds = seconds(start.elapsed());
    let records_delivered_seconds = match arguments.records {
        0 => None,
        records => Some(seconds(deliver_history(records, setup).await?)),
    };
    let existing = Setup {
        deployments: targets.len(),
        namespaces: arguments.namespaces.min(targets.len()),
        mean_sizes: workload::mean_sizes(&setup.client).await?,
        seconds: setup_seconds,
        records: arguments.records,
        records_delivered_seconds,
    };
    Ok((targets, existing))
}

/// Creates records, and lets a controller deliver them before the measured one starts. Returns the time of the
/// delivery.
async fn deliver_history(records: usize, setup: &Installation<'_>) -> Result<Duration> {
    let deadline = setup.deadline;
    say(&format!("creating and delivering {records} records"));
    history::create(&setup.client, &setup.cluster.namespace("history").await?, records).await?;
    let mut controller = setup.start_controller()?;
    let start = Instant::now();
    controller.ready(deadline).await?;
    wait_for("all records to be delivered", deadline, async || {
        let delivered = setup.port.entities(BLUEPRINT).len();
        if delivered < records {
            Err(format!("{delivered} of {records} are"))?;
        }
        Ok(Some(()))
    })
    .await?;
    let delivered = start.elapsed();
    controller.settled(deadline).await?;
    controller.stop().await?;
    Ok(delivered)
}

fn say(message: &str) {
    eprintln!("bench: {message}");
}
