//! What was measured, as a table for people and as JSON.

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

/// All that was measured in a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// The binary.
    pub controller: PathBuf,
    /// What was there before the controller was started.
    pub setup: Setup,
    /// From the start of the process to the first 200 of `/readyz`, in seconds.
    pub ready_seconds: f64,
    /// When it was ready.
    pub at_ready: Usage,
    /// For how long it was left alone then, in seconds.
    pub settle_seconds: u64,
    /// At the end of that.
    pub settled: Usage,
    /// From a record that is written alone to its request at Port, in milliseconds.
    pub lone_milliseconds: Spread,
    /// The load.
    pub latency: Latency,
    /// After the load.
    pub after_load: Usage,
    /// Requests to Port, all of them.
    pub requests: Requests,
    /// How often the bench's own watch was interrupted.
    pub watch_interruptions: usize,
}

/// What was there before the controller was started.
#[derive(Debug, Serialize)]
pub struct Setup {
    /// Deployments, each with a ReplicaSet of one pod.
    pub deployments: usize,
    /// Namespaces that they are in.
    pub namespaces: usize,
    /// Their sizes.
    pub mean_sizes: MeanSizes,
    /// Until all were complete, in seconds.
    pub seconds: f64,
    /// Records from before.
    pub records: usize,
    /// How long the controller took to deliver those, in a run before the one that is measured, in seconds from its start.
    pub records_delivered_seconds: Option<f64>,
}

/// Requests to Port.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Requests {
    /// For access tokens.
    pub token: usize,
    /// Writes of one entity.
    pub single: usize,
    /// Writes of several.
    pub bulk: usize,
    /// All others.
    pub other: usize,
}

impl Requests {
    /// Sorts requests.
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
    /// The table: figure, what was measured, and the goal where there is one.
    pub fn table(&self) -> Table {
        let Self { machine, setup, at_ready, settled, latency, after_load, requests, .. } = self;
        let (rollout, delivery) = (latency.rollout_milliseconds, latency.delivery_milliseconds);
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(["figure", "measured", "goal"]);
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut row = |figure: String, measured: String, goal: &str| {
            table.add_row([figure, measured, goal.to_owned()]);
        };
        row("start to ready".to_owned(), format!("{:.2} s", self.ready_seconds), "");
        row("peak memory until ready".to_owned(), mebibytes(at_ready.peak_bytes), "");
        row(format!("memory settled, {} s after", self.settle_seconds), memory(settled), "≤ 20 MiB");
        row("memory after the load".to_owned(), memory(after_load), "");
        row("peak memory of all".to_owned(), mebibytes(after_load.peak_bytes), "≤ 25 MiB");
        let lone = self.lone_milliseconds;
        row(
            "lone record written to request at Port, p50 / p99".to_owned(),
            format!("{:.0} / {:.0} ms", lone.p50, lone.p99),
            "≤ 50 ms",
        );
        row("completed status to entity, p50".to_owned(), format!("{:.0} ms", delivery.p50), "≤ 100 ms");
        row("completed status to entity, p99".to_owned(), format!("{:.0} ms", delivery.p99), "≤ 500 ms");
        row("completed status to entity, longest".to_owned(), format!("{:.0} ms", delivery.max), "");
        row("entities arrived, of rollouts".to_owned(), format!("{} of {}", latency.arrived, latency.rollouts), "all");
        row("rollouts started in a second".to_owned(), format!("{:.1}", latency.rate), "");
        row(
            "the rollouts themselves (cluster), p50 / p99".to_owned(),
            format!("{:.0} / {:.0} ms", rollout.p50, rollout.p99),
            "",
        );
        row(
            "a read from the API server meanwhile, p50 / p99".to_owned(),
            format!("{:.0} / {:.0} ms", latency.read_milliseconds.p50, latency.read_milliseconds.p99),
            "",
        );
        row("processors busy meanwhile, by all".to_owned(), format!("{:.0} %", latency.processors_busy * 100.0), "");
        row(
            "requests to Port: single, bulk, token, other".to_owned(),
            format!("{}, {}, {}, {}", requests.single, requests.bulk, requests.token, requests.other),
            "",
        );
        row(
            "processor time: until ready, idle, load".to_owned(),
            format!(
                "{:.2} s, {:.2} s, {:.2} s",
                at_ready.cpu_seconds,
                settled.cpu_seconds - at_ready.cpu_seconds,
                after_load.cpu_seconds - settled.cpu_seconds
            ),
            "",
        );
        row(
            "Deployments, mean JSON".to_owned(),
            format!("{}, {:.1} kB", setup.deployments, kilobytes(setup.mean_sizes.deployment_bytes)),
            "",
        );
        row(
            "ReplicaSets, mean JSON".to_owned(),
            format!("{}, {:.1} kB", setup.deployments, kilobytes(setup.mean_sizes.replica_set_bytes)),
            "",
        );
        if let Some(seconds) = setup.records_delivered_seconds {
            row("records from before, delivered within".to_owned(), format!("{}, {seconds:.1} s", setup.records), "");
        }
        row(
            "machine".to_owned(),
            format!(
                "{} × {}, {} GiB, Linux {}",
                machine.cores,
                machine.processor,
                machine.memory_bytes.div_ceil(1024 * 1024 * 1024),
                machine.kernel
            ),
            "",
        );
        row("load average at the beginning".to_owned(), format!("{:.1}", machine.load), "");
        row("commit".to_owned(), machine.commit.clone(), "");
        table
    }
}

/// Resident memory, and how much of it is allocated rather than code.
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
