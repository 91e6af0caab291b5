//! What a revision does to those before it, and what kind of change it is.

use super::*;

#[test]
fn a_newer_revision_supersedes_what_was_in_progress_and_only_that() {
    let d = replica_set("d", 4, 1700);
    let records = [known(1, "a", Succeeded, 1510), known(2, "b", Failed, 1660), known(3, "c", InProgress, 0)];
    let states = [(1690, on_its_way(stating(3, Other, "c", 1690))), (1700, on_its_way(stating(4, Other, "d", 1700)))];
    let owned = [a(), b(), replica_set("c", 3, 1680), d.clone()];
    let expected = ["end 3 Superseded 1700", "begin 4 Release InProgress 1700-?"];
    assert_eq!(Case::followed(&states, &owned).known(&records).changes(), expected);
    assert_eq!(Case::followed(&states, &owned).acknowledged().known(&records).changes(), expected);
    let absent = Case::listed(states[1].1.clone(), &owned).known(&records);
    assert_eq!(
        absent.changes(),
        ["end 3 Unobserved ?", "begin 4 Release InProgress 1700-?"],
        "nobody saw how it ended"
    );
}

#[test]
fn revisions_between_two_looks_each_end_as_they_did() {
    let c = replica_set("c", 3, 1700);
    let states = [
        (1500, on_its_way(stating(1, Other, "a", 1500))),
        (1510, stating(1, Complete, "a", 1510)),
        (1600, on_its_way(stating(2, Other, "b", 1600))),
        (1700, on_its_way(stating(3, Other, "c", 1700))),
        (1760, on_its_way(stating(3, DeadlineExceeded, "c", 1760))),
        (1800, on_its_way(stating(4, DeadlineExceeded, "c", 1760))),
        (1810, stating(4, Complete, "a", 1810)),
    ];
    let case = Case::followed(&states, &[reused(&a(), 4), b(), c]);
    assert_eq!(
        case.changes(),
        [
            "begin 1 Initial Succeeded 1500-1510",
            "begin 2 Release Superseded 1600-1700",
            "begin 3 Release Failed 1700-1760",
            "begin 4 Rollback Succeeded ~1800-1810",
        ],
        "1 is what was rolled back to, and 2 and 3 never were in effect"
    );
}

#[test]
fn what_was_in_effect_is_rolled_back_when_an_older_replica_set_is_used_again() {
    let c = replica_set("c", 3, 1700);
    let undone = |row: &Revision, others: &[Revision]| [&[reused(row, 4)], others].concat();
    let row = on_its_way(stating(4, Other, "x", 1801));
    let states = [(1790, on_its_way(stating(3, Other, "c", 1790))), (1800, row)];
    let changes = |records: &[RecordedRevision], owned: &[Revision]| {
        Case::followed(&states, owned).acknowledged().known(records).changes()
    };
    let ok = |revision, named| known(revision, named, Succeeded, 1400 + 100 * revision);
    let begun = "begin 4 Rollback InProgress ~1800-?";
    assert_eq!(
        changes(&[ok(1, "a"), ok(2, "b"), ok(3, "c")], &undone(&a(), &[b(), c.clone()])),
        [begun, "end 3 RolledBack by 4"]
    );
    let recovered = known(3, "c", Recovered, 1750);
    assert_eq!(
        changes(&[ok(1, "a"), ok(2, "b"), recovered], &undone(&b(), &[a(), c.clone()])),
        [begun, "end 3 RolledBack by 4"]
    );
    let failed = known(3, "c", Failed, 1750);
    assert_eq!(
        changes(&[ok(1, "a"), ok(2, "b"), failed.clone()], &undone(&b(), &[a(), c.clone()])),
        [begun],
        "2 is in effect again"
    );
    assert_eq!(
        changes(&[ok(1, "a"), ok(2, "b"), failed], &undone(&a(), &[b(), c.clone()])),
        [begun, "end 2 RolledBack by 4"],
        "3 failed, so 2 was in effect until it was taken back too"
    );
    let restarted = RecordedRevision { change: Some(ChangeKind::Restart), ..ok(3, "c") };
    assert_eq!(
        changes(&[ok(1, "a"), ok(2, "b"), restarted], &undone(&a(), &[b(), c.clone()])),
        [begun, "end 3 RolledBack by 4", "end 2 RolledBack by 4"],
        "a restart does not hide what was restarted"
    );
    let anew =
        RecordedRevision { repeated: true, started: UnixSeconds::of(time(1750)), ..known(3, "c", Succeeded, 1760) };
    let of_this_number = changes(&[ok(1, "a"), ok(2, "b"), ok(3, "x"), anew], &undone(&a(), &[b(), c.clone()]));
    assert_eq!(of_this_number, [begun, "end 3 RolledBack by 4 repeated"], "of two with one number, the younger");
    let interrupted = RecordedRevision { change: Some(ChangeKind::Rollback), ..known(4, "a", Succeeded, 1810) };
    let after = [reused(&a(), 4), b(), c.clone(), replica_set("e", 5, 1900)];
    let case =
        Case::listed(stating(5, Complete, "e", 1910), &after).known(&[ok(1, "a"), ok(2, "b"), ok(3, "c"), interrupted]);
    assert_eq!(
        case.changes(),
        ["end 3 RolledBack by 4", "begin 5 Release Succeeded 1900-1910"],
        "it died between the two"
    );
    let unknown = known(3, "c", Unobserved, 0);
    assert_eq!(
        changes(&[ok(1, "a"), ok(2, "b"), unknown], &undone(&a(), &[b(), c])),
        [begun],
        "nobody knows what was in effect"
    );
}

#[test]
fn the_kind_of_a_change_comes_from_the_templates() {
    let same_images = Revision { images: a().images, ..b() };
    let same_template = Revision { images: a().images, template: a().template, ..b() };
    let records = [known(1, "a", Succeeded, 1510)];
    let row = on_its_way(stating(2, Other, "b", 1601));
    for (second, kind) in [(b(), "Release"), (same_images, "Config"), (same_template.clone(), "Restart")] {
        let case = Case::listed(row.clone(), &[a(), second]).known(&records);
        assert_eq!(case.changes(), [format!("begin 2 {kind} InProgress 1600-?")]);
    }
    // Taking restartedAt away again re-uses the first ReplicaSet, and changes nothing that runs.
    let states = [(1610, stating(2, Complete, "b", 1610)), (1700, on_its_way(stating(3, Complete, "b", 1610)))];
    let records = [records[0].clone(), known(2, "b", Succeeded, 1610)];
    let case = Case::followed(&states, &[reused(&a(), 3), same_template]).known(&records);
    assert_eq!(case.changes(), ["begin 3 Restart InProgress ~1700-?"], "and rolls nothing back");
    // What was before is not remembered.
    let case = Case::listed(on_its_way(stating(5, Other, "e", 1801)), &[replica_set("e", 5, 1800)])
        .known(&[known(2, "b", Succeeded, 1610)]);
    assert_eq!(case.changes(), ["begin 5 ? InProgress 1800-? after 2 unseen"]);
}

#[test]
fn a_deleted_deployment_leaves_what_was_in_progress_abandoned() {
    let states = [(1510, stating(1, Complete, "a", 1510)), (1600, on_its_way(stating(2, Other, "b", 1600)))];
    let records = [known(1, "a", Succeeded, 1510), known(2, "b", InProgress, 0)];
    let seen = Case::followed(&states, &[a(), b()]).deleted(1700, Source::Watch).known(&records);
    assert_eq!(seen.changes(), ["end 2 Abandoned ~1700"]);
    let missed = Case::followed(&states, &[a(), b()]).deleted(1700, Source::List).known(&records);
    assert_eq!(missed.changes(), ["end 2 Unobserved ?"], "a list tells that it is gone, not how it was before");
    let absent = Case { deployment: None, ..Case::listed(deployment(1), &[]) }.known(&records);
    assert_eq!(absent.changes(), ["end 2 Unobserved ?"]);
    assert!(absent.known(&records[..1]).changes().is_empty());
    let complete = [&states[..], &[(1610, stating(2, Complete, "b", 1610))]].concat();
    let complete = Case::followed(&complete, &[a(), b()]).deleted(1700, Source::Watch).known(&records);
    assert_eq!(complete.changes(), ["end 2 Succeeded 1610"], "it was complete before");
}

#[test]
fn what_is_not_wanted_is_not_begun_and_what_is_begun_is_ended() {
    let mut case = Case::listed(stating(2, Complete, "b", 1610), &[a(), b()]);
    case.is_wanted = false;
    assert!(case.changes().is_empty());
    let case = case.known(&[known(2, "b", InProgress, 0)]);
    assert_eq!(case.changes(), ["end 2 Succeeded 1610"]);
}
