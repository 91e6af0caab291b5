//! The progress of a build, and an estimate of the remaining time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The packages of a build that have to be compiled, each with the size of its source.
///
/// Packages range from a few lines to megabytes of generated code, so the remaining time is estimated by size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    left: BTreeMap<String, u64>,
    compiled: usize,
    compiled_size: u64,
}

/// The fixed cost of compiling a package, in bytes of source: starting the compiler takes time as well.
const BYTES_PER_PACKAGE: u64 = 15_000;

impl Progress {
    pub(crate) fn new(packages: impl IntoIterator<Item = (String, u64)>) -> Self {
        let left = packages.into_iter().map(|(package, size)| (package, size.saturating_add(BYTES_PER_PACKAGE)));
        Self { left: left.collect(), ..Self::default() }
    }

    /// Reads a line of `go build -v`, and returns whether it names a package of this build. Go prints the name of a
    /// package when it starts to compile it.
    pub(crate) fn note(&mut self, line: &str) -> bool {
        let Some(size) = self.left.remove(line) else { return false };
        self.compiled += 1;
        self.compiled_size += size;
        true
    }

    /// The number of packages to compile.
    pub(crate) fn total(&self) -> usize {
        self.compiled + self.left.len()
    }

    /// The progress message for a person who has waited for `elapsed`.
    pub(crate) fn after(&self, elapsed: Duration) -> Report {
        let left_size: u64 = self.left.values().sum();
        let rest = (self.compiled_size > 0)
            .then(|| elapsed.as_secs_f64() / to_f64(self.compiled_size) * to_f64(left_size))
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        Report { compiled: self.compiled, total: self.total(), rest }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate needs no 53 bits")]
fn to_f64(size: u64) -> f64 {
    size as f64
}

/// `812 of 2990 packages compiled, about 4 min left`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    compiled: usize,
    total: usize,
    rest: Option<Duration>,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compiled, total, rest } = self;
        if compiled == total {
            return write!(formatter, "all {total} packages compiled, linking");
        }
        write!(formatter, "{compiled} of {total} packages compiled")?;
        match rest.map(|rest| rest.as_secs()) {
            None => Ok(()),
            // The estimate is too rough for seconds.
            Some(seconds) if seconds < 60 => write!(formatter, ", less than a minute left"),
            Some(seconds) => write!(formatter, ", about {} min left", seconds.div_ceil(60)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        let small = (0..9).map(|number| (format!("example.org/small/{number}"), 0));
        Progress::new(small.chain([("example.org/generated".to_owned(), BYTES_PER_PACKAGE * 10)]))
    }

    #[test]
    fn time_left_follows_size_not_number() {
        let mut progress = progress();
        for number in 0..9 {
            assert!(progress.note(&format!("example.org/small/{number}")));
        }
        let report = progress.after(Duration::from_secs(9 * 20)).to_string();
        assert_eq!(report, "9 of 10 packages compiled, about 4 min left");
    }

    #[test]
    fn nothing_is_estimated_from_nothing() {
        assert_eq!(progress().after(Duration::from_secs(10)).to_string(), "0 of 10 packages compiled");
    }

    #[test]
    fn only_packages_of_the_build_count_and_each_once() {
        let mut progress = progress();
        assert!(!progress.note("# example.org/small/1"));
        assert!(!progress.note("example.org/other"));
        assert!(progress.note("example.org/generated"));
        assert!(!progress.note("example.org/generated"));
        let report = progress.after(Duration::from_secs(10)).to_string();
        assert_eq!(report, "1 of 10 packages compiled, less than a minute left");
    }

    #[test]
    fn linking_follows_the_last_package() {
        let mut progress = Progress::new([("example.org/one".to_owned(), 1)]);
        progress.note("example.org/one");
        assert_eq!(progress.after(Duration::from_secs(1)).to_string(), "all 1 packages compiled, linking");
    }
}
