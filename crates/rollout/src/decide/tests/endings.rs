//! How the present rollout ends, and what says nothing about it.

use super::*;

#[test]
fn a_rollout_begins_when_its_replica_set_was_made_and_ends_when_the_condition_says() {
    let on_the_way = Case::listed(on_its_way(stating(1, Other, "a", 1501)), &[a()]);
    assert_eq!(on_the_way.changes(), ["begin 1 Initial InProgress 1500-?"]);
    assert!(on_the_way.known(&[known(1, "a", InProgress, 0)]).changes().is_empty());
    let complete = Case::listed(stating(1, Complete, "a", 1510), &[a()]);
    assert_eq!(complete.changes(), ["begin 1 Initial Succeeded 1500-1510"], "seen only when it was over");
    assert_eq!(complete.known(&[known(1, "a", InProgress, 0)]).changes(), ["end 1 Succeeded 1510"]);
}

#[test]
fn an_end_is_final_whatever_the_deployment_does_afterwards() {
    let resumed = stating(1, Complete, "a", 1900);
    let scaled = Workload { replicas: 9, ..stating(1, Complete, "a", 1510) };
    let crashed = Workload { available_replicas: 0, ..stating(1, Complete, "a", 1510) };
    let paused = Workload { paused: true, ..stating(1, Paused, "", 1900) };
    for row in [resumed, scaled, crashed, paused] {
        for outcome in [Succeeded, Recovered, RolledBack, Superseded, Unobserved] {
            let case = Case::listed(row.clone(), &[a()]).known(&[known(1, "a", outcome, 1510)]);
            assert!(case.changes().is_empty(), "{outcome:?} {row:?}");
        }
    }
}

#[test]
fn a_failure_is_not_final() {
    let failed = Case::listed(on_its_way(stating(1, DeadlineExceeded, "a", 1560)), &[a()]);
    assert_eq!(failed.changes(), ["begin 1 Initial Failed 1500-1560"]);
    let failed = failed.known(&[known(1, "a", InProgress, 0)]);
    assert_eq!(failed.changes(), ["end 1 Failed 1560"]);
    let records = [known(1, "a", Failed, 1560)];
    assert!(failed.known(&records).changes().is_empty());
    let moves = Case::listed(on_its_way(stating(1, Other, "a", 1570)), &[a()]).known(&records);
    assert!(moves.changes().is_empty(), "progress is no success");
    let complete = Case::listed(stating(1, Complete, "a", 1580), &[a()]).known(&records);
    assert_eq!(complete.changes(), ["end 1 Recovered 1580"]);
}

#[test]
fn a_failure_and_a_recovery_between_two_looks_are_both_seen() {
    let states = [
        (1501, on_its_way(stating(1, Other, "a", 1501))),
        (1560, on_its_way(stating(1, DeadlineExceeded, "a", 1560))),
        (1580, stating(1, Complete, "a", 1580)),
    ];
    let case = Case::followed(&states, &[a()]);
    assert_eq!(case.changes(), ["begin 1 Initial Recovered 1500-1580"]);
    let paused = Workload { paused: true, ..stating(1, Paused, "", 1590) };
    let case = Case::followed(&[&states[..], &[(1590, paused)]].concat(), &[a()]);
    assert_eq!(case.changes(), ["begin 1 Initial Recovered 1500-1580"]);
}

#[test]
fn a_failed_rollout_that_is_scaled_to_nothing_has_not_recovered() {
    let records = [known(1, "a", Failed, 1560)];
    let none = Workload {
        replicas: 0,
        current_replicas: 0,
        updated_replicas: 0,
        available_replicas: 0,
        ..stating(1, Complete, "a", 1600)
    };
    let again = on_its_way(stating(1, Complete, "a", 1600));
    let states = [(1560, on_its_way(stating(1, DeadlineExceeded, "a", 1560))), (1600, none), (1700, again)];
    for length in 2..=3 {
        let case = Case::followed(&states[..length], &[a()]).known(&records);
        assert!(case.changes().is_empty(), "{:?}", states[length - 1]);
    }
    let undone = Workload { replicas: 0, ..stating(2, Complete, "a", 1600) };
    let next = [&states[..2], &[(1700, undone)]].concat();
    let case = Case::followed(&next, &[a(), b()]).known(&records);
    assert!(!case.changes().iter().any(|change| change.starts_with("end 1")), "{:?}", case.changes());
    let works = [&states[..], &[(1710, stating(1, Complete, "a", 1600))]].concat();
    let case = Case::followed(&works, &[a()]).known(&records);
    assert_eq!(case.changes(), ["end 1 Recovered ~1710"], "not when it was scaled to nothing");
}

#[test]
fn failed_rollout_that_completes_while_paused_has_recovered() {
    // Kubernetes states the failure until the Deployment is resumed.
    let failed = stating(1, DeadlineExceeded, "a", 1560);
    let paused = |row| Workload { paused: true, ..row };
    let states = [
        (1560, on_its_way(failed.clone())),
        (1570, paused(on_its_way(failed.clone()))),
        (1580, paused(failed)),
        (1600, stating(1, Complete, "a", 1600)),
    ];
    let paused_at = UnixSeconds::of(time(1570));
    let records = [RecordedRevision { paused_at, ..known(1, "a", Failed, 1560) }];
    let changes = |length: usize| Case::followed(&states[..length], &[a()]).known(&records).changes();
    assert_eq!(changes(3), ["end 1 Recovered ~1580 paused 10 s"]);
    assert_eq!(changes(4), ["end 1 Recovered 1600 paused 30 s"], "looked at only now, it is what Kubernetes states");
}

#[test]
fn failed_rollout_found_at_zero_replicas_has_not_recovered() {
    let found = |paused| Workload {
        paused,
        replicas: 0,
        current_replicas: 0,
        updated_replicas: 0,
        available_replicas: 0,
        ..stating(1, DeadlineExceeded, "a", 1560)
    };
    for paused in [true, false] {
        let paused_at = UnixSeconds::of(time(1570)).filter(|_| paused);
        let of = |outcome, finished| RecordedRevision { paused_at, ..known(1, "a", outcome, finished) };
        let case = Case::listed(found(paused), &[a()]).known(&[of(Failed, 1560)]);
        assert!(case.changes().is_empty(), "{paused}: {:?}", case.changes());
        let unrecorded = Case::listed(found(paused), &[a()]).known(&[of(InProgress, 0)]);
        assert_eq!(unrecorded.changes(), ["end 1 Failed 1560"]);
    }
    let mut works = Case::listed(found(false), &[a()]).known(&[known(1, "a", Failed, 1560)]);
    works.deployment.as_mut().unwrap().update(stating(1, Complete, "a", 2050), Source::Watch, time(2050));
    assert_eq!(works.changes(), ["end 1 Recovered 2050"], "scaled up, it runs");
}

#[test]
fn a_condition_that_names_another_replica_set_says_nothing() {
    let row = Workload { updated_replicas: 0, ..stating(2, Complete, "a", 1510) };
    let case = Case::listed(row, &[a(), b()]).known(&[known(1, "a", Succeeded, 1510)]);
    assert_eq!(case.changes(), ["begin 2 Release InProgress 1600-?"]);
    // After an undo, the failure of the other one still stands.
    let records = [known(1, "a", Succeeded, 1510), known(2, "b", Failed, 1660)];
    let states = [
        (1660, on_its_way(stating(2, DeadlineExceeded, "b", 1660))),
        (1700, on_its_way(stating(3, DeadlineExceeded, "b", 1660))),
    ];
    let case = Case::followed(&states, &[reused(&a(), 3), b()]).known(&records);
    assert_eq!(
        case.changes(),
        ["begin 3 Rollback InProgress ~1700-?"],
        "it began when that was seen, not when its ReplicaSet was made"
    );
}

#[test]
fn a_condition_of_an_earlier_revision_of_the_same_replica_set_says_nothing() {
    // At 0 replicas the condition goes on naming the ReplicaSet of revision 1, through 2 and 3.
    let empty = |row: Workload| Workload {
        replicas: 0,
        current_replicas: 0,
        updated_replicas: 0,
        available_replicas: 0,
        ..row
    };
    let owned = [reused(&a(), 3), b()];
    let records = [known(1, "a", Succeeded, 1510), known(2, "b", Succeeded, 1600)];
    let states = [(1600, empty(stating(2, Complete, "a", 1510))), (1700, empty(stating(3, Complete, "a", 1510)))];
    let expected = ["begin 3 Rollback Succeeded ~1700-~1700", "end 2 RolledBack by 3"];
    assert_eq!(Case::followed(&states, &owned).known(&records).changes(), expected);
    let listed = Case::listed(states[1].1.clone(), &owned).known(&records);
    assert_eq!(listed.changes(), ["begin 3 Rollback Succeeded ?-~2000", "end 2 RolledBack by 3"], "as it was found");
}

#[test]
fn at_no_replicas_or_without_a_deadline_the_counts_decide() {
    let records = [known(1, "a", Succeeded, 1510), known(2, "b", InProgress, 0)];
    let owned = [a(), b()];
    let none = Workload {
        replicas: 0,
        current_replicas: 0,
        updated_replicas: 0,
        available_replicas: 0,
        ..stating(2, Complete, "a", 1510)
    };
    assert_eq!(Case::listed(none, &owned).known(&records).changes(), ["end 2 Succeeded ~2000"]);
    let no_deadline = Workload { progress_deadline: None, ..deployment(2) };
    assert_eq!(Case::listed(no_deadline.clone(), &owned).known(&records).changes(), ["end 2 Succeeded ~2000"]);
    for incomplete in [
        Workload { available_replicas: 1, ..no_deadline.clone() },
        Workload { updated_replicas: 1, ..no_deadline.clone() },
        Workload { current_replicas: 3, ..no_deadline.clone() },
        Workload { observed_generation: 2, ..no_deadline },
    ] {
        let case = Case::listed(incomplete, &owned).known(&records);
        assert!(case.changes().is_empty());
        assert_eq!(case.decided().look_again, Some(time(NOW + 900)));
    }
}

#[test]
fn without_a_deadline_a_rollout_fails_that_stands_still() {
    let row = Workload { progress_deadline: None, available_replicas: 0, ..deployment(1) };
    let moved = Workload { available_replicas: 1, ..row.clone() };
    let records = [known(1, "a", InProgress, 0)];
    let mut case = Case::followed(&[(1500, row.clone()), (1600, moved.clone())], &[a()]).known(&records);
    case.now = 2499;
    assert!(case.changes().is_empty());
    assert_eq!(case.decided().look_again, Some(time(2500)));
    case.now = 2600;
    assert_eq!(case.changes(), ["end 1 Failed ~2500"], "900 s after it last moved, however late that is looked at");
    let complete = Workload { progress_deadline: None, ..deployment(1) };
    let mended = Case::followed(&[(1500, row.clone()), (2700, complete)], &[a()]).known(&[known(1, "a", Failed, 2500)]);
    assert_eq!(mended.changes(), ["end 1 Recovered ~2700"]);
    let mut paused = Case::followed(&[(1500, row), (1600, Workload { paused: true, ..moved })], &[a()]).known(&records);
    paused.now = 9000;
    assert_eq!(paused.changes(), ["pause 1 Some(1600)"], "paused time does not count");
}

#[test]
fn where_kubernetes_tracks_nothing_the_deadline_is_kept_all_the_same() {
    // Recreate with a re-used ReplicaSet: the condition goes on naming the other one, for ever.
    let row = |updated| Workload {
        recreates: true,
        updated_replicas: updated,
        available_replicas: updated,
        current_replicas: updated,
        ..stating(3, Complete, "b", 1610)
    };
    let records = [known(1, "a", Succeeded, 1510), known(2, "b", Succeeded, 1610)];
    let owned = [reused(&a(), 3), b()];
    let states = [(1610, stating(2, Complete, "b", 1610)), (1700, row(0)), (1710, row(2))];
    let complete = Case::followed(&states, &owned).known(&records);
    assert_eq!(complete.changes(), ["begin 3 Rollback Succeeded ~1700-~1710", "end 2 RolledBack by 3"]);
    let next = [&states[..2], &[(1720, on_its_way(stating(4, Other, "c", 1720)))]].concat();
    let left = Case::followed(&next, &[owned.to_vec(), vec![replica_set("c", 4, 1720)]].concat()).known(&records);
    assert_eq!(left.decided().look_again, None, "what is over can't come to fail any more");
    let mut broken = Case::followed(&states[..2], &owned).known(&records);
    broken.now = 2301;
    assert_eq!(
        broken.changes(),
        ["begin 3 Rollback Failed ~1700-~2300", "end 2 RolledBack by 3"],
        "after its own 600 s"
    );
}
