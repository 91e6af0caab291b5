//! When another number or another ReplicaSet is no other rollout, and when it is.

use super::*;

#[test]
fn what_is_taken_over_from_a_former_deployment_is_no_rollout() {
    let row = |row: Workload| Workload { created: Some(time(1700)), ..row };
    let owned = [a(), b()];
    let empty = Workload {
        current_replicas: 0,
        updated_replicas: 0,
        available_replicas: 0,
        observed_generation: 0,
        ..stating(2, Found, "b", 1700)
    };
    assert!(Case::followed(&[(1700, row(empty.clone()))], &owned).changes().is_empty());
    let states = [(1700, row(empty)), (1701, row(stating(2, Complete, "b", 1701)))];
    assert!(Case::followed(&states, &owned).changes().is_empty());
    assert!(Case::listed(states[1].1.clone(), &owned).changes().is_empty());
    // What it rolls out itself is one.
    let c = replica_set("c", 3, 1800);
    let next = Case::listed(row(stating(3, Complete, "c", 1810)), &[a(), b(), c.clone()]);
    assert_eq!(next.changes(), ["begin 3 Release Succeeded 1800-1810"]);
    let undone = Case::listed(row(stating(4, Complete, "a", 1910)), &[reused(&a(), 4), b(), c])
        .known(&[known(3, "c", Succeeded, 1810)]);
    assert_eq!(undone.changes(), ["begin 4 Rollback Succeeded ?-1910", "end 3 RolledBack by 4"]);
    let other = Case::followed(&[(1700, row(on_its_way(stating(3, Other, "a", 1701))))], &[reused(&a(), 3), b()]);
    assert_eq!(other.changes(), ["begin 3 Rollback InProgress ~1700-?"], "made with the template of an older one");
}

#[test]
fn a_replica_set_that_is_only_numbered_anew_is_no_rollout() {
    let complete = |revision| stating(revision, Complete, "a", 1510);
    let records = [known(1, "a", Succeeded, 1510)];
    let stray = replica_set("stray", 9, 1550);
    let owned = [reused(&a(), 10), stray.clone()];
    assert!(Case::listed(complete(10), &owned).known(&records).changes().is_empty());
    let states =
        [(1510, complete(1)), (1600, complete(10)), (1601, complete(20)), (1610, stating(20, Complete, "a", 1610))];
    let twice = [reused(&reused(&a(), 10), 20), stray];
    for length in 2..=4 {
        let case = Case::followed(&states[..length], &twice).known(&records);
        assert!(case.changes().is_empty(), "{length}");
        assert!(case.acknowledged().changes().is_empty(), "{length}");
    }
    // Between its two numbers another one was used again: that was undone too, while nobody watched.
    let owned = [reused(&reused(&a(), 2), 4), reused(&replica_set("b", 1, 1400), 3)];
    let records = [known(1, "b", Succeeded, 1410), known(2, "a", Succeeded, 1510)];
    let undone = Case::listed(Workload { recreates: true, ..complete(4) }, &owned).known(&records);
    assert_eq!(undone.changes()[..1], ["begin 3 Rollback Unobserved ?-?"]);
    let records = [known(1, "a", Succeeded, 1510)];
    let owned = [reused(&a(), 10), replica_set("stray", 9, 1550)];
    // A rollout that is on its way goes on under its first number.
    let states = [
        (1501, on_its_way(stating(1, Other, "a", 1501))),
        (1502, on_its_way(stating(10, Other, "a", 1501))),
        (1510, complete(10)),
    ];
    let case = Case::followed(&states, &owned).known(&[known(1, "a", InProgress, 0)]);
    assert_eq!(case.changes(), ["end 1 Succeeded 1510"]);
    // And the next one has no gap before it.
    let next = Case::listed(on_its_way(stating(21, Other, "b", 1700)), &[twice[0].clone(), replica_set("b", 21, 1700)]);
    assert_eq!(next.known(&records).changes()[0], "begin 10 Rollback Unobserved ?-? after 8 unseen");
}

#[test]
fn a_replica_set_that_is_deleted_by_hand_is_a_restart_or_goes_on() {
    let again = Revision { uid: "other".into(), created: Some(time(1700)), ..a() };
    let records = [known(1, "a", Succeeded, 1510)];
    let states = [
        (1510, stating(1, Complete, "a", 1510)),
        (1700, on_its_way(stating(1, Other, "a", 1700))),
        (1710, stating(1, Complete, "a", 1710)),
    ];
    let case = Case::followed(&states[..2], std::slice::from_ref(&again)).known(&records);
    assert_eq!(case.changes(), ["begin 1 Restart InProgress 1700-? repeated"]);
    let case = Case::followed(&states, std::slice::from_ref(&again)).known(&records);
    assert_eq!(case.changes(), ["begin 1 Restart Succeeded 1700-1710 repeated"]);
    let open = Case::followed(&states[1..], &[again]).known(&[known(1, "a", InProgress, 0)]);
    assert_eq!(open.changes(), ["end 1 Succeeded 1710"]);
    // The numbers begin anew, with another template.
    let anew = replica_set("n", 1, 1900);
    let records = [known(1, "a", Succeeded, 1510), known(2, "b", Succeeded, 1610)];
    let case = Case::listed(stating(1, Complete, "n", 1910), &[anew]).known(&records);
    assert_eq!(case.changes(), ["begin 1 ? Succeeded 1900-1910 repeated"]);
}

#[test]
fn kubectl_replace_takes_the_number_away_for_a_moment() {
    let without = Workload { revision: None, ..stating(1, Complete, "a", 1510) };
    let states = [(1510, stating(1, Complete, "a", 1510)), (1600, without), (1601, stating(1, Complete, "a", 1510))];
    for length in 2..=3 {
        let case = Case::followed(&states[..length], &[a()]).known(&[known(1, "a", Succeeded, 1510)]);
        assert!(case.changes().is_empty() && case.former.is_empty());
    }
}
