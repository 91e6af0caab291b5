//! The log of writes as text, for whom a failure is to be understood by.

use std::fmt::Write as _;

use super::model::{Event, START, What};

/// The log in lines.
pub fn told(log: &[Event]) -> String {
    let mut text = String::new();
    for (position, Event { at, what }) in log.iter().enumerate() {
        let at = at - START;
        match what {
            What::Nothing => {}
            What::Deployment(row) => {
                let condition = row.conditions.progressing.as_ref().map_or_else(
                    || "-".to_owned(),
                    |condition| {
                        let updated = condition.updated.map_or(0, |updated| updated.as_second() - START);
                        format!("{:?}({:?}, {updated})", condition.reason, condition.replica_set)
                    },
                );
                writeln!(
                    text,
                    "{position:4} {at:4} {} revision {:?} generation {}/{} of {} replicas {}/{}/{}{} {condition}",
                    &row.uid[..8],
                    row.revision,
                    row.observed_generation,
                    row.generation,
                    row.counts.desired,
                    row.counts.total,
                    row.counts.updated,
                    row.counts.available,
                    if row.paused { " paused" } else { "" },
                )
                .unwrap();
            }
            What::DeploymentGone(row) => writeln!(text, "{position:4} {at:4} {} gone", &row.uid[..8]).unwrap(),
            What::ReplicaSet { owner, row } => writeln!(
                text,
                "{position:4} {at:4}   {} {} revision {:?} after {:?} of {:?}",
                &row.uid[..8],
                row.name,
                row.revision,
                row.earlier_revisions,
                owner.as_deref().map(|owner| &owner[..8]),
            )
            .unwrap(),
            What::ReplicaSetGone(uid) => writeln!(text, "{position:4} {at:4}   {} gone", &uid[..8]).unwrap(),
        }
    }
    text
}
