//! The Deployment controller, one step at a time, after `pkg/controller/deployment` of Kubernetes 1.36.
//!
//! Each step makes one write at most, where the original makes some and fails at the next, since its copy of the Deployment is old then.

use super::model::{Cluster, Condition, Reason, What};

/// How many pods each kind of ReplicaSet has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Counts {
    current: i32,
    updated: i32,
    available: i32,
}

impl Cluster {
    /// `syncDeployment`. Returns whether anything was to do.
    pub fn sync(&mut self) -> bool {
        let Some(deployment) = &self.deployment else { return false };
        let (paused, recreates) = (deployment.row.paused, deployment.shape.recreates);
        if self.adopt() {
            return true;
        }
        if self.check_paused_condition() {
            return true;
        }
        if paused || self.is_scaling_event() {
            return self.sync_revision() || self.scale() || (paused && self.clean_up()) || self.sync_status(false);
        }
        if recreates { self.roll_out_by_recreation() } else { self.roll_out() }
    }

    /// ReplicaSets that nobody owns are taken over if they match the selector, as all do here.
    fn adopt(&mut self) -> bool {
        let Some(uid) = self.deployment.as_ref().map(|deployment| deployment.row.uid.clone()) else { return false };
        let Some(position) = self.replica_sets.iter().position(|one| one.owner.is_none()) else { return false };
        self.replica_sets[position].owner = Some(uid);
        self.write_replica_set(position);
        true
    }

    /// `checkPausedConditions`.
    fn check_paused_condition(&mut self) -> bool {
        let (now, position) = (self.now, self.log.len());
        let Some(deployment) = &mut self.deployment else { return false };
        let reason = deployment.condition.as_ref().map(|condition| condition.reason);
        let wanted = match (deployment.row.paused, reason) {
            (_, Some(Reason::TimedOut)) | (true, Some(Reason::Paused)) => return false,
            (true, _) => Reason::Paused,
            (false, Some(Reason::Paused)) => Reason::Resumed,
            (false, _) => return false,
        };
        if !deployment.shape.has_deadline {
            return false;
        }
        deployment.condition =
            Some(Condition { reason: wanted, names: None, updated: now, about: None, position, at_nothing: false });
        self.write_deployment()
    }

    /// `isScalingEvent`.
    fn is_scaling_event(&self) -> bool {
        let Some(deployment) = &self.deployment else { return false };
        let replicas = deployment.row.counts.desired;
        self.owned()
            .into_iter()
            .map(|position| &self.replica_sets[position])
            .any(|one| one.wanted > 0 && one.desired != replicas)
    }

    /// `getAllReplicaSetsAndSyncRevision` for a ReplicaSet that exists.
    fn sync_revision(&mut self) -> bool {
        let Some(new) = self.new_replica_set() else { return false };
        let next = self.next_revision(Some(new));
        let row = &mut self.replica_sets[new].row;
        // `SetNewReplicaSetAnnotations`.
        if let Some(number) = row.revision
            && number < next
        {
            row.earlier_revisions = row.earlier_revisions.iter().copied().chain([number]).collect();
            row.revision = Some(next);
            self.write_replica_set(new);
            return true;
        }
        let (number, name, now, position) = (row.revision, row.name.clone(), self.now, self.log.len());
        let Some(deployment) = &mut self.deployment else { return false };
        deployment.row.revision = number;
        if deployment.shape.has_deadline && deployment.condition.is_none() {
            deployment.condition = Some(Condition {
                reason: Reason::Found,
                names: Some(name),
                updated: now,
                about: None,
                position,
                at_nothing: false,
            });
        }
        self.write_deployment()
    }

    fn next_revision(&self, new: Option<usize>) -> i64 {
        let old = self.owned().into_iter().filter(|position| Some(*position) != new);
        old.filter_map(|position| self.replica_sets[position].row.revision).max().unwrap_or(0) + 1
    }

    /// `getNewReplicaSet` for one that doesn't exist.
    fn create_replica_set(&mut self) -> bool {
        if self.new_replica_set().is_some() {
            return false;
        }
        let wanted = self.new_replicas(None);
        let revision = self.next_revision(None);
        let position = self.make_replica_set(revision, wanted);
        let name = self.replica_sets[position].row.name.clone();
        let position = self.log.len();
        let Some(deployment) = &mut self.deployment else { return false };
        deployment.row.revision = Some(revision);
        if deployment.shape.has_deadline {
            let created = Condition {
                reason: Reason::Created,
                names: Some(name),
                updated: self.now,
                about: None,
                position,
                at_nothing: false,
            };
            if created.replaces(deployment.condition.as_ref()) {
                deployment.condition = Some(created);
            }
        }
        self.write_deployment();
        true
    }

    /// `NewRSNewReplicas`.
    fn new_replicas(&self, new: Option<usize>) -> i32 {
        let Some(deployment) = &self.deployment else { return 0 };
        let (replicas, wanted) = (deployment.row.counts.desired, new.map_or(0, |new| self.replica_sets[new].wanted));
        if deployment.shape.recreates {
            return replicas;
        }
        let all: i32 = self.owned().into_iter().map(|position| self.replica_sets[position].wanted).sum();
        let most = replicas + deployment.shape.surge;
        if all >= most { wanted } else { wanted + (most - all).min(replicas - wanted) }
    }

    /// `scaleReplicaSet`.
    fn scale_to(&mut self, position: usize, wanted: i32) -> bool {
        let Some(replicas) = self.deployment.as_ref().map(|deployment| deployment.row.counts.desired) else {
            return false;
        };
        let one = &mut self.replica_sets[position];
        let is_changed = one.wanted != wanted || one.desired != replicas;
        (one.wanted, one.desired) = (wanted, replicas);
        is_changed
    }

    /// `scale`, with a simpler proportion: the difference goes to the largest.
    fn scale(&mut self) -> bool {
        let Some(deployment) = &self.deployment else { return false };
        let (replicas, surge, recreates) =
            (deployment.row.counts.desired, deployment.shape.surge, deployment.shape.recreates);
        let owned = self.owned();
        let active: Vec<_> = owned.iter().copied().filter(|position| self.replica_sets[*position].wanted > 0).collect();
        let new = self.new_replica_set();
        let newest = || owned.iter().copied().max_by_key(|position| self.replica_sets[*position].row.revision);
        let only = match active.as_slice() {
            [] => new.or_else(newest),
            [only] => Some(*only),
            _ => None,
        };
        if let Some(only) = only {
            return self.replica_sets[only].wanted != replicas && self.scale_to(only, replicas);
        }
        if let Some(new) = new {
            let one = &self.replica_sets[new];
            if one.wanted == replicas && one.desired == replicas && one.available == replicas {
                let others: Vec<_> = active.into_iter().filter(|position| *position != new).collect();
                return others.into_iter().any(|position| self.scale_to(position, 0));
            }
        }
        if recreates {
            return false;
        }
        let all: i32 = active.iter().map(|position| self.replica_sets[*position].wanted).sum();
        let most = if replicas > 0 { replicas + surge } else { 0 };
        let mut difference = most - all;
        let mut is_changed = false;
        let mut largest_first = active;
        largest_first.sort_by_key(|position| -self.replica_sets[*position].wanted);
        for position in largest_first {
            let wanted = (self.replica_sets[position].wanted + difference).max(0);
            difference -= wanted - self.replica_sets[position].wanted;
            is_changed |= self.scale_to(position, wanted);
        }
        is_changed
    }

    /// `rolloutRolling`.
    fn roll_out(&mut self) -> bool {
        if self.sync_revision() || self.create_replica_set() {
            return true;
        }
        let Some(new) = self.new_replica_set() else { return false };
        let Some(deployment) = &self.deployment else { return false };
        let (replicas, unavailable) = (deployment.row.counts.desired, deployment.shape.unavailable);
        let wanted = self.replica_sets[new].wanted.min(replicas);
        let wanted = if self.replica_sets[new].wanted > replicas { wanted } else { self.new_replicas(Some(new)) };
        if self.scale_to(new, wanted) {
            return true;
        }
        // `reconcileOldReplicaSets`.
        let least = replicas - unavailable;
        let owned = self.owned();
        let all: i32 = owned.iter().map(|position| self.replica_sets[*position].wanted).sum();
        let new_unavailable = self.replica_sets[new].wanted - self.replica_sets[new].available;
        let mut most = all - least - new_unavailable;
        let mut is_changed = false;
        for position in owned.iter().copied().filter(|position| *position != new) {
            let one = &self.replica_sets[position];
            let unhealthy = (one.wanted - one.available).clamp(0, most.max(0));
            if one.wanted > 0 && unhealthy > 0 {
                most -= unhealthy;
                is_changed |= self.scale_to(position, self.replica_sets[position].wanted - unhealthy);
            }
        }
        let available: i32 = owned.iter().map(|position| self.replica_sets[*position].available).sum();
        let mut spare = (available - least).min(most);
        for position in owned.into_iter().filter(|position| *position != new) {
            let down = self.replica_sets[position].wanted.min(spare);
            if down > 0 {
                spare -= down;
                is_changed |= self.scale_to(position, self.replica_sets[position].wanted - down);
            }
        }
        is_changed || (self.is_complete() && self.clean_up()) || self.sync_status(true)
    }

    /// `rolloutRecreate`.
    fn roll_out_by_recreation(&mut self) -> bool {
        if self.sync_revision() {
            return true;
        }
        let new = self.new_replica_set();
        let old: Vec<_> = self.owned().into_iter().filter(|position| Some(*position) != new).collect();
        let mut is_changed = false;
        for position in &old {
            if self.replica_sets[*position].wanted > 0 {
                is_changed |= self.scale_to(*position, 0);
            }
        }
        if is_changed {
            return true;
        }
        if old.iter().any(|position| self.replica_sets[*position].pods > 0) {
            return self.sync_status(true);
        }
        if self.create_replica_set() {
            return true;
        }
        let Some(new) = new else { return false };
        let replicas = self.deployment.as_ref().map_or(0, |deployment| deployment.row.counts.desired);
        self.scale_to(new, replicas) || (self.is_complete() && self.clean_up()) || self.sync_status(true)
    }

    /// `DeploymentComplete` of the status as it was written last.
    fn is_complete(&self) -> bool {
        self.deployment.as_ref().is_some_and(|deployment| rollout::is_complete(&deployment.row))
    }

    /// `cleanupDeployment`.
    fn clean_up(&mut self) -> bool {
        let Some(deployment) = &self.deployment else { return false };
        let (limit, new) = (deployment.shape.history_limit, self.new_replica_set());
        let mut old: Vec<_> = self.owned().into_iter().filter(|position| Some(*position) != new).collect();
        old.sort_by_key(|position| self.replica_sets[*position].row.revision);
        // Without any ReplicaSet left, numbers begin anew: that is a history of its own.
        let limit = if new.is_none() && !self.is_pruned_bare { limit.max(1) } else { limit };
        let excess = old.len().saturating_sub(limit);
        let is_empty =
            |position: &usize| self.replica_sets[*position].wanted == 0 && self.replica_sets[*position].pods == 0;
        let Some(position) = old.into_iter().take(excess).find(is_empty) else { return false };
        self.remove_replica_set(position);
        true
    }

    fn counts(&self) -> Counts {
        let owned = self.owned();
        let sum = |of: fn(&super::model::ReplicaSet) -> i32| {
            owned.iter().map(|position| of(&self.replica_sets[*position])).sum()
        };
        Counts {
            current: sum(|one| one.pods),
            updated: self.new_replica_set().map_or(0, |new| self.replica_sets[new].pods),
            available: sum(|one| one.available),
        }
    }

    /// `syncRolloutStatus` if it `tracks` the progress, else `syncDeploymentStatus`.
    fn sync_status(&mut self, tracks: bool) -> bool {
        let counts = self.counts();
        let new = self.new_replica_set().map(|new| &self.replica_sets[new].row);
        let (name, about) = (new.map(|new| new.name.clone()), new.map(|new| new.uid.clone()));
        let (now, position) = (self.now, self.log.len());
        let Some(deployment) = &mut self.deployment else { return false };
        let row = &mut deployment.row;
        let before = Counts { current: row.counts.total, updated: row.counts.updated, available: row.counts.available };
        row.observed_generation = row.generation;
        (row.counts.total, row.counts.updated, row.counts.available) =
            (counts.current, counts.updated, counts.available);
        if tracks {
            let present = deployment.condition.as_ref();
            let has_reason = |reason: Reason| present.is_some_and(|condition| condition.reason == reason);
            let is_at_rest = counts.current == counts.updated && has_reason(Reason::Available);
            let is_progress = counts.updated > before.updated
                || counts.current - counts.updated < before.current - before.updated
                || counts.available > before.available;
            let is_late = present.is_some_and(|condition| {
                condition.reason == Reason::TimedOut
                    || (condition.reason != Reason::Available
                        && row.progress_deadline.is_some_and(|deadline| condition.updated + i64::from(deadline) < now))
            });
            let reason = if !deployment.shape.has_deadline || is_at_rest {
                None
            } else if rollout::is_complete(row) {
                Some(Reason::Available)
            } else if is_progress {
                Some(Reason::Updated)
            } else if is_late {
                Some(Reason::TimedOut)
            } else {
                None
            };
            if let Some(reason) = reason {
                let at_nothing = row.counts.desired == 0;
                let next = Condition { reason, names: name, updated: now, about, position, at_nothing };
                // Progress moves its time each time.
                if reason == Reason::Updated || next.replaces(present) {
                    deployment.condition = Some(next);
                }
            }
        }
        self.write_deployment()
    }

    /// The Deployment is orphaned and deleted: `kubectl delete --cascade=orphan`.
    pub fn delete_and_orphan(&mut self) {
        for position in self.owned() {
            self.replica_sets[position].owner = None;
            self.write_replica_set(position);
        }
        self.sync_status(false);
        if let Some(deployment) = self.deployment.take() {
            self.push(What::DeploymentGone(deployment.row));
        }
    }
}
