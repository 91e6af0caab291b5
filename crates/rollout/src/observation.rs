//! What was seen of a Deployment, one state after another.

use jiff::Timestamp;

use crate::{ProgressReason, Progressing, Revision, Workload, is_complete};

/// Revisions that are remembered as having been followed.
const PATH_LENGTH: usize = 8;

/// How a state came to be seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// The watch brought it: no state between the last one and this was missed.
    Watch,
    /// A list brought it: states may have come and gone unseen.
    List,
}

/// The present state of a Deployment, and what was seen on the way to it.
#[allow(clippy::struct_excessive_bools, reason = "each is an observation of its own")]
#[derive(Clone, Debug)]
pub struct Observation {
    /// The present state.
    pub row: Workload,
    /// When it was first seen at its present revision, and not paused.
    pub since: Timestamp,
    /// How it came to be seen there.
    pub source: Source,
    /// When its counts, its revision, or whether it is paused, were last seen to change.
    pub progressed: Timestamp,
    /// Whether the present revision has been rolled out at all: an undo while the Deployment is paused numbers a ReplicaSet anew at
    /// once, and rolls out nothing before the Deployment is resumed.
    pub has_run: bool,
    /// The revisions that ran before, newest last, as far as the watch was followed without a gap.
    pub path: Vec<i64>,
    /// A condition that stood when the present revision began, and so speaks of another, or that came when nothing ran.
    pub void: Option<Box<Progressing>>,
    /// The first end of the present revision, if another condition has taken its place: a pause, for one.
    pub passed: Option<Box<Progressing>>,
    /// Whether it had failed before that end.
    pub had_failed: bool,
    /// When the counts were first seen to say that the present revision is complete, while no condition spoke of its progress.
    pub counted: Option<Timestamp>,
    /// Whether it has been paused since then.
    pub was_paused_since: bool,
    /// Whether the present revision may have ended unseen: a list brought it, and its condition names no ReplicaSet.
    pub is_broken: bool,
}

/// The last state that was seen of a Deployment at a former revision, or before it was deleted.
#[derive(Clone, Debug)]
pub struct PastObservation {
    /// That state.
    pub observation: Observation,
    /// The ReplicaSet of that revision; absent if it was not seen by then.
    pub replica_set: Option<Revision>,
    /// How the next state, or the deletion, came to be seen: only a watch tells that this state was the last.
    pub left: Source,
    /// When.
    pub until: Timestamp,
}

impl Observation {
    /// A Deployment that is seen for the first time.
    #[must_use]
    pub fn new(row: Workload, source: Source, now: Timestamp) -> Self {
        let has_run = !row.paused;
        // Found while it is paused or was just resumed, the condition doesn't tell whether it was complete before.
        let is_hidden = source == Source::List
            && row
                .progressing
                .as_ref()
                .is_some_and(|condition| matches!(condition.reason, ProgressReason::Paused | ProgressReason::Resumed));
        // Scaled to nothing, what has failed is complete to the counts alone.
        let is_nothing = source == Source::List
            && row.replicas == 0
            && row.progressing.as_ref().is_some_and(|condition| condition.reason == ProgressReason::DeadlineExceeded);
        let is_counted = counts_as_complete(&row) && !is_nothing;
        let counted = (is_counted || (is_hidden && is_complete(&row))).then_some(now);
        let is_broken = source == Source::List && !names_a_replica_set(&row);
        Self {
            row,
            since: now,
            source,
            progressed: now,
            has_run,
            path: Vec::new(),
            void: None,
            passed: None,
            had_failed: false,
            counted,
            was_paused_since: false,
            is_broken,
        }
    }

    /// Takes in the next state. Returns the last one at the former revision if the revision has changed.
    pub fn update(&mut self, row: Workload, source: Source, now: Timestamp) -> Option<Self> {
        // `kubectl replace` takes the annotation away, and the Deployment controller puts one back.
        let row = Workload { revision: row.revision.or(self.row.revision), ..row };
        if row.revision == self.row.revision {
            self.is_broken |=
                source == Source::List && !names_a_replica_set(&row) && row.generation != self.row.generation;
            self.go_on(row, now);
            return None;
        }
        let stands = row.progressing.is_some() && row.progressing == self.row.progressing;
        let mut next = Self::new(row, source, now);
        if stands && self.row.revision.is_some() {
            next.void = next.row.progressing.clone().map(Box::new);
        }
        if source == Source::Watch {
            next.path.clone_from(&self.path);
            if self.is_broken {
                next.path.clear();
            } else if self.has_run {
                next.path.extend(self.row.revision);
            }
            let excess = next.path.len().saturating_sub(PATH_LENGTH);
            next.path.drain(..excess);
        }
        let former = std::mem::replace(self, next);
        (former.row.revision.is_some() && former.has_run).then_some(former)
    }

    /// Takes in the next state at the same revision.
    fn go_on(&mut self, row: Workload, now: Timestamp) {
        if steps(&row) != steps(&self.row) {
            self.progressed = now;
        }
        if !self.has_run {
            if self.row.paused && !row.paused {
                self.since = now;
            }
            // Until it is observed and has pods, the template may be another one than that of the revision.
            let has_pods = row.updated_replicas > 0 || row.replicas == 0;
            self.has_run = !row.paused && row.observed_generation >= row.generation && has_pods;
            if self.has_run {
                self.counted = None;
            }
        }
        // A failure that a list brought may be that of another revision, without being known to be void: its name tells.
        let named = row.progressing.as_ref().and_then(|condition| condition.replica_set.as_deref());
        let had_failed =
            [self.passed.as_deref(), self.row.progressing.as_ref()].into_iter().flatten().any(|condition| {
                condition.reason == ProgressReason::DeadlineExceeded
                    && self.void.as_deref() != Some(condition)
                    && named.is_none_or(|named| condition.replica_set.as_deref() == Some(named))
            });
        let is_nothing = had_failed && row.replicas == 0;
        self.was_paused_since |= self.counted.is_some() && row.paused;
        if self.counted.is_none() && !is_nothing && counts_as_complete(&row) {
            self.counted = Some(now);
        }
        let former = std::mem::replace(&mut self.row, row).progressing;
        let present = self.row.progressing.as_ref();
        if former.as_ref() == present {
            return;
        }
        let reason = |condition: Option<&Progressing>| condition.map(|condition| condition.reason);
        let was_void = self.void.as_deref() == former.as_ref();
        if self.void.as_deref() != present {
            self.void = None;
        }
        if is_nothing && reason(present) == Some(ProgressReason::Complete) {
            // Scaled to nothing, a failed rollout is complete to Kubernetes, and stays so when it is scaled up again.
            self.void = present.cloned().map(Box::new);
        }
        let is_end =
            matches!(reason(former.as_ref()), Some(ProgressReason::Complete | ProgressReason::DeadlineExceeded));
        // A completion takes the place of a failure, and nothing that of a completion.
        let is_first = self.passed.as_ref().is_none_or(|passed| passed.reason == ProgressReason::DeadlineExceeded);
        if is_end && is_first && !was_void {
            self.had_failed |= self.passed.is_some();
            self.passed = former.map(Box::new);
        }
    }

    /// Whether the watch saw `revision` run, and every revision since.
    #[must_use]
    pub fn has_followed(&self, revision: i64) -> bool {
        self.path.contains(&revision)
    }
}

/// Whether a condition tells how the revision of a ReplicaSet stands.
fn names_a_replica_set(row: &Workload) -> bool {
    row.progressing.as_ref().is_some_and(|condition| condition.replica_set.is_some())
}

/// Whether the counts say that it is complete, and no condition that it is on its way.
fn counts_as_complete(row: &Workload) -> bool {
    let is_on_its_way = row.progressing.as_ref().is_some_and(|condition| {
        !matches!(condition.reason, ProgressReason::Complete | ProgressReason::DeadlineExceeded)
    });
    !is_on_its_way && is_complete(row)
}

/// What moves when a rollout makes progress, and when it is paused or resumed.
fn steps(row: &Workload) -> (i32, i32, i32, bool) {
    (row.current_replicas, row.updated_replicas, row.available_replicas, row.paused)
}
