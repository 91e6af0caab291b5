//! Which deployment is behind an incident. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::resources::{AffectedWorkload, Certainty, NamedWorkload};
use rollout::Outcome;

/// One recorded rollout of a Deployment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rollout {
    /// The workload.
    pub workload: NamedWorkload,
    /// Its revision.
    pub revision: i64,
    /// Name of the `DoraDeployment` that records it.
    pub record: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, if that is known.
    pub started: Option<Timestamp>,
    /// When it ended, if it has and that is known.
    pub finished: Option<Timestamp>,
}

/// What is asked: which deployment is behind an incident that began at `opened`.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The Deployment that the incident names, if it names one.
    pub stated: Option<&'a AffectedWorkload>,
    /// When the incident began.
    pub opened: Timestamp,
    /// How long before the incident a rollout may have ended to be suspected of it.
    pub suspect_within: SignedDuration,
}

/// The rollout behind the incident among `rollouts`, which are those of its namespace, and how that is known.
///
/// With a stated Deployment it is what was in effect when the incident began: the newest rollout that was complete by then,
/// or the stated revision whatever became of it. A rollout that was under way, or had failed, was not in effect.
/// Without one, it is the newest that ended in the time before, if all that ended in that time are of one Deployment. Failed rollouts
/// and restarts count: the first leave new pods running beside the old ones, the second take up changed ConfigMaps and Secrets.
#[must_use]
pub fn cause<'a>(question: &Question<'_>, rollouts: &'a [Rollout]) -> Option<(&'a Rollout, Certainty)> {
    match question.stated {
        Some(stated) => Some((in_effect(stated, question.opened, rollouts)?, Certainty::Stated)),
        None => Some((suspected(question, rollouts)?, Certainty::Suspected)),
    }
}

/// Whether a rollout was under way when the incident began: its record may still say that it was complete by then.
#[must_use]
pub fn was_under_way(question: &Question<'_>, rollouts: &[Rollout]) -> bool {
    let is_meant =
        |rollout: &Rollout| question.stated.is_none_or(|stated| is_of(rollout, stated) && stated.revision.is_none());
    rollouts.iter().any(|rollout| {
        rollout.outcome == Outcome::InProgress
            && is_meant(rollout)
            && rollout.started.is_none_or(|started| started <= question.opened)
    })
}

fn in_effect<'a>(stated: &AffectedWorkload, opened: Timestamp, rollouts: &'a [Rollout]) -> Option<&'a Rollout> {
    let of_deployment = rollouts.iter().filter(|rollout| is_of(rollout, stated));
    match stated.revision {
        // A Deployment that was made anew under its name counts its revisions anew.
        Some(revision) => of_deployment
            .filter(|rollout| rollout.revision == revision)
            .max_by_key(|rollout| (rollout.started.or(rollout.finished), rollout.finished)),
        None => of_deployment
            .filter(|rollout| became_complete(rollout.outcome))
            .filter(|rollout| rollout.finished.is_some_and(|finished| finished <= opened))
            .max_by_key(|rollout| (rollout.finished, rollout.revision)),
    }
}

fn is_of(rollout: &Rollout, stated: &AffectedWorkload) -> bool {
    rollout.workload.kind == stated.kind && rollout.workload.name == stated.name
}

fn became_complete(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Succeeded | Outcome::Recovered | Outcome::RolledBack => true,
        Outcome::InProgress | Outcome::Failed | Outcome::Superseded | Outcome::Abandoned | Outcome::Unobserved => false,
    }
}

fn suspected<'a>(question: &Question<'_>, rollouts: &'a [Rollout]) -> Option<&'a Rollout> {
    let Question { opened, suspect_within, .. } = *question;
    let ended_before = |rollout: &&Rollout| {
        rollout.outcome != Outcome::InProgress
            && rollout
                .finished
                .is_some_and(|finished| finished <= opened && opened.duration_since(finished) <= suspect_within)
    };
    let newest = rollouts.iter().filter(ended_before).max_by_key(|rollout| (rollout.finished, rollout.revision))?;
    let is_only_one = rollouts.iter().filter(ended_before).all(|rollout| rollout.workload == newest.workload);
    is_only_one.then_some(newest)
}

#[cfg(test)]
mod tests {
    use rollout::WorkloadKind;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
    }

    /// Such as `web:2 Succeeded 10 20`: from minute 10 to minute 20; `-` for a time that isn't known.
    fn rollout(line: &str) -> Rollout {
        let parts: Vec<&str> = line.split([' ', ':']).collect();
        let time = |text: &str| text.parse().ok().map(at);
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == parts[2]).unwrap();
        Rollout {
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
        let question =
            Question { stated: stated.as_ref(), opened: at(opened), suspect_within: SignedDuration::from_hours(1) };
        let rollouts: Vec<Rollout> = lines.iter().map(|line| rollout(line)).collect();
        let found = cause(&question, &rollouts);
        let expected = if stated.is_some() { Certainty::Stated } else { Certainty::Suspected };
        assert!(found.is_none_or(|(_, certainty)| certainty == expected));
        (found.map(|(rollout, _)| rollout.record.clone()), was_under_way(&question, &rollouts))
    }

    const WEB: Option<(&str, Option<i64>)> = Some(("web", None));

    #[test]
    fn what_was_in_effect_is_the_newest_that_was_complete() {
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
    fn kinds_with_the_same_name_share_no_cause() {
        let kind = WorkloadKind::StatefulSet;
        let stated = AffectedWorkload { kind, name: "web".to_owned(), revision: None };
        let question = Question { stated: Some(&stated), opened: at(20), suspect_within: SignedDuration::ZERO };
        let deployment = rollout("web:1 Succeeded 0 10");
        let workload = NamedWorkload { kind, name: "web".to_owned() };
        let stateful_set =
            Rollout { workload, record: "statefulset-web-1".to_owned(), ..rollout("web:1 Succeeded 0 5") };
        let rollouts = [deployment, stateful_set];
        assert_eq!(cause(&question, &rollouts).unwrap().0.record, "statefulset-web-1");
        assert_eq!(cause(&question, &rollouts[..1]), None);
    }

    #[test]
    fn a_rollback_that_is_complete_is_in_effect_and_one_under_way_is_not() {
        let lines = ["web:1 Succeeded 0 1", "web:2 RolledBack 10 11"];
        let with = |rollback: &str| found(WEB, 20, &[lines[0], lines[1], rollback]);
        assert_eq!(with("web:3 Succeeded 12 13"), (Some("web-3".to_owned()), false));
        assert_eq!(with("web:3 InProgress 12 -"), (Some("web-2".to_owned()), true));
        assert_eq!(with("web:3 InProgress 21 -"), (Some("web-2".to_owned()), false), "it began later");
    }

    #[test]
    fn a_stated_revision_is_the_cause_whatever_became_of_it() {
        let lines = ["web:1 Succeeded 0 1", "web:2 Failed 10 20", "web:1 Succeeded 100 101"];
        assert_eq!(found(Some(("web", Some(2))), 15, &lines), (Some("web-2".to_owned()), false));
        assert_eq!(found(Some(("web", Some(3))), 15, &lines).0, None);
        let rollouts: Vec<Rollout> = lines.iter().map(|line| rollout(line)).collect();
        let stated = AffectedWorkload { name: "web".to_owned(), revision: Some(1), ..AffectedWorkload::default() };
        let question = Question { stated: Some(&stated), opened: at(200), suspect_within: SignedDuration::ZERO };
        assert_eq!(cause(&question, &rollouts).unwrap().0, &rollouts[2], "the newest of several");
    }

    #[test]
    fn the_only_deployment_with_a_rollout_shortly_before_is_suspected() {
        let lines = ["web:1 Succeeded 0 1", "web:2 Failed 50 60", "api:1 Succeeded 0 1", "api:2 InProgress 70 -"];
        assert_eq!(found(None, 80, &lines), (Some("web-2".to_owned()), true));
        assert_eq!(found(None, 61, &lines).0, None, "both ended a rollout in the hour before");
        assert_eq!(found(None, 120, &lines).0.as_deref(), Some("web-2"), "an hour is not too long");
        assert_eq!(found(None, 121, &lines).0, None);
        assert_eq!(found(None, 0, &lines).0, None, "nothing had ended yet");
    }
}
