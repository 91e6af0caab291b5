//! The operations of users during the faults.

use cluster::{DEADLINE, wait_for};
use fastrand::Rng;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use port_dora_controller::resources::DoraIncident;
use serde_json::{Value, json};

use crate::Error;

/// Number of rollouts of one Deployment.
const ROLLOUTS_EACH: usize = 6;

/// One in this number of rollouts fails.
const FAILING: u64 = 6;

/// Number of changes of one incident, including its creation.
const CHANGES_EACH: usize = 4;

/// The longest downtime of the controller, in operations.
const LONGEST_DOWNTIME: usize = 6;

/// The number of operations of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rollouts: usize,
    pub incidents: usize,
    pub kills: usize,
}

/// An operation. Deployments and incidents are identified by their numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Rolls out the image with this number.
    RollOut { deployment: usize, image: usize, fails: bool },
    /// Creates an incident, or changes it in a way that depends on `how`.
    Change { incident: usize, how: u64 },
    /// Kills the controller.
    Kill,
    /// Starts the controller.
    Start,
}

/// The remaining operations.
pub struct Operations {
    deployments: Api<Deployment>,
    incidents: Api<DoraIncident>,
    remaining: Vec<Operation>,
    /// Number of operations until the controller is started again.
    until_start: Option<usize>,
}

impl Operations {
    pub fn new(client: Client, namespace: &str, plan: Plan, random: &mut Rng) -> Self {
        let Plan { rollouts, incidents, kills } = plan;
        let deployments = rollouts.div_ceil(ROLLOUTS_EACH);
        let mut remaining = Vec::with_capacity(rollouts + incidents * CHANGES_EACH + kills);
        for image in 0..rollouts {
            remaining.push(Operation::RollOut {
                deployment: image % deployments,
                image,
                fails: random.u64(..FAILING) == 0,
            });
        }
        for number in 0..incidents * CHANGES_EACH {
            remaining.push(Operation::Change { incident: number % incidents, how: random.u64(..) });
        }
        random.shuffle(&mut remaining);
        // The kills are spread evenly, with room for a start between two of them.
        for number in (0..kills).rev() {
            let share = remaining.len() / kills;
            remaining.insert(
                number * share + random.usize(..share.saturating_sub(LONGEST_DOWNTIME).max(1)),
                Operation::Kill,
            );
        }
        Self {
            deployments: Api::namespaced(client.clone(), namespace),
            incidents: Api::namespaced(client, namespace),
            remaining,
            until_start: None,
        }
    }

    /// The next operation, or `None` when all operations are done and the controller is running.
    pub fn next(&mut self, random: &mut Rng) -> Option<Operation> {
        if self.until_start == Some(0) || (self.until_start.is_some() && self.remaining.is_empty()) {
            self.until_start = None;
            return Some(Operation::Start);
        }
        self.until_start = self.until_start.map(|operations| operations - 1);
        let operation = self.remaining.pop()?;
        if operation == Operation::Kill {
            self.until_start = Some(random.usize(..LONGEST_DOWNTIME));
        }
        Some(operation)
    }

    pub async fn perform(&self, operation: Operation) -> Result<(), Error> {
        match operation {
            Operation::RollOut { deployment, image, fails } => self.roll_out(deployment, image, fails).await,
            Operation::Change { incident, how } => self.change(incident, how).await,
            Operation::Kill | Operation::Start => Ok(()),
        }
    }

    /// Sets another image of the Deployment, and waits until the Deployment controller has observed it, so that each
    /// image is a rollout.
    async fn roll_out(&self, deployment: usize, image: usize, fails: bool) -> Result<(), Error> {
        let name = format!("web-{deployment}");
        let tag = if fails { "broken" } else { "v1" };
        let manifest = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": 1,
                "progressDeadlineSeconds": 2,
                "revisionHistoryLimit": 1000,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{"name": "app", "image": format!("app-{image}:{tag}")}],
                    },
                },
            },
        });
        let parameters = PatchParams::apply("chaos").force();
        let wanted = self.deployments.patch(&name, &parameters, &Patch::Apply(&manifest)).await?;
        wait_for(format!("the Deployment controller to observe {name}"), DEADLINE, async || {
            let found = self.deployments.get(&name).await?;
            let observed = found.status.as_ref().and_then(|status| status.observed_generation);
            Ok((observed >= wanted.metadata.generation).then_some(()))
        })
        .await?;
        Ok(())
    }

    /// Creates the incident, or changes some of its fields.
    async fn change(&self, incident: usize, how: u64) -> Result<(), Error> {
        let name = format!("down-{incident}");
        let level = ["low", "high", "critical"][usize::try_from(how % 3)?];
        let mut spec = json!({"priority": level});
        match how / 3 % 5 {
            0 => spec["status"] = json!("resolved"),
            1 => spec["status"] = json!("open"),
            2 => spec["description"] = json!(format!("Nobody knows why ({how})")),
            3 => spec["description"] = Value::Null,
            _ => spec["urgency"] = json!(level),
        }
        if self.incidents.get_opt(&name).await?.is_some() {
            self.incidents.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await?;
        } else {
            let incident = serde_json::from_value(json!({
                "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "metadata": {"name": name}, "spec": spec,
            }))?;
            self.incidents.create(&PostParams::default(), &incident).await?;
        }
        Ok(())
    }
}
