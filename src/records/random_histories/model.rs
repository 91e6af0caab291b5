//! What an API server holds of one Deployment's name: the Deployment, its ReplicaSets and their pods, and every write as a watch shows it.

use jiff::Timestamp;

use super::truth::Truth;
use rollout::{Conditions, Metadata, PodCounts, ProgressReason, Progressing, Revision, Uid, Workload, WorkloadKind};

/// UnixSeconds of the first event.
pub const START: i64 = 1_700_000_000;

/// Pods of this image are not ready before somebody repairs it.
pub const BROKEN: u8 = 3;

/// `spec.progressDeadlineSeconds` where there is one.
pub const DEADLINE: i32 = 6;

/// Most steps until a model stands still: more means that it never does.
const MOST_STEPS: usize = 500;

/// A pod template.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Template {
    pub image: u8,
    pub config: u8,
    /// `kubectl.kubernetes.io/restartedAt`.
    pub restarted: i64,
}

impl Template {
    /// Name of the ReplicaSet that is made from it.
    fn replica_set_name(self) -> String {
        format!("web-{}{}{}", self.image, self.config, self.restarted)
    }
}

/// Settings of a Deployment that stay as they are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub recreates: bool,
    pub has_deadline: bool,
    pub history_limit: usize,
    pub replicas: i32,
    pub surge: i32,
    pub unavailable: i32,
}

/// Reasons of the condition `Progressing`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    Created,
    Found,
    Updated,
    Available,
    TimedOut,
    Paused,
    Resumed,
}

impl Reason {
    fn shown(self) -> ProgressReason {
        match self {
            Self::Created | Self::Updated => ProgressReason::Other,
            Self::Found => ProgressReason::Found,
            Self::Available => ProgressReason::Complete,
            Self::TimedOut => ProgressReason::DeadlineExceeded,
            Self::Paused => ProgressReason::Paused,
            Self::Resumed => ProgressReason::Resumed,
        }
    }
}

/// The condition `Progressing`, with what it doesn't say.
#[derive(Clone, Debug)]
pub struct Condition {
    pub reason: Reason,
    pub names: Option<Box<str>>,
    pub updated: i64,
    /// The ReplicaSet of the template when it was set.
    pub about: Option<Uid>,
    /// The event that brought it, as a position in the log.
    pub position: usize,
    /// Whether the Deployment had no replicas then.
    pub at_nothing: bool,
}

impl Condition {
    /// `SetDeploymentCondition`: one with the same status and reason stays as it is.
    pub fn replaces(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| other.reason != self.reason)
    }
}

/// A Deployment.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub row: Workload,
    pub template: Template,
    pub shape: Shape,
    pub condition: Option<Condition>,
    /// `metadata.deletionTimestamp` is set.
    pub is_deleting: bool,
    /// The row as it was written last.
    written: Option<Workload>,
}

/// A ReplicaSet and its pods.
#[derive(Clone, Debug)]
pub struct ReplicaSet {
    pub row: Revision,
    pub owner: Option<Uid>,
    pub template: Template,
    /// `spec.replicas`.
    pub wanted: i32,
    /// The annotation `deployment.kubernetes.io/desired-replicas`.
    pub desired: i32,
    pub pods: i32,
    pub available: i32,
}

/// What a watch shows.
#[derive(Clone, Debug)]
pub enum What {
    Deployment(Workload),
    DeploymentGone(Workload),
    ReplicaSet {
        owner: Option<Uid>,
        row: Revision,
    },
    ReplicaSetGone(Uid),
    /// Nothing but a second that has passed.
    Nothing,
}

/// A write, and when it was made.
#[derive(Clone, Debug)]
pub struct Event {
    pub at: i64,
    pub what: What,
}

/// The store of the API server.
#[derive(Debug)]
pub struct Cluster {
    pub now: i64,
    pub deployment: Option<Deployment>,
    pub replica_sets: Vec<ReplicaSet>,
    pub log: Vec<Event>,
    pub truth: Truth,
    /// Whether pods of the image [`BROKEN`] get ready.
    pub is_repaired: bool,
    /// Whether a quota keeps pods from being made.
    pub is_full: bool,
    /// Whether the last ReplicaSet may be deleted while the Deployment is paused.
    pub is_pruned_bare: bool,
    /// How many objects were made.
    count: u32,
}

pub fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

impl Cluster {
    pub fn new(fail_after: i64) -> Self {
        Self {
            now: START,
            deployment: None,
            replica_sets: Vec::new(),
            log: Vec::new(),
            truth: Truth::new(fail_after),
            is_repaired: false,
            is_full: false,
            is_pruned_bare: false,
            count: 0,
        }
    }

    pub fn new_uid(&mut self) -> Uid {
        self.count += 1;
        format!("{:08x}-0000", self.count).into()
    }

    /// Time passes.
    pub fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += 1;
            self.push(What::Nothing);
        }
    }

    pub fn push(&mut self, what: What) {
        self.log.push(Event { at: self.now, what });
        self.truth.look(self.now, self.deployment.as_ref(), &self.replica_sets);
    }

    /// Writes the Deployment, if it has changed.
    pub fn write_deployment(&mut self) -> bool {
        let Some(deployment) = &mut self.deployment else { return false };
        deployment.row.conditions.progressing = deployment.condition.as_ref().map(|condition| Progressing {
            reason: condition.reason.shown(),
            replica_set: condition.names.clone(),
            updated: Some(time(condition.updated)),
        });
        if deployment.written.as_ref() == Some(&deployment.row) {
            return false;
        }
        let row = deployment.row.clone();
        deployment.written = Some(row.clone());
        self.push(What::Deployment(row));
        true
    }

    pub fn write_replica_set(&mut self, position: usize) {
        let ReplicaSet { owner, row, .. } = &self.replica_sets[position];
        let what = What::ReplicaSet { owner: owner.clone(), row: row.clone() };
        self.push(what);
    }

    pub fn remove_replica_set(&mut self, position: usize) {
        let removed = self.replica_sets.remove(position);
        self.push(What::ReplicaSetGone(removed.row.uid));
    }

    /// Positions of the ReplicaSets that the Deployment owns.
    pub fn owned(&self) -> Vec<usize> {
        let Some(deployment) = &self.deployment else { return Vec::new() };
        let is_owned = |position: &usize| self.replica_sets[*position].owner.as_ref() == Some(&deployment.row.uid);
        (0..self.replica_sets.len()).filter(is_owned).collect()
    }

    /// `FindNewReplicaSet`: the owned ReplicaSet of the Deployment's template.
    pub fn new_replica_set(&self) -> Option<usize> {
        let template = self.deployment.as_ref()?.template;
        self.owned().into_iter().find(|position| self.replica_sets[*position].template == template)
    }

    /// A ReplicaSet of `template` for the Deployment, with `wanted` pods to come.
    pub fn make_replica_set(&mut self, revision: i64, wanted: i32) -> usize {
        let uid = self.new_uid();
        let Some(deployment) = &self.deployment else { unreachable!("only a Deployment makes ReplicaSets") };
        let template = deployment.template;
        self.replica_sets.push(ReplicaSet {
            row: Revision {
                uid,
                name: template.replica_set_name().into(),
                revision: Some(revision),
                earlier_revisions: Box::default(),
                created: Some(time(self.now)),
                annotations: Metadata::default(),
                images: u64::from(template.image) + 1,
                template: u64::from(template.image) * 16 + u64::from(template.config) + 1,
                template_annotations: Metadata::default(),
                template_labels: Metadata::default(),
            },
            owner: Some(deployment.row.uid.clone()),
            template,
            wanted,
            desired: deployment.row.counts.desired,
            pods: 0,
            available: 0,
        });
        let position = self.replica_sets.len() - 1;
        self.write_replica_set(position);
        position
    }

    // What people do.

    pub fn create(&mut self, template: Template, shape: Shape) {
        if self.deployment.is_some() {
            return;
        }
        let uid = self.new_uid();
        let row = Workload {
            kind: WorkloadKind::Deployment,
            uid,
            namespace: "shop".into(),
            name: "web".into(),
            created: Some(time(self.now)),
            generation: 1,
            observed_generation: 0,
            revision: None,
            counts: PodCounts { desired: shape.replicas, ..PodCounts::default() },
            conditions: Conditions::default(),
            paused: false,
            recreates: shape.recreates,
            progress_deadline: shape.has_deadline.then_some(DEADLINE),
            labels: Metadata::default(),
            selected: true,
        };
        self.deployment = Some(Deployment { row, template, shape, condition: None, is_deleting: false, written: None });
        self.write_deployment();
    }

    /// Changes the specification of the Deployment, if there is one.
    pub fn change(&mut self, change: impl FnOnce(&mut Deployment)) {
        let Some(deployment) = self.deployment.as_mut().filter(|deployment| !deployment.is_deleting) else { return };
        let before = (deployment.template, deployment.row.counts.desired, deployment.row.paused);
        change(deployment);
        if before != (deployment.template, deployment.row.counts.desired, deployment.row.paused) {
            deployment.row.generation += 1;
            self.write_deployment();
        }
    }

    /// `kubectl rollout undo`: the template of the highest revision below the present one.
    pub fn undo(&mut self) {
        let Some(deployment) = &self.deployment else { return };
        let present = deployment.row.revision;
        // kubectl refuses.
        if deployment.row.paused {
            return;
        }
        let numbered = |position: &usize| self.replica_sets[*position].row.revision;
        let older = self.owned().into_iter().filter(|position| numbered(position) < present);
        let Some(position) = older.max_by_key(numbered) else { return };
        let template = self.replica_sets[position].template;
        self.change(|deployment| deployment.template = template);
    }

    /// The Deployment is deleted, and its ReplicaSets with it.
    pub fn delete(&mut self) {
        let Some(deployment) = self.deployment.take() else { return };
        self.push(What::DeploymentGone(deployment.row.clone()));
        while let Some(position) =
            self.replica_sets.iter().position(|one| one.owner.as_ref() == Some(&deployment.row.uid))
        {
            self.remove_replica_set(position);
        }
    }

    // What goes on by itself.

    /// The ReplicaSet controller or a kubelet does one thing, of those that `choice` chooses among.
    pub fn work_on_pods(&mut self, choice: usize) -> bool {
        let (is_repaired, is_full) = (self.is_repaired, self.is_full);
        let mut moves: Vec<(usize, i32, i32)> = Vec::new();
        for (position, one) in self.replica_sets.iter().enumerate() {
            if one.pods > one.wanted {
                // Those that aren't ready go first.
                let ready = one.available.min(one.pods - 1);
                moves.push((position, -1, ready - one.available));
            }
            if one.pods < one.wanted && !is_full {
                moves.push((position, 1, 0));
            }
            if one.available < one.pods.min(one.wanted) && (one.template.image != BROKEN || is_repaired) {
                moves.push((position, 0, 1));
            }
        }
        if moves.is_empty() {
            return false;
        }
        let (position, pods, available) = moves[choice % moves.len()];
        self.replica_sets[position].pods += pods;
        self.replica_sets[position].available += available;
        true
    }

    /// Everybody works until nothing moves any more.
    pub fn update_status(&mut self) {
        for step in 0..MOST_STEPS {
            let synced = self.sync();
            if !(self.work_on_pods(step) || synced) {
                return;
            }
        }
        unreachable!("the model never stands still: {self:#?}");
    }
}
