//! What the headers of an answer say about Port's rate limit: how long a 429 asks to wait, and how much is left.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::rate_limit::limits::RATE_LIMIT_PERIOD;

/// The pause after a 429 that does not say how long to wait.
pub const DEFAULT_PAUSE: Duration = Duration::from_secs(10);

/// A `Retry-After` beyond this is taken for a mistake, since Port's window is 5 minutes.
pub const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// "In no time" would make a 429 answer the next one.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Port's documents disagree on `x-ratelimit-reset`: seconds to wait in some, an epoch in others. Above this it is an epoch.
const SMALLEST_EPOCH: f64 = 10_000.0;

/// How long to wait after a 429: `Retry-After` (seconds or a date) first, then `x-ratelimit-reset` (seconds or an epoch), then
/// [`DEFAULT_PAUSE`].
///
/// Dates and epochs are compared with the answer's own `Date`, if it has one, so that a clock that is wrong on this side does no harm.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Duration {
    stated_retry_after(headers, now).unwrap_or_else(|| {
        let seconds = seconds_until_reset(headers, clock_of_the_answer(headers, now));
        seconds.map_or(DEFAULT_PAUSE, |seconds| duration(seconds, SHORTEST_PAUSE, RATE_LIMIT_PERIOD))
    })
}

/// How long the header `Retry-After` (seconds or a date) asks to wait, whatever the status: RFC 9110 has it for a 503 too.
pub(crate) fn stated_retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let now = clock_of_the_answer(headers, now);
    let value = text(headers, RETRY_AFTER.as_str())?;
    let seconds = number(value).or_else(|| http_date(value).map(|date| date.duration_since(now).as_secs_f64()))?;
    Some(duration(seconds, SHORTEST_PAUSE, LONGEST_PAUSE))
}

/// What is left of a limit. Port's page "Rate limits" names these headers for every answer, not only for a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// `x-ratelimit-limit`: requests in a window.
    pub(crate) limit: u32,
    /// `x-ratelimit-remaining`: requests that are left of it.
    pub(crate) left: u32,
    /// `x-ratelimit-reset`: when the next window begins, from now.
    pub(crate) reset: Duration,
    /// `x-ratelimit-period`: how long a window lasts.
    pub(crate) period: Duration,
}

impl Remaining {
    /// `None` if a header that matters is missing or makes no sense: then nothing is assumed.
    pub(crate) fn read(headers: &HeaderMap, now: Timestamp) -> Option<Self> {
        let now = clock_of_the_answer(headers, now);
        let number_of = |name| text(headers, name).and_then(number);
        let period = number_of("x-ratelimit-period").filter(|seconds| *seconds > 0.0);
        Some(Self {
            limit: whole(number_of("x-ratelimit-limit")?),
            left: whole(number_of("x-ratelimit-remaining")?),
            reset: duration(seconds_until_reset(headers, now)?, Duration::ZERO, RATE_LIMIT_PERIOD),
            period: period.map_or(RATE_LIMIT_PERIOD, |seconds| duration(seconds, Duration::ZERO, RATE_LIMIT_PERIOD)),
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn clock_of_the_answer(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    text(headers, DATE.as_str()).and_then(http_date).unwrap_or(now)
}

fn seconds_until_reset(headers: &HeaderMap, now: Timestamp) -> Option<f64> {
    let reset = text(headers, "x-ratelimit-reset").and_then(number)?;
    Some(if reset > SMALLEST_EPOCH { reset - now.as_duration().as_secs_f64() } else { reset })
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

fn duration(seconds: f64, shortest: Duration, longest: Duration) -> Duration {
    let seconds = seconds.clamp(shortest.as_secs_f64(), longest.as_secs_f64());
    Duration::try_from_secs_f64(seconds).unwrap_or(shortest)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such a cast saturates, and nothing negative comes here"
)]
fn whole(number: f64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderName;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    /// 1994-11-06T08:49:37Z, the date of the RFC's example.
    fn now() -> Timestamp {
        Timestamp::from_second(784_111_777).unwrap()
    }

    #[test]
    fn each_form_of_the_headers_is_understood() {
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
            assert_eq!(retry_after(&map(&headers), now()), expected, "{headers:?}");
        }
    }

    #[test]
    fn what_is_left_is_read_only_if_all_of_it_is_there() {
        let complete =
            [("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "784111807")];
        let seconds = Duration::from_secs;
        let expected = Remaining { limit: 100, left: 7, reset: seconds(30), period: RATE_LIMIT_PERIOD };
        assert_eq!(Remaining::read(&map(&complete), now()), Some(expected));

        let with_period = [complete.as_slice(), &[("x-ratelimit-period", "60")]].concat();
        assert_eq!(Remaining::read(&map(&with_period), now()), Some(Remaining { period: seconds(60), ..expected }));

        for missing in 0..complete.len() {
            let mut headers = complete.to_vec();
            headers.remove(missing);
            assert_eq!(Remaining::read(&map(&headers), now()), None, "{headers:?}");
        }
        for wrong in ["", "-1", "many", "NaN", "inf"] {
            let mut headers = complete;
            headers[1].1 = wrong;
            assert_eq!(Remaining::read(&map(&headers), now()), None, "{wrong}");
        }
    }
}
