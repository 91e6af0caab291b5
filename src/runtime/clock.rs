//! Times in the resolution of the Kubernetes API, and the delay until a time.

use std::time::Duration;

use jiff::Timestamp;

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
    fn requeue_delay_is_at_least_a_second() {
        let now = time("2026-01-31T12:00:00Z");
        assert_eq!(requeue_delay(time("2026-01-31T12:05:00Z"), now), Duration::from_secs(300));
        assert_eq!(requeue_delay(time("2026-01-31T12:00:00.5Z"), now), Duration::from_secs(1));
        assert_eq!(requeue_delay(time("2026-01-31T11:00:00Z"), now), Duration::from_secs(1));
    }
}
