//! Rollouts while the controller was away, and before the installation.

use super::*;

#[test]
fn nothing_changes_while_a_revision_is_missing() {
    let workload = stating(2, Complete, "b", 1610);
    let states = [(1500, incomplete(stating(1, Other, "a", 1500))), (1610, workload.clone())];
    let behind = Case::followed(&states, &[a()]).recorded(&[record(1, "a", InProgress, 0)]);
    assert!(behind.changes().is_empty() && behind.decision().is_behind);
    assert!(Case::listed(Workload { revision: None, ..workload }, &[a()]).changes().is_empty());
}

#[test]
fn condition_states_how_a_missed_rollout_ended() {
    let records = [record(1, "a", InProgress, 0)];
    let at_2 = |reason| incomplete(stating(2, reason, "a", 1590));
    for (reason, expected) in [
        (Complete, "finish 1 Succeeded 1590"),
        (DeadlineExceeded, "finish 1 Failed 1590"),
        (Other, "finish 1 Unobserved ?"),
    ] {
        let case = Case::listed(at_2(reason), &[a(), b()]).recorded(&records);
        assert_eq!(case.changes(), [expected, "start 2 Release InProgress 1600-?"]);
    }
    // The condition may be the one of an earlier rollout of the same ReplicaSet.
    let revisions = [reused(&a(), 3), reused(&b(), 4)];
    let twice = Case::listed(stating(4, Complete, "b", 1810), &revisions).recorded(&[record(1, "a", Succeeded, 1510)]);
    assert_eq!(
        twice.changes(),
        ["start 2 Release Unobserved 1600-?", "start 3 Rollback Unobserved ?-?", "start 4 Rollback Succeeded ?-~2000"],
        "revision 2 may be the complete one"
    );
    // Of a ReplicaSet that is used again, the condition describes the latest rollout.
    let again = Case::listed(stating(5, Complete, "a", 1690), &[reused(&a(), 5), b()])
        .recorded(&[record(1, "a", Failed, 1560)]);
    assert_eq!(again.changes()[1..], ["start 5 Rollback Succeeded ?-1690 after 2 unseen"]);
    let failed = Case::listed(at_2(Complete), &[a(), b()]).recorded(&[record(1, "a", Failed, 1560)]);
    assert_eq!(failed.changes()[0], "finish 1 Recovered 1590");
}

#[test]
fn rollouts_before_the_installation_are_not_recorded() {
    let old = replica_set("a", 1, 500);
    let revisions = [old.clone()];
    assert!(Case::listed(stating(1, Complete, "a", 510), &revisions).changes().is_empty());
    assert!(Case::listed(incomplete(stating(1, DeadlineExceeded, "a", 510)), &revisions).changes().is_empty());
    assert!(
        Case::listed(stating(1, Complete, "a", 1500), &revisions).changes().is_empty(),
        "paused and resumed after the installation"
    );
    // A rollout that was open at the installation, or started after it, is recorded.
    let open = Case::listed(incomplete(stating(1, Other, "a", 999)), &revisions);
    assert_eq!(open.changes(), ["start 1 Initial InProgress 500-?"]);
    let undone = Case::listed(stating(3, Complete, "a", 1500), &[reused(&old, 3), replica_set("b", 2, 600)]);
    assert_eq!(undone.changes(), ["start 3 Rollback Succeeded ?-1500"]);
    let followed = Case::followed(
        &[(1490, incomplete(stating(2, Complete, "x", 900))), (1500, stating(3, Complete, "a", 1500))],
        &[reused(&old, 3)],
    );
    assert_eq!(followed.without_past().changes(), ["start 3 Rollback Succeeded ~1500-1500"]);
}

#[test]
fn setting_decides_about_earlier_revisions() {
    let revisions = [replica_set("a", 1, 500), replica_set("b", 2, 600), replica_set("c", 3, 700)];
    let with = |history, recorded: &[RecordedRevision]| {
        let case = Case::listed(stating(3, Complete, "c", 710), &revisions).recorded(recorded);
        case.policy(Policy { history, ..policy() }).changes()
    };
    let current = "start 3 Release Succeeded 700-710";
    assert!(with(History::None, &[]).is_empty());
    assert_eq!(with(History::Current, &[]), [current]);
    assert_eq!(
        with(History::All, &[]),
        ["start 1 Initial Unobserved 500-?", "start 2 Release Unobserved 600-?", current]
    );
    for history in [History::None, History::Current, History::All] {
        assert!(with(history, &[record(3, "c", Succeeded, 710)]).is_empty(), "{history:?} for the second time");
    }
    let interrupted = with(History::All, &[record(1, "a", Unobserved, 0)]);
    assert_eq!(interrupted, ["start 2 Release Unobserved 600-?", current], "the process ended after the first record");
}

#[test]
fn missed_rollouts_are_recorded_from_their_revisions() {
    let c = replica_set("c", 5, 1700);
    let records = [record(1, "a", Succeeded, 1510)];
    let case = Case::listed(stating(5, Complete, "c", 1710), &[a(), b(), c.clone()]).recorded(&records);
    assert_eq!(case.changes(), ["start 2 Release Unobserved 1600-?", "start 5 ? Succeeded 1700-1710 after 2 unseen"]);
    // After an undo, a ReplicaSet keeps its earlier numbers.
    let case = Case::listed(stating(5, Complete, "c", 1710), &[reused(&a(), 3), reused(&b(), 4), c]).recorded(&records);
    assert_eq!(
        case.changes(),
        [
            "start 2 Release Unobserved 1600-?",
            "start 3 Rollback Unobserved ?-?",
            "start 4 Rollback Unobserved ?-?",
            "start 5 Release Succeeded 1700-1710"
        ]
    );
    // With a watch, nothing is missed: the numbers in between never ran.
    let states = [(1510, stating(1, Complete, "a", 1510)), (1700, stating(5, Complete, "c", 1710))];
    let case =
        Case::followed(&states, &[a(), replica_set("stray", 4, 1600), replica_set("c", 5, 1700)]).recorded(&records);
    assert_eq!(case.changes(), ["start 5 Release Succeeded 1700-1710"]);
}

#[test]
fn paused_revision_from_a_list_is_not_a_rollout() {
    let workload = paused(incomplete(stating(3, Paused, "", 1800)));
    let revisions = [a(), b(), replica_set("c", 3, 1700)];
    let case = Case::listed(workload, &revisions).recorded(&[record(1, "a", InProgress, 0)]);
    assert_eq!(case.changes(), ["start 2 Release Unobserved 1600-?", "finish 1 Unobserved ?"]);
}

#[test]
fn revisions_without_a_trace_are_counted() {
    let created = |created| Workload { created: Some(time(created)), ..stating(4, Complete, "d", 1710) };
    let revisions = [replica_set("d", 4, 1700)];
    assert_eq!(Case::listed(created(1400), &revisions).changes(), ["start 4 ? Succeeded 1700-1710 after 3 unseen"]);
    assert_eq!(
        Case::listed(created(400), &revisions).changes(),
        ["start 4 ? Succeeded 1700-1710"],
        "revisions before the installation don't count"
    );
}

#[test]
fn revisions_before_a_lost_observation_are_counted() {
    let (e, f) = (replica_set("e", 5, 1900), replica_set("f", 6, 1950));
    let states = [
        (1510, stating(1, Complete, "a", 1510)),
        (1910, stating(5, Complete, "e", 1910)),
        (1960, stating(6, Complete, "f", 1960)),
    ];
    let mut case = Case::followed(&states, &[e, f]).recorded(&[record(1, "a", Succeeded, 1510)]);
    // The observations at the revisions 1 to 4 are lost.
    case.past.remove(0);
    case.past[0].observation.forget_previous();
    let counted = ["start 5 ? Succeeded 1900-1910 after 3 unseen", "start 6 Release Succeeded 1950-1960"];
    assert_eq!(case.changes(), counted);
    // A revision that still exists is recorded.
    case.revisions.push(replica_set("d", 4, 1800));
    let missed = "start 4 ? Unobserved 1800-? after 2 unseen";
    assert_eq!(case.changes(), [missed, "start 5 Release Succeeded 1900-1910", counted[1]]);
}
