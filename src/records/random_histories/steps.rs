//! What people do and what time does, one step of a random history each.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;

use super::model::{BROKEN, Cluster, Shape, Template};

/// One step.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Deploy {
        image: u8,
        config: u8,
    },
    Undo,
    Restart,
    Scale(i32),
    Pause,
    Resume,
    Delete,
    /// `kubectl delete --cascade=orphan`.
    Orphan,
    Create,
    /// Somebody deletes one of the ReplicaSets.
    DeleteReplicaSet(u8),
    /// Broken pods get ready from now on, or not any more.
    Repair(bool),
    /// A quota lets no pod be made, or does again.
    Fill(bool),
    /// The cluster does a few things, chosen among what is to do.
    Work([u8; 6]),
    Settle,
    Wait(u8),
}

/// A random history.
#[derive(Clone, Debug)]
pub struct Story {
    pub shape: Shape,
    pub image: u8,
    pub steps: Vec<Step>,
    /// Whether numbers may begin anew while the Deployment is paused.
    is_wild: bool,
}

/// What people do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum People {
    /// All that is usual.
    Usual,
    /// The same, but for pauses.
    WithoutPauses,
    /// Also what is not: ReplicaSets are deleted by hand, and Deployments without their ReplicaSets; numbers begin anew.
    Wild,
}

fn step(people: People) -> impl Strategy<Value = Step> {
    let pausing = match people {
        People::WithoutPauses => Just(Step::Settle).boxed(),
        People::Usual | People::Wild => prop_oneof![2 => Just(Step::Pause), 3 => Just(Step::Resume)].boxed(),
    };
    let deleting = match people {
        People::Usual | People::WithoutPauses => Just(Step::Delete).boxed(),
        People::Wild => prop_oneof![
            1 => Just(Step::Delete),
            1 => Just(Step::Orphan),
            2 => any::<u8>().prop_map(Step::DeleteReplicaSet),
        ]
        .boxed(),
    };
    prop_oneof![
        6 => (0..=BROKEN, 0..2_u8).prop_map(|(image, config)| Step::Deploy { image, config }),
        4 => Just(Step::Undo),
        2 => Just(Step::Restart),
        2 => (0..4_i32).prop_map(Step::Scale),
        5 => pausing,
        1 => deleting,
        1 => Just(Step::Create),
        2 => any::<bool>().prop_map(Step::Repair),
        1 => any::<bool>().prop_map(Step::Fill),
        8 => any::<[u8; 6]>().prop_map(Step::Work),
        8 => Just(Step::Settle),
        3 => (1..10_u8).prop_map(Step::Wait),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let surge = prop_oneof![Just((1, 0)), Just((0, 1)), Just((1, 1))];
    (any::<bool>(), prop_oneof![3 => Just(true), 1 => Just(false)], 0..4_usize, 0..4_i32, surge).prop_map(
        |(recreates, has_deadline, history_limit, replicas, (surge, unavailable))| Shape {
            recreates,
            has_deadline,
            history_limit,
            replicas,
            surge,
            unavailable,
        },
    )
}

/// Stories of what people do.
pub fn story(people: People) -> impl Strategy<Value = Story> {
    (shape(), 0..=BROKEN, vec(step(people), 1..24)).prop_map(move |(shape, image, steps)| Story {
        shape,
        image,
        steps,
        is_wild: people == People::Wild,
    })
}

impl Story {
    /// The cluster after this story, at rest.
    pub fn play(&self, fail_after: i64) -> Cluster {
        let mut cluster = self.unfinished(fail_after);
        rest(&mut cluster);
        cluster
    }

    /// The same, with the Deployment resumed if it is paused.
    pub fn resumed(&self, fail_after: i64) -> Cluster {
        let mut cluster = self.unfinished(fail_after);
        cluster.wait(1);
        cluster.change(|deployment| deployment.row.paused = false);
        rest(&mut cluster);
        cluster
    }

    fn unfinished(&self, fail_after: i64) -> Cluster {
        let mut cluster = Cluster::new(fail_after);
        cluster.is_pruned_bare = self.is_wild;
        let template = |image| Template { image, config: 0, restarted: 0 };
        cluster.create(template(self.image), self.shape);
        for step in &self.steps {
            cluster.wait(1);
            match *step {
                Step::Deploy { image, config } => cluster.change(|deployment| {
                    // What `kubectl apply` doesn't name stays.
                    let restarted = deployment.template.restarted;
                    deployment.template = Template { image, config, restarted };
                }),
                Step::Undo => cluster.undo(),
                Step::Restart => {
                    let now = cluster.now;
                    cluster.change(|deployment| {
                        if !deployment.row.paused {
                            deployment.template.restarted = now;
                        }
                    });
                }
                Step::Scale(replicas) => cluster.change(|deployment| deployment.row.counts.desired = replicas),
                Step::Pause => cluster.change(|deployment| deployment.row.paused = true),
                Step::Resume => cluster.change(|deployment| deployment.row.paused = false),
                Step::Delete => cluster.delete(),
                Step::Orphan => cluster.delete_and_orphan(),
                Step::DeleteReplicaSet(choice) => {
                    let owned = cluster.owned();
                    if !owned.is_empty() {
                        cluster.remove_replica_set(owned[usize::from(choice) % owned.len()]);
                    }
                }
                Step::Create => cluster.create(template(self.image), self.shape),
                Step::Repair(is_repaired) => cluster.is_repaired = is_repaired,
                Step::Fill(is_full) => cluster.is_full = is_full,
                Step::Work(choices) => {
                    for choice in choices {
                        let choice = usize::from(choice);
                        cluster.wait(i64::from(choice % 5 == 0));
                        if choice % 2 == 0 {
                            cluster.sync();
                        } else {
                            cluster.work_on_pods(choice / 2);
                        }
                    }
                }
                Step::Settle => cluster.update_status(),
                Step::Wait(seconds) => {
                    cluster.wait(seconds.into());
                    cluster.sync();
                }
            }
        }
        cluster
    }
}

/// Nothing is left to do, and every deadline has passed.
fn rest(cluster: &mut Cluster) {
    cluster.update_status();
    cluster.wait(20);
    cluster.update_status();
    cluster.wait(1);
}
