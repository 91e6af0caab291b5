//! The rules by which records expire. Pure.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};
use rollout::{Outcome, RecordedRevision};

use crate::settings::RetentionSettings;

/// How many records of a workload are kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetentionPolicy {
    /// The newest records of a workload that are kept.
    pub max_records: usize,
    /// Time after its end from which a record expires.
    pub max_age: SignedDuration,
}

impl RetentionPolicy {
    /// The policy of these settings.
    pub fn new(settings: &RetentionSettings) -> Self {
        Self { max_records: usize::try_from(settings.records).unwrap_or(usize::MAX), max_age: settings.max_age.0 }
    }

    /// The `records` of one workload that have expired. Each comes with whether it is settled: delivered to Port, or
    /// withheld from it.
    ///
    /// A record that is in progress or not settled never expires. The newest record stays while its workload exists
    /// (`workload_exists`), because it shows that the present revision is recorded.
    pub fn expired<'a>(
        &self,
        records: impl Iterator<Item = (&'a RecordedRevision, bool)>,
        workload_exists: bool,
        now: Timestamp,
    ) -> Vec<RecordedRevision> {
        let time = |record: &RecordedRevision| record.finished.or(record.started);
        let mut newest_first: Vec<(&RecordedRevision, bool)> = records.collect();
        newest_first.sort_by_key(|(record, _)| Reverse((time(record), record.revision)));
        let is_expired = |(position, (record, is_settled)): &(usize, (&RecordedRevision, bool))| {
            let is_old = time(record).is_some_and(|time| now.duration_since(time.time()) > self.max_age);
            let is_newest = *position == 0 && workload_exists;
            *is_settled
                && record.outcome != Outcome::InProgress
                && !is_newest
                && (*position >= self.max_records || is_old)
        };
        newest_first.into_iter().enumerate().filter(is_expired).map(|(_, (record, _))| record.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use rollout::UnixSeconds;

    use super::*;
    use crate::records::store::tests::revision;

    const NOW: i64 = 1_000_000;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn finished(number: i64, outcome: Outcome, second: i64) -> RecordedRevision {
        RecordedRevision { finished: UnixSeconds::of(time(second)), ..revision(number, outcome) }
    }

    fn expired(records: &[(RecordedRevision, bool)], workload_exists: bool) -> Vec<i64> {
        let policy = RetentionPolicy { max_records: 3, max_age: SignedDuration::from_secs(1000) };
        let records = records.iter().map(|(record, is_settled)| (record, *is_settled));
        policy.expired(records, workload_exists, time(NOW)).iter().map(|record| record.revision).collect()
    }

    #[test]
    fn records_beyond_the_newest_expire() {
        let records: Vec<_> =
            (1..=5).map(|number| (finished(number, Outcome::Succeeded, NOW - 100 + number), true)).collect();
        assert_eq!(expired(&records, true), [2, 1]);
    }

    #[test]
    fn old_records_expire() {
        let records = [(1, NOW - 1002), (2, NOW - 1001), (3, NOW - 5)]
            .map(|(number, second)| (finished(number, Outcome::Failed, second), true));
        assert_eq!(expired(&records, true), [2, 1]);
    }

    #[test]
    fn record_in_progress_or_not_delivered_is_kept() {
        let records = [
            (finished(1, Outcome::Succeeded, NOW - 5000), false),
            (finished(2, Outcome::InProgress, NOW - 5000), true),
            (finished(3, Outcome::Succeeded, NOW - 5000), true),
            (finished(4, Outcome::Succeeded, NOW - 1), true),
        ];
        assert_eq!(expired(&records, true), [3]);
    }

    #[test]
    fn newest_record_is_kept_while_its_workload_exists() {
        let records = [(finished(1, Outcome::Succeeded, NOW - 5000), true)];
        assert!(expired(&records, true).is_empty());
        assert_eq!(expired(&records, false), [1]);
    }
}
