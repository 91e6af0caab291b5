//! The Deployment controller, one step at a time, after `pkg/controller/deployment` of Kubernetes 1.36.
//!
//! Each step makes at most one write. The original makes more, and fails at the next one, since its copy of the
//! Deployment is old then.

use rollout::Workload;

use super::model::SimulatedCluster;
use super::objects::{Condition, Reason, ReplicaSet};

/// The pods of a Deployment, as its status counts them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct PodCounts {
    all: i32,
    updated: i32,
    available: i32,
}

impl PodCounts {
    fn of_status(object: &Workload) -> Self {
        Self { all: object.counts.total, updated: object.counts.updated, available: object.counts.available }
    }

    /// Whether these counts are progress after `before` (`DeploymentProgressing`).
    fn are_progress(self, before: Self) -> bool {
        self.updated > before.updated
            || self.all - self.updated < before.all - before.updated
            || self.available > before.available
    }
}

impl SimulatedCluster {
    /// `syncDeployment`. Returns whether there was anything to do.
    pub fn sync_deployment(&mut self) -> bool {
        let Some(deployment) = &self.deployment else { return false };
        let (paused, recreates) = (deployment.object.paused, deployment.options.recreates);
        if self.adopt() || self.check_paused_condition() {
            return true;
        }
        if paused || self.is_scaling_event() {
            return self.sync_revision() || self.scale() || (paused && self.clean_up()) || self.sync_status();
        }
        if recreates { self.rollout_recreate() } else { self.rollout_rolling() }
    }

    /// Adopts a ReplicaSet without an owner. All match the selector here.
    fn adopt(&mut self) -> bool {
        let Some(uid) = self.deployment.as_ref().map(|deployment| deployment.object.uid.clone()) else { return false };
        let Some(position) = self.replica_sets.iter().position(|one| one.owner.is_none()) else { return false };
        self.replica_sets[position].owner = Some(uid);
        self.write_replica_set(position);
        true
    }

    /// `checkPausedConditions`.
    fn check_paused_condition(&mut self) -> bool {
        let (now, position) = (self.now, self.log.len());
        let Some(deployment) = &mut self.deployment else { return false };
        let present = deployment.condition.as_ref().map(|condition| condition.reason);
        let reason = match (deployment.object.paused, present) {
            (_, Some(Reason::ProgressDeadlineExceeded)) | (true, Some(Reason::DeploymentPaused)) => return false,
            (true, _) => Reason::DeploymentPaused,
            (false, Some(Reason::DeploymentPaused)) => Reason::DeploymentResumed,
            (false, _) => return false,
        };
        if !deployment.options.has_deadline {
            return false;
        }
        deployment.condition = Some(Condition::new(reason, now, position));
        self.write_deployment()
    }

    /// `isScalingEvent`.
    fn is_scaling_event(&self) -> bool {
        let Some(deployment) = &self.deployment else { return false };
        let replicas = deployment.object.counts.desired;
        self.owned()
            .into_iter()
            .map(|position| &self.replica_sets[position])
            .any(|one| one.spec_replicas > 0 && one.desired_replicas != replicas)
    }

    /// `getAllReplicaSetsAndSyncRevision` for a ReplicaSet that exists.
    fn sync_revision(&mut self) -> bool {
        let Some(new) = self.new_replica_set() else { return false };
        let next = self.next_revision(Some(new));
        let object = &mut self.replica_sets[new].object;
        // `SetNewReplicaSetAnnotations`.
        if let Some(number) = object.revision
            && number < next
        {
            object.earlier_revisions = object.earlier_revisions.iter().copied().chain([number]).collect();
            object.revision = Some(next);
            self.write_replica_set(new);
            return true;
        }
        let (number, name, now, position) = (object.revision, object.name.clone(), self.now, self.log.len());
        let Some(deployment) = &mut self.deployment else { return false };
        deployment.object.revision = number;
        if deployment.options.has_deadline && deployment.condition.is_none() {
            let found = Condition::new(Reason::FoundNewReplicaSet, now, position);
            deployment.condition = Some(Condition { replica_set_name: Some(name), ..found });
        }
        self.write_deployment()
    }

    fn next_revision(&self, new: Option<usize>) -> i64 {
        let old = self.owned().into_iter().filter(|position| Some(*position) != new);
        old.filter_map(|position| self.replica_sets[position].object.revision).max().unwrap_or(0) + 1
    }

    /// `getNewReplicaSet` for a ReplicaSet that doesn't exist.
    fn create_new_replica_set(&mut self) -> bool {
        if self.new_replica_set().is_some() {
            return false;
        }
        let (revision, spec_replicas) = (self.next_revision(None), self.new_replicas(None));
        let position = self.create_replica_set(revision, spec_replicas);
        let name = self.replica_sets[position].object.name.clone();
        let (now, position) = (self.now, self.log.len());
        let Some(deployment) = &mut self.deployment else { return false };
        deployment.object.revision = Some(revision);
        let created = Condition::new(Reason::NewReplicaSetCreated, now, position);
        if deployment.options.has_deadline && created.replaces(deployment.condition.as_ref()) {
            deployment.condition = Some(Condition { replica_set_name: Some(name), ..created });
        }
        self.write_deployment();
        true
    }

    /// `NewRSNewReplicas`.
    fn new_replicas(&self, new: Option<usize>) -> i32 {
        let Some(deployment) = &self.deployment else { return 0 };
        let replicas = deployment.object.counts.desired;
        if deployment.options.recreates {
            return replicas;
        }
        let present = new.map_or(0, |new| self.replica_sets[new].spec_replicas);
        let (total, max_total) = (self.total_spec_replicas(&self.owned()), replicas + deployment.options.max_surge);
        if total >= max_total { present } else { present + (max_total - total).min(replicas - present) }
    }

    fn total_spec_replicas(&self, positions: &[usize]) -> i32 {
        positions.iter().map(|position| self.replica_sets[*position].spec_replicas).sum()
    }

    /// `scaleReplicaSet`.
    fn scale_to(&mut self, position: usize, spec_replicas: i32) -> bool {
        let Some(replicas) = self.deployment.as_ref().map(|deployment| deployment.object.counts.desired) else {
            return false;
        };
        let one = &mut self.replica_sets[position];
        let is_changed = one.spec_replicas != spec_replicas || one.desired_replicas != replicas;
        (one.spec_replicas, one.desired_replicas) = (spec_replicas, replicas);
        is_changed
    }

    /// `scale`. The proportion is simpler than the original: the largest ReplicaSet takes the whole difference.
    fn scale(&mut self) -> bool {
        let Some(deployment) = &self.deployment else { return false };
        let (replicas, recreates) = (deployment.object.counts.desired, deployment.options.recreates);
        let owned = self.owned();
        let active: Vec<_> =
            owned.iter().copied().filter(|position| self.replica_sets[*position].spec_replicas > 0).collect();
        let new = self.new_replica_set();
        let newest = || owned.iter().copied().max_by_key(|position| self.replica_sets[*position].object.revision);
        // `FindActiveOrLatest`.
        let only = match active.as_slice() {
            [] => new.or_else(newest),
            [only] => Some(*only),
            _ => None,
        };
        if let Some(only) = only {
            return self.replica_sets[only].spec_replicas != replicas && self.scale_to(only, replicas);
        }
        if let Some(new) = new {
            let one = &self.replica_sets[new];
            // `IsSaturated`.
            if one.spec_replicas == replicas && one.desired_replicas == replicas && one.available_pods == replicas {
                return active.into_iter().any(|position| position != new && self.scale_to(position, 0));
            }
        }
        !recreates && self.scale_proportionally(active)
    }

    /// Scales the `active` ReplicaSets, so that together they have as many replicas as the strategy allows.
    fn scale_proportionally(&mut self, active: Vec<usize>) -> bool {
        let Some(deployment) = &self.deployment else { return false };
        let replicas = deployment.object.counts.desired;
        let max_total = if replicas > 0 { replicas + deployment.options.max_surge } else { 0 };
        let mut difference = max_total - self.total_spec_replicas(&active);
        let mut is_changed = false;
        let mut largest_first = active;
        largest_first.sort_by_key(|position| -self.replica_sets[*position].spec_replicas);
        for position in largest_first {
            let before = self.replica_sets[position].spec_replicas;
            let after = (before + difference).max(0);
            difference -= after - before;
            is_changed |= self.scale_to(position, after);
        }
        is_changed
    }

    /// `rolloutRolling`.
    fn rollout_rolling(&mut self) -> bool {
        if self.sync_revision() || self.create_new_replica_set() {
            return true;
        }
        let Some(new) = self.new_replica_set() else { return false };
        let Some(replicas) = self.deployment.as_ref().map(|deployment| deployment.object.counts.desired) else {
            return false;
        };
        // `reconcileNewReplicaSet`.
        let is_too_large = self.replica_sets[new].spec_replicas > replicas;
        let spec_replicas = if is_too_large { replicas } else { self.new_replicas(Some(new)) };
        self.scale_to(new, spec_replicas)
            || self.reconcile_old_replica_sets(new)
            || (self.is_complete() && self.clean_up())
            || self.sync_rollout_status()
    }

    /// `reconcileOldReplicaSets`.
    fn reconcile_old_replica_sets(&mut self, new: usize) -> bool {
        let Some(deployment) = &self.deployment else { return false };
        let min_available = deployment.object.counts.desired - deployment.options.max_unavailable;
        let owned = self.owned();
        let one = &self.replica_sets[new];
        let new_unavailable = one.spec_replicas - one.available_pods;
        let mut max_scaled_down = self.total_spec_replicas(&owned) - min_available - new_unavailable;
        let mut is_changed = false;
        // `cleanupUnhealthyReplicas`.
        for position in owned.iter().copied().filter(|position| *position != new) {
            let one = &self.replica_sets[position];
            let (before, available) = (one.spec_replicas, one.available_pods);
            let unhealthy = (before - available).clamp(0, max_scaled_down.max(0));
            if before > 0 && unhealthy > 0 {
                max_scaled_down -= unhealthy;
                is_changed |= self.scale_to(position, before - unhealthy);
            }
        }
        // `scaleDownOldReplicaSetsForRollingUpdate`.
        let available: i32 = owned.iter().map(|position| self.replica_sets[*position].available_pods).sum();
        let mut spare = (available - min_available).min(max_scaled_down);
        for position in owned.into_iter().filter(|position| *position != new) {
            let before = self.replica_sets[position].spec_replicas;
            let removed = before.min(spare);
            if removed > 0 {
                spare -= removed;
                is_changed |= self.scale_to(position, before - removed);
            }
        }
        is_changed
    }

    /// `rolloutRecreate`.
    fn rollout_recreate(&mut self) -> bool {
        if self.sync_revision() {
            return true;
        }
        let new = self.new_replica_set();
        let old: Vec<_> = self.owned().into_iter().filter(|position| Some(*position) != new).collect();
        let mut is_changed = false;
        for position in &old {
            if self.replica_sets[*position].spec_replicas > 0 {
                is_changed |= self.scale_to(*position, 0);
            }
        }
        if is_changed {
            return true;
        }
        if old.iter().any(|position| self.replica_sets[*position].pods > 0) {
            return self.sync_rollout_status();
        }
        if self.create_new_replica_set() {
            return true;
        }
        let Some(new) = new else { return false };
        let replicas = self.deployment.as_ref().map_or(0, |deployment| deployment.object.counts.desired);
        self.scale_to(new, replicas) || (self.is_complete() && self.clean_up()) || self.sync_rollout_status()
    }

    /// `DeploymentComplete`, by the status that was written last.
    fn is_complete(&self) -> bool {
        self.deployment.as_ref().is_some_and(|deployment| rollout::is_complete(&deployment.object))
    }

    /// `cleanupDeployment`.
    fn clean_up(&mut self) -> bool {
        let Some(deployment) = &self.deployment else { return false };
        let (limit, new) = (deployment.options.history_limit, self.new_replica_set());
        let mut old: Vec<_> = self.owned().into_iter().filter(|position| Some(*position) != new).collect();
        old.sort_by_key(|position| self.replica_sets[*position].object.revision);
        // Without any ReplicaSet, revision numbers start again at 1.
        let limit = if new.is_none() && !self.may_prune_last_replica_set { limit.max(1) } else { limit };
        let excess = old.len().saturating_sub(limit);
        let is_empty = |position: &usize| {
            self.replica_sets[*position].spec_replicas == 0 && self.replica_sets[*position].pods == 0
        };
        let Some(position) = old.into_iter().take(excess).find(is_empty) else { return false };
        self.delete_replica_set(position);
        true
    }

    fn count_pods(&self) -> PodCounts {
        let owned = self.owned();
        let sum =
            |count: fn(&ReplicaSet) -> i32| owned.iter().map(|position| count(&self.replica_sets[*position])).sum();
        PodCounts {
            all: sum(|one| one.pods),
            updated: self.new_replica_set().map_or(0, |new| self.replica_sets[new].pods),
            available: sum(|one| one.available_pods),
        }
    }

    /// `syncDeploymentStatus`.
    pub fn sync_status(&mut self) -> bool {
        let PodCounts { all, updated, available } = self.count_pods();
        let Some(deployment) = &mut self.deployment else { return false };
        let object = &mut deployment.object;
        object.observed_generation = object.generation;
        (object.counts.total, object.counts.updated, object.counts.available) = (all, updated, available);
        self.write_deployment()
    }

    /// `syncRolloutStatus`.
    fn sync_rollout_status(&mut self) -> bool {
        let counts = self.count_pods();
        let new = self.new_replica_set().map(|new| &self.replica_sets[new].object);
        let (name, uid) = (new.map(|new| new.name.clone()), new.map(|new| new.uid.clone()));
        let (now, position) = (self.now, self.log.len());
        let Some(deployment) = &mut self.deployment else { return false };
        let object = &mut deployment.object;
        let before = PodCounts::of_status(object);
        object.observed_generation = object.generation;
        (object.counts.total, object.counts.updated, object.counts.available) =
            (counts.all, counts.updated, counts.available);
        let present = deployment.condition.as_ref();
        let reason = progress(object, present, counts, before, now).filter(|_| deployment.options.has_deadline);
        if let Some(reason) = reason {
            let next = Condition {
                replica_set_name: name,
                replica_set: uid,
                at_zero_replicas: object.counts.desired == 0,
                ..Condition::new(reason, now, position)
            };
            // Each progress gives the condition a new time.
            if reason == Reason::ReplicaSetUpdated || next.replaces(present) {
                deployment.condition = Some(next);
            }
        }
        self.write_deployment()
    }
}

/// The reason of the condition `Progressing` that the counts lead to; `None` if the condition stays.
fn progress(
    object: &Workload,
    present: Option<&Condition>,
    counts: PodCounts,
    before: PodCounts,
    now: i64,
) -> Option<Reason> {
    let is_available = present.is_some_and(|condition| condition.reason == Reason::NewReplicaSetAvailable);
    if counts.all == counts.updated && is_available {
        return None;
    }
    if rollout::is_complete(object) {
        return Some(Reason::NewReplicaSetAvailable);
    }
    if counts.are_progress(before) {
        return Some(Reason::ReplicaSetUpdated);
    }
    has_timed_out(object, present, now).then_some(Reason::ProgressDeadlineExceeded)
}

/// `DeploymentTimedOut`.
fn has_timed_out(object: &Workload, present: Option<&Condition>, now: i64) -> bool {
    present.is_some_and(|condition| match condition.reason {
        Reason::ProgressDeadlineExceeded => true,
        Reason::NewReplicaSetAvailable => false,
        _ => object.progress_deadline.is_some_and(|deadline| condition.updated + i64::from(deadline) < now),
    })
}
