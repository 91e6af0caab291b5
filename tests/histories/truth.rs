//! What truly happens to each rollout. The model knows more than a watch shows: which ReplicaSet the Deployment
//! controller rolls out, and which rollout a condition is about.

use rollout::{ChangeKind, Outcome, Uid, is_complete};

use super::objects::{Condition, Deployment, Reason, ReplicaSet, Template};

/// A time, and whether the cluster states it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// Unix time.
    pub at: i64,
    pub is_exact: bool,
}

impl Moment {
    fn exact(at: i64) -> Self {
        Self { at, is_exact: true }
    }

    fn observed(at: i64) -> Self {
        Self { at, is_exact: false }
    }
}

/// A rollout: a Deployment that isn't paused has another ReplicaSet from now on.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact about the rollout of its own")]
#[derive(Clone, Debug)]
pub struct Rollout {
    /// UID of the Deployment.
    pub deployment: Uid,
    pub replica_set: Uid,
    pub template: Template,
    /// The revision number at the start.
    pub number: i64,
    /// All numbers of the ReplicaSet while it was the present one.
    pub numbers: Vec<i64>,
    pub kind: ChangeKind,
    /// Whether the ReplicaSet before still exists to compare with, and no other one had a number between the two.
    pub is_kind_known: bool,
    /// Whether the Deployment only adopted what ran already.
    pub is_adopted: bool,
    pub started: Moment,
    /// Position in the log of the event that started it.
    position: usize,
    pub progress: Progress,
    pub pauses: Pauses,
    /// The revision that rolled this one back.
    pub rolled_back_by: Option<i64>,
    /// Whether a watch showed it run. If not, it was started by a resume and had no pods, but needs some.
    pub was_visible: bool,
    /// Whether the Deployment had the revision number of another cluster while this was the present rollout, or when it started. No decision
    /// is made meanwhile, so the record may be less exact.
    pub was_hidden: bool,
    /// Whether the Deployment had a wrong number while this was the present rollout or the one before. If the watch of ReplicaSets is behind,
    /// it isn't clear which number is the wrong one.
    pub was_ambiguous: bool,
}

/// How a rollout ends.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub completed: Option<Moment>,
    pub failed: Option<Moment>,
    /// When another rollout took its place, or the Deployment was deleted.
    pub replaced: Option<Moment>,
    /// Whether the Deployment was deleted while this was the present rollout.
    pub is_deleted: bool,
    /// Whether the condition `Progressing` got a later time after the completion, by a pause and a resume.
    pub is_restated: bool,
    /// Whether the status counted it as complete when it had no replicas.
    pub is_complete_at_zero: bool,
}

/// The pauses of a rollout.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    pub seconds: i64,
    pub count: u32,
    since: Option<i64>,
}

impl Progress {
    /// When it ended.
    pub fn finished(&self) -> Option<Moment> {
        self.completed.or(self.failed).or(self.replaced)
    }

    fn is_open(&self) -> bool {
        self.completed.is_none() && self.replaced.is_none()
    }
}

impl Rollout {
    /// This rollout for an observer that missed a failure which the cluster doesn't state.
    pub fn without_failure(&self) -> Self {
        Self { progress: Progress { failed: None, ..self.progress.clone() }, ..self.clone() }
    }

    /// This rollout for an observer that missed the rollback.
    pub fn without_rollback(&self) -> Self {
        Self { rolled_back_by: None, ..self.clone() }
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        let Progress { completed, failed, replaced, is_deleted, .. } = &self.progress;
        match (completed, failed, replaced) {
            _ if self.rolled_back_by.is_some() => Outcome::RolledBack,
            (Some(_), Some(_), _) => Outcome::Recovered,
            (Some(_), None, _) => Outcome::Succeeded,
            (None, Some(_), _) => Outcome::Failed,
            (None, None, Some(_)) if *is_deleted => Outcome::Abandoned,
            (None, None, Some(_)) => Outcome::Superseded,
            (None, None, None) => Outcome::InProgress,
        }
    }

    fn count_pause(&mut self, now: i64, is_paused: bool) {
        let Self { progress, pauses, .. } = self;
        match pauses.since {
            None if is_paused && progress.is_open() => {
                pauses.since = Some(now);
                pauses.count += 1;
            }
            Some(since) if !is_paused || !progress.is_open() => {
                let until = progress.completed.map_or(now, |completed| completed.at);
                pauses.seconds += (until - since).max(0);
                pauses.since = None;
            }
            _ => {}
        }
    }
}

/// All rollouts of all Deployments of the name, oldest first.
#[derive(Clone, Debug)]
pub struct Truth {
    pub rollouts: Vec<Rollout>,
    /// Seconds without progress after which a rollout without a progress deadline has failed.
    fail_after: i64,
    /// The progress that was observed last, and when.
    last_progress: Option<(Uid, Option<i64>, [i32; 3], bool)>,
    progressed: i64,
    /// The revision of the Deployment when it was last observed.
    number: Option<i64>,
    /// When the Deployment was resumed and by which event, until the Deployment controller has observed that.
    resumed: Option<(i64, usize)>,
    /// Whether the Deployment had the number of another cluster since the last rollout started.
    is_hidden: bool,
    /// Events so far.
    event_count: usize,
}

impl Truth {
    /// No rollouts. `fail_after` is in seconds.
    pub fn new(fail_after: i64) -> Self {
        Self {
            rollouts: Vec::new(),
            fail_after,
            last_progress: None,
            progressed: 0,
            number: None,
            resumed: None,
            is_hidden: false,
            event_count: 0,
        }
    }

    /// Takes in the state after a write, or after a second has passed.
    pub fn observe(&mut self, now: i64, deployment: Option<&Deployment>, replica_sets: &[ReplicaSet]) {
        let position = self.event_count;
        self.event_count += 1;
        let Some(deployment) = deployment else {
            return self.observe_deletion(now);
        };
        let highest = highest_number(deployment, replica_sets);
        self.observe_wrong_number(deployment, highest);
        let deployment = &self.with_true_number(deployment, highest);
        self.observe_progress(now, deployment);
        self.observe_start(now, position, deployment, replica_sets);
        self.observe_present(deployment, replica_sets);
        self.observe_end(now, deployment, replica_sets);
        self.observe_pause(now, deployment);
    }

    fn observe_wrong_number(&mut self, deployment: &Deployment, highest: Option<i64>) {
        let number = deployment.object.revision;
        if number == highest || number == self.number {
            return;
        }
        let is_hidden = number > highest.max(self.number);
        self.is_hidden |= is_hidden;
        if let Some(rollout) = self.present_mut(&deployment.object.uid) {
            rollout.was_hidden |= is_hidden;
        }
        self.rollouts.iter_mut().rev().take(2).for_each(|rollout| rollout.was_ambiguous = true);
    }

    /// `deployment` with the number of its revision. Somebody may have changed the annotation, but the ReplicaSets have the truth.
    fn with_true_number(&self, deployment: &Deployment, highest: Option<i64>) -> Deployment {
        let mut deployment = deployment.clone();
        if deployment.object.revision != highest {
            deployment.object.revision = self.number;
        }
        deployment
    }

    fn observe_deletion(&mut self, now: i64) {
        self.number = None;
        if let Some(rollout) = self.rollouts.last_mut().filter(|rollout| rollout.progress.replaced.is_none()) {
            rollout.count_pause(now, false);
            rollout.progress.replaced = Some(Moment::observed(now));
            rollout.progress.is_deleted = true;
        }
    }

    fn observe_progress(&mut self, now: i64, deployment: &Deployment) {
        let object = &deployment.object;
        let counts = [object.counts.total, object.counts.updated, object.counts.available];
        let progress = (object.uid.clone(), object.revision, counts, object.paused);
        if self.last_progress.as_ref() != Some(&progress) {
            self.last_progress = Some(progress);
            self.progressed = now;
        }
    }

    /// Starts a rollout if the Deployment controller rolls out another ReplicaSet.
    fn observe_start(&mut self, now: i64, position: usize, deployment: &Deployment, replica_sets: &[ReplicaSet]) {
        let object = &deployment.object;
        let is_renumbered = self.number != object.revision;
        self.number = object.revision;
        let present = replica_sets.iter().find(|one| {
            one.owner.as_ref() == Some(&object.uid)
                && one.template == deployment.template
                && one.object.revision == object.revision
        });
        let Some(replica_set) = present.filter(|_| !object.paused) else {
            self.resumed = None;
            return;
        };
        // An undo of a paused Deployment gives the ReplicaSet its new number at once. The rollout starts when the
        // Deployment is resumed, if it still has that template.
        let is_new = replica_set.object.earlier_revisions.is_empty();
        if is_renumbered || is_new || object.observed_generation >= object.generation {
            let start = self.resumed.take().filter(|_| !is_renumbered).unwrap_or((now, position));
            self.start(start, deployment, replica_set, replica_sets);
        } else {
            self.resumed = self.resumed.or(Some((now, position)));
        }
    }

    fn start(
        &mut self,
        (now, position): (i64, usize),
        deployment: &Deployment,
        replica_set: &ReplicaSet,
        all: &[ReplicaSet],
    ) {
        let uid = &deployment.object.uid;
        let (Some(number), Some(created)) = (replica_set.object.revision, replica_set.object.created) else { return };
        let last = self.rollouts.last().filter(|last| last.deployment == *uid);
        if last.is_some_and(|last| last.replica_set == replica_set.object.uid) {
            return;
        }
        let before = last.and_then(|last| all.iter().find(|one| one.object.uid == last.replica_set));
        let is_kind_known = last.is_none() || before.is_some_and(|before| before.object.revision == Some(number - 1));
        let kind = change_kind(last.map(|last| last.template), replica_set);
        let started = match created.as_second() {
            _ if is_reused(replica_set) => Moment::observed(now),
            created if deployment.options.recreates => Moment::observed(created),
            created => Moment::exact(created),
        };
        let is_first = self.rollouts.iter().all(|rollout| rollout.deployment != *uid);
        if let Some(last) = self.present_mut(uid) {
            last.count_pause(now, false);
            last.progress.replaced = Some(started);
            if kind == ChangeKind::Rollback {
                self.roll_back(uid, number, &replica_set.object.uid);
            }
        }
        self.rollouts.push(Rollout {
            deployment: uid.clone(),
            replica_set: replica_set.object.uid.clone(),
            template: replica_set.template,
            number,
            numbers: vec![number],
            kind,
            is_kind_known,
            is_adopted: is_first && deployment.object.created.is_some_and(|deployment| deployment > created),
            started,
            position,
            progress: Progress::default(),
            pauses: Pauses::default(),
            rolled_back_by: None,
            was_visible: position + 1 == self.event_count,
            was_hidden: std::mem::take(&mut self.is_hidden),
            was_ambiguous: false,
        });
    }

    /// Marks the rollouts that a rollback of `deployment` to `replica_set` takes out of effect.
    fn roll_back(&mut self, deployment: &Uid, by: i64, replica_set: &Uid) {
        for rollout in self.rollouts.iter_mut().rev().filter(|rollout| rollout.deployment == *deployment) {
            // A restart is one change with the revision that it restarted.
            let is_restart = rollout.kind == ChangeKind::Restart;
            match rollout.outcome() {
                Outcome::Failed | Outcome::Superseded | Outcome::Abandoned => {}
                Outcome::Succeeded | Outcome::Recovered if rollout.replica_set != *replica_set => {
                    rollout.rolled_back_by = Some(by);
                    if !is_restart {
                        return;
                    }
                }
                Outcome::RolledBack if is_restart => {}
                _ => return,
            }
        }
    }

    /// Notes what becomes visible of the present rollout.
    fn observe_present(&mut self, deployment: &Deployment, replica_sets: &[ReplicaSet]) {
        let object = &deployment.object;
        let Some(rollout) = self.present_mut(&object.uid) else { return };
        let replica_set = replica_sets.iter().find(|one| one.object.uid == rollout.replica_set);
        rollout.was_visible |= object.counts.updated > 0 || object.counts.desired == 0;
        if let Some(number) = replica_set.and_then(|replica_set| replica_set.object.revision)
            && !rollout.numbers.contains(&number)
        {
            rollout.numbers.push(number);
        }
        let is_later = |completed: Moment| {
            deployment.condition.as_ref().is_some_and(|condition| {
                condition.reason == Reason::NewReplicaSetAvailable && condition.updated > completed.at
            })
        };
        rollout.progress.is_restated |= rollout.progress.completed.is_some_and(is_later);
    }

    /// Notes whether the present rollout is complete or has failed.
    fn observe_end(&mut self, now: i64, deployment: &Deployment, replica_sets: &[ReplicaSet]) {
        let object = &deployment.object;
        let fails_at = self.progressed + object.progress_deadline.map_or(self.fail_after, i64::from);
        let Some(rollout) = self.present_mut(&object.uid).filter(|rollout| rollout.progress.is_open()) else { return };
        // While the Deployment is paused, another ReplicaSet may get the number, and this one may be deleted.
        let is_present =
            |one: &ReplicaSet| one.object.uid == rollout.replica_set && one.object.revision == object.revision;
        if !replica_sets.iter().any(is_present) {
            return;
        }
        let condition = deployment.condition.as_ref();
        let own = condition.filter(|condition| is_about(condition, rollout));
        let progress = &mut rollout.progress;
        match own.map(|own| (own.reason, own.updated)) {
            Some((Reason::NewReplicaSetAvailable, at)) => progress.completed = Some(Moment::exact(at)),
            Some((Reason::ProgressDeadlineExceeded, at)) => {
                progress.failed = progress.failed.or(Some(Moment::exact(at)));
            }
            _ => {}
        }
        let is_underway = condition.is_some_and(|condition| {
            !matches!(condition.reason, Reason::NewReplicaSetAvailable | Reason::ProgressDeadlineExceeded)
        });
        if is_underway || own.is_some_and(|own| own.reason == Reason::NewReplicaSetAvailable) {
            return;
        }
        if is_complete(object) && (progress.failed.is_none() || object.counts.desired > 0) {
            progress.completed = Some(Moment::observed(now));
            progress.is_complete_at_zero = object.counts.desired == 0;
        } else if progress.is_open() && progress.failed.is_none() && !object.paused && fails_at <= now {
            progress.failed = Some(Moment::observed(fails_at));
        }
    }

    fn observe_pause(&mut self, now: i64, deployment: &Deployment) {
        let object = &deployment.object;
        let Some(rollout) = self.present_mut(&object.uid) else { return };
        // With a progress deadline, Kubernetes states a pause in the condition. Until then, the rollout goes on as
        // before.
        let states_pauses = deployment.options.has_deadline && rollout.progress.failed.is_none();
        let reason = if object.paused { Reason::DeploymentPaused } else { Reason::DeploymentResumed };
        let is_stated = deployment.condition.as_ref().is_some_and(|condition| condition.reason == reason);
        let is_observed = !states_pauses || is_stated || object.observed_generation >= object.generation;
        let is_paused = if is_observed { object.paused } else { rollout.pauses.since.is_some() };
        rollout.count_pause(now, is_paused);
    }

    /// The latest rollout, if it is one of this Deployment.
    fn present_mut(&mut self, deployment: &Uid) -> Option<&mut Rollout> {
        self.rollouts.last_mut().filter(|last| last.deployment == *deployment)
    }
}

/// The highest number of the ReplicaSets that the Deployment owns.
fn highest_number(deployment: &Deployment, replica_sets: &[ReplicaSet]) -> Option<i64> {
    let owned = replica_sets.iter().filter(|one| one.owner.as_ref() == Some(&deployment.object.uid));
    owned.filter_map(|one| one.object.revision).max()
}

fn is_reused(replica_set: &ReplicaSet) -> bool {
    !replica_set.object.earlier_revisions.is_empty()
}

/// What a rollout of `replica_set` changes, after one of the template `before`.
fn change_kind(before: Option<Template>, replica_set: &ReplicaSet) -> ChangeKind {
    let after = replica_set.template;
    match before {
        Some(before) if (before.image, before.config) == (after.image, after.config) => ChangeKind::Restart,
        _ if is_reused(replica_set) => ChangeKind::Rollback,
        None => ChangeKind::Initial,
        Some(before) if before.image != after.image => ChangeKind::Release,
        Some(_) => ChangeKind::Config,
    }
}

/// Whether the condition speaks of this rollout.
fn is_about(condition: &Condition, rollout: &Rollout) -> bool {
    // Kubernetes calls a failed rollout complete when it is scaled to zero, although nothing ran.
    let is_void = condition.reason == Reason::NewReplicaSetAvailable
        && condition.at_zero_replicas
        && rollout.progress.failed.is_some();
    condition.replica_set.as_ref() == Some(&rollout.replica_set) && condition.position >= rollout.position && !is_void
}
