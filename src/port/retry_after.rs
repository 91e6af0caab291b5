//! How long a 429 asks to wait.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::limits::RATE_LIMIT_PERIOD;

/// The pause after a 429 that does not say how long to wait.
pub const DEFAULT_PAUSE: Duration = Duration::from_secs(10);

/// A `Retry-After` beyond this is taken for a mistake, since Port's window is 5 minutes.
pub const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// "In no time" would make a 429 answer the next one.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Port's documents disagree on `x-ratelimit-reset`: seconds to wait in some, an epoch in others. Above this it is an epoch.
const SMALLEST_EPOCH: f64 = 10_000.0;

/// How long to wait: `Retry-After` (seconds or a date) first, then `x-ratelimit-reset` (seconds or an epoch), then [`DEFAULT_PAUSE`].
///
/// Dates and epochs are compared with the answer's own `Date`, if it has one, so that a clock that is wrong on this side does no harm.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Duration {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let now = text(DATE.as_str()).and_then(http_date).unwrap_or(now);
    if let Some(value) = text(RETRY_AFTER.as_str()) {
        let seconds = number(value).or_else(|| http_date(value).map(|date| date.duration_since(now).as_secs_f64()));
        if let Some(seconds) = seconds {
            return pause(seconds, LONGEST_PAUSE);
        }
    }
    if let Some(reset) = text("x-ratelimit-reset").and_then(number) {
        let seconds = if reset > SMALLEST_EPOCH { reset - now.as_duration().as_secs_f64() } else { reset };
        return pause(seconds, RATE_LIMIT_PERIOD);
    }
    DEFAULT_PAUSE
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

fn pause(seconds: f64, longest: Duration) -> Duration {
    let seconds = seconds.clamp(SHORTEST_PAUSE.as_secs_f64(), longest.as_secs_f64());
    Duration::try_from_secs_f64(seconds).unwrap_or(SHORTEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderName;

    #[test]
    fn each_form_of_the_headers_is_understood() {
        // 1994-11-06T08:49:37Z, the date of the RFC's example.
        let now = Timestamp::from_second(784_111_777).unwrap();
        let seconds = Duration::from_secs;
        for (headers, expected) in [
            (vec![], DEFAULT_PAUSE),
            (vec![("retry-after", "7")], seconds(7)),
            (vec![("retry-after", "1.5")], Duration::from_millis(1500)),
            (vec![("retry-after", "0")], seconds(1)),
            (vec![("retry-after", "86400")], LONGEST_PAUSE),
            (vec![("retry-after", "1e300")], LONGEST_PAUSE),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], seconds(30)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], seconds(1)),
            (vec![("retry-after", "soon")], DEFAULT_PAUSE),
            (vec![("retry-after", "soon"), ("x-ratelimit-reset", "9")], seconds(9)),
            (vec![("retry-after", "-1")], DEFAULT_PAUSE),
            (vec![("x-ratelimit-reset", "42")], seconds(42)),
            (vec![("x-ratelimit-reset", "784111897")], seconds(120)),
            (vec![("x-ratelimit-reset", "784111700")], seconds(1)),
            (vec![("x-ratelimit-reset", "9999")], RATE_LIMIT_PERIOD),
            (vec![("x-ratelimit-reset", "NaN")], DEFAULT_PAUSE),
            (vec![("retry-after", "3"), ("x-ratelimit-reset", "42")], seconds(3)),
            // The server's clock counts, not ours.
            (vec![("x-ratelimit-reset", "784115392"), ("date", "Sun, 06 Nov 1994 09:49:37 GMT")], seconds(15)),
        ] {
            let map: HeaderMap =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
            assert_eq!(retry_after(&map, now), expected, "{headers:?}");
        }
    }
}
