//! Durations in the unit that Port expects.

use jiff::{SignedDuration, Timestamp};

/// `duration` in hours, as `lead_time_hours` and `time_to_resolve` have it, with fractions down to a third of a second.
#[must_use]
pub fn hours(duration: SignedDuration) -> f64 {
    const PRECISION: f64 = 10_000.0;
    (duration.as_secs_f64() / 3600.0 * PRECISION).round() / PRECISION
}

/// The time from commit to the end of the deployment; `None` if the commit is later than that, which can't be.
#[must_use]
pub fn lead_time(committed: Timestamp, finished: Timestamp) -> Option<SignedDuration> {
    let duration = finished.duration_since(committed);
    (!duration.is_negative()).then_some(duration)
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
    fn a_commit_after_the_deployment_gives_no_lead_time() -> Result<(), jiff::Error> {
        let (committed, finished) = ("2026-01-01T12:00:00Z".parse()?, "2026-01-01T11:59:59Z".parse()?);
        assert_eq!(lead_time(committed, finished), None);
        assert_eq!(lead_time(finished, committed), Some(SignedDuration::from_secs(1)));
        assert_eq!(lead_time(finished, finished), Some(SignedDuration::ZERO));
        Ok(())
    }
}
