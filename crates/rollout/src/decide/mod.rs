//! What has to be recorded of a Deployment, given what was seen of it and what is recorded already.

mod current;
mod missed;
mod rollback;
mod same_rollout;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Action, Change, ChangeKind, Observation, Outcome, PastObservation, ProgressReason, Progressing, RecordedRevision,
    Revision, RevisionHistory, RevisionId, Since, Source, TimeWithAccuracy, UnixSeconds, Workload, ending,
};

/// How long the ReplicaSets of a deleted Deployment are waited for.
const CATCH_UP: SignedDuration = SignedDuration::from_secs(10);

/// What was seen of a Deployment.
#[derive(Clone, Copy)]
pub struct DecisionInput<'a> {
    /// Its present state; absent once it is deleted.
    pub deployment: Option<&'a Observation>,
    /// Its last states at former revisions, oldest first.
    pub former: &'a [PastObservation],
    /// The ReplicaSets that it owns.
    pub owned: &'a [Revision],
}

/// By which rules it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// When the controller first started in this cluster.
    pub installed: Timestamp,
    /// Which of the revisions from before that are reported.
    pub history: History,
    /// How long a rollout without a progress deadline may stand still.
    pub fail_after: SignedDuration,
}

/// Which of the revisions from before the installation are reported.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum History {
    /// None that was over by then.
    #[default]
    None,
    /// The present one of each Deployment.
    Current,
    /// All that the ReplicaSets remember.
    All,
}

/// What has to be written down, in this order, and when to look again if nothing happens.
#[derive(Debug, Default)]
pub struct Decision<'a> {
    /// The changes.
    pub changes: Vec<Change<'a>>,
    /// When a rollout without a progress deadline counts as failed, or what is behind is not waited for any longer.
    pub look_again: Option<Timestamp>,
    /// The watch on ReplicaSets is behind that on Deployments: nothing can be said before it has caught up.
    pub is_behind: bool,
}

/// What has to be recorded at `now` of what was seen, against the revisions that are recorded (`known`).
///
/// `is_wanted` tells whether a revision is to be reported at all. The same scene and the changed records give no more changes: a crash between two writes only repeats. A recorded
/// end is final, but a failed rollout can recover, and a successful one can be rolled back ([`Outcome::may_become`]).
#[must_use]
pub fn decide<'a>(
    scene: &DecisionInput<'a>,
    known: &[RecordedRevision],
    policy: &Policy,
    is_wanted: &dyn Fn(&Workload, &Revision) -> bool,
    now: Timestamp,
) -> Decision<'a> {
    let row = scene.deployment.or_else(|| scene.former.last().map(|former| &former.observation)).map(|seen| &seen.row);
    let remembered = scene.owned.iter().chain(scene.former.iter().filter_map(|former| former.replica_set.as_ref()));
    let timeline = RevisionHistory::new(remembered, row.and_then(|row| row.created));
    if let Some(behind) = behind(scene, &timeline, now) {
        return behind;
    }
    let mut course = Evaluation {
        first_since: timeline.first_since(policy.installed),
        newest: known.iter().map(|known| known.revision).max(),
        scene: *scene,
        timeline,
        policy,
        is_wanted,
        records: known.to_vec(),
        replacement: None,
        decision: Decision::default(),
    };
    course.finish_rollbacks();
    for former in scene.former {
        // Left unseen, it may have moved again, and has not surely stood still for long.
        let until = if former.left == Source::Watch { former.until } else { former.observation.progressed };
        course.pass(&former.observation, former.replica_set.as_ref(), until);
    }
    // Only the present revision can still come to fail.
    course.decision.look_again = None;
    match scene.deployment {
        Some(observation) => course.pass(observation, None, now),
        None => course.deleted(),
    }
    course.decision
}

/// Whether the watch on ReplicaSets is behind that on Deployments: no ReplicaSet has the present revision yet, or a revision of a
/// Deployment that was just deleted.
fn behind<'a>(scene: &DecisionInput<'_>, timeline: &RevisionHistory<'_>, now: Timestamp) -> Option<Decision<'a>> {
    let is_unknown =
        |observation: &Observation| observation.row.revision.is_some_and(|number| timeline.at(number).is_none());
    let look_again = match (scene.deployment, scene.former.last()) {
        (Some(present), _) => is_unknown(present).then_some(None),
        (None, Some(last)) => {
            let until = last.until.checked_add(CATCH_UP).ok().filter(|until| *until > now);
            until.filter(|_| scene.former.iter().any(|former| is_unknown(&former.observation))).map(Some)
        }
        (None, None) => None,
    };
    look_again.map(|look_again| Decision { look_again, is_behind: true, ..Decision::default() })
}

/// The course of a Deployment, revision by revision.
struct Evaluation<'a, 'p> {
    scene: DecisionInput<'a>,
    timeline: RevisionHistory<'a>,
    policy: &'p Policy,
    is_wanted: &'p dyn Fn(&Workload, &Revision) -> bool,
    /// The first revision that was provably born after the installation.
    first_since: Option<i64>,
    /// The highest revision that was recorded before.
    newest: Option<i64>,
    /// The records as they are after the changes so far.
    records: Vec<RecordedRevision>,
    /// The ReplicaSet that took the place of one which was deleted by hand, of a record that goes on.
    replacement: Option<&'a Revision>,
    decision: Decision<'a>,
}

/// A revision and the ReplicaSet that runs it.
#[derive(Clone, Copy)]
struct NumberedRevision<'a> {
    number: i64,
    replica_set: &'a Revision,
}

impl<'a> Evaluation<'a, '_> {
    /// Takes in a state at one revision, as it was at `now`.
    fn pass(&mut self, observation: &Observation, replica_set: Option<&'a Revision>, now: Timestamp) {
        let Some(number) = observation.row.revision else {
            return;
        };
        // `kubectl apply` of a manifest that states a number gives the Deployment one for a moment that no ReplicaSet has.
        let Some(replica_set) = replica_set.or_else(|| self.timeline.at(number)) else {
            return;
        };
        let seen = NumberedRevision { number, replica_set };
        let revision = self.renumbered(seen, observation).unwrap_or(seen);
        self.replace_replica_set(revision);
        // An undo while it is paused is no rollout before it is resumed.
        let is_waiting = !observation.has_run && self.position(revision).is_none();
        if is_waiting && observation.source == Source::Watch {
            return;
        }
        if revision.number == number && observation.source == Source::List {
            self.find_missed(&observation.row, revision);
        }
        let started = started(observation, revision);
        self.close_others(observation, revision, started);
        if is_waiting {
            return;
        }
        let standing = ending(
            observation,
            replica_set,
            self.conditions_since(revision, observation.source),
            self.policy.fail_after,
            now,
        );
        match self.position(revision) {
            None => self.begin_present(observation, revision, started, standing),
            Some(position) => self.go_on(position, observation, revision, standing),
        }
        self.finish_rollback(revision);
    }

    /// The Deployment is deleted.
    fn deleted(&mut self) {
        let last = self.scene.former.last().filter(|last| last.left == Source::Watch && !last.observation.is_broken);
        for position in self.in_progress() {
            let record = &self.records[position];
            let watched = last.filter(|last| last.observation.row.revision.is_some_and(|last| last >= record.revision));
            match watched {
                Some(last) => {
                    self.end(position, Outcome::Abandoned, Some(TimeWithAccuracy::observed(last.until)), None);
                }
                None => self.end(position, Outcome::Unobserved, None, None),
            }
        }
    }

    fn position(&self, revision: NumberedRevision<'_>) -> Option<usize> {
        self.records.iter().position(|record| record.is_of(revision.number, revision.replica_set))
    }

    fn in_progress(&self) -> Vec<usize> {
        self.positions(|record| record.outcome == Outcome::InProgress)
    }

    fn positions(&self, are: impl Fn(&RecordedRevision) -> bool) -> Vec<usize> {
        self.records.iter().enumerate().filter(|(_, record)| are(record)).map(|(position, _)| position).collect()
    }

    /// Ends what is in progress at other revisions than the present one. The condition may still tell how.
    fn close_others(
        &mut self,
        observation: &Observation,
        present: NumberedRevision<'_>,
        started: Option<TimeWithAccuracy>,
    ) {
        let NumberedRevision { number, replica_set } = present;
        let made = replica_set.created.and_then(UnixSeconds::of);
        let over = self.positions(|record| {
            let is_younger = record.started.is_none_or(|started| made.is_none_or(|made| made <= started));
            let is_older =
                record.revision < number || (record.replica_set.uid != RevisionId::of(replica_set).uid && !is_younger);
            record.outcome.is_open() && is_older && !record.is_of(number, replica_set)
        });
        for position in over {
            let record = &self.records[position];
            // What the condition says of a ReplicaSet that was used again, it says of its last revision.
            let is_its_last =
                |row: &&Revision| record.is_of(record.revision, row) && row.revision == Some(record.revision);
            let ran = self.timeline.at(record.revision).filter(is_its_last);
            let told = ran.and_then(|replica_set| {
                let revision = NumberedRevision { number: record.revision, replica_set };
                stated_end(&observation.row, replica_set, self.conditions_since(revision, Source::List))
            });
            match (record.outcome, told) {
                (Outcome::InProgress, Some((outcome, at))) => self.end(position, outcome, Some(at), None),
                // Followed by the watch, the state in which it recovered was seen. Scaled to nothing, it only looks complete.
                (Outcome::Failed, Some((Outcome::Succeeded, at)))
                    if observation.source == Source::List && observation.row.replicas > 0 =>
                {
                    self.end(position, Outcome::Recovered, Some(at), None);
                }
                (Outcome::InProgress, None) if observation.has_followed(record.revision) => {
                    let at = started.unwrap_or_else(|| TimeWithAccuracy::observed(observation.since));
                    self.end(position, Outcome::Superseded, Some(at), None);
                }
                (Outcome::InProgress, None) => self.end(position, Outcome::Unobserved, None, None),
                _ => {}
            }
        }
    }

    fn begin(
        &mut self,
        revision: NumberedRevision<'a>,
        change: Option<ChangeKind>,
        started: Option<TimeWithAccuracy>,
        outcome: Outcome,
        finished: Option<TimeWithAccuracy>,
        unseen: Option<i64>,
    ) {
        let NumberedRevision { number, replica_set } = revision;
        let record = RecordedRevision {
            revision: number,
            replica_set: RevisionId::of(replica_set),
            repeated: self.records.iter().any(|record| record.revision == number),
            outcome,
            change,
            started: started.and_then(|started| UnixSeconds::of(started.at)),
            finished: None,
            paused_at: None,
            paused_seconds: 0,
        };
        self.decision.changes.push(Change {
            action: Action::Begin,
            record: record.clone(),
            replica_set: Some(replica_set),
            is_described: replica_set.revision == Some(number),
            started,
            finished: None,
            unseen: unseen.filter(|unseen| *unseen > 0),
            rolled_back_by: None,
        });
        self.records.push(record);
        if finished.is_some() {
            self.end(self.records.len() - 1, outcome, finished, None);
        }
    }

    fn end(
        &mut self,
        position: usize,
        outcome: Outcome,
        finished: Option<TimeWithAccuracy>,
        replica_set: Option<&'a Revision>,
    ) {
        let record = &self.records[position];
        let replica_set = replica_set.or_else(|| self.replacement.filter(|row| record.is_of(record.revision, row)));
        let finished = finished.map(|finished| finished.not_before(record.started.map(UnixSeconds::time)));
        let ended = RecordedRevision {
            outcome,
            finished: finished.and_then(|finished| UnixSeconds::of(finished.at)),
            paused_seconds: finished.map_or(record.paused_seconds, |finished| record.paused_until(finished.at)),
            paused_at: record.paused_at.filter(|_| outcome.is_open()),
            ..record.clone()
        };
        self.write(position, Action::End, ended, replica_set, |change| change.finished = finished);
    }

    /// Adds a change, or makes it a part of the beginning of the same record.
    fn write(
        &mut self,
        position: usize,
        action: Action,
        record: RecordedRevision,
        replica_set: Option<&'a Revision>,
        add: impl FnOnce(&mut Change<'a>),
    ) {
        let before = std::mem::replace(&mut self.records[position], record.clone());
        let same = |change: &&mut Change<'a>| {
            change.record.revision == before.revision && change.record.replica_set == before.replica_set
        };
        let changes = &mut self.decision.changes;
        if let Some(begun) = changes.iter_mut().filter(|change| change.action == Action::Begin).find(same) {
            begun.record = record;
            add(begun);
            return;
        }
        let (started, finished) = (None, None);
        let mut change = Change {
            action,
            record,
            replica_set,
            is_described: replica_set.is_some_and(|row| row.revision == Some(before.revision)),
            started,
            finished,
            unseen: None,
            rolled_back_by: None,
        };
        add(&mut change);
        changes.push(change);
    }
}

/// When the revision began, if that can be known.
fn started(observation: &Observation, revision: NumberedRevision<'_>) -> Option<TimeWithAccuracy> {
    let NumberedRevision { number, replica_set } = revision;
    if replica_set.first_revision() != Some(number) {
        return (observation.source == Source::Watch).then_some(TimeWithAccuracy::observed(observation.since));
    }
    // With Recreate the old pods have gone before it is made.
    replica_set.created.map(|made| {
        if observation.row.recreates { TimeWithAccuracy::observed(made) } else { TimeWithAccuracy::exact(made) }
    })
}

/// How a former revision ended, if the condition still speaks of its ReplicaSet.
fn stated_end(row: &Workload, replica_set: &Revision, since: Since) -> Option<(Outcome, TimeWithAccuracy)> {
    let Progressing { reason, replica_set: named, updated } = row.progressing.as_ref()?;
    if named.as_deref() != Some(&*replica_set.name) || !since.includes(*updated) {
        return None;
    }
    let outcome = match reason {
        ProgressReason::Complete => Outcome::Succeeded,
        ProgressReason::DeadlineExceeded => Outcome::Failed,
        ProgressReason::Found | ProgressReason::Paused | ProgressReason::Resumed | ProgressReason::Other => {
            return None;
        }
    };
    Some((outcome, TimeWithAccuracy::exact((*updated)?)))
}

#[cfg(test)]
mod tests;
