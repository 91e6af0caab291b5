//! New numbers and new ReplicaSets that may or may not be a new rollout.

use super::*;

#[test]
fn adopted_replica_set_is_not_a_rollout() {
    let new = |workload: Workload| Workload { created: Some(time(1700)), ..workload };
    let revisions = [a(), b()];
    let without_pods = counting(stating(2, Found, "b", 1700), |counts| {
        *counts = PodCounts { desired: counts.desired, ..PodCounts::default() };
    });
    let empty = Workload { observed_generation: 0, ..without_pods };
    assert!(Case::followed(&[(1700, new(empty.clone()))], &revisions).changes().is_empty());
    let states = [(1700, new(empty)), (1701, new(stating(2, Complete, "b", 1701)))];
    assert!(Case::followed(&states, &revisions).changes().is_empty());
    assert!(Case::listed(states[1].1.clone(), &revisions).changes().is_empty());
    // What the new Deployment rolls out itself is a rollout.
    let c = replica_set("c", 3, 1800);
    let next = Case::listed(new(stating(3, Complete, "c", 1810)), &[a(), b(), c.clone()]);
    assert_eq!(next.changes(), ["start 3 Release Succeeded 1800-1810"]);
    let undone = Case::listed(new(stating(4, Complete, "a", 1910)), &[reused(&a(), 4), b(), c])
        .recorded(&[record(3, "c", Succeeded, 1810)]);
    assert_eq!(undone.changes(), ["start 4 Rollback Succeeded ?-1910", "mark 3 RolledBack by 4"]);
    let other = Case::followed(&[(1700, new(incomplete(stating(3, Other, "a", 1701))))], &[reused(&a(), 3), b()]);
    assert_eq!(
        other.changes(),
        ["start 3 Rollback InProgress ~1700-?"],
        "the new Deployment has the template of an older ReplicaSet"
    );
}

#[test]
fn new_number_alone_is_not_a_rollout() {
    let complete = |revision| stating(revision, Complete, "a", 1510);
    let records = [record(1, "a", Succeeded, 1510)];
    let stray = replica_set("stray", 9, 1550);
    let revisions = [reused(&a(), 10), stray.clone()];
    assert!(Case::listed(complete(10), &revisions).recorded(&records).changes().is_empty());
    let states =
        [(1510, complete(1)), (1600, complete(10)), (1601, complete(20)), (1610, stating(20, Complete, "a", 1610))];
    let twice = [reused(&reused(&a(), 10), 20), stray];
    for length in 2..=4 {
        let case = Case::followed(&states[..length], &twice).recorded(&records);
        assert!(case.changes().is_empty(), "{length}");
        assert!(case.without_past().changes().is_empty(), "{length}");
    }
    // Another ReplicaSet was used again between the two numbers: this one was undone while the controller was away.
    let revisions = [reused(&reused(&a(), 2), 4), reused(&replica_set("b", 1, 1400), 3)];
    let records = [record(1, "b", Succeeded, 1410), record(2, "a", Succeeded, 1510)];
    let undone = Case::listed(Workload { recreates: true, ..complete(4) }, &revisions).recorded(&records);
    assert_eq!(undone.changes()[..1], ["start 3 Rollback Unobserved ?-?"]);
    let records = [record(1, "a", Succeeded, 1510)];
    let revisions = [reused(&a(), 10), replica_set("stray", 9, 1550)];
    // An open rollout continues under its first number.
    let states = [
        (1501, incomplete(stating(1, Other, "a", 1501))),
        (1502, incomplete(stating(10, Other, "a", 1501))),
        (1510, complete(10)),
    ];
    let case = Case::followed(&states, &revisions).recorded(&[record(1, "a", InProgress, 0)]);
    assert_eq!(case.changes(), ["finish 1 Succeeded 1510"]);
    // The next rollout counts from the new number.
    let next = Case::listed(incomplete(stating(21, Other, "b", 1700)), &[twice[0].clone(), replica_set("b", 21, 1700)]);
    assert_eq!(next.recorded(&records).changes()[0], "start 10 Rollback Unobserved ?-? after 8 unseen");
}

#[test]
fn recreated_replica_set_is_a_restart_or_continues() {
    let recreated = Revision { uid: "other".into(), created: Some(time(1700)), ..a() };
    let records = [record(1, "a", Succeeded, 1510)];
    let states = [
        (1510, stating(1, Complete, "a", 1510)),
        (1700, incomplete(stating(1, Other, "a", 1700))),
        (1710, stating(1, Complete, "a", 1710)),
    ];
    let case = Case::followed(&states[..2], std::slice::from_ref(&recreated)).recorded(&records);
    assert_eq!(case.changes(), ["start 1 Restart InProgress 1700-? repeated"]);
    let case = Case::followed(&states, std::slice::from_ref(&recreated)).recorded(&records);
    assert_eq!(case.changes(), ["start 1 Restart Succeeded 1700-1710 repeated"]);
    let open = Case::followed(&states[1..], &[recreated]).recorded(&[record(1, "a", InProgress, 0)]);
    assert_eq!(open.changes(), ["finish 1 Succeeded 1710"]);
    // The numbers start again, with another template.
    let other = replica_set("n", 1, 1900);
    let records = [record(1, "a", Succeeded, 1510), record(2, "b", Succeeded, 1610)];
    let case = Case::listed(stating(1, Complete, "n", 1910), &[other]).recorded(&records);
    assert_eq!(case.changes(), ["start 1 ? Succeeded 1900-1910 repeated"]);
}

#[test]
fn missing_number_after_kubectl_replace_is_ignored() {
    let without = Workload { revision: None, ..stating(1, Complete, "a", 1510) };
    let states = [(1510, stating(1, Complete, "a", 1510)), (1600, without), (1601, stating(1, Complete, "a", 1510))];
    for length in 2..=3 {
        let case = Case::followed(&states[..length], &[a()]).recorded(&[record(1, "a", Succeeded, 1510)]);
        assert!(case.changes().is_empty() && case.past.is_empty());
    }
}

#[test]
fn restored_workload_is_not_a_rollout() {
    // All objects have the same time of creation, so only the label tells that nothing was rolled out.
    let restored = |revision| Revision { created: Some(time(1700)), is_restored: true, ..revision };
    let new = |workload| Workload { created: Some(time(1700)), is_restored: true, ..workload };
    let revisions = [restored(a()), restored(b())];
    let starting = counting(new(stating(2, Other, "b", 1701)), |counts| counts.available = 0);
    let complete = new(stating(2, Complete, "b", 1702));
    for (second, workload) in [(1701, &starting), (1702, &complete)] {
        assert!(Case::followed(&[(second, workload.clone())], &revisions).changes().is_empty());
        for history in [History::None, History::Current, History::All] {
            let listed = Case::listed(workload.clone(), &revisions).policy(Policy { history, ..policy() });
            assert!(listed.changes().is_empty(), "{history:?}");
        }
    }
    let next = |then: Workload, third: Revision| {
        let states = [(1702, complete.clone()), (1800, new(then))];
        let [first, second] = revisions.clone();
        Case::followed(&states, &[first, second, third]).changes()
    };
    assert_eq!(
        next(stating(3, Complete, "c", 1810), replica_set("c", 3, 1800)),
        ["start 3 Release Succeeded 1800-1810"],
        "compared with what was restored"
    );
    assert_eq!(
        next(stating(3, Complete, "a", 1801), reused(&revisions[0], 3)),
        ["start 3 Rollback Succeeded ~1800-1801"]
    );
    // The backup has no ReplicaSets.
    let states = [(1702, new(stating(1, Complete, "n", 1702))), (1800, new(stating(2, Complete, "c", 1810)))];
    let own = [replica_set("n", 1, 1700), replica_set("c", 2, 1800)];
    assert!(Case::followed(&states[..1], &own[..1]).changes().is_empty());
    assert_eq!(Case::followed(&states, &own).changes(), ["start 2 Release Succeeded 1800-1810"]);
    let applied = Workload { is_restored: false, ..states[0].1.clone() };
    assert_eq!(Case::followed(&[(1702, applied)], &own[..1]).changes(), ["start 1 Initial Succeeded 1700-1702"]);
}
