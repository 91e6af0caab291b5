//! The machine and the commit of a measurement.

use std::process::Command;

use anyhow::Result;
use procfs::Current;
use procfs::sys::kernel::Version;
use procfs::{CpuInfo, CurrentSI, KernelStats, LoadAverage, Meminfo};
use serde::Serialize;

/// The machine at the start of the bench.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Number of processors.
    pub cores: usize,
    /// Model of the processors.
    pub processor: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Version of Linux.
    pub kernel: String,
    /// Average number of runnable processes in the last minute. Above the number of processors, other processes disturb
    /// the measurement.
    pub load: f32,
    /// The commit of the checkout, with `-dirty` if it has changes.
    pub commit: String,
}

impl Machine {
    /// This machine.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn current() -> Result<Self> {
        let processors = CpuInfo::current()?;
        let Version { major, minor, patch } = Version::current()?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: processors.model_name(0).unwrap_or("unknown").to_owned(),
            memory_bytes: Meminfo::current()?.mem_total,
            kernel: format!("{major}.{minor}.{patch}"),
            load: LoadAverage::current()?.one,
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
        })
    }
}

fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}

/// The time of all processors since the start of the machine, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    busy: u64,
    idle: u64,
}

impl Processors {
    /// The current times.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn current() -> Result<Self> {
        let total = KernelStats::current()?.total;
        let waiting = total.iowait.unwrap_or_default();
        // Time that the hypervisor gave to other machines counts as busy.
        let others = [total.irq, total.softirq, total.steal].into_iter().flatten().sum::<u64>();
        Ok(Self { busy: total.user + total.nice + total.system + others, idle: total.idle + waiting })
    }

    /// The busy part of the processors since then, from 0 to 1.
    ///
    /// # Errors
    /// As [`Processors::current`].
    pub fn busy_since(&self) -> Result<f64> {
        let now = Self::current()?;
        let (busy, idle) = (now.busy.saturating_sub(self.busy), now.idle.saturating_sub(self.idle));
        #[expect(clippy::cast_precision_loss, reason = "ticks of a run of minutes")]
        let part = busy as f64 / (busy + idle).max(1) as f64;
        Ok(part)
    }
}
