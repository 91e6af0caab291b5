//! Tables: the state of a workload, and what is written for it.

use rollout::{RevisionId, WorkloadKind};

use super::*;
use crate::settings::IncidentTriggers;

/// When the controller was installed. All times in the tables are seconds after that.
const INSTALLED: i64 = 1_000_000;

fn named(name: &str) -> WorkloadKey {
    WorkloadKey { namespace: "shop".into(), kind: WorkloadKind::Deployment, name: name.into() }
}

pub fn web() -> WorkloadKey {
    named("web")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(INSTALLED + second).unwrap()
}

fn record(revision: i64, outcome: Outcome, started: i64, finished: i64) -> RolloutRecord {
    let rollout = RecordedRevision {
        revision,
        id: RevisionId::new("00abcdef-0000", "web-5f"),
        repeated: false,
        outcome,
        change: Some(ChangeKind::Release),
        started: UnixSeconds::of(at(started)),
        finished: (outcome != Outcome::InProgress).then(|| UnixSeconds::of(at(finished)).unwrap()),
        paused_at: None,
        paused_seconds: 0,
    };
    let details = RecordDetails { triggers: IncidentTriggers::default(), has_incident: false, rolled_back_by: None };
    RolloutRecord { name: format!("web-{revision}-u"), rollout, details }
}

fn rolled_back(revision: i64, by: i64, finished: i64) -> RolloutRecord {
    let record = record(revision, Outcome::RolledBack, finished - 1, finished);
    with(record, |details| details.rolled_back_by = Some(by))
}

fn with(mut record: RolloutRecord, change: impl Fn(&mut RecordDetails)) -> RolloutRecord {
    change(&mut record.details);
    record
}

fn reported(record: RolloutRecord) -> RolloutRecord {
    with(record, |details| details.has_incident = true)
}

fn available(is_available: bool, since: i64) -> Option<Availability> {
    UnixSeconds::of(at(since)).map(|since| Availability { is_available, since })
}

fn state(availability: Option<Availability>) -> WorkloadState {
    WorkloadState {
        availability,
        is_in_effect: true,
        is_selected: true,
        is_scaled_to_zero: false,
        excluded_completion: None,
        triggers: IncidentTriggers::default(),
        reported_loss: None,
    }
}

/// An incident that a person opened.
fn manual(opened: i64, resolved: Option<i64>) -> Incident {
    Incident {
        name: "down".to_owned(),
        opened_by: None,
        workload_uid: None,
        revision: None,
        rolled_back_by: None,
        opened: at(opened),
        resolved: resolved.map(at),
        reopened: None,
        is_taken_over: true,
    }
}

/// An incident that the controller opened for a revision of `web`.
fn automatic(opened_by: OpenedBy, revision: i64, opened: i64, resolved: Option<i64>) -> Incident {
    Incident {
        name: format!("web-{revision}-u"),
        opened_by: Some(opened_by),
        workload_uid: Some("uid".to_owned()),
        revision: Some(revision),
        is_taken_over: false,
        ..manual(opened, resolved)
    }
}

/// An incident that the controller opened when `web` became unavailable.
fn unavailable(opened: i64, resolved: Option<i64>) -> Incident {
    let name = unavailable_incident_name(&web(), at(opened));
    Incident { name, revision: None, ..automatic(OpenedBy::LostAvailability, 1, opened, resolved) }
}

/// What is written at second `now`, one line for each write, and `requeue` with the second at which to reconcile again.
fn decided_by(
    settings: &IncidentSettings,
    state: Option<WorkloadState>,
    records: &[RolloutRecord],
    incidents: &[Incident],
    now: i64,
) -> Vec<String> {
    let input =
        IncidentInput { workload: &web(), uid: "uid", state, records: records.to_vec(), incidents: incidents.to_vec() };
    let Decision { writes, requeue_at } = decide(&input, &IncidentPolicy { settings, installed: at(0) }, at(now));
    let second = |time: &Timestamp| time.as_second() - INSTALLED;
    let line = |write: &Write| match write {
        Write::Open(NewIncident { name, opened_by, opened, .. }) => {
            format!("open {name} {} {}", opened_by.as_str(), second(opened))
        }
        Write::Resolve { name, at } => format!("resolve {name} {}", second(at)),
        Write::Reopen { name, since } => format!("reopen {name} {}", second(since)),
        Write::SetIncident { record, incident } => format!("set incident {record} {incident}"),
        Write::SetReportedLoss { since } => format!("set loss {}", second(since)),
    };
    writes.iter().map(line).chain(requeue_at.map(|time| format!("requeue {}", second(&time)))).collect()
}

fn decided(records: &[RolloutRecord], incidents: &[Incident]) -> Vec<String> {
    decided_by(&IncidentSettings::default(), Some(state(available(true, 0))), records, incidents, 1000)
}

fn nothing() -> Vec<String> {
    Vec::new()
}

use Outcome::{Abandoned, Failed, InProgress, Recovered, RolledBack, Succeeded, Superseded};

#[test]
fn failed_rollout_opens_one_incident() {
    let failed = record(7, Failed, 100, 200);
    assert_eq!(
        decided(std::slice::from_ref(&failed), &[]),
        ["open web-7-u FailedRollout 200", "set incident web-7-u web-7-u"]
    );
    let own = automatic(OpenedBy::FailedRollout, 7, 200, None);
    // The controller ended between the two writes.
    assert_eq!(decided(std::slice::from_ref(&failed), std::slice::from_ref(&own)), ["set incident web-7-u web-7-u"]);
    let failed = reported(failed);
    assert_eq!(decided(std::slice::from_ref(&failed), &[own]), nothing());
    assert_eq!(decided(&[failed], &[]), nothing(), "a person deleted the incident");
    for outcome in [InProgress, Succeeded, Recovered, Superseded, Abandoned, Outcome::Unobserved] {
        assert_eq!(decided(&[record(7, outcome, 100, 200)], &[]), nothing(), "{outcome:?}");
    }
}

#[test]
fn next_success_resolves_all_failed_revisions() {
    let incidents =
        [automatic(OpenedBy::FailedRollout, 7, 200, None), automatic(OpenedBy::FailedRollout, 8, 400, None)];
    let failed = [reported(record(7, Failed, 100, 200)), record(8, Failed, 300, 400)];
    assert_eq!(decided(&failed, &incidents[..1]), ["open web-8-u FailedRollout 400", "set incident web-8-u web-8-u"]);
    for outcome in [InProgress, Superseded, Abandoned, Failed] {
        let records = [failed[0].clone(), reported(failed[1].clone()), reported(record(9, outcome, 450, 500))];
        assert_eq!(decided(&records, &incidents), nothing(), "{outcome:?}");
    }
    for outcome in [Succeeded, Recovered, RolledBack] {
        let records = [failed[0].clone(), reported(failed[1].clone()), reported(record(9, outcome, 450, 500))];
        assert_eq!(decided(&records, &incidents), ["resolve web-7-u 500", "resolve web-8-u 500"], "{outcome:?}");
    }
}

#[test]
fn recovered_rollout_resolves_its_incident() {
    let incident = automatic(OpenedBy::FailedRollout, 7, 200, None);
    let records = [record(6, Succeeded, 50, 90), reported(record(7, Recovered, 100, 300))];
    assert_eq!(decided(&records, std::slice::from_ref(&incident)), ["resolve web-7-u 300"]);
    // The controller ended between the two writes.
    let unreported = [record(6, Succeeded, 50, 90), record(7, Recovered, 100, 300)];
    assert_eq!(
        decided(&unreported, std::slice::from_ref(&incident)),
        ["set incident web-7-u web-7-u", "resolve web-7-u 300"]
    );
    let incident = Incident { resolved: Some(at(300)), ..incident };
    assert_eq!(decided(&records, &[incident]), nothing());
}

#[test]
fn status_set_by_a_person_stays() {
    let taken_over = Incident { is_taken_over: true, ..automatic(OpenedBy::FailedRollout, 7, 200, None) };
    let records = [reported(record(7, Failed, 100, 200)), record(8, Succeeded, 300, 400)];
    assert_eq!(decided(&records, &[taken_over]), nothing());
    let resolved = Incident { is_taken_over: true, ..unavailable(100, Some(400)) };
    let lost = Some(state(available(false, 450)));
    let decided = decided_by(&IncidentSettings::default(), lost, &[], &[resolved], 1000);
    assert_eq!(decided[0], format!("open {} LostAvailability 450", unavailable_incident_name(&web(), at(450))));
}

#[test]
fn success_that_is_not_recorded_resolves_incidents() {
    let incident = automatic(OpenedBy::FailedRollout, 7, 200, None);
    let records = [reported(record(7, Failed, 100, 200))];
    let decided = |revision, second, incident: &Incident| {
        let excluded_completion = Some(Completion { revision, at: at(second) });
        let state = WorkloadState { is_selected: false, excluded_completion, ..state(available(true, 0)) };
        decided_by(&IncidentSettings::default(), Some(state), &records, std::slice::from_ref(incident), 1000)
    };
    assert_eq!(decided(8, 500, &incident), ["resolve web-7-u 500"]);
    assert_eq!(decided(7, 500, &incident), ["resolve web-7-u 500"], "the revision itself becomes complete");
    assert_eq!(decided(7, 150, &incident), nothing(), "the revision was complete before it failed");
    assert_eq!(decided(8, 150, &incident), ["resolve web-7-u 1000"], "the condition is of an earlier completion");
    assert_eq!(decided(6, 500, &incident), nothing());
    let rolled_back = Incident { rolled_back_by: Some(9), ..automatic(OpenedBy::RolledBackRollout, 7, 200, None) };
    assert_eq!(decided(8, 500, &rolled_back), nothing());
    assert_eq!(decided(9, 500, &rolled_back), ["resolve web-7-u 500"]);
}

#[test]
fn workload_without_replicas_has_no_open_incident() {
    let incidents = [automatic(OpenedBy::FailedRollout, 7, 200, None), unavailable(300, None)];
    let state = WorkloadState { is_in_effect: false, is_scaled_to_zero: true, ..state(available(true, 700)) };
    let decided = decided_by(&IncidentSettings::default(), Some(state), &[], &incidents, 1000);
    assert_eq!(decided, ["resolve web-7-u 1000".to_owned(), format!("resolve {} 700", incidents[1].name)]);
}

#[test]
fn deletion_of_the_workload_resolves_its_incidents() {
    let incidents = [automatic(OpenedBy::FailedRollout, 7, 200, None), unavailable(300, None)];
    let decided =
        decided_by(&IncidentSettings::default(), None, &[reported(record(7, Failed, 100, 200))], &incidents, 1000);
    assert_eq!(decided[0], "resolve web-7-u 1000");
    assert_eq!(decided.len(), 2);
    let namesakes = incidents.map(|incident| Incident { workload_uid: Some("other".to_owned()), ..incident });
    assert_eq!(decided_by(&IncidentSettings::default(), None, &[], &namesakes, 1000), nothing());
}

#[test]
fn rollback_incident_lasts_until_the_rollback_ends() {
    let bad = rolled_back(7, 9, 200);
    let rollback = record(9, InProgress, 500, 0);
    let expected = ["open web-7-u RolledBackRollout 200", "set incident web-7-u web-7-u"];
    assert_eq!(decided(&[bad.clone(), rollback.clone()], &[]), expected);
    let incident = Incident { rolled_back_by: Some(9), ..automatic(OpenedBy::RolledBackRollout, 7, 200, None) };
    let incidents = [incident];
    assert_eq!(decided(&[reported(bad.clone()), rollback], &incidents), nothing());
    let done = [reported(bad.clone()), record(9, Succeeded, 500, 510)];
    assert_eq!(decided(&done, &incidents), ["resolve web-7-u 510"]);
    // A rollback that fails has an incident of its own. The next success resolves both.
    let failed = [reported(bad), record(9, Failed, 500, 600)];
    assert_eq!(decided(&failed, &incidents), ["open web-9-u FailedRollout 600", "set incident web-9-u web-9-u"]);
}

#[test]
fn rolled_back_restart_shares_the_release_incident() {
    let mut restart = rolled_back(8, 9, 300);
    restart.rollout.change = Some(ChangeKind::Restart);
    let records = [reported(rolled_back(7, 9, 200)), restart, record(9, InProgress, 500, 0)];
    let incidents = [Incident { rolled_back_by: Some(9), ..automatic(OpenedBy::RolledBackRollout, 7, 200, None) }];
    assert_eq!(decided(&records, &incidents), nothing());
}

#[test]
fn existing_incident_is_used() {
    let failed = [record(7, Failed, 100, 200)];
    let uses = |incident: &Incident| vec![format!("set incident web-7-u {}", incident.name)];
    for (incident, is_used) in [
        (manual(150, None), true),
        (manual(250, None), true),
        (manual(261, None), false),
        (manual(100, Some(199)), false),
        (manual(100, Some(200)), true),
        (unavailable(150, None), true),
        (Incident { workload_uid: Some("other".to_owned()), ..unavailable(150, Some(900)) }, false),
        (automatic(OpenedBy::FailedRollout, 6, 150, None), false),
    ] {
        let lost = Some(state(available(false, 100)));
        let decided = decided_by(&IncidentSettings::default(), lost, &failed, std::slice::from_ref(&incident), 1000);
        assert_eq!(decided == uses(&incident), is_used, "{incident:?}: {decided:?}");
    }
    // A person may open an incident before rolling a bad release back.
    let records = [rolled_back(7, 8, 200), record(8, InProgress, 500, 0)];
    assert_eq!(decided(&records, &[manual(400, None)]), ["set incident web-7-u down"]);
    assert_eq!(decided(&records, &[manual(50, Some(100))]).len(), 2, "the incident ended before the release");
}

#[test]
fn old_failures_open_no_incident() {
    let day = MAX_FAILURE_AGE.as_secs();
    for (finished, now, count) in [(-1, 1000, 0), (0, 1000, 2), (100, 100 + day, 2), (100, 101 + day, 0)] {
        let records = [record(7, Failed, finished - 1, finished)];
        let decided = decided_by(&IncidentSettings::default(), Some(state(None)), &records, &[], now);
        assert_eq!(decided.len(), count, "{finished} {now}");
    }
    // A bad revision may have been in effect for long. Its age counts from the rollback.
    let (bad, rollback) = (rolled_back(7, 8, 100), record(8, Succeeded, 2 * day, 2 * day + 10));
    let records = [bad.clone(), rollback];
    let decided = |now| decided_by(&IncidentSettings::default(), Some(state(None)), &records, &[], now).len();
    assert_eq!((decided(2 * day + 20), decided(3 * day + 20)), (2, 0));
    assert!(may_open(&bad.rollout, Some(at(2 * day)), at(3 * day)));
    assert!(!may_open(&bad.rollout, Some(at(2 * day)), at(3 * day + 1)));
}

#[test]
fn settings_of_the_environment_apply() {
    let mut settings = IncidentSettings::default();
    let staging = IncidentTriggers { failed_rollouts: false, rolled_back_rollouts: true, lost_availability: false };
    settings.open.insert("staging".to_owned(), staging);
    let triggers = |environment: &str| settings.triggers(environment);
    let records = |environment: &str| {
        [record(7, Failed, 100, 200), rolled_back(8, 9, 300)]
            .map(|record| with(record, |details| details.triggers = triggers(environment)))
    };
    for (environment, count) in [("production", 4), ("staging", 2), ("test", 0)] {
        let lost = WorkloadState { triggers: triggers(environment), ..state(available(false, 400)) };
        let decided = |records: &[RolloutRecord]| decided_by(&settings, Some(lost.clone()), records, &[], 1000).len();
        assert_eq!(decided(&records(environment)), count, "{environment}");
        assert_eq!(decided(&[]), if environment == "production" { 2 } else { 0 }, "{environment}");
    }
}

#[test]
fn lasting_unavailability_opens_an_incident() {
    let (lost, name) = (state(available(false, 100)), unavailable_incident_name(&web(), at(100)));
    let decided = |state: WorkloadState, incidents: &[Incident], now| {
        decided_by(&IncidentSettings::default(), Some(state), &[], incidents, now)
    };
    let opens = vec![format!("open {name} LostAvailability 100"), "set loss 100".to_owned()];
    assert_eq!(decided(lost.clone(), &[], 399), ["requeue 400"]);
    assert_eq!(decided(lost.clone(), &[], 400), opens);
    assert_eq!(decided(lost.clone(), &[unavailable(100, None)], 400), ["set loss 100"]);
    let reported = WorkloadState { reported_loss: Some(at(100)), ..lost.clone() };
    assert_eq!(decided(reported.clone(), &[unavailable(100, None)], 900), nothing());
    assert_eq!(decided(reported, &[], 900), nothing(), "a person deleted the incident");
    for state in [
        WorkloadState { is_in_effect: false, ..lost.clone() },
        WorkloadState { is_selected: false, ..lost.clone() },
        state(available(true, 100)),
        state(available(false, -1)),
        state(None),
    ] {
        assert_eq!(decided(state.clone(), &[], 900), nothing(), "{state:?}");
    }
    let returned = state(available(true, 700));
    let resolves = vec![format!("resolve {name} 700")];
    assert_eq!(decided(returned.clone(), &[unavailable(100, None)], 900), resolves);
    assert_eq!(decided(returned, &[unavailable(100, Some(700))], 900), nothing());
    let in_progress = WorkloadState { is_in_effect: false, ..lost };
    assert_eq!(decided(in_progress, &[unavailable(100, None)], 900), nothing(), "a rollout doesn't end the loss");
}

#[test]
fn loss_with_an_incident_gets_no_other() {
    let lost = state(available(false, 500));
    let decided =
        |incidents: &[Incident]| decided_by(&IncidentSettings::default(), Some(lost.clone()), &[], incidents, 900);
    assert_eq!(decided(&[manual(450, None)]), nothing());
    assert_eq!(decided(&[manual(800, None)]), nothing(), "a person opened an incident first");
    assert_eq!(decided(&[manual(550, Some(600))]), nothing(), "a person resolved the incident");
    assert_eq!(decided(&[manual(100, Some(499))]).len(), 2);
    assert_eq!(decided(&[automatic(OpenedBy::FailedRollout, 7, 400, None)]), nothing());
}

#[test]
fn loss_soon_after_resolution_reopens_the_incident() {
    let within = IncidentSettings::default().reopen_within.0.as_secs();
    let decided = |incidents: &[Incident], since: i64| {
        decided_by(&IncidentSettings::default(), Some(state(available(false, since))), &[], incidents, since + 300)
    };
    let first = unavailable(100, Some(400));
    let soon = 400 + within - 1;
    assert_eq!(
        decided(std::slice::from_ref(&first), soon),
        [format!("reopen {} {soon}", first.name), format!("set loss {soon}")]
    );
    let open = Incident { resolved: None, reopened: Some(at(soon)), ..first.clone() };
    assert_eq!(decided(std::slice::from_ref(&open), soon), [format!("set loss {soon}")]);
    assert!(decided(std::slice::from_ref(&first), soon + 1)[0].starts_with("open web-unavailable-"));
    // The incident of a rollout is reopened as well. Then only the return of availability resolves it.
    let rollout = automatic(OpenedBy::FailedRollout, 7, 200, Some(400));
    assert_eq!(decided(std::slice::from_ref(&rollout), 600)[0], "reopen web-7-u 600");
    let open = Incident { resolved: None, reopened: Some(at(600)), ..rollout };
    let records = [reported(record(7, Failed, 100, 200)), record(8, Succeeded, 300, 400)];
    let lost = Some(WorkloadState { reported_loss: Some(at(600)), ..state(available(false, 600)) });
    assert_eq!(decided_by(&IncidentSettings::default(), lost, &records, std::slice::from_ref(&open), 900), nothing());
    let returned = Some(state(available(true, 1200)));
    assert_eq!(decided_by(&IncidentSettings::default(), returned, &records, &[open], 1300), ["resolve web-7-u 1200"]);
}

#[test]
fn incident_never_ends_before_it_began() {
    // A person set a later spec.createdAt.
    let incident = automatic(OpenedBy::FailedRollout, 7, 800, None);
    let decided = decided_by(&IncidentSettings::default(), None, &[], &[incident], 700);
    assert_eq!(decided, ["resolve web-7-u 800"]);
}

#[test]
fn incident_name_is_valid_in_kubernetes() {
    let since = "2026-03-04T05:06:07Z".parse().unwrap();
    assert_eq!(unavailable_incident_name(&web(), since), "web-unavailable-20260304050607");
    let name = unavailable_incident_name(&named(&format!("{}.b", "a".repeat(251))), since);
    assert_eq!(name.len(), 253);
    assert!(
        unavailable_incident_name(&named(&format!("{}.{}", "a".repeat(225), "b".repeat(27))), since)
            .contains("a-unavailable-")
    );
}
