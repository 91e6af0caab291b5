//! The rate limit headers of a response: how long a 429 asks to wait, and how many requests remain.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::rate_limit::RATE_LIMIT_PERIOD;

/// The pause after a 429 that does not say how long to wait.
pub const DEFAULT_PAUSE: Duration = Duration::from_secs(10);

/// The longest pause. A longer `Retry-After` is considered a mistake, since Port's period is 5 minutes.
pub const MAX_PAUSE: Duration = Duration::from_hours(1);

/// The shortest pause. Without it, a `Retry-After` of zero would turn each 429 into the next request.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// Port's documentation describes `x-ratelimit-reset` both as seconds to wait and as seconds since the epoch. A larger value is the latter.
const MIN_EPOCH_SECONDS: f64 = 10_000.0;

/// How long to pause after a 429: `Retry-After` (seconds or a date), or else `x-ratelimit-reset` (seconds or an epoch), or else
/// [`DEFAULT_PAUSE`].
///
/// Dates and epochs are compared with the response's own `Date`, so that a wrong clock of this machine does not matter.
pub(crate) fn pause_after_429(headers: &HeaderMap, now: SystemTime) -> Duration {
    retry_after_header(headers, now).unwrap_or_else(|| {
        let seconds = seconds_until_reset(headers, response_date(headers, now));
        seconds.map_or(DEFAULT_PAUSE, |seconds| duration(seconds, MIN_PAUSE, RATE_LIMIT_PERIOD))
    })
}

/// How long `Retry-After` (seconds or a date) asks to wait. RFC 9110, section 10.2.3, defines it for a 503 too.
pub(crate) fn retry_after_header(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER.as_str())?;
    let seconds = number(value).or_else(|| {
        let date = httpdate::parse_http_date(value.trim()).ok()?;
        // A date in the past asks for no wait.
        Some(date.duration_since(response_date(headers, now)).unwrap_or_default().as_secs_f64())
    })?;
    Some(duration(seconds, MIN_PAUSE, MAX_PAUSE))
}

/// The state of a rate limit. Port's documentation page "Rate limits" lists these headers for every response, not only for a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimitHeaders {
    /// `x-ratelimit-limit`: requests per window.
    pub(crate) limit: u32,
    /// `x-ratelimit-remaining`: requests that remain in this window.
    pub(crate) remaining: u32,
    /// `x-ratelimit-reset`: the time until the next window.
    pub(crate) reset: Duration,
    /// `x-ratelimit-period`: the length of a window.
    pub(crate) period: Duration,
}

impl RateLimitHeaders {
    /// `None` if a required header is missing or invalid.
    pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let now = response_date(headers, now);
        let number_of = |name| text(headers, name).and_then(number);
        let period = number_of("x-ratelimit-period").filter(|seconds| *seconds > 0.0);
        Some(Self {
            limit: whole(number_of("x-ratelimit-limit")?),
            remaining: whole(number_of("x-ratelimit-remaining")?),
            reset: duration(seconds_until_reset(headers, now)?, Duration::ZERO, RATE_LIMIT_PERIOD),
            period: period.map_or(RATE_LIMIT_PERIOD, |seconds| duration(seconds, Duration::ZERO, RATE_LIMIT_PERIOD)),
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The `Date` of the response; `now` if it is missing or invalid.
fn response_date(headers: &HeaderMap, now: SystemTime) -> SystemTime {
    text(headers, DATE.as_str()).and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now)
}

fn seconds_until_reset(headers: &HeaderMap, now: SystemTime) -> Option<f64> {
    let reset = text(headers, "x-ratelimit-reset").and_then(number)?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(if reset > MIN_EPOCH_SECONDS { reset - now.as_secs_f64() } else { reset })
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

fn duration(seconds: f64, min: Duration, max: Duration) -> Duration {
    let seconds = seconds.clamp(min.as_secs_f64(), max.as_secs_f64());
    Duration::try_from_secs_f64(seconds).unwrap_or(min)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the number is not negative"
)]
fn whole(number: f64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    /// 1994-11-06T08:49:37Z, the example of RFC 9110, section 5.6.7.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    #[test]
    fn each_form_of_the_pause_headers_is_read() {
        let seconds = Duration::from_secs;
        for (headers, expected) in [
            (vec![], DEFAULT_PAUSE),
            (vec![("retry-after", "7")], seconds(7)),
            (vec![("retry-after", "1.5")], Duration::from_millis(1500)),
            (vec![("retry-after", "0")], seconds(1)),
            (vec![("retry-after", "86400")], MAX_PAUSE),
            (vec![("retry-after", "1e300")], MAX_PAUSE),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], seconds(30)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], seconds(1)),
            // The obsolete formats that RFC 9110 still requires.
            (vec![("retry-after", "Sunday, 06-Nov-94 08:50:07 GMT")], seconds(30)),
            (vec![("retry-after", "Sun Nov  6 08:50:07 1994")], seconds(30)),
            (vec![("retry-after", "soon")], DEFAULT_PAUSE),
            // HTTP allows no numeric time zone.
            (vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 +0000")], DEFAULT_PAUSE),
            (vec![("retry-after", "soon"), ("x-ratelimit-reset", "9")], seconds(9)),
            (vec![("retry-after", "-1")], DEFAULT_PAUSE),
            (vec![("x-ratelimit-reset", "42")], seconds(42)),
            (vec![("x-ratelimit-reset", "784111897")], seconds(120)),
            (vec![("x-ratelimit-reset", "784111700")], seconds(1)),
            (vec![("x-ratelimit-reset", "9999")], RATE_LIMIT_PERIOD),
            (vec![("x-ratelimit-reset", "NaN")], DEFAULT_PAUSE),
            (vec![("retry-after", "3"), ("x-ratelimit-reset", "42")], seconds(3)),
            // The clock of the server counts, not that of this machine.
            (vec![("x-ratelimit-reset", "784115392"), ("date", "Sun, 06 Nov 1994 09:49:37 GMT")], seconds(15)),
        ] {
            assert_eq!(pause_after_429(&map(&headers), now()), expected, "{headers:?}");
        }
    }

    #[test]
    fn remaining_requests_need_all_headers() {
        let complete =
            [("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "784111807")];
        let seconds = Duration::from_secs;
        let expected = RateLimitHeaders { limit: 100, remaining: 7, reset: seconds(30), period: RATE_LIMIT_PERIOD };
        assert_eq!(RateLimitHeaders::read(&map(&complete), now()), Some(expected));

        let with_period = [complete.as_slice(), &[("x-ratelimit-period", "60")]].concat();
        assert_eq!(
            RateLimitHeaders::read(&map(&with_period), now()),
            Some(RateLimitHeaders { period: seconds(60), ..expected })
        );

        for missing in 0..complete.len() {
            let mut headers = complete.to_vec();
            headers.remove(missing);
            assert_eq!(RateLimitHeaders::read(&map(&headers), now()), None, "{headers:?}");
        }
        for wrong in ["", "-1", "many", "NaN", "inf"] {
            let mut headers = complete;
            headers[1].1 = wrong;
            assert_eq!(RateLimitHeaders::read(&map(&headers), now()), None, "{wrong}");
        }
    }
}
