//! The memory of the replicas.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use crate::Error;

/// The memory limit of the chart, in MiB.
const LIMIT: f64 = 64.0;

/// The interval between two samples.
const INTERVAL: Duration = Duration::from_millis(500);

/// The shortest run whose memory is compared with itself: before that, lists and buffers still grow to their size.
const SHORTEST_COMPARISON: Duration = Duration::from_mins(10);

/// By how much the last quarter of a run may exceed the second one.
const TOLERANCE: f64 = 1.1;

/// The memory of some processes over time, in MiB.
pub struct MemoryUse<const N: usize> {
    processes: [u32; N],
    started: Instant,
    samples: Vec<[f64; N]>,
}

impl<const N: usize> MemoryUse<N> {
    pub fn new(processes: [u32; N]) -> Self {
        Self { processes, started: Instant::now(), samples: Vec::new() }
    }

    /// Reads the resident memory of each process at intervals, until it is dropped.
    pub async fn sample(&mut self) -> Result<Infallible, Error> {
        loop {
            let mut sample = [0.0; N];
            for (value, process) in sample.iter_mut().zip(self.processes) {
                *value = mebibytes(process, "VmRSS:")?;
            }
            self.samples.push(sample);
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// The mean of a quarter of the run, for each process.
    fn quarter(&self, number: usize) -> [f64; N] {
        let length = self.samples.len() / 4;
        let samples = &self.samples[length * number..length * (number + 1)];
        #[expect(clippy::cast_precision_loss, reason = "a few thousand samples")]
        std::array::from_fn(|process| samples.iter().map(|sample| sample[process]).sum::<f64>() / samples.len() as f64)
    }

    fn peaks(&self) -> Result<Vec<f64>, Error> {
        self.processes.iter().map(|process| mebibytes(*process, "VmHWM:")).collect()
    }

    pub fn report(&self) -> String {
        let peaks = self.peaks().unwrap_or_default();
        format!(
            "memory in MiB: peaks {peaks:.1?}, second quarter {:.1?}, last {:.1?}",
            self.quarter(1),
            self.quarter(3)
        )
    }

    pub fn assert_flat_and_below_the_limit(&self) {
        let peaks = self.peaks().unwrap();
        assert!(
            peaks.iter().all(|peak| *peak < LIMIT),
            "the peaks are {peaks:?} MiB, the limit of the chart is {LIMIT}"
        );
        if self.started.elapsed() > SHORTEST_COMPARISON {
            let (early, late) = (self.quarter(1), self.quarter(3));
            let is_flat = early.iter().zip(late).all(|(early, late)| late <= early * TOLERANCE);
            assert!(is_flat, "the memory grew from {early:?} MiB to {late:?} MiB");
        }
    }
}

/// A field of `/proc/<process>/status` in MiB.
fn mebibytes(process: u32, field: &str) -> Result<f64, Error> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("the process has ended")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}
