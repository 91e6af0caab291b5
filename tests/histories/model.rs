//! The API server and its objects of one Deployment's name: the Deployment, its ReplicaSets and their pods. Every write
//! is in the log.

use rollout::{Conditions, Metadata, PodCounts, Progressing, Revision, Uid, Workload, WorkloadKind};

use super::objects::{
    BROKEN_IMAGE, Deployment, DeploymentOptions, Event, EventKind, PROGRESS_DEADLINE, ReplicaSet, START, Template, time,
};
use super::truth::Truth;

/// Steps after which a cluster that still changes never becomes stable.
const MAX_STEPS: usize = 500;

/// A cluster of one Deployment.
#[derive(Debug)]
pub struct SimulatedCluster {
    /// Unix time.
    pub now: i64,
    pub deployment: Option<Deployment>,
    pub replica_sets: Vec<ReplicaSet>,
    pub log: Vec<Event>,
    pub truth: Truth,
    /// Whether pods of [`BROKEN_IMAGE`] become ready.
    pub broken_image_works: bool,
    /// Whether a quota refuses new pods.
    pub is_quota_exhausted: bool,
    /// Whether the last ReplicaSet of a paused Deployment may be deleted by its history limit.
    pub may_prune_last_replica_set: bool,
    created_objects: u32,
}

/// A change that one pod, or its controller, can make.
struct PodStep {
    replica_set: usize,
    pods: i32,
    available_pods: i32,
}

impl SimulatedCluster {
    /// An empty cluster. A rollout without a progress deadline has failed after `fail_after` seconds without progress.
    pub fn new(fail_after: i64) -> Self {
        Self {
            now: START,
            deployment: None,
            replica_sets: Vec::new(),
            log: Vec::new(),
            truth: Truth::new(fail_after),
            broken_image_works: false,
            is_quota_exhausted: false,
            may_prune_last_replica_set: false,
            created_objects: 0,
        }
    }

    fn new_uid(&mut self) -> Uid {
        self.created_objects += 1;
        format!("{:08x}-0000", self.created_objects).into()
    }

    /// Lets time pass.
    pub fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += 1;
            self.record_event(EventKind::SecondPassed);
        }
    }

    /// Appends an event to the log, and updates the truth.
    pub fn record_event(&mut self, kind: EventKind) {
        self.log.push(Event { at: self.now, kind });
        self.truth.observe(self.now, self.deployment.as_ref(), &self.replica_sets);
    }

    /// Writes the Deployment if it has changed. Returns whether it has.
    pub fn write_deployment(&mut self) -> bool {
        let Some(deployment) = &mut self.deployment else { return false };
        deployment.object.conditions.progressing = deployment.condition.as_ref().map(|condition| Progressing {
            reason: condition.reason.as_indexed(),
            replica_set: condition.replica_set_name.clone(),
            updated: Some(time(condition.updated)),
        });
        if deployment.last_written.as_ref() == Some(&deployment.object) {
            return false;
        }
        let object = deployment.object.clone();
        deployment.last_written = Some(object.clone());
        self.record_event(EventKind::DeploymentApplied(object));
        true
    }

    /// Writes the ReplicaSet at `position`.
    pub fn write_replica_set(&mut self, position: usize) {
        let ReplicaSet { owner, object, .. } = &self.replica_sets[position];
        let event = EventKind::ReplicaSetApplied { owner: owner.clone(), object: object.clone() };
        self.record_event(event);
    }

    /// Deletes the ReplicaSet at `position`.
    pub fn delete_replica_set(&mut self, position: usize) {
        let deleted = self.replica_sets.remove(position);
        self.record_event(EventKind::ReplicaSetDeleted(deleted.object.uid));
    }

    /// Positions of the ReplicaSets that the Deployment owns.
    pub fn owned(&self) -> Vec<usize> {
        let Some(deployment) = &self.deployment else { return Vec::new() };
        let is_owned = |position: &usize| self.replica_sets[*position].owner.as_ref() == Some(&deployment.object.uid);
        (0..self.replica_sets.len()).filter(is_owned).collect()
    }

    /// The owned ReplicaSet of the Deployment's template (`FindNewReplicaSet`).
    pub fn new_replica_set(&self) -> Option<usize> {
        let template = self.deployment.as_ref()?.template;
        self.owned().into_iter().find(|position| self.replica_sets[*position].template == template)
    }

    /// Creates a ReplicaSet of the Deployment's template. Returns its position.
    pub fn create_replica_set(&mut self, revision: i64, spec_replicas: i32) -> usize {
        let uid = self.new_uid();
        let Some(deployment) = &self.deployment else { unreachable!("only a Deployment creates ReplicaSets") };
        let template = deployment.template;
        let images = u64::from(template.image) + 1;
        self.replica_sets.push(ReplicaSet {
            object: Revision {
                uid,
                name: template.replica_set_name().into(),
                revision: Some(revision),
                earlier_revisions: Box::default(),
                created: Some(time(self.now)),
                annotations: Metadata::default(),
                images,
                template: images * 16 + u64::from(template.config),
                template_annotations: Metadata::default(),
                template_labels: Metadata::default(),
                is_restored: false,
            },
            owner: Some(deployment.object.uid.clone()),
            template,
            spec_replicas,
            desired_replicas: deployment.object.counts.desired,
            pods: 0,
            available_pods: 0,
        });
        let position = self.replica_sets.len() - 1;
        self.write_replica_set(position);
        position
    }

    /// Lets the pods and the Deployment controller work until nothing changes any more.
    pub fn run_until_stable(&mut self) {
        for step in 0..MAX_STEPS {
            let is_synced = self.sync_deployment();
            if !(self.step_pods(step) || is_synced) {
                return;
            }
        }
        unreachable!("the cluster never becomes stable: {self:#?}");
    }

    /// Makes one change to the pods; `choice` selects it among those that are possible. Returns whether there was any.
    pub fn step_pods(&mut self, choice: usize) -> bool {
        let mut steps: Vec<PodStep> = Vec::new();
        for (replica_set, one) in self.replica_sets.iter().enumerate() {
            if one.pods > one.spec_replicas {
                // Pods that aren't ready are deleted first.
                let available = one.available_pods.min(one.pods - 1);
                steps.push(PodStep { replica_set, pods: -1, available_pods: available - one.available_pods });
            }
            if one.pods < one.spec_replicas && !self.is_quota_exhausted {
                steps.push(PodStep { replica_set, pods: 1, available_pods: 0 });
            }
            let can_become_ready = one.template.image != BROKEN_IMAGE || self.broken_image_works;
            if one.available_pods < one.pods.min(one.spec_replicas) && can_become_ready {
                steps.push(PodStep { replica_set, pods: 0, available_pods: 1 });
            }
        }
        if steps.is_empty() {
            return false;
        }
        let PodStep { replica_set, pods, available_pods } = steps[choice % steps.len()];
        self.replica_sets[replica_set].pods += pods;
        self.replica_sets[replica_set].available_pods += available_pods;
        true
    }
}

/// What people do with `kubectl`.
impl SimulatedCluster {
    /// Creates the Deployment, unless it exists. A manifest that was exported has a revision number.
    pub fn create_deployment(&mut self, template: Template, options: DeploymentOptions, number: Option<i64>) {
        if self.deployment.is_some() {
            return;
        }
        let uid = self.new_uid();
        let object = Workload {
            kind: WorkloadKind::Deployment,
            uid,
            namespace: "shop".into(),
            name: "web".into(),
            created: Some(time(self.now)),
            generation: 1,
            observed_generation: 0,
            revision: number,
            paused: false,
            recreates: options.recreates,
            progress_deadline: options.has_deadline.then_some(PROGRESS_DEADLINE),
            conditions: Conditions::default(),
            counts: PodCounts { desired: options.replicas, ..PodCounts::default() },
            labels: Metadata::default(),
            selected: true,
            is_restored: false,
        };
        self.deployment = Some(Deployment { object, template, options, condition: None, last_written: None });
        self.write_deployment();
    }

    /// Changes the spec of the Deployment, if it exists.
    pub fn update_deployment(&mut self, update: impl FnOnce(&mut Deployment)) {
        let Some(deployment) = &mut self.deployment else { return };
        let spec =
            |deployment: &Deployment| (deployment.template, deployment.object.counts.desired, deployment.object.paused);
        let before = spec(deployment);
        update(deployment);
        if before != spec(deployment) {
            deployment.object.generation += 1;
            self.write_deployment();
        }
    }

    /// `kubectl apply` of a manifest that was exported when the Deployment, or one in another cluster, was at the revision `number`.
    pub fn apply_export(&mut self, number: i64, template: Option<Template>) {
        let Some(deployment) = &mut self.deployment else { return };
        deployment.object.revision = Some(number);
        if let Some(template) = template.filter(|template| *template != deployment.template) {
            deployment.template = template;
            deployment.object.generation += 1;
        }
        self.write_deployment();
    }

    /// `kubectl rollout undo`: back to the template of the highest revision below the present one. kubectl refuses if
    /// it is paused.
    pub fn undo(&mut self) {
        let Some(deployment) = &self.deployment else { return };
        if deployment.object.paused {
            return;
        }
        let present = deployment.object.revision;
        let number = |position: &usize| self.replica_sets[*position].object.revision;
        let older = self.owned().into_iter().filter(|position| number(position) < present);
        let Some(position) = older.max_by_key(number) else { return };
        let template = self.replica_sets[position].template;
        self.update_deployment(|deployment| deployment.template = template);
    }

    /// Deletes the Deployment, and its ReplicaSets with it.
    pub fn delete_deployment(&mut self) {
        let owned = self.owned();
        let Some(deployment) = self.deployment.take() else { return };
        self.record_event(EventKind::DeploymentDeleted(deployment.object));
        for (deleted, position) in owned.into_iter().enumerate() {
            self.delete_replica_set(position - deleted);
        }
    }

    /// `kubectl delete --cascade=orphan`.
    pub fn delete_and_orphan(&mut self) {
        for position in self.owned() {
            self.replica_sets[position].owner = None;
            self.write_replica_set(position);
        }
        self.sync_status();
        if let Some(deployment) = self.deployment.take() {
            self.record_event(EventKind::DeploymentDeleted(deployment.object));
        }
    }
}
