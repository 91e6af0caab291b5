//! The report, as a table and as JSON.

use std::path::PathBuf;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::controller::Usage;
use crate::load::Latency;
use crate::machine::Machine;
use crate::statistics::Spread;
use crate::workload::MeanSizes;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// All results of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// The binary.
    pub controller: PathBuf,
    /// The cluster before the controller was started.
    pub setup: Setup,
    /// From the start of the process to the first 200 of `/readyz`, in seconds.
    pub ready_seconds: f64,
    /// The usage when the controller was ready.
    pub at_ready: Usage,
    /// The idle time after that, in seconds.
    pub settle_seconds: u64,
    /// The usage at the end of the idle time.
    pub settled: Usage,
    /// From the write of a single record to its request to Port, in milliseconds.
    pub lone_milliseconds: Spread,
    /// The results of the load.
    pub latency: Latency,
    /// The usage after the load.
    pub after_load: Usage,
    /// All requests to Port.
    pub requests: Requests,
    /// How often the watch of the bench was interrupted.
    pub watch_interruptions: usize,
}

/// The cluster before the controller was started.
#[derive(Debug, Serialize)]
pub struct Setup {
    /// Number of Deployments, each with one ReplicaSet and one pod.
    pub deployments: usize,
    /// Number of their namespaces.
    pub namespaces: usize,
    /// Their sizes.
    pub mean_sizes: MeanSizes,
    /// The time until all were complete, in seconds.
    pub seconds: f64,
    /// Number of existing records.
    pub records: usize,
    /// The time in which another controller delivered these records before the measurement, in seconds from its start.
    pub records_delivered_seconds: Option<f64>,
}

/// The numbers of requests to Port.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Requests {
    /// Requests for access tokens.
    pub token: usize,
    /// Writes of one entity.
    pub single: usize,
    /// Writes of several entities.
    pub bulk: usize,
    /// All other requests.
    pub other: usize,
}

impl Requests {
    /// Counts requests by kind.
    pub fn count<'a>(requests: impl IntoIterator<Item = &'a port_sim::Request>) -> Self {
        let mut counts = Self::default();
        for request in requests {
            let count = match request.path.trim_end_matches('/') {
                _ if request.is_token_request() => &mut counts.token,
                path if path.ends_with("/entities/bulk") => &mut counts.bulk,
                path if path.ends_with("/entities") => &mut counts.single,
                _ => &mut counts.other,
            };
            *count += 1;
        }
        counts
    }
}

impl Report {
    /// The table of figures, measured values, and goals.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(["figure", "measured", "goal"]);
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for (figure, measured, goal) in
            self.memory_rows().into_iter().chain(self.latency_rows()).chain(self.setup_rows())
        {
            table.add_row([figure, measured, goal.to_owned()]);
        }
        table
    }

    /// Start, memory and CPU time of the controller.
    fn memory_rows(&self) -> Vec<Row> {
        let Self { at_ready, settled, after_load, .. } = self;
        let cpu_seconds = [
            at_ready.cpu_seconds,
            settled.cpu_seconds - at_ready.cpu_seconds,
            after_load.cpu_seconds - settled.cpu_seconds,
        ];
        let cpu = cpu_seconds.map(|seconds| format!("{seconds:.2} s")).join(", ");
        vec![
            row("start to ready", format!("{:.2} s", self.ready_seconds), ""),
            row("peak memory until ready", mebibytes(at_ready.peak_bytes), ""),
            row(&format!("memory settled, {} s after", self.settle_seconds), memory(settled), "≤ 20 MiB"),
            row("memory after the load", memory(after_load), ""),
            row("peak memory", mebibytes(after_load.peak_bytes), "≤ 25 MiB"),
            row("CPU time: until ready, idle, load", cpu, ""),
        ]
    }

    /// Latencies and requests.
    fn latency_rows(&self) -> Vec<Row> {
        let Self { latency, requests, lone_milliseconds: lone, .. } = self;
        let (rollout, delivery) = (latency.rollout_milliseconds, latency.delivery_milliseconds);
        let numbers = format!("{}, {}, {}, {}", requests.single, requests.bulk, requests.token, requests.other);
        vec![
            row("single record to request to Port, p50 / p99", two_percentiles(lone), "≤ 50 ms"),
            row("completed status to entity, p50", format!("{:.0} ms", delivery.p50), "≤ 100 ms"),
            row("completed status to entity, p99", format!("{:.0} ms", delivery.p99), "≤ 500 ms"),
            row("completed status to entity, longest", format!("{:.0} ms", delivery.max), ""),
            row("entities arrived, of rollouts", format!("{} of {}", latency.arrived, latency.rollouts), "all"),
            row("rollouts started per second", format!("{:.1}", latency.rate), ""),
            row("rollouts in the cluster, p50 / p99", two_percentiles(&rollout), ""),
            row("reads from the API server, p50 / p99", two_percentiles(&latency.read_milliseconds), ""),
            row("processors busy during the load", format!("{:.0} %", latency.processors_busy * 100.0), ""),
            row("requests to Port: single, bulk, token, other", numbers, ""),
        ]
    }

    /// The cluster, the machine and the commit.
    fn setup_rows(&self) -> Vec<Row> {
        let Self { setup, machine, .. } = self;
        let count_and_size = |bytes| format!("{}, {:.1} kB", setup.deployments, kilobytes(bytes));
        let gibibytes = machine.memory_bytes.div_ceil(1024 * 1024 * 1024);
        let hardware = format!("{} × {}, {gibibytes} GiB, Linux {}", machine.cores, machine.processor, machine.kernel);
        let mut rows = vec![
            row("Deployments, mean JSON", count_and_size(setup.mean_sizes.deployment_bytes), ""),
            row("ReplicaSets, mean JSON", count_and_size(setup.mean_sizes.replica_set_bytes), ""),
        ];
        if let Some(seconds) = setup.records_delivered_seconds {
            rows.push(row("existing records, delivered within", format!("{}, {seconds:.1} s", setup.records), ""));
        }
        rows.extend([
            row("machine", hardware, ""),
            row("load average at the start", format!("{:.1}", machine.load), ""),
            row("commit", machine.commit.clone(), ""),
        ]);
        rows
    }
}

/// A figure, its measured value, and its goal.
type Row = (String, String, &'static str);

fn row(figure: &str, measured: String, goal: &'static str) -> Row {
    (figure.to_owned(), measured, goal)
}

/// The median and the 99th percentile.
fn two_percentiles(spread: &Spread) -> String {
    format!("{:.0} / {:.0} ms", spread.p50, spread.p99)
}

/// The resident memory, and its allocated part.
fn memory(usage: &Usage) -> String {
    format!("{} ({} allocated)", mebibytes(usage.resident_bytes), mebibytes(usage.allocated_bytes))
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MEBIBYTE)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn kilobytes(bytes: usize) -> f64 {
    bytes as f64 / 1000.0
}

/// A duration in seconds.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
