//! Pauses.

use super::*;

#[test]
fn undo_of_a_paused_deployment_waits_for_the_resume() {
    let records = [record(1, "a", Succeeded, 1510), record(2, "b", Succeeded, 1610)];
    let states = [
        (1610, stating(2, Complete, "b", 1610)),
        (1700, paused(stating(2, Paused, "", 1700))),
        (1710, paused(counting(stating(3, Paused, "", 1700), |counts| counts.updated = 0))),
        (1720, paused(stating(4, Paused, "", 1700))),
        (1730, stating(4, Resumed, "", 1730)),
        (1731, stating(4, Complete, "b", 1731)),
    ];
    let revisions = [reused(&a(), 3), reused(&b(), 4)];
    for length in 3..=6 {
        let case = Case::followed(&states[..length], &revisions).recorded(&records);
        assert!(case.changes().is_empty(), "{length}: {:?}", case.changes());
        assert!(case.without_past().changes().is_empty(), "{length}");
    }
    // The template changes before the resume. The state in between is resumed, but the controller of Kubernetes hasn't observed it.
    let between = Workload { generation: 5, ..stating(3, Paused, "", 1700) };
    let next = incomplete(stating(4, Resumed, "", 1731));
    let changed = [&states[..3], &[(1730, between), (1731, next)]].concat();
    let case = Case::followed(&changed, &[reused(&a(), 3), b(), replica_set("c", 4, 1731)]).recorded(&records);
    assert_eq!(case.changes(), ["start 4 Release InProgress 1731-?"]);
    let resumed = [&states[..3], &[(1740, incomplete(stating(3, Resumed, "", 1740)))]].concat();
    let case = Case::followed(&resumed, &[reused(&a(), 3), b()]).recorded(&records);
    assert_eq!(case.changes(), ["start 3 Rollback InProgress ~1740-?", "mark 2 RolledBack by 3"]);
}

#[test]
fn paused_time_is_not_part_of_the_duration() {
    let workload = paused(incomplete(stating(1, Paused, "", 1520)));
    let states = [
        (1501, incomplete(stating(1, Other, "a", 1501))),
        (1521, workload),
        (1581, incomplete(stating(1, Resumed, "", 1580))),
        (1600, stating(1, Complete, "a", 1600)),
    ];
    let at = |length: usize, record: &RecordedRevision| {
        Case::followed(&states[..length], &[a()]).recorded(std::slice::from_ref(record))
    };
    let open = record(1, "a", InProgress, 0);
    assert_eq!(at(2, &open).changes(), ["pause 1 Some(1520)"], "the time comes from the condition");
    let paused = RecordedRevision { paused_at: UnixSeconds::of(time(1520)), ..open };
    assert!(at(2, &paused).changes().is_empty());
    assert_eq!(at(3, &paused).changes(), ["pause 1 None paused 60 s"]);
    let resumed = RecordedRevision { paused_at: None, paused_seconds: 60, ..paused };
    let case = at(4, &resumed);
    assert_eq!(case.changes(), ["finish 1 Succeeded 1600 paused 60 s"]);
    assert_eq!(case.decision().changes[0].record.duration_seconds(), Some(1600 - 1500 - 60));
}

#[test]
fn pause_has_the_time_that_kubernetes_states() {
    let requested = |progress_deadline| {
        let workload = paused(incomplete(stating(1, Other, "a", 1501)));
        Workload { generation: 4, progress_deadline, ..workload }
    };
    let changes = |workload: Workload| {
        let states = [(1501, incomplete(stating(1, Other, "a", 1501))), (1519, workload)];
        Case::followed(&states, &[a()]).recorded(&[record(1, "a", InProgress, 0)]).changes()
    };
    assert!(changes(requested(Some(600))).is_empty(), "the condition will state the time");
    assert_eq!(changes(Workload { conditions: Conditions::default(), ..requested(None) }), ["pause 1 Some(1519)"]);
    let observed = Workload { observed_generation: 4, ..requested(Some(600)) };
    assert_eq!(changes(observed), ["pause 1 Some(1519)"], "the condition states something else");
}

#[test]
fn pause_right_after_the_end_does_not_hide_it() {
    let states = [
        (1501, incomplete(stating(1, Other, "a", 1501))),
        (1510, stating(1, Complete, "a", 1510)),
        (1511, paused(stating(1, Paused, "", 1511))),
        (1600, stating(1, Complete, "a", 1600)),
    ];
    for length in 2..=4 {
        let case = Case::followed(&states[..length], &[a()]).recorded(&[record(1, "a", InProgress, 0)]);
        assert_eq!(case.changes(), ["finish 1 Succeeded 1510"], "{length}");
    }
}

#[test]
fn paused_undo_does_not_inherit_a_failure() {
    let workload = paused(at_zero(stating(3, DeadlineExceeded, "b", 1660)));
    let records = [record(1, "a", Succeeded, 1510), record(2, "b", Failed, 1660)];
    let mut case = Case::listed(workload.clone(), &[reused(&a(), 3), b()]).recorded(&records);
    assert!(case.changes().is_empty(), "{:?}", case.changes());
    let resumed = Workload { paused: false, generation: 4, ..workload };
    let complete = Workload { generation: 4, observed_generation: 4, ..at_zero(stating(3, Complete, "a", 2011)) };
    let observation = case.current.as_mut().unwrap();
    observation.update(resumed, Source::Watch, time(2010));
    observation.update(complete, Source::Watch, time(2011));
    case.now = 3000;
    assert_eq!(case.changes(), ["start 3 Rollback Succeeded ?-2011"]);
}
