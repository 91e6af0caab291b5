//! The states of a workload, one after another.

use jiff::Timestamp;

use crate::{ProgressReason, Progressing, Revision, Workload, is_complete};

/// Number of previous revisions that an observation remembers as followed.
const MAX_FOLLOWED: usize = 8;

/// How the controller received a state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// From a watch: the controller has missed no state since the last one.
    Watch,
    /// From a list: the controller may have missed states since the last one.
    List,
}

/// The current state of a workload, and what the controller observed on the way to it.
#[expect(clippy::struct_excessive_bools, reason = "each of them is a separate observation")]
#[derive(Clone, Debug)]
pub struct Observation {
    /// The current state.
    pub workload: Workload,
    /// When the current revision was first observed, or resumed if it was paused then.
    pub(crate) since: Timestamp,
    /// How the current revision was first observed.
    pub(crate) source: Source,
    /// When the counts, the revision, or `spec.paused` were last observed to change.
    pub(crate) last_progress: Timestamp,
    /// Whether Kubernetes has rolled out the current revision at all. An undo of a paused Deployment gives a ReplicaSet a new number at
    /// once, but Kubernetes rolls it out only when the Deployment is resumed.
    pub(crate) has_run: bool,
    /// Numbers of the previous revisions that ran, oldest first, as far back as the watch had no gap.
    pub(crate) followed: Vec<i64>,
    /// A condition that doesn't describe the current revision: it is older than the revision, or Kubernetes set it when a failed rollout was
    /// scaled to 0.
    pub(crate) stale: Option<Box<Progressing>>,
    /// The first condition that stated an end of the current revision, if another condition has replaced it, for example because of a pause.
    pub(crate) first_end: Option<Box<Progressing>>,
    /// Whether another end, which was a failure, came before `first_end`.
    pub(crate) had_failed: bool,
    /// When the counts were first observed to be complete while no condition stated progress.
    pub(crate) counted_complete: Option<Timestamp>,
    /// Whether the workload has been paused since `counted_complete`.
    pub(crate) paused_since_complete: bool,
    /// Whether the current revision may have ended unobserved: its state comes from a list, and its condition names no ReplicaSet.
    pub(crate) has_gap: bool,
}

/// The last state of a workload at a previous revision, or before it was deleted.
#[derive(Clone, Debug)]
pub struct PastObservation {
    /// The last state.
    pub observation: Observation,
    /// The revision. Absent if the controller had not received it by then.
    pub revision: Option<Revision>,
    /// How the controller received the next state, or the deletion. Only after a watch, `observation` is certainly the last state.
    pub next_source: Source,
    /// When the controller received the next state, or the deletion.
    pub until: Timestamp,
}

impl Observation {
    /// The first state of a workload.
    #[must_use]
    pub fn new(workload: Workload, source: Source, now: Timestamp) -> Self {
        let has_run = !workload.paused;
        let has_gap = source == Source::List && !names_a_replica_set(&workload);
        let counted_complete = is_complete_at_first(&workload, source).then_some(now);
        Self {
            workload,
            since: now,
            source,
            last_progress: now,
            has_run,
            followed: Vec::new(),
            stale: None,
            first_end: None,
            had_failed: false,
            counted_complete,
            paused_since_complete: false,
            has_gap,
        }
    }

    /// The same state with an unknown revision number, because the number in it can't be believed.
    #[must_use]
    pub fn without_number(self) -> Self {
        let Self { workload, since, source, .. } = self;
        Self::new(Workload { revision: None, ..workload }, source, since)
    }

    /// How the current revision was first observed, and when.
    #[must_use]
    pub fn first_observed(&self) -> (Source, Timestamp) {
        (self.source, self.since)
    }

    /// Notes that the observations before this one are lost. The next decision records what its revisions still show, as after an absence.
    pub fn forget_previous(&mut self) {
        self.source = Source::List;
        self.followed.clear();
    }

    /// Replaces the current state. If the revision has changed, returns the last state at the previous revision.
    pub fn update(&mut self, workload: Workload, source: Source, now: Timestamp) -> Option<Self> {
        // `kubectl replace` removes the annotation with the number, and the Deployment controller adds it again.
        let workload = Workload { revision: workload.revision.or(self.workload.revision), ..workload };
        if workload.revision == self.workload.revision {
            self.has_gap |= source == Source::List
                && !names_a_replica_set(&workload)
                && workload.generation != self.workload.generation;
            self.continue_revision(workload, now);
            return None;
        }
        let condition = &workload.conditions.progressing;
        let is_unchanged = condition.is_some() && *condition == self.workload.conditions.progressing;
        // If the workload was listed and its number was unknown then, the revision may be older than the watch.
        let was_listed = self.workload.revision.is_none() && self.source == Source::List;
        let source = if was_listed { Source::List } else { source };
        let mut next = Self::new(workload, source, now);
        if is_unchanged && self.workload.revision.is_some() {
            next.stale = next.workload.conditions.progressing.clone().map(Box::new);
        }
        if source == Source::Watch {
            next.follow(self);
        }
        let previous = std::mem::replace(self, next);
        (previous.workload.revision.is_some() && previous.has_run).then_some(previous)
    }

    /// Remembers the revisions before this one, since the watch has brought all of them.
    fn follow(&mut self, previous: &Self) {
        self.followed.clone_from(&previous.followed);
        if previous.has_gap {
            self.followed.clear();
        } else if previous.has_run {
            self.followed.extend(previous.workload.revision);
        }
        let excess = self.followed.len().saturating_sub(MAX_FOLLOWED);
        self.followed.drain(..excess);
    }

    /// Replaces the current state by one of the same revision.
    fn continue_revision(&mut self, workload: Workload, now: Timestamp) {
        if has_progressed(&self.workload, &workload) {
            self.last_progress = now;
        }
        self.note_start(&workload, now);
        let is_failed_at_zero = workload.counts.desired == 0 && self.has_failed_before(&workload);
        self.paused_since_complete |= self.counted_complete.is_some() && workload.paused;
        if self.counted_complete.is_none() && !is_failed_at_zero && counts_as_complete(&workload) {
            self.counted_complete = Some(now);
        }
        let replaced = std::mem::replace(&mut self.workload, workload).conditions.progressing;
        if replaced != self.workload.conditions.progressing {
            self.note_condition(replaced, is_failed_at_zero);
        }
    }

    /// Notes whether Kubernetes has begun to roll out the revision, if it was paused before.
    fn note_start(&mut self, workload: &Workload, now: Timestamp) {
        if self.has_run {
            return;
        }
        if self.workload.paused && !workload.paused {
            self.since = now;
        }
        // Before the Deployment controller has observed the workload and has created pods, the revision may not have its pod template.
        let has_pods = workload.counts.updated > 0 || workload.counts.desired == 0;
        self.has_run = !workload.paused && workload.observed_generation >= workload.generation && has_pods;
        if self.has_run {
            self.counted_complete = None;
        }
    }

    /// Whether a failure of the revision that `workload` is at was observed.
    fn has_failed_before(&self, workload: &Workload) -> bool {
        // A failure from a list may be one of another revision. If the conditions name ReplicaSets, the names have to be equal.
        let named = workload.conditions.progressing.as_ref().and_then(|condition| condition.replica_set.as_deref());
        let observed = [self.first_end.as_deref(), self.workload.conditions.progressing.as_ref()];
        observed.into_iter().flatten().any(|condition| {
            condition.reason == ProgressReason::DeadlineExceeded
                && self.stale.as_deref() != Some(condition)
                && named.is_none_or(|named| condition.replica_set.as_deref() == Some(named))
        })
    }

    /// Notes that the current condition has replaced another one.
    fn note_condition(&mut self, replaced: Option<Progressing>, is_failed_at_zero: bool) {
        let current = self.workload.conditions.progressing.as_ref();
        let was_stale = self.stale.as_deref() == replaced.as_ref();
        if self.stale.as_deref() != current {
            self.stale = None;
        }
        if is_failed_at_zero && current.is_some_and(|condition| condition.reason == ProgressReason::Complete) {
            // Kubernetes calls a failed rollout complete when it is scaled to 0, and also when it is scaled up again.
            self.stale = current.cloned().map(Box::new);
        }
        let is_end = replaced.as_ref().is_some_and(|condition| condition.reason.is_end());
        // A completion replaces a failure. Nothing replaces a completion.
        let is_first = self.first_end.as_ref().is_none_or(|end| end.reason == ProgressReason::DeadlineExceeded);
        if is_end && is_first && !was_stale {
            self.had_failed |= self.first_end.is_some();
            self.first_end = replaced.map(Box::new);
        }
    }

    /// Whether the watch brought the revision with this number while it ran, and every revision since.
    pub(crate) fn has_followed(&self, revision: i64) -> bool {
        self.followed.contains(&revision)
    }
}

/// Whether the condition says which revision it describes.
fn names_a_replica_set(workload: &Workload) -> bool {
    workload.conditions.progressing.as_ref().is_some_and(|condition| condition.replica_set.is_some())
}

/// Whether a workload that is observed for the first time counts as complete.
fn is_complete_at_first(workload: &Workload, source: Source) -> bool {
    let reason = workload.conditions.progressing.as_ref().map(|condition| condition.reason);
    let is_listed =
        |reasons: &[ProgressReason]| source == Source::List && reason.is_some_and(|reason| reasons.contains(&reason));
    // The condition of a paused or resumed workload doesn't say whether the rollout was complete before.
    let is_hidden_by_pause = is_listed(&[ProgressReason::Paused, ProgressReason::Resumed]);
    // The counts of a failed rollout that is scaled to 0 look complete.
    let is_failed_at_zero = workload.counts.desired == 0 && is_listed(&[ProgressReason::DeadlineExceeded]);
    (counts_as_complete(workload) && !is_failed_at_zero) || (is_hidden_by_pause && is_complete(workload))
}

/// Whether the counts are complete and no condition states that the rollout is in progress.
fn counts_as_complete(workload: &Workload) -> bool {
    let is_in_progress = workload.conditions.progressing.as_ref().is_some_and(|condition| !condition.reason.is_end());
    !is_in_progress && is_complete(workload)
}

/// Whether pods have changed between two states, or the workload was paused or resumed.
fn has_progressed(before: &Workload, after: &Workload) -> bool {
    let progress = |workload: &Workload| {
        (workload.counts.total, workload.counts.updated, workload.counts.available, workload.paused)
    };
    progress(before) != progress(after)
}
