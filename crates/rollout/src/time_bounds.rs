//! The times that records, incidents and annotations may state.

use jiff::Timestamp;

/// The first and the last second that the custom resources accept: 1970-01-01T00:00:00Z and 2199-12-31T23:59:59Z.
const BOUNDS: (i64, i64) = (0, 7_258_118_399);

/// Whether the custom resources accept `time`: it is in the years 1970 to 2199.
///
/// An earlier or later time is a mistake. Far from these years, sums of times and durations overflow.
#[must_use]
pub fn is_supported_time(time: Timestamp) -> bool {
    (BOUNDS.0..=BOUNDS.1).contains(&time.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supported_times_are_in_the_years_1970_to_2199() {
        let is_supported = |text: &str| is_supported_time(text.parse().unwrap());
        assert!(is_supported("1970-01-01T00:00:00Z") && is_supported("2199-12-31T23:59:59Z"));
        for text in ["-000001-06-01T00:00:00Z", "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "9999-12-30T22:00:00Z"]
        {
            assert!(!is_supported(text), "{text}");
        }
    }
}
