//! Pauses.

use super::*;

#[test]
fn an_undo_while_paused_rolls_nothing_out_before_it_is_resumed() {
    let paused = |row: Workload| Workload { paused: true, ..row };
    let records = [known(1, "a", Succeeded, 1510), known(2, "b", Succeeded, 1610)];
    let states = [
        (1610, stating(2, Complete, "b", 1610)),
        (1700, paused(stating(2, Paused, "", 1700))),
        (1710, paused(Workload { updated_replicas: 0, ..stating(3, Paused, "", 1700) })),
        (1720, paused(stating(4, Paused, "", 1700))),
        (1730, stating(4, Resumed, "", 1730)),
        (1731, stating(4, Complete, "b", 1731)),
    ];
    let owned = [reused(&a(), 3), reused(&b(), 4)];
    for length in 3..=6 {
        let case = Case::followed(&states[..length], &owned).known(&records);
        assert!(case.changes().is_empty(), "{length}: {:?}", case.changes());
        assert!(case.acknowledged().changes().is_empty(), "{length}");
    }
    // Changed again before the resume: the state in between is unpaused, and not observed.
    let between = Workload { generation: 5, ..stating(3, Paused, "", 1700) };
    let next = on_its_way(stating(4, Resumed, "", 1731));
    let changed = [&states[..3], &[(1730, between), (1731, next)]].concat();
    let case = Case::followed(&changed, &[reused(&a(), 3), b(), replica_set("c", 4, 1731)]).known(&records);
    assert_eq!(case.changes(), ["begin 4 Release InProgress 1731-?"]);
    let resumed = [&states[..3], &[(1740, on_its_way(stating(3, Resumed, "", 1740)))]].concat();
    let case = Case::followed(&resumed, &[reused(&a(), 3), b()]).known(&records);
    assert_eq!(case.changes(), ["begin 3 Rollback InProgress ~1740-?", "end 2 RolledBack by 3"]);
}

#[test]
fn paused_time_is_kept_apart() {
    let paused = Workload { paused: true, ..on_its_way(stating(1, Paused, "", 1520)) };
    let states = [
        (1501, on_its_way(stating(1, Other, "a", 1501))),
        (1521, paused),
        (1581, on_its_way(stating(1, Resumed, "", 1580))),
        (1600, stating(1, Complete, "a", 1600)),
    ];
    let at = |length: usize, known: &RecordedRevision| {
        Case::followed(&states[..length], &[a()]).known(std::slice::from_ref(known))
    };
    let open = known(1, "a", InProgress, 0);
    assert_eq!(at(2, &open).changes(), ["pause 1 Some(1520)"], "when the condition says");
    let paused = RecordedRevision { paused_at: UnixSeconds::of(time(1520)), ..open };
    assert!(at(2, &paused).changes().is_empty());
    assert_eq!(at(3, &paused).changes(), ["pause 1 None paused 60 s"]);
    let resumed = RecordedRevision { paused_at: None, paused_seconds: 60, ..paused };
    let case = at(4, &resumed);
    assert_eq!(case.changes(), ["end 1 Succeeded 1600 paused 60 s"]);
    assert_eq!(case.decided().changes[0].record.duration_seconds(), Some(1600 - 1500 - 60));
}

#[test]
fn a_pause_is_noted_once_kubernetes_states_it_or_at_once_where_it_will_not() {
    let asked_for = |deadline| Workload {
        paused: true,
        generation: 4,
        progress_deadline: deadline,
        ..on_its_way(stating(1, Other, "a", 1501))
    };
    let changes = |row: Workload| {
        let states = [(1501, on_its_way(stating(1, Other, "a", 1501))), (1519, row)];
        Case::followed(&states, &[a()]).known(&[known(1, "a", InProgress, 0)]).changes()
    };
    assert!(changes(asked_for(Some(600))).is_empty(), "the condition comes in a moment, with the time");
    assert_eq!(changes(Workload { progressing: None, ..asked_for(None) }), ["pause 1 Some(1519)"]);
    let taken_in = Workload { observed_generation: 4, ..asked_for(Some(600)) };
    assert_eq!(changes(taken_in), ["pause 1 Some(1519)"], "it states another thing");
}

#[test]
fn a_pause_right_after_the_end_does_not_hide_it() {
    let states = [
        (1501, on_its_way(stating(1, Other, "a", 1501))),
        (1510, stating(1, Complete, "a", 1510)),
        (1511, Workload { paused: true, ..stating(1, Paused, "", 1511) }),
        (1600, stating(1, Complete, "a", 1600)),
    ];
    for length in 2..=4 {
        let case = Case::followed(&states[..length], &[a()]).known(&[known(1, "a", InProgress, 0)]);
        assert_eq!(case.changes(), ["end 1 Succeeded 1510"], "{length}");
    }
}

#[test]
fn number_given_while_paused_does_not_inherit_a_failure() {
    let empty = |row: Workload| Workload {
        replicas: 0,
        current_replicas: 0,
        updated_replicas: 0,
        available_replicas: 0,
        ..row
    };
    let found = Workload { paused: true, ..empty(stating(3, DeadlineExceeded, "b", 1660)) };
    let records = [known(1, "a", Succeeded, 1510), known(2, "b", Failed, 1660)];
    let mut case = Case::listed(found.clone(), &[reused(&a(), 3), b()]).known(&records);
    assert!(case.changes().is_empty(), "{:?}", case.changes());
    let resumed = Workload { paused: false, generation: 4, ..found };
    let complete = Workload { generation: 4, observed_generation: 4, ..empty(stating(3, Complete, "a", 2011)) };
    let observation = case.deployment.as_mut().unwrap();
    observation.update(resumed, Source::Watch, time(2010));
    observation.update(complete, Source::Watch, time(2011));
    case.now = 3000;
    assert_eq!(case.changes(), ["begin 3 Rollback Succeeded ?-2011"]);
}
