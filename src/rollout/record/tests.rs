//! Rows of cluster state against what has to be recorded.

use super::*;
use crate::rollout::{Metadata, ProgressReason, Progressing};

const INSTALLED: i64 = 1000;
const NOW: i64 = 2000;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn moment() -> Moment {
    Moment { now: time(NOW), installed: time(INSTALLED) }
}

/// A Deployment of 2 replicas at `revision` whose condition Progressing has `reason`, names `named` and is of second `updated`.
fn deployment(revision: i64, reason: ProgressReason, named: &str, updated: i64) -> DeploymentRow {
    DeploymentRow {
        uid: "uid".into(),
        namespace: "shop".into(),
        name: "web".into(),
        generation: 3,
        observed_generation: 3,
        revision: Some(revision),
        replicas: 2,
        current_replicas: 2,
        updated_replicas: 2,
        available_replicas: 2,
        progressing: Some(Progressing { reason, replica_set: Some(named.into()), updated: Some(time(updated)) }),
        labels: Metadata::default(),
    }
}

fn replica_set(name: &str, revision: i64, created: i64) -> ReplicaSetRow {
    ReplicaSetRow {
        uid: name.into(),
        name: name.into(),
        revision: Some(revision),
        reused: false,
        created: Some(time(created)),
        annotations: Metadata::default(),
        template_annotations: Metadata::default(),
        template_labels: Metadata::default(),
    }
}

/// The changes, in words: what, revision, outcome, and the seconds of start and end.
fn described(changes: &[Change<'_>]) -> Vec<String> {
    changes
        .iter()
        .map(|change| match change {
            Change::Begin { replica_set, revision, started, outcome, finished } => format!(
                "begin {} {revision} {} {} {:?}",
                replica_set.name,
                outcome.as_str(),
                started.as_second(),
                finished.map(Timestamp::as_second)
            ),
            Change::End { replica_set, revision, outcome, finished } => {
                format!("end {} {revision} {} {}", replica_set.name, outcome.as_str(), finished.as_second())
            }
            Change::Close { revision, outcome, finished } => {
                format!("close {revision} {} {}", outcome.as_str(), finished.as_second())
            }
        })
        .collect()
}

fn of(deployment: &DeploymentRow, owned: &[ReplicaSetRow], known: &[(i64, Outcome)]) -> Vec<String> {
    let known: Vec<Known> = known.iter().map(|&(revision, outcome)| Known { revision, outcome }).collect();
    described(&changes(Some(deployment), owned, &known, moment()))
}

use Outcome::{Failed, InProgress, Recovered, Succeeded, Superseded};
use ProgressReason::{Complete, DeadlineExceeded, Other};

#[test]
fn a_rollout_begins_when_its_replica_set_was_made_and_ends_when_the_condition_says() {
    let owned = [replica_set("a", 1, 1500)];
    let on_the_way = deployment(1, Other, "a", 1501);
    assert_eq!(of(&on_the_way, &owned, &[]), ["begin a 1 InProgress 1500 None"]);
    assert!(of(&on_the_way, &owned, &[(1, InProgress)]).is_empty());
    let complete = deployment(1, Complete, "a", 1510);
    assert_eq!(of(&complete, &owned, &[(1, InProgress)]), ["end a 1 Succeeded 1510"]);
    assert_eq!(of(&complete, &owned, &[]), ["begin a 1 Succeeded 1500 Some(1510)"], "seen only when it was over");
}

#[test]
fn an_end_is_final_whatever_the_deployment_does_afterwards() {
    let owned = [replica_set("a", 1, 1500)];
    let resumed = deployment(1, Complete, "a", 1900);
    let scaled = DeploymentRow { replicas: 9, ..deployment(1, Complete, "a", 1510) };
    let crashed = DeploymentRow { available_replicas: 0, ..deployment(1, Complete, "a", 1510) };
    let paused = deployment(1, Other, "", 1900);
    for row in [resumed, scaled, crashed, paused] {
        for outcome in [Succeeded, Recovered] {
            assert!(of(&row, &owned, &[(1, outcome)]).is_empty(), "{row:?}");
        }
    }
}

#[test]
fn a_failure_is_not_final() {
    let owned = [replica_set("a", 1, 1500)];
    let failed = deployment(1, DeadlineExceeded, "a", 1560);
    assert_eq!(of(&failed, &owned, &[(1, InProgress)]), ["end a 1 Failed 1560"]);
    assert_eq!(of(&failed, &owned, &[]), ["begin a 1 Failed 1500 Some(1560)"]);
    assert!(of(&failed, &owned, &[(1, Failed)]).is_empty());
    assert!(of(&deployment(1, Other, "a", 1570), &owned, &[(1, Failed)]).is_empty(), "progress is no success");
    assert_eq!(of(&deployment(1, Complete, "a", 1580), &owned, &[(1, Failed)]), ["end a 1 Recovered 1580"]);
}

#[test]
fn a_condition_that_names_another_replica_set_says_nothing() {
    let owned = [replica_set("a", 1, 1500), replica_set("b", 2, 1600)];
    let counts_of_old = DeploymentRow { updated_replicas: 0, ..deployment(2, Complete, "a", 1510) };
    assert_eq!(of(&counts_of_old, &owned, &[(1, Succeeded)]), ["begin b 2 InProgress 1600 None"]);
    // After an undo, the failure of the other one still stands.
    let undone = [ReplicaSetRow { reused: true, ..replica_set("a", 3, 1500) }, replica_set("b", 2, 1600)];
    assert_eq!(
        of(&deployment(3, DeadlineExceeded, "b", 1660), &undone, &[(1, Succeeded), (2, Failed)]),
        ["begin a 3 InProgress 2000 None"],
        "a ReplicaSet that is re-used began when that was seen, not when it was made"
    );
}

#[test]
fn at_no_replicas_or_without_a_deadline_the_counts_decide() {
    let owned = [replica_set("a", 1, 1500), replica_set("b", 2, 1600)];
    let none = DeploymentRow {
        replicas: 0,
        current_replicas: 0,
        updated_replicas: 0,
        available_replicas: 0,
        ..deployment(2, Complete, "a", 1510)
    };
    assert_eq!(of(&none, &owned, &[(1, Succeeded), (2, InProgress)]), ["end b 2 Succeeded 2000"]);
    let no_deadline = DeploymentRow { progressing: None, ..deployment(2, Other, "", 0) };
    assert_eq!(of(&no_deadline, &owned, &[(2, InProgress)]), ["end b 2 Succeeded 2000"]);
    for incomplete in [
        DeploymentRow { available_replicas: 1, ..no_deadline.clone() },
        DeploymentRow { updated_replicas: 1, ..no_deadline.clone() },
        DeploymentRow { current_replicas: 3, ..no_deadline.clone() },
        DeploymentRow { observed_generation: 2, ..no_deadline },
    ] {
        assert!(of(&incomplete, &owned, &[(2, InProgress)]).is_empty(), "{incomplete:?}");
    }
}

#[test]
fn nothing_is_said_while_one_of_the_watches_is_behind() {
    let row = deployment(2, Complete, "b", 1610);
    assert!(of(&row, &[replica_set("a", 1, 1500)], &[(1, Succeeded)]).is_empty());
    let unseen = DeploymentRow { revision: None, ..row };
    assert!(of(&unseen, &[replica_set("a", 1, 1500)], &[]).is_empty());
}

#[test]
fn a_newer_revision_closes_what_was_in_progress_and_only_that() {
    let owned = [replica_set("a", 1, 1500), replica_set("d", 4, 1700)];
    let known = [(1, InProgress), (2, Failed), (3, Superseded)];
    assert_eq!(
        of(&deployment(4, Other, "d", 1701), &owned, &known),
        ["close 1 Superseded 1700", "begin d 4 InProgress 1700 None"]
    );
}

#[test]
fn a_deleted_deployment_leaves_what_was_in_progress_abandoned() {
    let known = [Known { revision: 1, outcome: Succeeded }, Known { revision: 2, outcome: InProgress }];
    assert_eq!(described(&changes(None, &[], &known, moment())), ["close 2 Abandoned 2000"]);
    assert!(changes(None, &[], &known[..1], moment()).is_empty());
}

#[test]
fn what_was_complete_before_the_installation_is_no_news() {
    let old = [replica_set("a", 1, 500)];
    assert!(of(&deployment(1, Complete, "a", 510), &old, &[]).is_empty());
    assert!(of(&deployment(1, DeadlineExceeded, "a", 510), &old, &[]).is_empty());
    assert!(of(&deployment(1, Complete, "a", 1500), &old, &[]).is_empty(), "paused and resumed since");
    // Open at the installation, or changed since: that is news.
    assert_eq!(of(&deployment(1, Other, "a", 999), &old, &[]), ["begin a 1 InProgress 500 None"]);
    let undone = [ReplicaSetRow { reused: true, ..replica_set("a", 3, 500) }];
    assert_eq!(of(&deployment(3, Complete, "a", 1500), &undone, &[]), ["begin a 3 Succeeded 1500 Some(1500)"]);
}
