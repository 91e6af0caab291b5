//! How the current rollout ends, and which conditions and counts say so.

use super::*;

#[test]
fn start_is_the_creation_and_end_is_the_condition() {
    let open = Case::listed(incomplete(stating(1, Other, "a", 1501)), &[a()]);
    assert_eq!(open.changes(), ["start 1 Initial InProgress 1500-?"]);
    assert!(open.recorded(&[record(1, "a", InProgress, 0)]).changes().is_empty());
    let complete = Case::listed(stating(1, Complete, "a", 1510), &[a()]);
    assert_eq!(complete.changes(), ["start 1 Initial Succeeded 1500-1510"], "first observed after its end");
    assert_eq!(complete.recorded(&[record(1, "a", InProgress, 0)]).changes(), ["finish 1 Succeeded 1510"]);
}

#[test]
fn ended_rollout_never_changes_again() {
    let complete = stating(1, Complete, "a", 1510);
    let resumed = stating(1, Complete, "a", 1900);
    let scaled = counting(complete.clone(), |counts| counts.desired = 9);
    let crashed = counting(complete, |counts| counts.available = 0);
    for workload in [resumed, scaled, crashed, paused(stating(1, Paused, "", 1900))] {
        for outcome in [Succeeded, Recovered, RolledBack, Superseded, Unobserved] {
            let case = Case::listed(workload.clone(), &[a()]).recorded(&[record(1, "a", outcome, 1510)]);
            assert!(case.changes().is_empty(), "{outcome:?} {workload:?}");
        }
    }
}

#[test]
fn failed_rollout_recovers_when_it_is_complete() {
    let failed = Case::listed(incomplete(stating(1, DeadlineExceeded, "a", 1560)), &[a()]);
    assert_eq!(failed.changes(), ["start 1 Initial Failed 1500-1560"]);
    let failed = failed.recorded(&[record(1, "a", InProgress, 0)]);
    assert_eq!(failed.changes(), ["finish 1 Failed 1560"]);
    let records = [record(1, "a", Failed, 1560)];
    assert!(failed.recorded(&records).changes().is_empty());
    let progress = Case::listed(incomplete(stating(1, Other, "a", 1570)), &[a()]).recorded(&records);
    assert!(progress.changes().is_empty(), "progress is not a recovery");
    let complete = Case::listed(stating(1, Complete, "a", 1580), &[a()]).recorded(&records);
    assert_eq!(complete.changes(), ["finish 1 Recovered 1580"]);
}

#[test]
fn failure_and_recovery_between_two_decisions_count() {
    let states = [
        (1501, incomplete(stating(1, Other, "a", 1501))),
        (1560, incomplete(stating(1, DeadlineExceeded, "a", 1560))),
        (1580, stating(1, Complete, "a", 1580)),
    ];
    let case = Case::followed(&states, &[a()]);
    assert_eq!(case.changes(), ["start 1 Initial Recovered 1500-1580"]);
    let then_paused = [&states[..], &[(1590, paused(stating(1, Paused, "", 1590)))]].concat();
    assert_eq!(Case::followed(&then_paused, &[a()]).changes(), ["start 1 Initial Recovered 1500-1580"]);
}

#[test]
fn failed_rollout_scaled_to_zero_has_not_recovered() {
    let records = [record(1, "a", Failed, 1560)];
    let scaled_up = incomplete(stating(1, Complete, "a", 1600));
    let states = [
        (1560, incomplete(stating(1, DeadlineExceeded, "a", 1560))),
        (1600, at_zero(stating(1, Complete, "a", 1600))),
        (1700, scaled_up),
    ];
    for length in 2..=3 {
        let case = Case::followed(&states[..length], &[a()]).recorded(&records);
        assert!(case.changes().is_empty(), "{:?}", states[length - 1]);
    }
    let undone = counting(stating(2, Complete, "a", 1600), |counts| counts.desired = 0);
    let next = [&states[..2], &[(1700, undone)]].concat();
    let case = Case::followed(&next, &[a(), b()]).recorded(&records);
    assert!(!case.changes().iter().any(|change| change.starts_with("finish 1")), "{:?}", case.changes());
    let complete = [&states[..], &[(1710, stating(1, Complete, "a", 1600))]].concat();
    let case = Case::followed(&complete, &[a()]).recorded(&records);
    assert_eq!(case.changes(), ["finish 1 Recovered ~1710"], "not when it was scaled to 0");
}

#[test]
fn failed_rollout_completed_while_paused_recovers() {
    // Kubernetes states the failure until the Deployment is resumed.
    let failed = stating(1, DeadlineExceeded, "a", 1560);
    let states = [
        (1560, incomplete(failed.clone())),
        (1570, paused(incomplete(failed.clone()))),
        (1580, paused(failed)),
        (1600, stating(1, Complete, "a", 1600)),
    ];
    let paused_at = UnixSeconds::of(time(1570));
    let records = [RecordedRevision { paused_at, ..record(1, "a", Failed, 1560) }];
    let changes = |length: usize| Case::followed(&states[..length], &[a()]).recorded(&records).changes();
    assert_eq!(changes(3), ["finish 1 Recovered ~1580 paused 10 s"]);
    assert_eq!(changes(4), ["finish 1 Recovered 1600 paused 30 s"], "Kubernetes states the time after the resume");
}

#[test]
fn failed_rollout_found_at_zero_has_not_recovered() {
    let found = |paused| Workload { paused, ..at_zero(stating(1, DeadlineExceeded, "a", 1560)) };
    for paused in [true, false] {
        let paused_at = UnixSeconds::of(time(1570)).filter(|_| paused);
        let with = |outcome, finished| RecordedRevision { paused_at, ..record(1, "a", outcome, finished) };
        let case = Case::listed(found(paused), &[a()]).recorded(&[with(Failed, 1560)]);
        assert!(case.changes().is_empty(), "{paused}: {:?}", case.changes());
        let open = Case::listed(found(paused), &[a()]).recorded(&[with(InProgress, 0)]);
        assert_eq!(open.changes(), ["finish 1 Failed 1560"]);
    }
    let mut complete = Case::listed(found(false), &[a()]).recorded(&[record(1, "a", Failed, 1560)]);
    complete.current.as_mut().unwrap().update(stating(1, Complete, "a", 2050), Source::Watch, time(2050));
    assert_eq!(complete.changes(), ["finish 1 Recovered 2050"], "its pods are available after it is scaled up");
}

#[test]
fn condition_of_another_replica_set_is_stale() {
    let workload = counting(stating(2, Complete, "a", 1510), |counts| counts.updated = 0);
    let case = Case::listed(workload, &[a(), b()]).recorded(&[record(1, "a", Succeeded, 1510)]);
    assert_eq!(case.changes(), ["start 2 Release InProgress 1600-?"]);
    // After an undo, the condition still states the failure of the other ReplicaSet.
    let records = [record(1, "a", Succeeded, 1510), record(2, "b", Failed, 1660)];
    let states = [
        (1660, incomplete(stating(2, DeadlineExceeded, "b", 1660))),
        (1700, incomplete(stating(3, DeadlineExceeded, "b", 1660))),
    ];
    let case = Case::followed(&states, &[reused(&a(), 3), b()]).recorded(&records);
    assert_eq!(
        case.changes(),
        ["start 3 Rollback InProgress ~1700-?"],
        "the start is the observation, not the creation of the ReplicaSet"
    );
}

#[test]
fn condition_of_an_earlier_rollout_is_stale() {
    // At 0 replicas, the condition names the ReplicaSet of revision 1 also during the revisions 2 and 3.
    let revisions = [reused(&a(), 3), b()];
    let records = [record(1, "a", Succeeded, 1510), record(2, "b", Succeeded, 1600)];
    let states = [(1600, at_zero(stating(2, Complete, "a", 1510))), (1700, at_zero(stating(3, Complete, "a", 1510)))];
    let expected = ["start 3 Rollback Succeeded ~1700-~1700", "mark 2 RolledBack by 3"];
    assert_eq!(Case::followed(&states, &revisions).recorded(&records).changes(), expected);
    let listed = Case::listed(states[1].1.clone(), &revisions).recorded(&records);
    assert_eq!(listed.changes(), ["start 3 Rollback Succeeded ?-~2000", "mark 2 RolledBack by 3"]);
}

#[test]
fn counts_decide_at_zero_and_without_a_deadline() {
    let records = [record(1, "a", Succeeded, 1510), record(2, "b", InProgress, 0)];
    let revisions = [a(), b()];
    let zero = at_zero(stating(2, Complete, "a", 1510));
    assert_eq!(Case::listed(zero, &revisions).recorded(&records).changes(), ["finish 2 Succeeded ~2000"]);
    let complete = Workload { progress_deadline: None, ..deployment(2) };
    let case = Case::listed(complete.clone(), &revisions).recorded(&records);
    assert_eq!(case.changes(), ["finish 2 Succeeded ~2000"]);
    for workload in [
        counting(complete.clone(), |counts| counts.available = 1),
        counting(complete.clone(), |counts| counts.updated = 1),
        counting(complete.clone(), |counts| counts.total = 3),
        Workload { observed_generation: 2, ..complete },
    ] {
        let case = Case::listed(workload, &revisions).recorded(&records);
        assert!(case.changes().is_empty());
        assert_eq!(case.decision().requeue_at, Some(time(NOW + 900)));
    }
}

#[test]
fn rollout_without_a_deadline_fails_after_fail_after() {
    let complete = Workload { progress_deadline: None, ..deployment(1) };
    let unavailable = counting(complete.clone(), |counts| counts.available = 0);
    let half = counting(complete.clone(), |counts| counts.available = 1);
    let records = [record(1, "a", InProgress, 0)];
    let states = [(1500, unavailable.clone()), (1600, half.clone())];
    let mut case = Case::followed(&states, &[a()]).recorded(&records);
    case.now = 2499;
    assert!(case.changes().is_empty());
    assert_eq!(case.decision().requeue_at, Some(time(2500)));
    case.now = 2600;
    assert_eq!(
        case.changes(),
        ["finish 1 Failed ~2500"],
        "900 s after the last progress, however late this is decided"
    );
    let recovered = Case::followed(&[(1500, unavailable.clone()), (2700, complete)], &[a()]);
    assert_eq!(recovered.recorded(&[record(1, "a", Failed, 2500)]).changes(), ["finish 1 Recovered ~2700"]);
    let mut case = Case::followed(&[(1500, unavailable), (1600, paused(half))], &[a()]).recorded(&records);
    case.now = 9000;
    assert_eq!(case.changes(), ["pause 1 Some(1600)"], "paused time doesn't count");
}

#[test]
fn deadline_applies_although_the_condition_is_stale() {
    // With Recreate and a ReplicaSet that is used again, the condition always names the other ReplicaSet.
    let workload = |pods| {
        let workload = counting(stating(3, Complete, "b", 1610), |counts| {
            (counts.total, counts.updated, counts.available) = (pods, pods, pods);
        });
        Workload { recreates: true, ..workload }
    };
    let records = [record(1, "a", Succeeded, 1510), record(2, "b", Succeeded, 1610)];
    let revisions = [reused(&a(), 3), b()];
    let states = [(1610, stating(2, Complete, "b", 1610)), (1700, workload(0)), (1710, workload(2))];
    let complete = Case::followed(&states, &revisions).recorded(&records);
    assert_eq!(complete.changes(), ["start 3 Rollback Succeeded ~1700-~1710", "mark 2 RolledBack by 3"]);
    let next = [&states[..2], &[(1720, incomplete(stating(4, Other, "c", 1720)))]].concat();
    let with_next = [&revisions[..], &[replica_set("c", 4, 1720)]].concat();
    let superseded = Case::followed(&next, &with_next).recorded(&records);
    assert_eq!(superseded.decision().requeue_at, None, "a previous rollout can't fail any more");
    let mut failed = Case::followed(&states[..2], &revisions).recorded(&records);
    failed.now = 2301;
    assert_eq!(
        failed.changes(),
        ["start 3 Rollback Failed ~1700-~2300", "mark 2 RolledBack by 3"],
        "after the 600 s of its own deadline"
    );
}
