//! The limits that Port publishes, and the limits of a client.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota};

/// The period of Port's published limits.
pub const RATE_LIMIT_PERIOD: Duration = Duration::from_mins(5);

/// The number of requests in [`RATE_LIMIT_PERIOD`], and the number of them that may be sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Requests per [`RATE_LIMIT_PERIOD`], evenly spread.
    pub per_period: NonZeroU32,
    /// Requests that may be sent at once after an idle time.
    pub burst: NonZeroU32,
}

impl Limit {
    /// A limit. A zero becomes a one.
    #[must_use]
    pub const fn new(per_period: u32, burst: u32) -> Self {
        Self { per_period: at_least_one(per_period), burst: at_least_one(burst) }
    }

    /// A percentage of this limit.
    #[must_use]
    pub const fn percent(self, percent: u32) -> Self {
        Self::new(self.per_period.get().saturating_mul(percent) / 100, self.burst.get().saturating_mul(percent) / 100)
    }

    pub(crate) fn limiter(self) -> DefaultDirectRateLimiter {
        // The interval is never zero: 5 minutes have more nanoseconds than `u32::MAX`.
        let quota = RATE_LIMIT_PERIOD.checked_div(self.per_period.get()).and_then(Quota::with_period);
        let quota = quota.unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(self.burst);
        DefaultDirectRateLimiter::direct(quota)
    }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// Limits by kind of request. Port counts requests per organisation, so all clients of an organisation share its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests for access tokens.
    pub token: Limit,
    /// Single upserts.
    pub upsert: Limit,
    /// Bulk upserts, regardless of their number of entities.
    pub bulk: Limit,
    /// Reads and creations of blueprints.
    pub blueprints: Limit,
    /// Reads and deletions of single entities.
    pub entities: Limit,
}

impl Limits {
    /// The limits on Port's documentation page "Rate limits" (2026): unauthenticated requests, single entity upserts, entities bulk
    /// upserts, blueprints API and entities API.
    pub const PUBLISHED: Self = Self {
        token: Limit::new(100, 10),
        upsert: Limit::new(10_000, 200),
        bulk: Limit::new(35_000, 3_500),
        blueprints: Limit::new(15_000, 1_500),
        entities: Limit::new(35_000, 3_500),
    };

    /// A percentage of each limit, for example to leave room for other clients.
    #[must_use]
    pub const fn percent(self, percent: u32) -> Self {
        Self {
            token: self.token.percent(percent),
            upsert: self.upsert.percent(percent),
            bulk: self.bulk.percent(percent),
            blueprints: self.blueprints.percent(percent),
            entities: self.entities.percent(percent),
        }
    }
}

impl Default for Limits {
    /// 80 % of [`Limits::PUBLISHED`]. Even a burst in addition to a full period stays below the limit, and other clients of the
    /// organisation can still send requests.
    fn default() -> Self {
        Self::PUBLISHED.percent(80)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_with_a_burst_stays_below_the_limits() {
        let (ours, published) = (Limits::default(), Limits::PUBLISHED);
        for (ours, published) in [
            (ours.token, published.token),
            (ours.upsert, published.upsert),
            (ours.bulk, published.bulk),
            (ours.blueprints, published.blueprints),
            (ours.entities, published.entities),
        ] {
            assert!(ours.per_period.get() + ours.burst.get() <= published.per_period.get());
            assert!(ours.burst <= published.burst);
        }
    }

    #[test]
    fn request_after_a_burst_waits() {
        let limiter = Limit::new(300, 3).limiter();
        for _ in 0..3 {
            assert!(limiter.check().is_ok());
        }
        assert!(limiter.check().is_err());
    }
}
