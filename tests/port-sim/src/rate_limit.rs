//! The rate limits of Port, for each family of routes.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The limit of a family of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Requests per period.
    pub requests: u32,
    /// Number of requests that may come at once, in addition to the steady rate of `requests` per period.
    pub burst: u32,
}

/// The meaning of `x-ratelimit-reset`. The documentation of Port is contradictory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ResetFormat {
    /// Seconds since the Unix epoch, according to the page on rate limits.
    #[default]
    Epoch,
    /// Seconds from now.
    Seconds,
}

/// The rate limits of Port, one for each family of routes.
///
/// The defaults are the limits that Port documents in 2026.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimits {
    /// Whether requests are refused. The headers are always sent.
    pub enforced: bool,
    /// The period of the limits. In JSON: `periodSeconds`.
    #[serde(rename = "periodSeconds", with = "crate::seconds")]
    pub period: Duration,
    /// Requests for a token, and requests without a valid token.
    pub unauthenticated: Limit,
    /// Blueprints.
    pub blueprints: Limit,
    /// Writes of a single entity.
    pub single_upsert: Limit,
    /// Bulk writes, each counted as one request.
    pub bulk_upsert: Limit,
    /// Searches for entities.
    pub search: Limit,
    /// All other requests for entities.
    pub entities: Limit,
    /// All other routes.
    pub other: Limit,
    /// The format of `x-ratelimit-reset`.
    pub reset: ResetFormat,
    /// Whether a 429 has the header `Retry-After`, which Port doesn't document.
    pub retry_after: bool,
}

impl Default for RateLimits {
    fn default() -> Self {
        let limit = |requests, burst| Limit { requests, burst };
        Self {
            enforced: true,
            period: Duration::from_mins(5),
            unauthenticated: limit(100, 10),
            blueprints: limit(15_000, 1_500),
            single_upsert: limit(10_000, 200),
            bulk_upsert: limit(35_000, 3_500),
            search: limit(35_000, 3_500),
            entities: limit(35_000, 3_500),
            other: limit(15_000, 1_500),
            reset: ResetFormat::default(),
            retry_after: false,
        }
    }
}

impl RateLimits {
    /// No request is refused.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { enforced: false, ..Self::default() }
    }
}

/// The families of routes, each with its own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    Unauthenticated,
    Blueprints,
    SingleUpsert,
    BulkUpsert,
    Search,
    Entities,
    Other,
}

impl Family {
    /// The family of an authenticated request.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            ["v1", "entities", "search"] | ["v1", "blueprints", _, "entities", "search"] => Self::Search,
            ["v1", "blueprints", _, "entities", "bulk"] => Self::BulkUpsert,
            ["v1", "blueprints", _, "entities"] if method == Method::POST => Self::SingleUpsert,
            ["v1", "blueprints", _, "entities", ..] => Self::Entities,
            ["v1", "blueprints", ..] => Self::Blueprints,
            _ => Self::Other,
        }
    }
}

/// Counts requests against the limits.
#[derive(Debug)]
pub(crate) struct RateLimiters {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: RateLimits,
    buckets: HashMap<Family, Bucket>,
}

/// The two rules of a limit: a number of requests in a fixed window, and a steady rate with a burst.
#[derive(Debug)]
struct Bucket {
    limit: Limit,
    window_ends: Instant,
    used: u32,
    pace: Option<DefaultDirectRateLimiter>,
}

/// The state of a limit after a request was counted.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    pub allowed: bool,
    limit: u32,
    remaining: u32,
    reset: Duration,
    period: Duration,
    format: ResetFormat,
    retry_after: bool,
}

impl RateLimiters {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self { inner: Mutex::new(Inner { limits, buckets: HashMap::new() }) }
    }

    /// Replaces the limits, and resets the counters.
    pub(crate) fn replace(&self, limits: RateLimits) {
        *self.inner.lock() = Inner { limits, buckets: HashMap::new() };
    }

    /// Counts a request unless it is refused.
    pub(crate) fn count(&self, family: Family) -> Verdict {
        let mut inner = self.inner.lock();
        let Inner { limits, buckets } = &mut *inner;
        buckets.entry(family).or_insert_with(|| Bucket::new(limits.of(family), limits.period)).count(limits)
    }
}

impl RateLimits {
    fn of(&self, family: Family) -> Limit {
        match family {
            Family::Unauthenticated => self.unauthenticated,
            Family::Blueprints => self.blueprints,
            Family::SingleUpsert => self.single_upsert,
            Family::BulkUpsert => self.bulk_upsert,
            Family::Search => self.search,
            Family::Entities => self.entities,
            Family::Other => self.other,
        }
    }
}

impl Bucket {
    fn new(limit: Limit, period: Duration) -> Self {
        // With a limit of 0 there is no steady rate: the window refuses all requests.
        let pace = NonZeroU32::new(limit.requests)
            .and_then(|requests| Quota::with_period(period / requests.get()))
            .zip(NonZeroU32::new(limit.burst.saturating_add(1)))
            .map(|(quota, burst)| RateLimiter::direct(quota.allow_burst(burst)));
        Self { limit, window_ends: Instant::now() + period, used: 0, pace }
    }

    fn count(&mut self, limits: &RateLimits) -> Verdict {
        let now = Instant::now();
        if now >= self.window_ends {
            self.window_ends = now + limits.period;
            self.used = 0;
        }
        let window_has_room = self.used < self.limit.requests;
        let has_pace = window_has_room && self.pace.as_ref().is_some_and(|pace| pace.check().is_ok());
        let allowed = has_pace || !limits.enforced;
        if allowed {
            self.used = self.used.saturating_add(1);
        }
        // Above the steady rate, but within the window: the next request is accepted after one step of the steady rate.
        let reset = if window_has_room && !has_pace {
            limits.period / self.limit.requests
        } else {
            self.window_ends.saturating_duration_since(now)
        };
        Verdict {
            allowed,
            limit: self.limit.requests,
            remaining: if has_pace || !window_has_room { self.limit.requests.saturating_sub(self.used) } else { 0 },
            reset,
            period: limits.period,
            format: limits.reset,
            retry_after: limits.retry_after,
        }
    }
}

impl Verdict {
    /// Writes the headers `x-ratelimit-limit`, `-remaining`, `-reset` and `-period`, and `Retry-After` if it is
    /// enabled.
    pub(crate) fn write_headers(&self, headers: &mut HeaderMap) {
        let seconds = whole_seconds(self.reset);
        let reset = match self.format {
            ResetFormat::Seconds => seconds,
            ResetFormat::Epoch => {
                let since_epoch =
                    Timestamp::now().as_duration() + SignedDuration::try_from(self.reset).unwrap_or_default();
                whole_seconds(since_epoch.unsigned_abs())
            }
        };
        let mut write = |name: &'static str, value: u64| {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        };
        write("x-ratelimit-limit", self.limit.into());
        write("x-ratelimit-remaining", self.remaining.into());
        write("x-ratelimit-reset", reset);
        write("x-ratelimit-period", self.period.as_secs());
        if self.retry_after && !self.allowed {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

/// Rounds up, so that the next request is accepted at the time in the header.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
