//! The limits that Port publishes, and those that a client keeps to.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota};

/// The window that Port's published limits are for.
pub const RATE_LIMIT_PERIOD: Duration = Duration::from_mins(5);

/// How many requests may be sent in [`RATE_LIMIT_PERIOD`], and how many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Requests per [`RATE_LIMIT_PERIOD`], evenly spread.
    pub per_period: NonZeroU32,
    /// Requests that may be sent at once after a quiet time.
    pub burst: NonZeroU32,
}

impl Limit {
    /// A limit; a zero is taken as one.
    #[must_use]
    pub const fn new(per_period: u32, burst: u32) -> Self {
        Self { per_period: at_least_one(per_period), burst: at_least_one(burst) }
    }

    /// The given part of this limit.
    #[must_use]
    pub const fn percent(self, percent: u32) -> Self {
        Self::new(self.per_period.get().saturating_mul(percent) / 100, self.burst.get().saturating_mul(percent) / 100)
    }

    pub(crate) fn limiter(self) -> DefaultDirectRateLimiter {
        let interval = RATE_LIMIT_PERIOD / self.per_period.get();
        // A period of zero is the only one that is refused, and 5 minutes hold fewer than 2^32 nanoseconds times 70: it can't be zero.
        let quota =
            Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(self.burst);
        DefaultDirectRateLimiter::direct(quota)
    }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// Limits by kind of request. Port counts per organisation, so that other clients share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests for access tokens.
    pub token: Limit,
    /// Single upserts.
    pub upsert: Limit,
    /// Bulk upserts, however many entities each has.
    pub bulk: Limit,
    /// Reads and creations of blueprints.
    pub blueprints: Limit,
    /// Reads and deletions of single entities.
    pub entities: Limit,
}

impl Limits {
    /// What Port's page "Rate limits" publishes (2026): unauthenticated requests, single entity upserts, entities bulk upserts,
    /// blueprints API and entities API.
    pub const PUBLISHED: Self = Self {
        token: Limit::new(100, 10),
        upsert: Limit::new(10_000, 200),
        bulk: Limit::new(35_000, 3_500),
        blueprints: Limit::new(15_000, 1_500),
        entities: Limit::new(35_000, 3_500),
    };

    /// The given part of each limit, for instance to leave room for others.
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
    /// 80 % of [`Limits::PUBLISHED`]: even a burst on top of a full window stays below the limit, and other clients of the organisation are not starved.
    fn default() -> Self {
        Self::PUBLISHED.percent(80)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_stays_below_what_port_publishes_even_with_a_burst() {
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
    fn a_burst_is_let_through_and_the_next_request_is_not() {
        let limiter = Limit::new(300, 3).limiter();
        for _ in 0..3 {
            assert!(limiter.check().is_ok());
        }
        assert!(limiter.check().is_err());
    }
}
