//! Random scenarios: what people do with a Deployment, and what time does.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;

use super::model::SimulatedCluster;
use super::objects::{BROKEN_IMAGE, DeploymentOptions, Template};

/// How much higher the revision in the export of another cluster is.
const FOREIGN_OFFSET: i64 = 40;

/// One step of a scenario.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// `kubectl apply` of another pod template.
    Deploy {
        image: u8,
        config: u8,
    },
    /// `kubectl rollout undo`.
    Undo,
    /// `kubectl rollout restart`.
    Restart,
    /// `kubectl scale`.
    Scale(i32),
    /// `kubectl rollout pause`.
    Pause,
    /// `kubectl rollout resume`.
    Resume,
    /// `kubectl delete`.
    Delete,
    /// `kubectl delete --cascade=orphan`.
    Orphan,
    /// `kubectl create`.
    Create,
    /// `kubectl create` with the export of a Deployment at this revision.
    CreateFromExport(u8),
    /// `kubectl apply` of the export from the time of a ReplicaSet, or of a later revision of another cluster. Without its template, only the
    /// annotation with the revision changes.
    ApplyExport {
        replica_set: u8,
        with_template: bool,
    },
    ApplyForeignExport,
    /// `kubectl delete` of one of the ReplicaSets.
    DeleteReplicaSet(u8),
    /// Pods of the broken image become ready from now on, or no longer.
    SetBrokenImageWorks(bool),
    /// A quota refuses new pods from now on, or no longer.
    SetQuotaExhausted(bool),
    /// The controllers make a few writes; the numbers select them.
    Work([u8; 6]),
    /// The controllers work until nothing changes any more.
    RunUntilStable,
    /// Seconds pass.
    Wait(u8),
}

/// A random scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    options: DeploymentOptions,
    image: u8,
    steps: Vec<Step>,
    /// Whether revision numbers may start again at 1 while the Deployment is paused.
    may_prune_last_replica_set: bool,
}

/// Which steps a scenario has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ScenarioKind {
    /// All usual ones.
    Usual,
    /// All usual ones but pauses.
    WithoutPauses,
    /// Unusual ones too: ReplicaSets are deleted by hand, Deployments are deleted without their ReplicaSets, and
    /// revision numbers start again at 1.
    Unusual,
}

fn step(kind: ScenarioKind) -> impl Strategy<Value = Step> {
    let pause = match kind {
        ScenarioKind::WithoutPauses => Just(Step::RunUntilStable).boxed(),
        ScenarioKind::Usual | ScenarioKind::Unusual => {
            prop_oneof![2 => Just(Step::Pause), 3 => Just(Step::Resume)].boxed()
        }
    };
    let delete = match kind {
        ScenarioKind::Usual | ScenarioKind::WithoutPauses => Just(Step::Delete).boxed(),
        ScenarioKind::Unusual => prop_oneof![
            1 => Just(Step::Delete),
            1 => Just(Step::Orphan),
            2 => any::<u8>().prop_map(Step::DeleteReplicaSet),
        ]
        .boxed(),
    };
    prop_oneof![
        6 => (0..=BROKEN_IMAGE, 0..2_u8).prop_map(|(image, config)| Step::Deploy { image, config }),
        4 => Just(Step::Undo),
        2 => Just(Step::Restart),
        2 => (0..4_i32).prop_map(Step::Scale),
        5 => pause,
        1 => delete,
        1 => Just(Step::Create),
        1 => (1..9_u8).prop_map(Step::CreateFromExport),
        2 => any::<(u8, bool)>()
            .prop_map(|(replica_set, with_template)| Step::ApplyExport { replica_set, with_template }),
        1 => Just(Step::ApplyForeignExport),
        2 => any::<bool>().prop_map(Step::SetBrokenImageWorks),
        1 => any::<bool>().prop_map(Step::SetQuotaExhausted),
        8 => any::<[u8; 6]>().prop_map(Step::Work),
        8 => Just(Step::RunUntilStable),
        3 => (1..10_u8).prop_map(Step::Wait),
    ]
}

fn options() -> impl Strategy<Value = DeploymentOptions> {
    let surge = prop_oneof![Just((1, 0)), Just((0, 1)), Just((1, 1))];
    (any::<bool>(), prop_oneof![3 => Just(true), 1 => Just(false)], 0..4_usize, 0..4_i32, surge).prop_map(
        |(recreates, has_deadline, history_limit, replicas, (max_surge, max_unavailable))| DeploymentOptions {
            recreates,
            has_deadline,
            history_limit,
            replicas,
            max_surge,
            max_unavailable,
        },
    )
}

/// Random scenarios of this kind.
pub fn scenarios(kind: ScenarioKind) -> impl Strategy<Value = Scenario> {
    (options(), 0..=BROKEN_IMAGE, vec(step(kind), 1..24)).prop_map(move |(options, image, steps)| Scenario {
        options,
        image,
        steps,
        may_prune_last_replica_set: kind == ScenarioKind::Unusual,
    })
}

impl Scenario {
    /// The cluster after this scenario, when nothing changes any more. `fail_after` is as for
    /// [`SimulatedCluster::new`].
    pub fn run(&self, fail_after: i64) -> SimulatedCluster {
        let mut cluster = self.run_steps(fail_after);
        come_to_rest(&mut cluster);
        cluster
    }

    /// The same, after the Deployment was resumed if it was paused.
    pub fn run_and_resume(&self, fail_after: i64) -> SimulatedCluster {
        let mut cluster = self.run_steps(fail_after);
        cluster.wait(1);
        cluster.update_deployment(|deployment| deployment.object.paused = false);
        come_to_rest(&mut cluster);
        cluster
    }

    fn run_steps(&self, fail_after: i64) -> SimulatedCluster {
        let mut cluster = SimulatedCluster::new(fail_after);
        cluster.may_prune_last_replica_set = self.may_prune_last_replica_set;
        self.create(&mut cluster, None);
        for step in &self.steps {
            cluster.wait(1);
            self.run_step(&mut cluster, *step);
        }
        cluster
    }

    fn create(&self, cluster: &mut SimulatedCluster, number: Option<i64>) {
        cluster.create_deployment(Template { image: self.image, config: 0, restarted_at: 0 }, self.options, number);
    }

    fn run_step(&self, cluster: &mut SimulatedCluster, step: Step) {
        match step {
            // `kubectl apply` keeps annotations that the manifest doesn't name.
            Step::Deploy { image, config } => cluster.update_deployment(|deployment| {
                deployment.template = Template { image, config, ..deployment.template };
            }),
            Step::Undo => cluster.undo(),
            Step::Restart => {
                let now = cluster.now;
                cluster.update_deployment(|deployment| {
                    // kubectl refuses to restart a paused Deployment.
                    if !deployment.object.paused {
                        deployment.template.restarted_at = now;
                    }
                });
            }
            Step::Scale(replicas) => {
                cluster.update_deployment(|deployment| deployment.object.counts.desired = replicas);
            }
            Step::Pause => cluster.update_deployment(|deployment| deployment.object.paused = true),
            Step::Resume => cluster.update_deployment(|deployment| deployment.object.paused = false),
            Step::Delete => cluster.delete_deployment(),
            Step::Orphan => cluster.delete_and_orphan(),
            Step::DeleteReplicaSet(choice) => {
                let owned = cluster.owned();
                if !owned.is_empty() {
                    cluster.delete_replica_set(owned[usize::from(choice) % owned.len()]);
                }
            }
            Step::Create => self.create(cluster, None),
            Step::CreateFromExport(number) => self.create(cluster, Some(number.into())),
            Step::ApplyExport { replica_set, with_template } => {
                let owned = cluster.owned();
                if !owned.is_empty() {
                    let exported = &cluster.replica_sets[owned[usize::from(replica_set) % owned.len()]];
                    let (number, template) = (exported.object.first_revision(), exported.template);
                    cluster.apply_export(number.unwrap_or(1), with_template.then_some(template));
                }
            }
            Step::ApplyForeignExport => {
                let number = cluster.deployment.as_ref().and_then(|deployment| deployment.object.revision);
                cluster.apply_export(number.unwrap_or(0) + FOREIGN_OFFSET, None);
            }
            Step::SetBrokenImageWorks(works) => cluster.broken_image_works = works,
            Step::SetQuotaExhausted(is_exhausted) => cluster.is_quota_exhausted = is_exhausted,
            Step::Work(choices) => choices.into_iter().for_each(|choice| work(cluster, choice.into())),
            Step::RunUntilStable => cluster.run_until_stable(),
            Step::Wait(seconds) => {
                cluster.wait(seconds.into());
                cluster.sync_deployment();
            }
        }
    }
}

/// The Deployment controller or a pod makes one step, sometimes a second later.
fn work(cluster: &mut SimulatedCluster, choice: usize) {
    cluster.wait(i64::from(choice.is_multiple_of(5)));
    if choice.is_multiple_of(2) {
        cluster.sync_deployment();
    } else {
        cluster.step_pods(choice / 2);
    }
}

/// Nothing is left to do, and every deadline has passed.
fn come_to_rest(cluster: &mut SimulatedCluster) {
    cluster.run_until_stable();
    cluster.wait(20);
    cluster.run_until_stable();
    cluster.wait(1);
}
