//! What the figures were measured on, and of what.

use std::process::Command;

use anyhow::Result;
use procfs::Current;
use procfs::sys::kernel::Version;
use procfs::{CpuInfo, CurrentSI, KernelStats, LoadAverage, Meminfo};
use serde::Serialize;

/// The machine, as it was when the bench began.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Processors.
    pub cores: usize,
    /// What they call themselves.
    pub processor: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Version of Linux.
    pub kernel: String,
    /// Processes that wanted to run in the last minute, on average: above the number of cores, others disturb.
    pub load: f32,
    /// The commit that the checkout is at, with `-dirty` if it has changes.
    pub commit: String,
}

impl Machine {
    /// This machine.
    ///
    /// # Errors
    /// When /proc doesn't say.
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

/// What the processors had done at one moment, in ticks since the machine was started.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    busy: u64,
    idle: u64,
}

impl Processors {
    /// Up to now.
    ///
    /// # Errors
    /// When /proc doesn't say.
    pub fn current() -> Result<Self> {
        let total = KernelStats::current()?.total;
        let waiting = total.iowait.unwrap_or_default();
        // What a hypervisor took away could not be used.
        let others = [total.irq, total.softirq, total.steal].into_iter().flatten().sum::<u64>();
        Ok(Self { busy: total.user + total.nice + total.system + others, idle: total.idle + waiting })
    }

    /// How much of them everything on this machine has used since then, from 0 to 1.
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
