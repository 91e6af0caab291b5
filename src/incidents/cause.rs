//! Finds the rollout behind an incident. Pure.

use jiff::{SignedDuration, Timestamp};
use rollout::{Outcome, RecordedRevision, UnixSeconds, WorkloadKey};

use crate::resources::{AffectedWorkload, Certainty, DoraIncidentStatus, IncidentCause, NamedWorkload};

/// How long the record of a rollout may take that ended before the incident began.
const RECORDING_TIME: SignedDuration = SignedDuration::from_secs(60);

/// How long after the beginning of the incident a rollout in progress may turn out to have been complete before it.
const COMPLETION_TIME: SignedDuration = SignedDuration::from_hours(1);

/// A recorded rollout that may be the cause of an incident.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CandidateRollout {
    /// The workload that was rolled out.
    pub workload: NamedWorkload,
    /// Number of the revision.
    pub revision: i64,
    /// Name of the `DoraDeployment` that records the rollout.
    pub record: String,
    /// How the rollout ended.
    pub outcome: Outcome,
    /// When it began, if known.
    pub started: Option<Timestamp>,
    /// When it ended, if known. `None` while it is in progress.
    pub finished: Option<Timestamp>,
}

impl CandidateRollout {
    /// Whether it is a rollout of the workload that `reference` names.
    #[must_use]
    pub fn is_of(&self, reference: &AffectedWorkload) -> bool {
        self.workload.kind == reference.kind && self.workload.name == reference.name
    }
}

/// The question which rollout is behind an incident.
#[derive(Clone, Copy, Debug)]
pub struct CauseQuery<'a> {
    /// The workload that the incident names, if any: `spec.workloadRef`.
    pub stated: Option<&'a AffectedWorkload>,
    /// When the incident began.
    pub opened: Timestamp,
    /// How long before the incident a suspected rollout may have ended: the setting `incidents.suspectWithin`.
    pub suspect_within: SignedDuration,
}

impl CauseQuery<'_> {
    /// Whether a recorded revision can matter for the answer. The answer is the same without those that can't.
    #[must_use]
    pub fn concerns(&self, workload: &WorkloadKey, revision: &RecordedRevision) -> bool {
        if let Some(stated) = self.stated {
            return workload.kind == stated.kind && *workload.name == *stated.name;
        }
        let ended_in_time = |finished: Timestamp| {
            finished <= self.opened && self.opened.duration_since(finished) <= self.suspect_within
        };
        revision.outcome == Outcome::InProgress || revision.finished.map(UnixSeconds::time).is_some_and(ended_in_time)
    }
}

/// Decides on the cause of an incident. `None` if no rollout qualifies.
///
/// A cause in `status` that still answers the query stays if the records name no other, because its record may have been deleted. The
/// identifier of its entity stays as well.
/// `is_observed` says that `status` already has the answer to this query; then it stays in any case.
#[must_use]
pub fn decide_cause(
    query: &CauseQuery<'_>,
    candidates: &[CandidateRollout],
    status: &DoraIncidentStatus,
    is_observed: bool,
) -> Option<IncidentCause> {
    let has_same_beginning = status.opened_at.as_ref().map(|time| time.0) == Some(query.opened);
    let earlier = status.cause.clone().filter(|cause| has_same_beginning && answers(cause, query.stated));
    if is_observed && earlier.is_some() {
        return earlier;
    }
    let found = find_cause(query, candidates).map(|(rollout, certainty)| {
        let CandidateRollout { workload, revision, record, .. } = rollout.clone();
        let entity =
            status.cause.as_ref().filter(|cause| cause.record == record).and_then(|cause| cause.entity.clone());
        IncidentCause { certainty, workload, revision, record, entity }
    });
    found.or(earlier)
}

/// Whether the records may name another cause later, because the record of a rollout can be written later than the incident.
///
/// `watched_since` is the time since which this process watches the incident: its creation, or the start of the process.
#[must_use]
pub fn may_change(
    query: &CauseQuery<'_>,
    candidates: &[CandidateRollout],
    watched_since: Timestamp,
    now: Timestamp,
) -> bool {
    now.duration_since(query.opened.max(watched_since)) < RECORDING_TIME
        || now.duration_since(query.opened) < COMPLETION_TIME && has_rollout_in_progress(query, candidates)
}

/// Whether `cause` is an answer for an incident with this `spec.workloadRef`.
fn answers(cause: &IncidentCause, stated: Option<&AffectedWorkload>) -> bool {
    match (cause.certainty, stated) {
        (Certainty::Suspected, None) => true,
        (Certainty::Stated, Some(stated)) => {
            stated.kind == cause.workload.kind
                && stated.name == cause.workload.name
                && stated.revision.is_none_or(|revision| revision == cause.revision)
        }
        (Certainty::Suspected, Some(_)) | (Certainty::Stated, None) => false,
    }
}

/// Finds the rollout behind an incident among the `candidates`, which are the rollouts of its namespace, and how certain it is.
///
/// - If the incident names a workload, the cause is the rollout that was in effect when the incident began: the newest one that was
///   complete by then. With a stated revision, it is the rollout of that revision, whatever its outcome.
/// - Otherwise, the cause is the newest rollout that ended within [`CauseQuery::suspect_within`], if all rollouts that ended in that
///   time are of one workload. Failed rollouts count because their pods run beside the old ones. Restarts count because they apply
///   changed ConfigMaps and Secrets.
fn find_cause<'a>(
    query: &CauseQuery<'_>,
    candidates: &'a [CandidateRollout],
) -> Option<(&'a CandidateRollout, Certainty)> {
    match query.stated {
        Some(stated) => Some((in_effect(stated, query.opened, candidates)?, Certainty::Stated)),
        None => Some((suspected(query, candidates)?, Certainty::Suspected)),
    }
}

/// Whether a rollout in progress may still become the cause: its record may later say that it was complete when the incident began.
fn has_rollout_in_progress(query: &CauseQuery<'_>, candidates: &[CandidateRollout]) -> bool {
    let may_be_cause = |rollout: &CandidateRollout| {
        query.stated.is_none_or(|stated| rollout.is_of(stated) && stated.revision.is_none())
    };
    candidates.iter().any(|rollout| {
        rollout.outcome == Outcome::InProgress
            && may_be_cause(rollout)
            && rollout.started.is_none_or(|started| started <= query.opened)
    })
}

fn in_effect<'a>(
    stated: &AffectedWorkload,
    opened: Timestamp,
    candidates: &'a [CandidateRollout],
) -> Option<&'a CandidateRollout> {
    let of_workload = candidates.iter().filter(|rollout| rollout.is_of(stated));
    match stated.revision {
        // A workload that is deleted and created again counts its revisions from 1.
        Some(revision) => of_workload
            .filter(|rollout| rollout.revision == revision)
            .max_by_key(|rollout| (rollout.started.or(rollout.finished), rollout.finished)),
        None => of_workload
            .filter(|rollout| became_complete(rollout.outcome))
            .filter(|rollout| rollout.finished.is_some_and(|finished| finished <= opened))
            .max_by_key(|rollout| (rollout.finished, rollout.revision)),
    }
}

fn became_complete(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Succeeded | Outcome::Recovered | Outcome::RolledBack => true,
        Outcome::InProgress | Outcome::Failed | Outcome::Superseded | Outcome::Abandoned | Outcome::Unobserved => false,
    }
}

fn suspected<'a>(query: &CauseQuery<'_>, candidates: &'a [CandidateRollout]) -> Option<&'a CandidateRollout> {
    let CauseQuery { opened, suspect_within, .. } = *query;
    let ended_shortly_before = |rollout: &&CandidateRollout| {
        rollout.outcome != Outcome::InProgress
            && rollout
                .finished
                .is_some_and(|finished| finished <= opened && opened.duration_since(finished) <= suspect_within)
    };
    let newest =
        candidates.iter().filter(ended_shortly_before).max_by_key(|rollout| (rollout.finished, rollout.revision))?;
    let is_only_workload =
        candidates.iter().filter(ended_shortly_before).all(|rollout| rollout.workload == newest.workload);
    is_only_workload.then_some(newest)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use rollout::WorkloadKind;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
    }

    /// Parses a line such as `web:2 Succeeded 10 20`: from minute 10 to minute 20, with `-` for an unknown time.
    fn rollout(line: &str) -> CandidateRollout {
        let parts: Vec<&str> = line.split([' ', ':']).collect();
        let time = |text: &str| text.parse().ok().map(at);
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == parts[2]).unwrap();
        CandidateRollout {
            workload: NamedWorkload { kind: WorkloadKind::Deployment, name: parts[0].to_owned() },
            revision: parts[1].parse().unwrap(),
            record: format!("{}-{}", parts[0], parts[1]),
            outcome,
            started: time(parts[3]),
            finished: time(parts[4]),
        }
    }

    fn found(stated: Option<(&str, Option<i64>)>, opened: i64, lines: &[&str]) -> (Option<String>, bool) {
        let stated = stated.map(|(name, revision)| AffectedWorkload {
            name: name.to_owned(),
            revision,
            ..AffectedWorkload::default()
        });
        let query =
            CauseQuery { stated: stated.as_ref(), opened: at(opened), suspect_within: SignedDuration::from_hours(1) };
        let candidates: Vec<CandidateRollout> = lines.iter().map(|line| rollout(line)).collect();
        let found = find_cause(&query, &candidates);
        let expected = if stated.is_some() { Certainty::Stated } else { Certainty::Suspected };
        assert!(found.is_none_or(|(_, certainty)| certainty == expected));
        (found.map(|(rollout, _)| rollout.record.clone()), has_rollout_in_progress(&query, &candidates))
    }

    const WEB: Option<(&str, Option<i64>)> = Some(("web", None));

    #[test]
    fn newest_complete_rollout_is_in_effect() {
        let lines = [
            "web:1 Succeeded 0 1",
            "web:2 RolledBack 10 11",
            "web:3 Superseded 20 21",
            "web:4 Failed 21 25",
            "web:5 Recovered 30 35",
            "api:7 Succeeded 3 4",
        ];
        for (opened, expected) in [
            (0, None),
            (1, Some("web-1")),
            (10, Some("web-1")),
            (11, Some("web-2")),
            (26, Some("web-2")),
            (40, Some("web-5")),
        ] {
            assert_eq!(found(WEB, opened, &lines).0.as_deref(), expected, "opened at {opened}");
        }
        assert_eq!(found(Some(("worker", None)), 40, &lines).0, None);
    }

    #[test]
    fn workloads_of_two_kinds_share_no_cause() {
        let kind = WorkloadKind::StatefulSet;
        let stated = AffectedWorkload { kind, name: "web".to_owned(), revision: None };
        let query = CauseQuery { stated: Some(&stated), opened: at(20), suspect_within: SignedDuration::ZERO };
        let deployment = rollout("web:1 Succeeded 0 10");
        let workload = NamedWorkload { kind, name: "web".to_owned() };
        let stateful_set =
            CandidateRollout { workload, record: "statefulset-web-1".to_owned(), ..rollout("web:1 Succeeded 0 5") };
        let candidates = [deployment, stateful_set];
        assert_eq!(find_cause(&query, &candidates).unwrap().0.record, "statefulset-web-1");
        assert_eq!(find_cause(&query, &candidates[..1]), None);
    }

    #[test]
    fn rollback_is_in_effect_once_it_is_complete() {
        let lines = ["web:1 Succeeded 0 1", "web:2 RolledBack 10 11"];
        let with = |rollback: &str| found(WEB, 20, &[lines[0], lines[1], rollback]);
        assert_eq!(with("web:3 Succeeded 12 13"), (Some("web-3".to_owned()), false));
        assert_eq!(with("web:3 InProgress 12 -"), (Some("web-2".to_owned()), true));
        assert_eq!(
            with("web:3 InProgress 21 -"),
            (Some("web-2".to_owned()), false),
            "the rollback began after the incident"
        );
    }

    #[test]
    fn stated_revision_is_the_cause_whatever_its_outcome() {
        let lines = ["web:1 Succeeded 0 1", "web:2 Failed 10 20", "web:1 Succeeded 100 101"];
        assert_eq!(found(Some(("web", Some(2))), 15, &lines), (Some("web-2".to_owned()), false));
        assert_eq!(found(Some(("web", Some(3))), 15, &lines).0, None);
        let candidates: Vec<CandidateRollout> = lines.iter().map(|line| rollout(line)).collect();
        let stated = AffectedWorkload { name: "web".to_owned(), revision: Some(1), ..AffectedWorkload::default() };
        let query = CauseQuery { stated: Some(&stated), opened: at(200), suspect_within: SignedDuration::ZERO };
        assert_eq!(find_cause(&query, &candidates).unwrap().0, &candidates[2], "the newest of two records");
    }

    #[test]
    fn only_workload_with_a_recent_rollout_is_suspected() {
        let lines = ["web:1 Succeeded 0 1", "web:2 Failed 50 60", "api:1 Succeeded 0 1", "api:2 InProgress 70 -"];
        assert_eq!(found(None, 80, &lines), (Some("web-2".to_owned()), true));
        assert_eq!(found(None, 61, &lines).0, None, "both workloads ended a rollout in the hour before");
        assert_eq!(found(None, 120, &lines).0.as_deref(), Some("web-2"), "suspectWithin is inclusive");
        assert_eq!(found(None, 121, &lines).0, None);
        assert_eq!(found(None, 0, &lines).0, None, "nothing had ended yet");
    }

    #[test]
    fn earlier_cause_stays_when_its_record_is_deleted() {
        let web = AffectedWorkload { name: "web".to_owned(), ..AffectedWorkload::default() };
        let query = |stated, opened| CauseQuery { stated, opened: at(opened), suspect_within: SignedDuration::ZERO };
        let records = ["web:1 Succeeded 0 1", "web:2 Succeeded 10 11"].map(rollout);
        let decide = |query: &CauseQuery<'_>, candidates: &[CandidateRollout], status: &DoraIncidentStatus| {
            decide_cause(query, candidates, status, false).map(|cause| cause.record)
        };
        let none = DoraIncidentStatus::default();
        let cause = decide_cause(&query(Some(&web), 5), &records, &none, false);
        assert_eq!(cause.as_ref().map(|cause| cause.record.as_str()), Some("web-1"));
        let status = DoraIncidentStatus { cause, opened_at: Some(Time(at(5))), ..none };
        assert_eq!(decide(&query(Some(&web), 5), &[], &status).as_deref(), Some("web-1"));
        assert_eq!(decide(&query(Some(&web), 6), &[], &status), None, "the incident has another beginning");
        assert_eq!(decide(&query(None, 5), &[], &status), None, "the incident names no workload any more");
        let other = AffectedWorkload { name: "api".to_owned(), ..AffectedWorkload::default() };
        assert_eq!(decide(&query(Some(&other), 5), &[], &status), None);
        // An answer that the status already has does not change with the records.
        let newer = ["web:2 Succeeded 2 3"].map(rollout);
        assert_eq!(decide(&query(Some(&web), 5), &newer, &status).as_deref(), Some("web-2"));
        let observed = decide_cause(&query(Some(&web), 5), &newer, &status, true);
        assert_eq!(observed.map(|cause| cause.record).as_deref(), Some("web-1"));
    }

    #[test]
    fn cause_may_change_until_all_records_are_written() {
        let query = CauseQuery { stated: None, opened: at(100), suspect_within: SignedDuration::ZERO };
        let open = [rollout("web:2 InProgress 50 -")];
        for (watched_since, now, candidates, expected) in [
            (100, 100, &[][..], true),
            (100, 101, &[], false),
            (102, 102, &[], true),
            (102, 103, &[], false),
            (100, 159, &open, true),
            (100, 160, &open, false),
        ] {
            assert_eq!(may_change(&query, candidates, at(watched_since), at(now)), expected, "{watched_since} {now}");
        }
        let latest = CauseQuery { opened: Timestamp::MAX, ..query };
        assert!(may_change(&latest, &open, at(0), at(0)), "no overflow at the end of time");
    }
}
