//! Arithmetic with instants that can't overflow.

use std::time::Duration;

use tokio::time::Instant;

/// Stands for a duration after which no instant can be represented.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// `duration` after `instant`. If no instant can be that late, a year after `instant`.
pub(crate) fn later(instant: Instant, duration: Duration) -> Instant {
    instant.checked_add(duration).or_else(|| instant.checked_add(LONGEST)).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_long_duration_is_a_year() {
        let now = Instant::now();
        assert_eq!(later(now, Duration::from_secs(1)), now + Duration::from_secs(1));
        assert_eq!(later(now, Duration::MAX), now + LONGEST);
    }
}
