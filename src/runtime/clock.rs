//! Times in the resolution of the Kubernetes API, delays until a time, and arithmetic that can't overflow.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Stands for a delay after which no instant can be represented.
const LONGEST_DELAY: Duration = Duration::from_hours(365 * 24);

/// Shortest delay before a resource that has not changed is reconciled again.
const MIN_REQUEUE_DELAY: Duration = Duration::from_secs(1);

/// `time` in whole seconds.
///
/// The Kubernetes API stores times in whole seconds (`metav1.Time`). A finer time would differ from the one that is
/// read back.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The current time in whole seconds.
#[must_use]
pub fn now() -> Timestamp {
    whole_seconds(Timestamp::now())
}

/// `delay` after `instant`. If no instant can be that late, a year after `instant`.
#[must_use]
pub fn later(instant: Instant, delay: Duration) -> Instant {
    instant.checked_add(delay).or_else(|| instant.checked_add(LONGEST_DELAY)).unwrap_or(instant)
}

/// The delay from `now` until a resource is reconciled at `time`: at least a second, so that a time that has passed causes no
/// reconciliations without end.
#[must_use]
pub fn requeue_delay(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or_default().max(MIN_REQUEUE_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(whole_seconds(time("2026-01-31T12:00:00.987Z")), time("2026-01-31T12:00:00Z"));
    }

    #[test]
    fn too_long_delay_is_a_year() {
        let now = Instant::now();
        assert_eq!(later(now, Duration::from_secs(1)), now + Duration::from_secs(1));
        assert_eq!(later(now, Duration::MAX), now + LONGEST_DELAY);
    }

    #[test]
    fn requeue_delay_is_at_least_a_second() {
        let now = time("2026-01-31T12:00:00Z");
        assert_eq!(requeue_delay(time("2026-01-31T12:05:00Z"), now), Duration::from_secs(300));
        assert_eq!(requeue_delay(time("2026-01-31T12:00:00.5Z"), now), Duration::from_secs(1));
        assert_eq!(requeue_delay(time("2026-01-31T11:00:00Z"), now), Duration::from_secs(1));
    }
}
