//! What truly happened to each rollout, from what the model knows and no watch shows: which ReplicaSet is in charge, and about which
//! rollout a condition speaks.

use super::model::{Condition, Deployment, Reason, ReplicaSet, Template};
use rollout::{ChangeKind, Outcome, Uid, is_complete};

/// A second, and whether the cluster states it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
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

/// A rollout: a ReplicaSet took charge of a Deployment that was not paused.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Rollout {
    pub deployment: Uid,
    /// The event with which it began.
    position: usize,
    /// The revision that it began with. It may be numbered anew later.
    pub number: i64,
    pub replica_set: Uid,
    pub template: Template,
    /// The Deployment only took over what ran already.
    pub is_taken_over: bool,
    pub kind: ChangeKind,
    /// Whether the ReplicaSet before is still there to compare with, and no number between the two was given to another.
    pub is_kind_known: bool,
    pub started: Moment,
    pub completed: Option<Moment>,
    pub failed: Option<Moment>,
    /// Another rollout took its place, or the Deployment was deleted.
    pub ended: Option<Moment>,
    pub is_abandoned: bool,
    /// The Deployment was deleted while it was the present one.
    pub is_deleted: bool,
    /// All numbers that its ReplicaSet had while it was the present one.
    pub numbers: Vec<i64>,
    /// A pause and resume of the complete Deployment gave its condition a new time.
    pub is_restated: bool,
    pub rolled_back_by: Option<i64>,
    /// Whether it was seen to run: it has or needs no pods, or was not begun by a resume.
    pub has_shown: bool,
    /// The counts called it complete when it had no replicas.
    pub is_complete_at_nothing: bool,
    /// Seconds in which it was paused.
    pub paused_seconds: i64,
    /// How often it was paused.
    pub pauses: u32,
    paused_since: Option<i64>,
}

impl Rollout {
    /// The same to whom a failure escaped that the cluster doesn't state.
    pub fn without_failure(&self) -> Self {
        Self { failed: None, is_abandoned: self.is_deleted && self.completed.is_none(), ..self.clone() }
    }

    /// The same to whom the rollback escaped.
    pub fn without_mark(&self) -> Self {
        Self { rolled_back_by: None, ..self.clone() }
    }

    pub fn outcome(&self) -> Outcome {
        match self {
            Self { rolled_back_by: Some(_), .. } => Outcome::RolledBack,
            Self { completed: Some(_), failed: Some(_), .. } => Outcome::Recovered,
            Self { completed: Some(_), .. } => Outcome::Succeeded,
            Self { failed: Some(_), .. } => Outcome::Failed,
            Self { ended: Some(_), is_abandoned: true, .. } => Outcome::Abandoned,
            Self { ended: Some(_), .. } => Outcome::Superseded,
            _ => Outcome::InProgress,
        }
    }

    pub fn finished(&self) -> Option<Moment> {
        self.completed.or(self.failed).or(self.ended)
    }

    fn count_pause(&mut self, now: i64, is_paused: bool) {
        match self.paused_since {
            None if is_paused && self.is_open() => {
                self.paused_since = Some(now);
                self.pauses += 1;
            }
            Some(since) if !is_paused || !self.is_open() => {
                let until = self.completed.map_or(now, |completed| completed.at);
                self.paused_seconds += (until - since).max(0);
                self.paused_since = None;
            }
            _ => {}
        }
    }

    fn is_open(&self) -> bool {
        self.completed.is_none() && self.ended.is_none()
    }

    fn is_in_progress(&self) -> bool {
        self.is_open() && self.failed.is_none()
    }
}

/// All rollouts of all Deployments of the name, oldest first.
#[derive(Clone, Debug)]
pub struct Truth {
    pub rollouts: Vec<Rollout>,
    /// Seconds after which one that stands still has failed, if Kubernetes doesn't say so.
    fail_after: i64,
    /// What moved last, and when.
    steps: Option<(Uid, Option<i64>, i32, i32, i32, bool)>,
    progressed: i64,
    /// The revision of the Deployment as it was written last.
    number: Option<i64>,
    /// When it was resumed and by which event, until the Deployment controller has seen that.
    resumed: Option<(i64, usize)>,
    /// How many events there were.
    count: usize,
}

impl Truth {
    pub fn new(fail_after: i64) -> Self {
        Self { rollouts: Vec::new(), fail_after, steps: None, progressed: 0, number: None, resumed: None, count: 0 }
    }

    /// Takes in the state after a write, or after a second has passed.
    pub fn look(&mut self, now: i64, deployment: Option<&Deployment>, replica_sets: &[ReplicaSet]) {
        let position = self.count;
        self.count += 1;
        let Some(deployment) = deployment else {
            self.end(now);
            return;
        };
        let row = &deployment.row;
        let steps =
            (row.uid.clone(), row.revision, row.counts.total, row.counts.updated, row.counts.available, row.paused);
        if self.steps.as_ref() != Some(&steps) {
            self.steps = Some(steps);
            self.progressed = now;
        }
        let in_charge = replica_sets.iter().find(|one| {
            one.owner.as_ref() == Some(&row.uid)
                && one.template == deployment.template
                && one.row.revision == row.revision
        });
        // What is numbered anew at once while the Deployment is paused rolls out only when it is resumed, if the template is still that one.
        let is_numbered = self.number != row.revision;
        self.number = row.revision;
        match in_charge.filter(|_| !row.paused) {
            Some(replica_set)
                if is_numbered
                    || replica_set.row.earlier_revisions.is_empty()
                    || row.observed_generation >= row.generation =>
            {
                let since = self.resumed.take().filter(|_| !is_numbered).unwrap_or((now, position));
                self.take_charge(since, deployment, replica_set, replica_sets);
            }
            Some(_) => self.resumed = self.resumed.or(Some((now, position))),
            None => self.resumed = None,
        }
        if let Some(rollout) = self.rollouts.last_mut().filter(|last| last.deployment == row.uid) {
            let own = replica_sets.iter().find(|one| one.row.uid == rollout.replica_set);
            rollout.has_shown |= row.counts.updated > 0 || row.counts.desired == 0;
            if let Some(number) = own.and_then(|own| own.row.revision)
                && !rollout.numbers.contains(&number)
            {
                rollout.numbers.push(number);
            }
            let stated = deployment.condition.as_ref().filter(|condition| condition.reason == Reason::Available);
            rollout.is_restated |=
                rollout.completed.is_some_and(|completed| stated.is_some_and(|stated| stated.updated > completed.at));
        }
        self.judge(now, deployment, replica_sets);
        if let Some(rollout) = self.rollouts.last_mut().filter(|last| last.deployment == row.uid) {
            // With a progress deadline, a pause is what Kubernetes states: before it has taken it in, it goes on as before.
            let states_pauses = deployment.shape.has_deadline && rollout.failed.is_none();
            let reason = if row.paused { Reason::Paused } else { Reason::Resumed };
            let is_stated = deployment.condition.as_ref().is_some_and(|condition| condition.reason == reason);
            let is_taken_in = !states_pauses || is_stated || row.observed_generation >= row.generation;
            rollout.count_pause(now, if is_taken_in { row.paused } else { rollout.paused_since.is_some() });
        }
    }

    /// The Deployment is gone.
    fn end(&mut self, now: i64) {
        if let Some(rollout) = self.rollouts.last_mut().filter(|rollout| rollout.ended.is_none()) {
            rollout.count_pause(now, false);
            rollout.ended = Some(Moment::observed(now));
            rollout.is_deleted = true;
            rollout.is_abandoned = rollout.completed.is_none() && rollout.failed.is_none();
        }
    }

    fn take_charge(
        &mut self,
        (now, position): (i64, usize),
        deployment: &Deployment,
        replica_set: &ReplicaSet,
        all: &[ReplicaSet],
    ) {
        let row = &deployment.row;
        let (Some(number), Some(created)) = (replica_set.row.revision, replica_set.row.created) else { return };
        let last = self.rollouts.last().filter(|last| last.deployment == row.uid);
        if last.is_some_and(|last| last.replica_set == replica_set.row.uid) {
            return;
        }
        let before = last.and_then(|last| all.iter().find(|one| one.row.uid == last.replica_set));
        let is_kind_known = last.is_none() || before.is_some_and(|before| before.row.revision == Some(number - 1));
        let is_used = !replica_set.row.earlier_revisions.is_empty();
        let kind = match last.map(|last| last.template) {
            Some(before)
                if (before.image, before.config) == (replica_set.template.image, replica_set.template.config) =>
            {
                ChangeKind::Restart
            }
            _ if is_used => ChangeKind::Rollback,
            None => ChangeKind::Initial,
            Some(before) if before.image != replica_set.template.image => ChangeKind::Release,
            Some(_) => ChangeKind::Config,
        };
        let started = match created.as_second() {
            _ if is_used => Moment::observed(now),
            made if deployment.shape.recreates => Moment::observed(made),
            made => Moment::exact(made),
        };
        if let Some(last) = self.rollouts.last_mut().filter(|last| last.deployment == row.uid) {
            last.count_pause(now, false);
            last.ended = Some(started);
            if kind == ChangeKind::Rollback {
                self.roll_back(&row.uid, number, &replica_set.row.uid);
            }
        }
        self.rollouts.push(Rollout {
            deployment: row.uid.clone(),
            position,
            number,
            replica_set: replica_set.row.uid.clone(),
            template: replica_set.template,
            is_taken_over: row.created.is_some_and(|row| row > created) && last_is_none(&self.rollouts, &row.uid),
            kind,
            is_kind_known,
            started,
            completed: None,
            failed: None,
            ended: None,
            is_abandoned: false,
            is_deleted: false,
            numbers: vec![number],
            is_restated: false,
            rolled_back_by: None,
            has_shown: position + 1 == self.count,
            is_complete_at_nothing: false,
            paused_seconds: 0,
            pauses: 0,
            paused_since: None,
        });
    }

    /// Marks what was in effect before.
    fn roll_back(&mut self, deployment: &Uid, by: i64, replica_set: &Uid) {
        for rollout in self.rollouts.iter_mut().rev().filter(|rollout| rollout.deployment == *deployment) {
            // A restart brought nothing of its own.
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

    /// Whether the rollout that is under way has come to an end.
    fn judge(&mut self, now: i64, deployment: &Deployment, replica_sets: &[ReplicaSet]) {
        let row = &deployment.row;
        let (progressed, fail_after) = (self.progressed, row.progress_deadline.map_or(self.fail_after, i64::from));
        let Some(rollout) = self.rollouts.last_mut().filter(|last| last.deployment == row.uid && last.is_open()) else {
            return;
        };
        // While the Deployment is paused, another ReplicaSet may have taken the number, and this one may have been deleted.
        let is_present = |one: &ReplicaSet| one.row.uid == rollout.replica_set && one.row.revision == row.revision;
        if !replica_sets.iter().any(is_present) {
            return;
        }
        // Nothing ran where a failed rollout was scaled to nothing, though Kubernetes calls it complete.
        let has_failed = rollout.failed.is_some();
        let is_void =
            |condition: &&Condition| condition.reason == Reason::Available && condition.at_nothing && has_failed;
        let condition = deployment.condition.as_ref();
        let own = condition
            .filter(|condition| {
                condition.about.as_ref() == Some(&rollout.replica_set) && condition.position >= rollout.position
            })
            .filter(|condition| !is_void(condition));
        match own.map(|own| (own.reason, own.updated)) {
            Some((Reason::Available, at)) => rollout.completed = Some(Moment::exact(at)),
            Some((Reason::TimedOut, at)) => rollout.failed = rollout.failed.or(Some(Moment::exact(at))),
            _ => {}
        }
        let is_tracked = condition
            .is_some_and(|condition| !matches!(condition.reason, Reason::Available | Reason::TimedOut))
            || own.is_some_and(|own| own.reason == Reason::Available);
        if is_tracked {
            return;
        }
        if is_complete(row) && (rollout.failed.is_none() || row.counts.desired > 0) {
            rollout.completed = Some(Moment::observed(now));
            rollout.is_complete_at_nothing = row.counts.desired == 0;
        } else if rollout.is_in_progress() && !row.paused && progressed + fail_after <= now {
            rollout.failed = Some(Moment::observed(progressed + fail_after));
        }
    }
}

fn last_is_none(rollouts: &[Rollout], deployment: &Uid) -> bool {
    rollouts.iter().all(|rollout| rollout.deployment != *deployment)
}
