//! Settings file: rate limits of Port.

use port_client::{Limit, Limits};
use serde::{Deserialize, Serialize};

use super::FileError;

/// Rate limits of Port: requests per 5 minutes. Port counts the requests of the whole organisation, so several clusters share the limits.
/// The defaults are the limits that Port publishes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RequestLimits {
    /// Share of the limits that this controller may use, in percent: 1 to 100. Default: `80`.
    pub percent: u32,
    /// Requests for access tokens. Default: `100`.
    pub tokens: u32,
    /// Writes of one entity. Default: `10000`.
    pub upserts: u32,
    /// Writes of up to 20 entities. Default: `35000`.
    pub bulk_upserts: u32,
    /// Requests for blueprints. Default: `15000`.
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
    /// The limits for the Port client. Bursts have the proportions that Port publishes.
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

    /// Checks what the types don't.
    pub(super) fn validate(&self) -> Result<(), FileError> {
        let Self { percent, tokens, upserts, bulk_upserts, blueprints } = *self;
        if !(1..=100).contains(&percent) {
            return Err(FileError::Percent(percent));
        }
        let limits = [
            ("limits.tokens", tokens),
            ("limits.upserts", upserts),
            ("limits.bulkUpserts", bulk_upserts),
            ("limits.blueprints", blueprints),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            Some((key, _)) => Err(FileError::NoRequests { key }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_that_of_the_client() {
        assert_eq!(RequestLimits::default().limits(), Limits::default());
    }

    #[test]
    fn share_of_the_limits_is_a_share_of_the_bursts() {
        let limits = RequestLimits { percent: 4, ..RequestLimits::default() }.limits();
        assert_eq!((limits.upsert.per_period.get(), limits.upsert.burst.get()), (400, 8));
    }

    #[test]
    fn limits_without_any_request_are_refused() {
        let error = |limits: RequestLimits| limits.validate().unwrap_err().to_string();
        let percent = error(RequestLimits { percent: 0, ..RequestLimits::default() });
        assert!(percent.contains("limits.percent is 0"), "{percent}");
        let upserts = error(RequestLimits { upserts: 0, ..RequestLimits::default() });
        assert!(upserts.contains("limits.upserts is 0"), "{upserts}");
    }
}
