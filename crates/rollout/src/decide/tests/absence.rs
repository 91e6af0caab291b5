//! What is found of the time in which nobody watched.

use super::*;

#[test]
fn nothing_is_said_while_one_of_the_watches_is_behind() {
    let row = stating(2, Complete, "b", 1610);
    let states = [(1500, on_its_way(stating(1, Other, "a", 1500))), (1610, row.clone())];
    let behind = Case::followed(&states, &[a()]).known(&[known(1, "a", InProgress, 0)]);
    assert!(behind.changes().is_empty() && behind.decided().is_behind);
    assert!(Case::listed(Workload { revision: None, ..row }, &[a()]).changes().is_empty());
}

#[test]
fn a_condition_that_still_stands_tells_how_a_rollout_ended_while_nobody_watched() {
    let records = [known(1, "a", InProgress, 0)];
    let row = |reason| on_its_way(stating(2, reason, "a", 1590));
    for (reason, expected) in
        [(Complete, "end 1 Succeeded 1590"), (DeadlineExceeded, "end 1 Failed 1590"), (Other, "end 1 Unobserved ?")]
    {
        let case = Case::listed(row(reason), &[a(), b()]).known(&records);
        assert_eq!(case.changes(), [expected, "begin 2 Release InProgress 1600-?"]);
    }
    // Of one that came and went unseen, it says nothing either.
    let owned = [reused(&a(), 3), reused(&b(), 4)];
    let twice = Case::listed(stating(4, Complete, "b", 1810), &owned).known(&[known(1, "a", Succeeded, 1510)]);
    assert_eq!(
        twice.changes(),
        ["begin 2 Release Unobserved 1600-?", "begin 3 Rollback Unobserved ?-?", "begin 4 Rollback Succeeded ?-~2000"],
        "the condition may be that of revision 2"
    );
    // What it says of a ReplicaSet that is used again, it says of the revision that uses it.
    let again =
        Case::listed(stating(5, Complete, "a", 1690), &[reused(&a(), 5), b()]).known(&[known(1, "a", Failed, 1560)]);
    assert_eq!(again.changes()[1..], ["begin 5 Rollback Succeeded ?-1690 after 2 unseen"]);
    let failed = Case::listed(row(Complete), &[a(), b()]).known(&[known(1, "a", Failed, 1560)]);
    assert_eq!(failed.changes()[0], "end 1 Recovered 1590");
}

#[test]
fn what_was_over_before_the_installation_is_no_news() {
    let old = replica_set("a", 1, 500);
    let owned = [old.clone()];
    assert!(Case::listed(stating(1, Complete, "a", 510), &owned).changes().is_empty());
    assert!(Case::listed(on_its_way(stating(1, DeadlineExceeded, "a", 510)), &owned).changes().is_empty());
    assert!(Case::listed(stating(1, Complete, "a", 1500), &owned).changes().is_empty(), "paused and resumed since");
    // Open at the installation, or changed since: that is news.
    let open = Case::listed(on_its_way(stating(1, Other, "a", 999)), &owned);
    assert_eq!(open.changes(), ["begin 1 Initial InProgress 500-?"]);
    let undone = Case::listed(stating(3, Complete, "a", 1500), &[reused(&old, 3), replica_set("b", 2, 600)]);
    assert_eq!(undone.changes(), ["begin 3 Rollback Succeeded ?-1500"]);
    let followed = Case::followed(
        &[(1490, on_its_way(stating(2, Complete, "x", 900))), (1500, stating(3, Complete, "a", 1500))],
        &[reused(&old, 3)],
    );
    assert_eq!(followed.acknowledged().changes(), ["begin 3 Rollback Succeeded ~1500-1500"]);
}

#[test]
fn the_first_installation_reports_as_much_of_the_past_as_it_is_asked_to() {
    let owned = [replica_set("a", 1, 500), replica_set("b", 2, 600), replica_set("c", 3, 700)];
    let of = |history, known: &[RecordedRevision]| {
        let case = Case::listed(stating(3, Complete, "c", 710), &owned).known(known);
        case.policy(Policy { history, ..policy() }).changes()
    };
    let present = "begin 3 Release Succeeded 700-710";
    assert!(of(History::None, &[]).is_empty());
    assert_eq!(of(History::Current, &[]), [present]);
    assert_eq!(
        of(History::All, &[]),
        ["begin 1 Initial Unobserved 500-?", "begin 2 Release Unobserved 600-?", present]
    );
    for history in [History::None, History::Current, History::All] {
        assert!(of(history, &[known(3, "c", Succeeded, 710)]).is_empty(), "{history:?} a second time");
    }
    let interrupted = of(History::All, &[known(1, "a", Unobserved, 0)]);
    assert_eq!(interrupted, ["begin 2 Release Unobserved 600-?", present], "it died after the first");
}

#[test]
fn revisions_that_came_and_went_while_nobody_watched_are_found() {
    let c = replica_set("c", 5, 1700);
    let records = [known(1, "a", Succeeded, 1510)];
    let case = Case::listed(stating(5, Complete, "c", 1710), &[a(), b(), c.clone()]).known(&records);
    assert_eq!(case.changes(), ["begin 2 Release Unobserved 1600-?", "begin 5 ? Succeeded 1700-1710 after 2 unseen"]);
    // Undone and released anew: what ran again remembers its numbers.
    let case = Case::listed(stating(5, Complete, "c", 1710), &[reused(&a(), 3), reused(&b(), 4), c]).known(&records);
    assert_eq!(
        case.changes(),
        [
            "begin 2 Release Unobserved 1600-?",
            "begin 3 Rollback Unobserved ?-?",
            "begin 4 Rollback Unobserved ?-?",
            "begin 5 Release Succeeded 1700-1710"
        ]
    );
    // Followed by the watch, nothing can have been missed: the number was skipped for another reason.
    let states = [(1510, stating(1, Complete, "a", 1510)), (1700, stating(5, Complete, "c", 1710))];
    let case =
        Case::followed(&states, &[a(), replica_set("stray", 4, 1600), replica_set("c", 5, 1700)]).known(&records);
    assert_eq!(case.changes(), ["begin 5 Release Succeeded 1700-1710"]);
}

#[test]
fn a_deployment_that_is_found_paused_tells_of_what_was_before_and_not_of_what_it_may_never_roll_out() {
    let paused = Workload { paused: true, ..on_its_way(stating(3, Paused, "", 1800)) };
    let owned = [a(), b(), replica_set("c", 3, 1700)];
    let case = Case::listed(paused, &owned).known(&[known(1, "a", InProgress, 0)]);
    assert_eq!(case.changes(), ["begin 2 Release Unobserved 1600-?", "end 1 Unobserved ?"]);
}

#[test]
fn revisions_that_left_nothing_are_counted() {
    let created = |created| Workload { created: Some(time(created)), ..stating(4, Complete, "d", 1710) };
    let owned = [replica_set("d", 4, 1700)];
    assert_eq!(Case::listed(created(1400), &owned).changes(), ["begin 4 ? Succeeded 1700-1710 after 3 unseen"]);
    assert_eq!(
        Case::listed(created(400), &owned).changes(),
        ["begin 4 ? Succeeded 1700-1710"],
        "before the installation nobody was to watch"
    );
}
