//! Tables of what is written for which state.

use super::*;
use crate::settings::IncidentTriggers as Opens;
use rollout::{RevisionId, WorkloadKind};

/// When the controller was installed, in the tables: all times are seconds after that.
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

fn record(revision: i64, outcome: Outcome, started: i64, finished: i64) -> Recorded {
    let known = RecordedRevision {
        revision,
        replica_set: RevisionId::new("00abcdef-0000", "web-5f"),
        repeated: false,
        outcome,
        change: Some(ChangeKind::Release),
        started: UnixSeconds::of(at(started)),
        finished: (outcome != Outcome::InProgress).then(|| UnixSeconds::of(at(finished)).unwrap()),
        paused_at: None,
        paused_seconds: 0,
    };
    let details = Details { environment: "production".to_owned(), incident: None, rolled_back_by: None };
    Recorded { name: format!("web-{revision}-u"), known, details: Some(details) }
}

fn rolled_back(revision: i64, by: i64, finished: i64) -> Recorded {
    let record = record(revision, Outcome::RolledBack, finished - 1, finished);
    with(record, |details| details.rolled_back_by = Some(by))
}

fn with(mut record: Recorded, change: impl Fn(&mut Details)) -> Recorded {
    record.details.iter_mut().for_each(change);
    record
}

fn noted(record: Recorded) -> Recorded {
    let name = record.name.clone();
    with(record, |details| details.incident = Some(name.clone()))
}

fn available(is_available: bool, since: i64) -> Option<Availability> {
    UnixSeconds::of(at(since)).map(|since| Availability { is_available, since })
}

fn present(availability: Option<Availability>) -> Present {
    Present {
        availability,
        is_in_effect: true,
        is_wanted: true,
        environment: "production".to_owned(),
        reported_loss: None,
    }
}

fn persons(opened: i64, resolved: Option<i64>) -> Incident {
    Incident {
        name: "down".to_owned(),
        opened_by: None,
        uid: None,
        revision: None,
        rolled_back_by: None,
        opened: at(opened),
        resolved: resolved.map(at),
        reopened: None,
        is_taken_over: true,
    }
}

/// The incident of revision `revision`.
fn own(opened_by: OpenedBy, revision: i64, opened: i64, resolved: Option<i64>) -> Incident {
    Incident {
        name: format!("web-{revision}-u"),
        opened_by: Some(opened_by),
        uid: Some("uid".to_owned()),
        revision: Some(revision),
        is_taken_over: false,
        ..persons(opened, resolved)
    }
}

fn own_loss(opened: i64, resolved: Option<i64>) -> Incident {
    let name = loss_name(&web(), at(opened));
    Incident { name, revision: None, ..own(OpenedBy::LostAvailability, 1, opened, resolved) }
}

/// What is written at second `now`, a line each; `…` and a second: when to look again.
fn decided_by(
    settings: &IncidentSettings,
    present: Option<Present>,
    records: &[Recorded],
    incidents: &[Incident],
    now: i64,
) -> Vec<String> {
    let scene = IncidentInput {
        workload: &web(),
        uid: "uid",
        present,
        records: records.to_vec(),
        incidents: incidents.to_vec(),
    };
    let Verdict { writes, look_again } = decide(&scene, &Rules { settings, installed: at(0) }, at(now));
    let second = |time: &Timestamp| time.as_second() - INSTALLED;
    let line = |write: &Write| match write {
        Write::Open(Opening { name, opened_by, opened, .. }) => {
            format!("open {name} {} {}", opened_by.as_str(), second(opened))
        }
        Write::Resolve { name, at } => format!("resolve {name} {}", second(at)),
        Write::Reopen { name, since } => format!("reopen {name} {}", second(since)),
        Write::Note { record, incident } => format!("note {record} {incident}"),
        Write::NoteLoss { since } => format!("note loss {}", second(since)),
    };
    writes.iter().map(line).chain(look_again.map(|time| format!("… {}", second(&time)))).collect()
}

fn decided(records: &[Recorded], incidents: &[Incident]) -> Vec<String> {
    decided_by(&IncidentSettings::default(), Some(present(available(true, 0))), records, incidents, 1000)
}

fn nothing() -> Vec<String> {
    Vec::new()
}

use Outcome::{Abandoned, Failed, InProgress, Recovered, RolledBack, Succeeded, Superseded};

#[test]
fn a_rollout_that_fails_opens_an_incident_once() {
    let failed = record(7, Failed, 100, 200);
    assert_eq!(decided(std::slice::from_ref(&failed), &[]), ["open web-7-u FailedRollout 200", "note web-7-u web-7-u"]);
    let own = own(OpenedBy::FailedRollout, 7, 200, None);
    // The controller ended between the two writes.
    assert_eq!(decided(std::slice::from_ref(&failed), std::slice::from_ref(&own)), ["note web-7-u web-7-u"]);
    let failed = noted(failed);
    assert_eq!(decided(std::slice::from_ref(&failed), &[own]), nothing());
    assert_eq!(decided(&[failed], &[]), nothing(), "a person deleted it");
    for outcome in [InProgress, Succeeded, Recovered, Superseded, Abandoned, Outcome::Unobserved] {
        assert_eq!(decided(&[record(7, outcome, 100, 200)], &[]), nothing(), "{outcome:?}");
    }
}

#[test]
fn each_failed_revision_has_an_incident_of_its_own_and_the_next_success_resolves_all() {
    let incidents = [own(OpenedBy::FailedRollout, 7, 200, None), own(OpenedBy::FailedRollout, 8, 400, None)];
    let failed = [noted(record(7, Failed, 100, 200)), record(8, Failed, 300, 400)];
    assert_eq!(decided(&failed, &incidents[..1]), ["open web-8-u FailedRollout 400", "note web-8-u web-8-u"]);
    for outcome in [InProgress, Superseded, Abandoned, Failed] {
        let records = [failed[0].clone(), noted(failed[1].clone()), noted(record(9, outcome, 450, 500))];
        assert_eq!(decided(&records, &incidents), nothing(), "{outcome:?}");
    }
    for outcome in [Succeeded, Recovered, RolledBack] {
        let records = [failed[0].clone(), noted(failed[1].clone()), noted(record(9, outcome, 450, 500))];
        assert_eq!(decided(&records, &incidents), ["resolve web-7-u 500", "resolve web-8-u 500"], "{outcome:?}");
    }
}

#[test]
fn the_recovery_of_the_same_revision_resolves_it() {
    let incident = own(OpenedBy::FailedRollout, 7, 200, None);
    let records = [record(6, Succeeded, 50, 90), noted(record(7, Recovered, 100, 300))];
    assert_eq!(decided(&records, std::slice::from_ref(&incident)), ["resolve web-7-u 300"]);
    // The controller ended between the opening and the note.
    let unnoted = [record(6, Succeeded, 50, 90), record(7, Recovered, 100, 300)];
    assert_eq!(decided(&unnoted, std::slice::from_ref(&incident)), ["note web-7-u web-7-u", "resolve web-7-u 300"]);
    let incident = Incident { resolved: Some(at(300)), ..incident };
    assert_eq!(decided(&records, &[incident]), nothing());
}

#[test]
fn what_a_person_has_resolved_or_opened_again_stays_so() {
    let taken_over = Incident { is_taken_over: true, ..own(OpenedBy::FailedRollout, 7, 200, None) };
    let records = [noted(record(7, Failed, 100, 200)), record(8, Succeeded, 300, 400)];
    assert_eq!(decided(&records, &[taken_over]), nothing());
    let resolved = Incident { is_taken_over: true, ..own_loss(100, Some(400)) };
    let lost = Some(present(available(false, 450)));
    let verdict = decided_by(&IncidentSettings::default(), lost, &[], &[resolved], 1000);
    assert_eq!(verdict[0], format!("open {} LostAvailability 450", loss_name(&web(), at(450))));
}

#[test]
fn a_deployment_that_is_deleted_has_no_incident_that_lasts() {
    let incidents = [own(OpenedBy::FailedRollout, 7, 200, None), own_loss(300, None)];
    let decided =
        decided_by(&IncidentSettings::default(), None, &[noted(record(7, Failed, 100, 200))], &incidents, 1000);
    assert_eq!(decided[0], "resolve web-7-u 1000");
    assert_eq!(decided.len(), 2);
    let namesakes = incidents.map(|incident| Incident { uid: Some("other".to_owned()), ..incident });
    assert_eq!(decided_by(&IncidentSettings::default(), None, &[], &namesakes, 1000), nothing());
}

#[test]
fn a_rollback_opens_an_incident_from_the_bad_revision_to_the_end_of_the_rollback() {
    let bad = rolled_back(7, 9, 200);
    let rollback = record(9, InProgress, 500, 0);
    let expected = ["open web-7-u RolledBackRollout 200", "note web-7-u web-7-u"];
    assert_eq!(decided(&[bad.clone(), rollback.clone()], &[]), expected);
    let incident = Incident { rolled_back_by: Some(9), ..own(OpenedBy::RolledBackRollout, 7, 200, None) };
    let incidents = [incident];
    assert_eq!(decided(&[noted(bad.clone()), rollback], &incidents), nothing());
    let done = [noted(bad.clone()), record(9, Succeeded, 500, 510)];
    assert_eq!(decided(&done, &incidents), ["resolve web-7-u 510"]);
    // The rollback fails: an incident of its own, and both end with the next success.
    let failed = [noted(bad), record(9, Failed, 500, 600)];
    assert_eq!(decided(&failed, &incidents), ["open web-9-u FailedRollout 600", "note web-9-u web-9-u"]);
}

#[test]
fn a_restart_that_is_taken_back_with_its_release_is_no_failure_of_its_own() {
    let mut restart = rolled_back(8, 9, 300);
    restart.known.change = Some(ChangeKind::Restart);
    let records = [noted(rolled_back(7, 9, 200)), restart, record(9, InProgress, 500, 0)];
    let incidents = [Incident { rolled_back_by: Some(9), ..own(OpenedBy::RolledBackRollout, 7, 200, None) }];
    assert_eq!(decided(&records, &incidents), nothing());
}

#[test]
fn an_incident_that_is_open_already_is_used_instead() {
    let failed = [record(7, Failed, 100, 200)];
    let note = |incident: &Incident| vec![format!("note web-7-u {}", incident.name)];
    for (incident, is_used) in [
        (persons(150, None), true),
        (persons(250, None), true),
        (persons(261, None), false),
        (persons(100, Some(199)), false),
        (persons(100, Some(200)), true),
        (own_loss(150, None), true),
        (Incident { uid: Some("other".to_owned()), ..own_loss(150, Some(900)) }, false),
        (own(OpenedBy::FailedRollout, 6, 150, None), false),
    ] {
        let present = Some(present(available(false, 100)));
        let decided = decided_by(&IncidentSettings::default(), present, &failed, std::slice::from_ref(&incident), 1000);
        assert_eq!(decided == note(&incident), is_used, "{incident:?}: {decided:?}");
    }
    // Whoever notices a bad release opens an incident before rolling it back.
    let records = [rolled_back(7, 8, 200), record(8, InProgress, 500, 0)];
    assert_eq!(decided(&records, &[persons(400, None)]), ["note web-7-u down"]);
    assert_eq!(decided(&records, &[persons(50, Some(100))]).len(), 2, "that was before the release");
}

#[test]
fn only_what_failed_lately_and_since_the_installation_opens_an_incident() {
    let day = LONGEST_AGO.as_secs();
    for (finished, now, count) in [(-1, 1000, 0), (0, 1000, 2), (100, 100 + day, 2), (100, 101 + day, 0)] {
        let records = [record(7, Failed, finished - 1, finished)];
        let decided = decided_by(&IncidentSettings::default(), Some(present(None)), &records, &[], now);
        assert_eq!(decided.len(), count, "{finished} {now}");
    }
    // A bad revision may have been in effect for long: its rollback is what is recent.
    let (bad, rollback) = (rolled_back(7, 8, 100), record(8, Succeeded, 2 * day, 2 * day + 10));
    let records = [bad.clone(), rollback];
    let decided = |now| decided_by(&IncidentSettings::default(), Some(present(None)), &records, &[], now).len();
    assert_eq!((decided(2 * day + 20), decided(3 * day + 20)), (2, 0));
    assert!(may_open(&bad.known, Some(at(2 * day)), at(3 * day)));
    assert!(!may_open(&bad.known, Some(at(2 * day)), at(3 * day + 1)));
}

#[test]
fn the_settings_of_the_environment_say_what_opens_an_incident() {
    let mut settings = IncidentSettings::default();
    let staging = Opens { failed_rollouts: false, rolled_back_rollouts: true, lost_availability: false };
    settings.open.insert("staging".to_owned(), staging);
    let records = |environment: &str| {
        [record(7, Failed, 100, 200), rolled_back(8, 9, 300)]
            .map(|record| with(record, |details| details.environment = environment.to_owned()))
    };
    for (environment, count) in [("production", 4), ("staging", 2), ("test", 0)] {
        let lost = Present { environment: environment.to_owned(), ..present(available(false, 400)) };
        let decided = |records: &[Recorded]| decided_by(&settings, Some(lost.clone()), records, &[], 1000).len();
        assert_eq!(decided(&records(environment)), count, "{environment}");
        assert_eq!(decided(&[]), if environment == "production" { 2 } else { 0 }, "{environment}");
    }
}

#[test]
fn a_deployment_that_stays_unavailable_outside_of_a_rollout_has_an_incident() {
    let (lost, name) = (present(available(false, 100)), loss_name(&web(), at(100)));
    let decided = |present: Present, incidents: &[Incident], now| {
        decided_by(&IncidentSettings::default(), Some(present), &[], incidents, now)
    };
    let opens = vec![format!("open {name} LostAvailability 100"), "note loss 100".to_owned()];
    assert_eq!(decided(lost.clone(), &[], 399), ["… 400"]);
    assert_eq!(decided(lost.clone(), &[], 400), opens);
    assert_eq!(decided(lost.clone(), &[own_loss(100, None)], 400), ["note loss 100"]);
    let reported = Present { reported_loss: Some(at(100)), ..lost.clone() };
    assert_eq!(decided(reported.clone(), &[own_loss(100, None)], 900), nothing());
    assert_eq!(decided(reported, &[], 900), nothing(), "a person deleted it");
    for none in [
        Present { is_in_effect: false, ..lost.clone() },
        Present { is_wanted: false, ..lost.clone() },
        present(available(true, 100)),
        present(available(false, -1)),
        present(None),
    ] {
        assert_eq!(decided(none.clone(), &[], 900), nothing(), "{none:?}");
    }
    let returned = present(available(true, 700));
    let resolves = vec![format!("resolve {name} 700")];
    assert_eq!(decided(returned.clone(), &[own_loss(100, None)], 900), resolves);
    assert_eq!(decided(returned, &[own_loss(100, Some(700))], 900), nothing());
    let under_way = Present { is_in_effect: false, ..lost };
    assert_eq!(decided(under_way, &[own_loss(100, None)], 900), nothing(), "a rollout doesn't end the loss");
}

#[test]
fn a_loss_of_availability_that_has_an_incident_gets_no_other() {
    let lost = present(available(false, 500));
    let decided =
        |incidents: &[Incident]| decided_by(&IncidentSettings::default(), Some(lost.clone()), &[], incidents, 900);
    assert_eq!(decided(&[persons(450, None)]), nothing());
    assert_eq!(decided(&[persons(800, None)]), nothing(), "somebody was quicker");
    assert_eq!(decided(&[persons(550, Some(600))]), nothing(), "somebody says that it is over");
    assert_eq!(decided(&[persons(100, Some(499))]).len(), 2);
    assert_eq!(decided(&[own(OpenedBy::FailedRollout, 7, 400, None)]), nothing());
}

#[test]
fn a_deployment_that_fails_again_soon_after_has_the_same_incident() {
    let within = IncidentSettings::default().reopen_within.0.as_secs();
    let verdict = |incidents: &[Incident], since: i64| {
        decided_by(&IncidentSettings::default(), Some(present(available(false, since))), &[], incidents, since + 300)
    };
    let first = own_loss(100, Some(400));
    let soon = 400 + within - 1;
    assert_eq!(
        verdict(std::slice::from_ref(&first), soon),
        [format!("reopen {} {soon}", first.name), format!("note loss {soon}")]
    );
    let open = Incident { resolved: None, reopened: Some(at(soon)), ..first.clone() };
    assert_eq!(verdict(std::slice::from_ref(&open), soon), [format!("note loss {soon}")]);
    assert!(verdict(std::slice::from_ref(&first), soon + 1)[0].starts_with("open web-unavailable-"));
    // That of a rollout, too; and then only the return of availability ends it.
    let rollout = own(OpenedBy::FailedRollout, 7, 200, Some(400));
    assert_eq!(verdict(std::slice::from_ref(&rollout), 600)[0], "reopen web-7-u 600");
    let open = Incident { resolved: None, reopened: Some(at(600)), ..rollout };
    let records = [noted(record(7, Failed, 100, 200)), record(8, Succeeded, 300, 400)];
    let lost = Some(Present { reported_loss: Some(at(600)), ..present(available(false, 600)) });
    assert_eq!(decided_by(&IncidentSettings::default(), lost, &records, std::slice::from_ref(&open), 900), nothing());
    let returned = Some(present(available(true, 1200)));
    assert_eq!(decided_by(&IncidentSettings::default(), returned, &records, &[open], 1300), ["resolve web-7-u 1200"]);
}

#[test]
fn an_incident_is_never_over_before_it_began() {
    // Somebody corrected the beginning.
    let incident = own(OpenedBy::FailedRollout, 7, 800, None);
    let gone = decided_by(&IncidentSettings::default(), None, &[], &[incident], 700);
    assert_eq!(gone, ["resolve web-7-u 800"]);
}

#[test]
fn a_name_is_one_that_kubernetes_takes() {
    let since = "2026-03-04T05:06:07Z".parse().unwrap();
    assert_eq!(loss_name(&web(), since), "web-unavailable-20260304050607");
    let name = loss_name(&named(&format!("{}.b", "a".repeat(251))), since);
    assert_eq!(name.len(), 253);
    assert!(loss_name(&named(&format!("{}.{}", "a".repeat(225), "b".repeat(27))), since).contains("a-unavailable-"));
}
