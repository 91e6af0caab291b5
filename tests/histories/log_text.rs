//! The log of events as text, for the person who reads a failed test.

use std::fmt::Write as _;

use rollout::{Revision, Uid, Workload};

use super::objects::{Event, EventKind, START};

/// The log, with a line for each event.
pub fn log_lines(log: &[Event]) -> String {
    let mut text = String::new();
    for (position, Event { at, kind }) in log.iter().enumerate() {
        let line = match kind {
            EventKind::SecondPassed => continue,
            EventKind::DeploymentApplied(object) => deployment_line(object),
            EventKind::DeploymentDeleted(object) => format!("{} deleted", &object.uid[..8]),
            EventKind::ReplicaSetApplied { owner, object } => format!("  {}", replica_set_line(owner.as_ref(), object)),
            EventKind::ReplicaSetDeleted(uid) => format!("  {} deleted", &uid[..8]),
        };
        writeln!(text, "{position:4} {:4} {line}", at - START).unwrap();
    }
    text
}

fn deployment_line(object: &Workload) -> String {
    let condition = object.conditions.progressing.as_ref().map_or_else(
        || "-".to_owned(),
        |condition| {
            let updated = condition.updated.map_or(0, |updated| updated.as_second() - START);
            format!("{:?}({:?}, {updated})", condition.reason, condition.replica_set)
        },
    );
    format!(
        "{} revision {:?} generation {}/{} of {} replicas {}/{}/{}{} {condition}",
        &object.uid[..8],
        object.revision,
        object.observed_generation,
        object.generation,
        object.counts.desired,
        object.counts.total,
        object.counts.updated,
        object.counts.available,
        if object.paused { " paused" } else { "" },
    )
}

fn replica_set_line(owner: Option<&Uid>, object: &Revision) -> String {
    format!(
        "{} {} revision {:?} after {:?} of {:?}",
        &object.uid[..8],
        object.name,
        object.revision,
        object.earlier_revisions,
        owner.map(|owner| &owner[..8]),
    )
}
