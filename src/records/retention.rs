//! Which records are no longer kept. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::settings::RetentionSettings;
use rollout::{Outcome, RecordedRevision};

/// How long the records of a Deployment are kept.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// So many, the newest.
    pub records: usize,
    /// So long after their end.
    pub max_age: SignedDuration,
}

impl Expiry {
    /// The rules of these settings.
    #[must_use]
    pub fn new(settings: &RetentionSettings) -> Self {
        Self { records: usize::try_from(settings.records).unwrap_or(usize::MAX), max_age: settings.max_age.0 }
    }

    /// Those of `records` (each with whether it is settled: delivered, or not to be) that are no longer kept.
    ///
    /// Never one that is in progress or not delivered yet, and never the newest while its Deployment lives: it tells that the present
    /// revision has been reported.
    #[must_use]
    pub fn expired<'a>(
        &self,
        records: impl Iterator<Item = (&'a RecordedRevision, bool)>,
        lives: bool,
        now: Timestamp,
    ) -> Vec<RecordedRevision> {
        let time = |known: &RecordedRevision| known.finished.or(known.started);
        let mut newest_first: Vec<(&RecordedRevision, bool)> = records.collect();
        newest_first.sort_by_key(|(known, _)| std::cmp::Reverse((time(known), known.revision)));
        let is_expired = |(position, (known, is_settled)): &(usize, (&RecordedRevision, bool))| {
            let is_old = time(known).is_some_and(|time| now.duration_since(time.time()) > self.max_age);
            let is_kept = *position == 0 && lives;
            *is_settled && known.outcome != Outcome::InProgress && !is_kept && (*position >= self.records || is_old)
        };
        newest_first.into_iter().enumerate().filter(is_expired).map(|(_, (known, _))| known.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::{RevisionId, UnixSeconds};

    const NOW: i64 = 1_000_000;

    fn known(revision: i64, outcome: Outcome, finished: i64) -> RecordedRevision {
        RecordedRevision {
            revision,
            replica_set: RevisionId::new("0123456789", "web-5f"),
            repeated: false,
            outcome,
            change: None,
            started: None,
            finished: UnixSeconds::of(Timestamp::from_second(finished).unwrap()),
            paused_at: None,
            paused_seconds: 0,
        }
    }

    fn expired(records: &[(RecordedRevision, bool)], lives: bool) -> Vec<i64> {
        let rules = Expiry { records: 3, max_age: SignedDuration::from_secs(1000) };
        let records = records.iter().map(|(known, is_settled)| (known, *is_settled));
        let expired = rules.expired(records, lives, Timestamp::from_second(NOW).unwrap());
        expired.iter().map(|known| known.revision).collect()
    }

    #[test]
    fn the_newest_are_kept_and_none_that_is_too_old() {
        let young: Vec<_> =
            (1..=5).map(|revision| (known(revision, Outcome::Succeeded, NOW - 100 + revision), true)).collect();
        assert_eq!(expired(&young, true), [2, 1]);
        let old: Vec<_> = [(1, NOW - 1002), (2, NOW - 1001), (3, NOW - 5)]
            .map(|(revision, finished)| (known(revision, Outcome::Failed, finished), true))
            .into();
        assert_eq!(expired(&old, true), [2, 1]);
    }

    #[test]
    fn what_is_not_delivered_or_in_progress_is_kept() {
        let records = [
            (known(1, Outcome::Succeeded, NOW - 5000), false),
            (known(2, Outcome::InProgress, NOW - 5000), true),
            (known(3, Outcome::Succeeded, NOW - 5000), true),
            (known(4, Outcome::Succeeded, NOW - 1), true),
        ];
        assert_eq!(expired(&records, true), [3]);
    }

    #[test]
    fn the_newest_is_kept_as_long_as_its_deployment_lives() {
        let records = [(known(1, Outcome::Succeeded, NOW - 5000), true)];
        assert!(expired(&records, true).is_empty());
        assert_eq!(expired(&records, false), [1]);
    }
}
