//! The lead time, and durations in the unit that Port's DORA blueprints use.

use jiff::{SignedDuration, Timestamp};

/// `duration` in hours, the unit of `lead_time_hours` and `time_to_resolve`, rounded to 4 decimals (0.36 seconds).
#[must_use]
pub fn hours(duration: SignedDuration) -> f64 {
    const PRECISION: f64 = 10_000.0;
    (duration.as_secs_f64() / 3600.0 * PRECISION).round() / PRECISION
}

/// The commit is later than the end of the deployment, so one of the two times must be wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the commit time {committed} is later than the end of the deployment at {finished}, so the lead time is unknown; correct the annotation \
     dora.port.io/commit-time, or spec.commitTime"
)]
pub struct CommitAfterEnd {
    committed: Timestamp,
    finished: Timestamp,
}

/// The time from the commit to the end of the deployment.
///
/// # Errors
/// If the commit is later than the end.
pub fn lead_time(committed: Timestamp, finished: Timestamp) -> Result<SignedDuration, CommitAfterEnd> {
    let duration = finished.duration_since(committed);
    if duration.is_negative() { Err(CommitAfterEnd { committed, finished }) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_keep_fractions() {
        let seconds = |seconds| hours(SignedDuration::from_secs(seconds));
        assert_eq!([seconds(0), seconds(3600), seconds(5400), seconds(36)].as_slice(), [0.0, 1.0, 1.5, 0.01]);
    }

    #[test]
    fn commit_after_the_deployment_has_no_lead_time() -> Result<(), jiff::Error> {
        let (committed, finished) = ("2026-01-01T12:00:00Z".parse()?, "2026-01-01T11:59:59Z".parse()?);
        assert_eq!(lead_time(committed, finished), Err(CommitAfterEnd { committed, finished }));
        assert_eq!(lead_time(finished, committed), Ok(SignedDuration::from_secs(1)));
        assert_eq!(lead_time(finished, finished), Ok(SignedDuration::ZERO));
        Ok(())
    }
}
