//! What was seen against what has to be recorded.

use std::fmt::Write;

use super::*;
use crate::resources::Accuracy;
use crate::rollout::ProgressReason::{Complete, DeadlineExceeded, Found, Other, Paused, Resumed};
use crate::rollout::example::{deployment, progressing, replica_set, reused, time};
use Outcome::{Failed, InProgress, Recovered, RolledBack, Succeeded, Superseded, Unobserved};

const INSTALLED: i64 = 1000;
const NOW: i64 = 2000;

/// What has been seen of a Deployment, and what is recorded of it.
struct Case {
    deployment: Option<Sighting>,
    former: Vec<Former>,
    owned: Vec<ReplicaSetRow>,
    known: Vec<Known>,
    policy: Policy,
    is_wanted: bool,
    now: i64,
}

fn policy() -> Policy {
    Policy { installed: time(INSTALLED), history: History::None, patience: SignedDuration::from_secs(900) }
}

impl Case {
    /// A Deployment that was found in a list.
    fn listed(row: DeploymentRow, owned: &[ReplicaSetRow]) -> Self {
        let deployment = Some(Sighting::new(row, Source::List, time(NOW)));
        let (owned, policy) = (owned.to_vec(), policy());
        Self { deployment, former: Vec::new(), owned, known: Vec::new(), policy, is_wanted: true, now: NOW }
    }

    /// A Deployment that the watch followed from state to state, each with its second.
    fn followed(states: &[(i64, DeploymentRow)], owned: &[ReplicaSetRow]) -> Self {
        let mut case = Self::listed(states[0].1.clone(), owned);
        let mut sighting = Sighting::new(states[0].1.clone(), Source::Watch, time(states[0].0));
        for (second, row) in &states[1..] {
            if let Some(former) = sighting.update(row.clone(), Source::Watch, time(*second)) {
                case.former.push(Former {
                    sighting: former,
                    replica_set: None,
                    left: Source::Watch,
                    until: time(*second),
                });
            }
        }
        case.deployment = Some(sighting);
        case
    }

    /// Nothing that was seen before is kept any more.
    fn acknowledged(mut self) -> Self {
        self.former.clear();
        self
    }

    /// It is deleted at this second.
    fn deleted(mut self, second: i64, left: Source) -> Self {
        if let Some(sighting) = self.deployment.take() {
            self.former.push(Former { sighting, replica_set: None, left, until: time(second) });
        }
        self
    }

    fn known(mut self, known: &[Known]) -> Self {
        self.known = known.to_vec();
        self
    }

    fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    fn decided(&self) -> Decision<'_> {
        let scene = Scene { deployment: self.deployment.as_ref(), former: &self.former, owned: &self.owned };
        decide(&scene, &self.known, &self.policy, &|_, _| self.is_wanted, time(self.now))
    }

    /// The changes, in words; and once they are written, there are no more.
    fn changes(&self) -> Vec<String> {
        let decision = self.decided();
        let mut known = self.known.clone();
        for change in &decision.changes {
            let is_same = |record: &&mut Known| {
                record.revision == change.record.revision && record.repeated == change.record.repeated
            };
            match known.iter_mut().find(is_same) {
                Some(record) => {
                    let (before, after) = (record.outcome, change.record.outcome);
                    assert!(before == after || before.may_become(after), "{before:?} must not become {after:?}");
                    *record = change.record.clone();
                }
                None => known.push(change.record.clone()),
            }
        }
        let scene = Scene { deployment: self.deployment.as_ref(), former: &self.former, owned: &self.owned };
        let again = decide(&scene, &known, &self.policy, &|_, _| self.is_wanted, time(self.now)).changes;
        assert!(again.is_empty(), "not the same a second time: {again:#?}");
        decision.changes.iter().map(words).collect()
    }
}

/// A change as `begin 2 Release Succeeded 1600-1610`, with `~` before a time that was only observed.
fn words(change: &Change<'_>) -> String {
    let stamp = |stamp: Option<Stamp>| {
        stamp.map_or_else(
            || "?".to_owned(),
            |Stamp { at, accuracy }| {
                let mark = if accuracy == Accuracy::Observed { "~" } else { "" };
                format!("{mark}{}", at.as_second())
            },
        )
    };
    let Known { revision, outcome, .. } = change.record;
    let outcome = outcome.as_str();
    let mut text = match change.action {
        Action::Begin => {
            let kind = change.record.change.map_or("?", ChangeKind::as_str);
            format!("begin {revision} {kind} {outcome} {}-{}", stamp(change.started), stamp(change.finished))
        }
        Action::End => format!("end {revision} {outcome} {}", stamp(change.finished)),
        Action::Pause => format!("pause {revision} {:?}", change.record.paused_at.map(|at| at.time().as_second())),
        Action::RollBack => format!("end {revision} {outcome}"),
    };
    if change.record.paused_seconds > 0 {
        let _ = write!(text, " paused {} s", change.record.paused_seconds);
    }
    if let Some(by) = change.rolled_back_by {
        let _ = write!(text, " by {by}");
    }
    if let Some(unseen) = change.unseen {
        let _ = write!(text, " after {unseen} unseen");
    }
    if change.record.repeated {
        text += " repeated";
    }
    text
}

/// A record of `revision`, run by the ReplicaSet `named`, that ended at second `finished` (0: it has not).
fn known(revision: i64, named: &str, outcome: Outcome, finished: i64) -> Known {
    Known {
        revision,
        replica_set: ReplicaSetMark::new(named, named),
        repeated: false,
        outcome,
        change: None,
        started: Second::of(time(1400 + 100 * revision)),
        finished: Second::of(time(finished)),
        paused_at: None,
        paused_seconds: 0,
    }
}

/// The Deployment at `revision` with a condition that names `named` and is of second `updated`.
fn stating(revision: i64, reason: ProgressReason, named: &str, updated: i64) -> DeploymentRow {
    DeploymentRow { progressing: Some(progressing(reason, named, updated)), ..deployment(revision) }
}

/// The same with replicas that are not updated yet.
fn on_its_way(row: DeploymentRow) -> DeploymentRow {
    DeploymentRow { updated_replicas: 1, available_replicas: 1, ..row }
}

fn a() -> ReplicaSetRow {
    replica_set("a", 1, 1500)
}

fn b() -> ReplicaSetRow {
    replica_set("b", 2, 1600)
}

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
    let scaled = DeploymentRow { replicas: 9, ..stating(1, Complete, "a", 1510) };
    let crashed = DeploymentRow { available_replicas: 0, ..stating(1, Complete, "a", 1510) };
    let paused = DeploymentRow { paused: true, ..stating(1, Paused, "", 1900) };
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
    let paused = DeploymentRow { paused: true, ..stating(1, Paused, "", 1590) };
    let case = Case::followed(&[&states[..], &[(1590, paused)]].concat(), &[a()]);
    assert_eq!(case.changes(), ["begin 1 Initial Recovered 1500-1580"]);
}

#[test]
fn a_failed_rollout_that_is_scaled_to_nothing_has_not_recovered() {
    let records = [known(1, "a", Failed, 1560)];
    let none = DeploymentRow {
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
    let undone = DeploymentRow { replicas: 0, ..stating(2, Complete, "a", 1600) };
    let next = [&states[..2], &[(1700, undone)]].concat();
    let case = Case::followed(&next, &[a(), b()]).known(&records);
    assert!(!case.changes().iter().any(|change| change.starts_with("end 1")), "{:?}", case.changes());
    let works = [&states[..], &[(1710, stating(1, Complete, "a", 1600))]].concat();
    let case = Case::followed(&works, &[a()]).known(&records);
    assert_eq!(case.changes(), ["end 1 Recovered ~1710"], "not when it was scaled to nothing");
}

#[test]
fn a_condition_that_names_another_replica_set_says_nothing() {
    let row = DeploymentRow { updated_replicas: 0, ..stating(2, Complete, "a", 1510) };
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
    let empty = |row: DeploymentRow| DeploymentRow {
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
    let none = DeploymentRow {
        replicas: 0,
        current_replicas: 0,
        updated_replicas: 0,
        available_replicas: 0,
        ..stating(2, Complete, "a", 1510)
    };
    assert_eq!(Case::listed(none, &owned).known(&records).changes(), ["end 2 Succeeded ~2000"]);
    let no_deadline = DeploymentRow { progress_deadline: None, ..deployment(2) };
    assert_eq!(Case::listed(no_deadline.clone(), &owned).known(&records).changes(), ["end 2 Succeeded ~2000"]);
    for incomplete in [
        DeploymentRow { available_replicas: 1, ..no_deadline.clone() },
        DeploymentRow { updated_replicas: 1, ..no_deadline.clone() },
        DeploymentRow { current_replicas: 3, ..no_deadline.clone() },
        DeploymentRow { observed_generation: 2, ..no_deadline },
    ] {
        let case = Case::listed(incomplete, &owned).known(&records);
        assert!(case.changes().is_empty());
        assert_eq!(case.decided().look_again, Some(time(NOW + 900)));
    }
}

#[test]
fn without_a_deadline_a_rollout_fails_that_stands_still() {
    let row = DeploymentRow { progress_deadline: None, available_replicas: 0, ..deployment(1) };
    let moved = DeploymentRow { available_replicas: 1, ..row.clone() };
    let records = [known(1, "a", InProgress, 0)];
    let mut case = Case::followed(&[(1500, row.clone()), (1600, moved.clone())], &[a()]).known(&records);
    case.now = 2499;
    assert!(case.changes().is_empty());
    assert_eq!(case.decided().look_again, Some(time(2500)));
    case.now = 2600;
    assert_eq!(case.changes(), ["end 1 Failed ~2500"], "900 s after it last moved, however late that is looked at");
    let complete = DeploymentRow { progress_deadline: None, ..deployment(1) };
    let mended = Case::followed(&[(1500, row.clone()), (2700, complete)], &[a()]).known(&[known(1, "a", Failed, 2500)]);
    assert_eq!(mended.changes(), ["end 1 Recovered ~2700"]);
    let mut paused =
        Case::followed(&[(1500, row), (1600, DeploymentRow { paused: true, ..moved })], &[a()]).known(&records);
    paused.now = 9000;
    assert_eq!(paused.changes(), ["pause 1 Some(1600)"], "paused time does not count");
}

#[test]
fn where_kubernetes_tracks_nothing_the_deadline_is_kept_all_the_same() {
    // Recreate with a re-used ReplicaSet: the condition goes on naming the other one, for ever.
    let row = |updated| DeploymentRow {
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

#[test]
fn nothing_is_said_while_one_of_the_watches_is_behind() {
    let row = stating(2, Complete, "b", 1610);
    let states = [(1500, on_its_way(stating(1, Other, "a", 1500))), (1610, row.clone())];
    let behind = Case::followed(&states, &[a()]).known(&[known(1, "a", InProgress, 0)]);
    assert!(behind.changes().is_empty() && behind.decided().is_behind);
    assert!(Case::listed(DeploymentRow { revision: None, ..row }, &[a()]).changes().is_empty());
}

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
fn what_was_in_effect_is_rolled_back_when_an_older_replica_set_is_used_again() {
    let c = replica_set("c", 3, 1700);
    let undone = |row: &ReplicaSetRow, others: &[ReplicaSetRow]| [&[reused(row, 4)], others].concat();
    let row = on_its_way(stating(4, Other, "x", 1801));
    let states = [(1790, on_its_way(stating(3, Other, "c", 1790))), (1800, row)];
    let changes = |records: &[Known], owned: &[ReplicaSetRow]| {
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
    let restarted = Known { change: Some(ChangeKind::Restart), ..ok(3, "c") };
    assert_eq!(
        changes(&[ok(1, "a"), ok(2, "b"), restarted], &undone(&a(), &[b(), c.clone()])),
        [begun, "end 3 RolledBack by 4", "end 2 RolledBack by 4"],
        "a restart does not hide what was restarted"
    );
    let anew = Known { repeated: true, started: Second::of(time(1750)), ..known(3, "c", Succeeded, 1760) };
    let of_this_number = changes(&[ok(1, "a"), ok(2, "b"), ok(3, "x"), anew], &undone(&a(), &[b(), c.clone()]));
    assert_eq!(of_this_number, [begun, "end 3 RolledBack by 4 repeated"], "of two with one number, the younger");
    let interrupted = Known { change: Some(ChangeKind::Rollback), ..known(4, "a", Succeeded, 1810) };
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
    let same_images = ReplicaSetRow { images: a().images, ..b() };
    let same_template = ReplicaSetRow { images: a().images, template: a().template, ..b() };
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
    let of = |history, known: &[Known]| {
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
    let paused = DeploymentRow { paused: true, ..on_its_way(stating(3, Paused, "", 1800)) };
    let owned = [a(), b(), replica_set("c", 3, 1700)];
    let case = Case::listed(paused, &owned).known(&[known(1, "a", InProgress, 0)]);
    assert_eq!(case.changes(), ["begin 2 Release Unobserved 1600-?", "end 1 Unobserved ?"]);
}

#[test]
fn revisions_that_left_nothing_are_counted() {
    let created = |created| DeploymentRow { created: Some(time(created)), ..stating(4, Complete, "d", 1710) };
    let owned = [replica_set("d", 4, 1700)];
    assert_eq!(Case::listed(created(1400), &owned).changes(), ["begin 4 ? Succeeded 1700-1710 after 3 unseen"]);
    assert_eq!(
        Case::listed(created(400), &owned).changes(),
        ["begin 4 ? Succeeded 1700-1710"],
        "before the installation nobody was to watch"
    );
}

#[test]
fn what_is_taken_over_from_a_former_deployment_is_no_rollout() {
    let row = |row: DeploymentRow| DeploymentRow { created: Some(time(1700)), ..row };
    let owned = [a(), b()];
    let empty = DeploymentRow {
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
    let undone = Case::listed(DeploymentRow { recreates: true, ..complete(4) }, &owned).known(&records);
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
fn an_undo_while_paused_rolls_nothing_out_before_it_is_resumed() {
    let paused = |row: DeploymentRow| DeploymentRow { paused: true, ..row };
    let records = [known(1, "a", Succeeded, 1510), known(2, "b", Succeeded, 1610)];
    let states = [
        (1610, stating(2, Complete, "b", 1610)),
        (1700, paused(stating(2, Paused, "", 1700))),
        (1710, paused(DeploymentRow { updated_replicas: 0, ..stating(3, Paused, "", 1700) })),
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
    let between = DeploymentRow { generation: 5, ..stating(3, Paused, "", 1700) };
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
    let paused = DeploymentRow { paused: true, ..on_its_way(stating(1, Paused, "", 1520)) };
    let states = [
        (1501, on_its_way(stating(1, Other, "a", 1501))),
        (1521, paused),
        (1581, on_its_way(stating(1, Resumed, "", 1580))),
        (1600, stating(1, Complete, "a", 1600)),
    ];
    let at =
        |length: usize, known: &Known| Case::followed(&states[..length], &[a()]).known(std::slice::from_ref(known));
    let open = known(1, "a", InProgress, 0);
    assert_eq!(at(2, &open).changes(), ["pause 1 Some(1520)"], "when the condition says");
    let paused = Known { paused_at: Second::of(time(1520)), ..open };
    assert!(at(2, &paused).changes().is_empty());
    assert_eq!(at(3, &paused).changes(), ["pause 1 None paused 60 s"]);
    let resumed = Known { paused_at: None, paused_seconds: 60, ..paused };
    let case = at(4, &resumed);
    assert_eq!(case.changes(), ["end 1 Succeeded 1600 paused 60 s"]);
    assert_eq!(case.decided().changes[0].record.duration_seconds(), Some(1600 - 1500 - 60));
}

#[test]
fn a_pause_is_noted_once_kubernetes_states_it_or_at_once_where_it_will_not() {
    let asked_for = |deadline| DeploymentRow {
        paused: true,
        generation: 4,
        progress_deadline: deadline,
        ..on_its_way(stating(1, Other, "a", 1501))
    };
    let changes = |row: DeploymentRow| {
        let states = [(1501, on_its_way(stating(1, Other, "a", 1501))), (1519, row)];
        Case::followed(&states, &[a()]).known(&[known(1, "a", InProgress, 0)]).changes()
    };
    assert!(changes(asked_for(Some(600))).is_empty(), "the condition comes in a moment, with the time");
    assert_eq!(changes(DeploymentRow { progressing: None, ..asked_for(None) }), ["pause 1 Some(1519)"]);
    let taken_in = DeploymentRow { observed_generation: 4, ..asked_for(Some(600)) };
    assert_eq!(changes(taken_in), ["pause 1 Some(1519)"], "it states another thing");
}

#[test]
fn a_pause_right_after_the_end_does_not_hide_it() {
    let states = [
        (1501, on_its_way(stating(1, Other, "a", 1501))),
        (1510, stating(1, Complete, "a", 1510)),
        (1511, DeploymentRow { paused: true, ..stating(1, Paused, "", 1511) }),
        (1600, stating(1, Complete, "a", 1600)),
    ];
    for length in 2..=4 {
        let case = Case::followed(&states[..length], &[a()]).known(&[known(1, "a", InProgress, 0)]);
        assert_eq!(case.changes(), ["end 1 Succeeded 1510"], "{length}");
    }
}

#[test]
fn a_replica_set_that_is_deleted_by_hand_is_a_restart_or_goes_on() {
    let again = ReplicaSetRow { uid: "other".into(), created: Some(time(1700)), ..a() };
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
fn what_is_not_wanted_is_not_begun_and_what_is_begun_is_ended() {
    let mut case = Case::listed(stating(2, Complete, "b", 1610), &[a(), b()]);
    case.is_wanted = false;
    assert!(case.changes().is_empty());
    let case = case.known(&[known(2, "b", InProgress, 0)]);
    assert_eq!(case.changes(), ["end 2 Succeeded 1610"]);
}

#[test]
fn kubectl_replace_takes_the_number_away_for_a_moment() {
    let without = DeploymentRow { revision: None, ..stating(1, Complete, "a", 1510) };
    let states = [(1510, stating(1, Complete, "a", 1510)), (1600, without), (1601, stating(1, Complete, "a", 1510))];
    for length in 2..=3 {
        let case = Case::followed(&states[..length], &[a()]).known(&[known(1, "a", Succeeded, 1510)]);
        assert!(case.changes().is_empty() && case.former.is_empty());
    }
}
