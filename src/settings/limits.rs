//! How much the controller may ask of Port.

use serde::{Deserialize, Serialize};

use port_client::{Limit, Limits};

/// Requests to Port per 5 minutes. Port counts them for the whole organisation, so that several clusters share them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RequestLimits {
    /// How much of them this controller may use, in per cent.
    pub percent: u32,
    /// Access tokens.
    pub tokens: u32,
    /// Single upserts.
    pub upserts: u32,
    /// Bulk upserts, of up to 20 entities each.
    pub bulk_upserts: u32,
    /// Reads and creations of blueprints.
    pub blueprints: u32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        let Limits { token, upsert, bulk, blueprints, entities: _ } = Limits::PUBLISHED;
        let number = |limit: Limit| limit.per_period.get();
        Self {
            percent: 80,
            tokens: number(token),
            upserts: number(upsert),
            bulk_upserts: number(bulk),
            blueprints: number(blueprints),
        }
    }
}

impl RequestLimits {
    /// The same for the client, with bursts in the proportions that Port publishes.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let Self { percent, tokens, upserts, bulk_upserts, blueprints } = *self;
        let published = Limits::PUBLISHED;
        let limit = |number: u32, published: Limit| {
            let burst = u64::from(number) * u64::from(published.burst.get()) / u64::from(published.per_period.get());
            Limit::new(number, u32::try_from(burst).unwrap_or(u32::MAX))
        };
        let limits = Limits {
            token: limit(tokens, published.token),
            upsert: limit(upserts, published.upsert),
            bulk: limit(bulk_upserts, published.bulk),
            blueprints: limit(blueprints, published.blueprints),
            entities: published.entities,
        };
        limits.percent(percent)
    }

    /// What is wrong, and what to write instead.
    pub fn validate(&self) -> Result<(), String> {
        let Self { percent, tokens, upserts, bulk_upserts, blueprints } = *self;
        if !(1..=100).contains(&percent) {
            return Err(format!("limits.percent is {percent}: write a number from 1 to 100"));
        }
        let named =
            [("tokens", tokens), ("upserts", upserts), ("bulkUpserts", bulk_upserts), ("blueprints", blueprints)];
        match named.into_iter().find(|(_, number)| *number == 0) {
            Some((name, _)) => {
                Err(format!("limits.{name} is 0: nothing could be sent; write 1 or more, or leave it out"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_that_of_the_client() {
        assert_eq!(RequestLimits::default().limits(), Limits::default());
    }

    #[test]
    fn a_share_of_the_limits_is_a_share_of_the_bursts_too() {
        let limits = RequestLimits { percent: 4, ..RequestLimits::default() }.limits();
        assert_eq!((limits.upsert.per_period.get(), limits.upsert.burst.get()), (400, 8));
    }

    #[test]
    fn limits_that_let_nothing_through_are_refused() {
        let percent = RequestLimits { percent: 0, ..RequestLimits::default() };
        assert!(percent.validate().unwrap_err().contains("limits.percent is 0"));
        let upserts = RequestLimits { upserts: 0, ..RequestLimits::default() };
        assert!(upserts.validate().unwrap_err().contains("limits.upserts is 0"));
    }
}
