//! The rules by which records expire. Pure.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};
use rollout::{Outcome, RecordedRevision, UnixSeconds};

use super::applied::AppliedState;
use super::store::RecordState;
use crate::settings::RetentionSettings;

/// The shortest age at which the record of a deployment in progress expires that somebody has applied. Nothing but time
/// tells one that takes long from one that nobody will finish.
const MIN_AGE_IN_PROGRESS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How many records are kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetentionPolicy {
    /// The newest records of a workload that are kept.
    pub records: usize,
    /// The newest undelivered records of a workload that are kept.
    pub undelivered: usize,
    /// The records in a namespace that are kept of those that somebody has applied.
    pub applied: usize,
    /// Time after its end from which a record expires.
    pub max_age: SignedDuration,
}

impl RetentionPolicy {
    /// The policy of these settings.
    pub fn new(settings: &RetentionSettings) -> Self {
        let RetentionSettings { records, max_age, undelivered_records, applied_records } = *settings;
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            records: count(records),
            undelivered: count(undelivered_records),
            applied: count(applied_records),
            max_age: max_age.0,
        }
    }

    /// The `records` of one workload that have expired.
    ///
    /// Settled records, which are delivered to Port or withheld from it, expire by number and by age. Records that wait for
    /// their delivery expire by age, too, and have a number of their own. A record in progress never expires while its
    /// workload exists (`workload_exists`), and neither does the newest record: it shows that the present revision is
    /// recorded.
    pub fn expired<'a>(
        &self,
        records: impl Iterator<Item = (&'a RecordedRevision, RecordState)>,
        workload_exists: bool,
        now: Timestamp,
    ) -> Vec<(RecordedRevision, RecordState)> {
        let time = |record: &RecordedRevision| record.finished.or(record.started);
        let mut newest_first: Vec<(&RecordedRevision, RecordState)> = records.collect();
        newest_first.sort_by_key(|(record, _)| Reverse((time(record), record.revision)));
        let (mut expired, mut undelivered) = (Vec::new(), 0);
        for (position, (record, state)) in newest_first.into_iter().enumerate() {
            let is_expired = if record.outcome == Outcome::InProgress {
                !workload_exists && self.is_old(time(record).max(state.created), now)
            } else if state.is_settled {
                position >= self.records || self.is_old(time(record).or(state.created), now)
            } else {
                undelivered += 1;
                // A record of a rollout that ended long ago has just been created if the controller was away.
                undelivered > self.undelivered || self.is_old(time(record).max(state.created), now)
            };
            let is_needed = position == 0 && workload_exists;
            if is_expired && !is_needed {
                expired.push((record.clone(), state));
            }
        }
        expired
    }

    /// The `records` of one namespace that have expired, of those that somebody has applied.
    ///
    /// Each expires by age. If there are too many, delivered ones expire before undelivered ones, and older ones before
    /// newer ones.
    pub fn expired_applied<'a>(
        &self,
        records: impl Iterator<Item = (&'a str, AppliedState)>,
        now: Timestamp,
    ) -> Vec<(Box<str>, AppliedState)> {
        let mut by_need: Vec<(&str, AppliedState)> = records.collect();
        by_need.sort_by_key(|(name, state)| (state.is_settled && !state.is_in_progress, Reverse(state.since), *name));
        let is_expired = |(position, (_, state)): &(usize, (&str, AppliedState))| {
            let max_age = if state.is_in_progress { self.max_age.max(MIN_AGE_IN_PROGRESS) } else { self.max_age };
            *position >= self.applied || is_older(state.since, max_age, now)
        };
        let expired = by_need.into_iter().enumerate().filter(is_expired);
        expired.map(|(_, (name, state))| (name.into(), state)).collect()
    }

    fn is_old(&self, since: Option<UnixSeconds>, now: Timestamp) -> bool {
        is_older(since, self.max_age, now)
    }
}

fn is_older(since: Option<UnixSeconds>, max_age: SignedDuration, now: Timestamp) -> bool {
    since.is_some_and(|since| now.duration_since(since.time()) > max_age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::store::IncidentDetails;
    use crate::records::store::tests::revision;
    use crate::resources::EntityState;

    const NOW: i64 = 100_000_000;

    const POLICY: RetentionPolicy =
        RetentionPolicy { records: 3, undelivered: 4, applied: 3, max_age: SignedDuration::from_secs(1000) };

    const SETTLED: RecordState = RecordState {
        generation: 1,
        created: None,
        is_settled: true,
        entity: EntityState::Delivered,
        incident: IncidentDetails::NONE,
    };

    const UNDELIVERED: RecordState = RecordState { is_settled: false, ..SETTLED };

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn finished(number: i64, outcome: Outcome, second: i64) -> RecordedRevision {
        RecordedRevision { finished: UnixSeconds::of(time(second)), ..revision(number, outcome) }
    }

    fn expired(records: &[(RecordedRevision, RecordState)], workload_exists: bool) -> Vec<i64> {
        let records = records.iter().map(|(record, state)| (record, *state));
        POLICY.expired(records, workload_exists, time(NOW)).iter().map(|(record, _)| record.revision).collect()
    }

    /// Records with this state, of which the last one is the newest.
    fn records(count: i64, state: RecordState) -> Vec<(RecordedRevision, RecordState)> {
        (1..=count).map(|number| (finished(number, Outcome::Succeeded, NOW - 100 + number), state)).collect()
    }

    #[test]
    fn records_beyond_the_newest_expire() {
        assert_eq!(expired(&records(5, SETTLED), true), [2, 1]);
    }

    #[test]
    fn old_records_expire() {
        let records = [(1, NOW - 1002), (2, NOW - 1001), (3, NOW - 5)]
            .map(|(number, second)| (finished(number, Outcome::Failed, second), SETTLED));
        assert_eq!(expired(&records, true), [2, 1]);
    }

    #[test]
    fn undelivered_records_have_a_number_of_their_own() {
        assert_eq!(expired(&records(4, UNDELIVERED), true), [0; 0]);
        assert_eq!(expired(&records(6, UNDELIVERED), true), [2, 1]);
        let mut mixed = records(6, UNDELIVERED);
        mixed[5].1 = SETTLED;
        assert_eq!(expired(&mixed, true), [1]);
    }

    #[test]
    fn undelivered_records_expire_by_age() {
        let created = |second| RecordState { created: UnixSeconds::of(time(second)), ..UNDELIVERED };
        let records = [
            (finished(1, Outcome::Succeeded, NOW - 5000), created(NOW - 5000)),
            (finished(2, Outcome::Succeeded, NOW - 4000), created(NOW - 1)),
            (revision(3, Outcome::Unobserved), created(NOW - 5000)),
            (finished(4, Outcome::Succeeded, NOW - 1), created(NOW - 1)),
        ];
        assert_eq!(expired(&records, true), [1, 3], "2 was created just now, and nobody could deliver it yet");
    }

    #[test]
    fn record_in_progress_is_kept_with_its_workload() {
        let created = RecordState { created: UnixSeconds::of(time(NOW - 5000)), ..SETTLED };
        let records = [
            (finished(1, Outcome::InProgress, NOW - 5000), created),
            (finished(2, Outcome::Succeeded, NOW - 1), created),
        ];
        assert!(expired(&records, true).is_empty());
        assert_eq!(expired(&records, false), [1]);
    }

    #[test]
    fn newest_record_is_kept_while_its_workload_exists() {
        for state in [SETTLED, UNDELIVERED] {
            let records = [(finished(1, Outcome::Succeeded, NOW - 5000), state)];
            assert!(expired(&records, true).is_empty());
            assert_eq!(expired(&records, false), [1]);
        }
    }

    fn expired_applied(records: &[(&'static str, i64, bool, bool)]) -> Vec<String> {
        let state = |second, is_settled, is_in_progress| AppliedState {
            since: UnixSeconds::of(time(second)),
            is_settled,
            is_in_progress,
        };
        let records = records.iter().map(|(name, second, settled, open)| (*name, state(*second, *settled, *open)));
        POLICY.expired_applied(records, time(NOW)).into_iter().map(|(name, _)| name.into()).collect()
    }

    #[test]
    fn applied_records_expire_by_age() {
        let records = [("delivered", NOW - 1001, true, false), ("undelivered", NOW - 1001, false, false)];
        assert_eq!(expired_applied(&records), ["undelivered", "delivered"]);
        let days = |days: i64| NOW - days * 24 * 60 * 60;
        let records =
            [("new", NOW - 999, true, false), ("open", days(29), true, true), ("stale", days(31), true, true)];
        assert_eq!(expired_applied(&records), ["stale"]);
    }

    #[test]
    fn delivered_applied_records_expire_first() {
        let records = [
            ("undelivered", NOW - 900, false, false),
            ("old", NOW - 800, true, false),
            ("new", NOW - 700, true, false),
            ("newer", NOW - 600, true, false),
            ("open", NOW - 800, true, true),
        ];
        assert_eq!(expired_applied(&records), ["new", "old"]);
    }
}
