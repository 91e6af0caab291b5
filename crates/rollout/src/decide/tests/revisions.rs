//! What a rollout does to the rollouts before it, and what kind of change it is.

use super::*;

#[test]
fn newer_revision_supersedes_open_rollouts_only() {
    let d = replica_set("d", 4, 1700);
    let records = [record(1, "a", Succeeded, 1510), record(2, "b", Failed, 1660), record(3, "c", InProgress, 0)];
    let states = [(1690, incomplete(stating(3, Other, "c", 1690))), (1700, incomplete(stating(4, Other, "d", 1700)))];
    let revisions = [a(), b(), replica_set("c", 3, 1680), d.clone()];
    let expected = ["finish 3 Superseded 1700", "start 4 Release InProgress 1700-?"];
    assert_eq!(Case::followed(&states, &revisions).recorded(&records).changes(), expected);
    assert_eq!(Case::followed(&states, &revisions).without_past().recorded(&records).changes(), expected);
    let listed = Case::listed(states[1].1.clone(), &revisions).recorded(&records);
    assert_eq!(
        listed.changes(),
        ["finish 3 Unobserved ?", "start 4 Release InProgress 1700-?"],
        "the controller doesn't know how it ended"
    );
}

#[test]
fn rollouts_between_two_decisions_are_all_recorded() {
    let c = replica_set("c", 3, 1700);
    let states = [
        (1500, incomplete(stating(1, Other, "a", 1500))),
        (1510, stating(1, Complete, "a", 1510)),
        (1600, incomplete(stating(2, Other, "b", 1600))),
        (1700, incomplete(stating(3, Other, "c", 1700))),
        (1760, incomplete(stating(3, DeadlineExceeded, "c", 1760))),
        (1800, incomplete(stating(4, DeadlineExceeded, "c", 1760))),
        (1810, stating(4, Complete, "a", 1810)),
    ];
    let case = Case::followed(&states, &[reused(&a(), 4), b(), c]);
    assert_eq!(
        case.changes(),
        [
            "start 1 Initial Succeeded 1500-1510",
            "start 2 Release Superseded 1600-1700",
            "start 3 Release Failed 1700-1760",
            "start 4 Rollback Succeeded ~1800-1810",
        ],
        "2 and 3 were never in effect, and 1 is in effect again"
    );
}

const ROLLBACK: &str = "start 4 Rollback InProgress ~1800-?";

fn c() -> Revision {
    replica_set("c", 3, 1700)
}

fn succeeded(revision: i64, name: &str) -> RecordedRevision {
    record(revision, name, Succeeded, 1400 + 100 * revision)
}

/// The changes when the Deployment returns to `undone` with revision 4, beside the ReplicaSets `others`.
fn changes_of_undo(records: &[RecordedRevision], undone: &Revision, others: &[Revision]) -> Vec<String> {
    let states = [(1790, incomplete(stating(3, Other, "c", 1790))), (1800, incomplete(stating(4, Other, "x", 1801)))];
    let revisions = [&[reused(undone, 4)], others].concat();
    Case::followed(&states, &revisions).without_past().recorded(records).changes()
}

#[test]
fn rollback_marks_the_rollout_that_was_in_effect() {
    let with_third = |third| [succeeded(1, "a"), succeeded(2, "b"), third];
    let to_first = |third| changes_of_undo(&with_third(third), &a(), &[b(), c()]);
    let to_second = |third| changes_of_undo(&with_third(third), &b(), &[a(), c()]);
    assert_eq!(to_first(succeeded(3, "c")), [ROLLBACK, "mark 3 RolledBack by 4"]);
    assert_eq!(to_second(record(3, "c", Recovered, 1750)), [ROLLBACK, "mark 3 RolledBack by 4"]);
    let failed = record(3, "c", Failed, 1750);
    assert_eq!(to_second(failed.clone()), [ROLLBACK], "2 is in effect again");
    assert_eq!(to_first(failed), [ROLLBACK, "mark 2 RolledBack by 4"], "3 failed, so 2 was in effect until the undo");
    let restart = RecordedRevision { change: Some(ChangeKind::Restart), ..succeeded(3, "c") };
    assert_eq!(
        to_first(restart),
        [ROLLBACK, "mark 3 RolledBack by 4", "mark 2 RolledBack by 4"],
        "a restart is rolled back with what it restarted"
    );
    assert_eq!(to_first(record(3, "c", Unobserved, 0)), [ROLLBACK], "it is unknown what was in effect");
}

#[test]
fn rollback_marks_the_younger_of_two_equal_numbers() {
    let started = UnixSeconds::of(time(1750));
    let repeated = RecordedRevision { repeated: true, started, ..record(3, "c", Succeeded, 1760) };
    let records = [succeeded(1, "a"), succeeded(2, "b"), succeeded(3, "x"), repeated];
    let changes = changes_of_undo(&records, &a(), &[b(), c()]);
    assert_eq!(changes, [ROLLBACK, "mark 3 RolledBack by 4 repeated"]);
}

#[test]
fn interrupted_rollback_is_completed() {
    let rollback = RecordedRevision { change: Some(ChangeKind::Rollback), ..record(4, "a", Succeeded, 1810) };
    let records = [succeeded(1, "a"), succeeded(2, "b"), succeeded(3, "c"), rollback];
    let revisions = [reused(&a(), 4), b(), c(), replica_set("e", 5, 1900)];
    let case = Case::listed(stating(5, Complete, "e", 1910), &revisions).recorded(&records);
    assert_eq!(
        case.changes(),
        ["mark 3 RolledBack by 4", "start 5 Release Succeeded 1900-1910"],
        "the process ended between the two writes"
    );
}

#[test]
fn kind_of_change_comes_from_the_pod_templates() {
    let same_images = Revision { images: a().images, ..b() };
    let same_template = Revision { images: a().images, template: a().template, ..b() };
    let records = [record(1, "a", Succeeded, 1510)];
    let workload = incomplete(stating(2, Other, "b", 1601));
    for (second, kind) in [(b(), "Release"), (same_images, "Config"), (same_template.clone(), "Restart")] {
        let case = Case::listed(workload.clone(), &[a(), second]).recorded(&records);
        assert_eq!(case.changes(), [format!("start 2 {kind} InProgress 1600-?")]);
    }
    // Without the annotation restartedAt, Kubernetes uses the first ReplicaSet again. Nothing that runs changes.
    let states = [(1610, stating(2, Complete, "b", 1610)), (1700, incomplete(stating(3, Complete, "b", 1610)))];
    let records = [records[0].clone(), record(2, "b", Succeeded, 1610)];
    let case = Case::followed(&states, &[reused(&a(), 3), same_template]).recorded(&records);
    assert_eq!(case.changes(), ["start 3 Restart InProgress ~1700-?"], "nothing is rolled back");
    // The previous revision is unknown.
    let case = Case::listed(incomplete(stating(5, Other, "e", 1801)), &[replica_set("e", 5, 1800)])
        .recorded(&[record(2, "b", Succeeded, 1610)]);
    assert_eq!(case.changes(), ["start 5 ? InProgress 1800-? after 2 unseen"]);
}

#[test]
fn deletion_abandons_the_open_rollout() {
    let states = [(1510, stating(1, Complete, "a", 1510)), (1600, incomplete(stating(2, Other, "b", 1600)))];
    let records = [record(1, "a", Succeeded, 1510), record(2, "b", InProgress, 0)];
    let watched = Case::followed(&states, &[a(), b()]).deleted(1700, Source::Watch).recorded(&records);
    assert_eq!(watched.changes(), ["finish 2 Abandoned ~1700"]);
    let missed = Case::followed(&states, &[a(), b()]).deleted(1700, Source::List).recorded(&records);
    assert_eq!(missed.changes(), ["finish 2 Unobserved ?"], "a list doesn't show the last state");
    let absent = Case { current: None, ..Case::listed(deployment(1), &[]) }.recorded(&records);
    assert_eq!(absent.changes(), ["finish 2 Unobserved ?"]);
    assert!(absent.recorded(&records[..1]).changes().is_empty());
    let complete = [&states[..], &[(1610, stating(2, Complete, "b", 1610))]].concat();
    let complete = Case::followed(&complete, &[a(), b()]).deleted(1700, Source::Watch).recorded(&records);
    assert_eq!(complete.changes(), ["finish 2 Succeeded 1610"], "it was complete before the deletion");
}

#[test]
fn unwanted_rollout_ends_but_does_not_start() {
    let mut case = Case::listed(stating(2, Complete, "b", 1610), &[a(), b()]);
    case.is_wanted = false;
    assert!(case.changes().is_empty());
    let case = case.recorded(&[record(2, "b", InProgress, 0)]);
    assert_eq!(case.changes(), ["finish 2 Succeeded 1610"]);
}
