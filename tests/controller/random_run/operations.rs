//! Random operations on Deployments with kubectl, like those of people and pipelines.

use std::fmt::Write as _;

use fastrand::Rng;

use crate::Error;
use crate::fixture::{Installation, deployment};

/// Errors of kubectl when an operation has no effect. They are ignored.
const REFUSALS: [&str; 2] = ["no rollout history found", "restart has already been triggered within the past second"];

/// The Deployments that the operations change.
pub struct Fleet<'a> {
    setup: &'a Installation,
    namespace: String,
    deployments: Vec<DesiredDeployment>,
    /// The number of the newest image.
    images: u32,
    /// The next operations, used from the last to the first. Each kind comes exactly as often as its weight.
    queue: Vec<Operation>,
    /// The operations so far, one line each.
    pub log: String,
}

/// The desired state of a Deployment.
struct DesiredDeployment {
    name: String,
    template: Template,
    /// All templates so far.
    past_templates: Vec<Template>,
    replicas: u32,
    deadline: u32,
    recreates: bool,
    ready_after: u32,
    is_paused: bool,
}

/// The part of the pod template that changes.
#[derive(Clone, Debug)]
struct Template {
    image: String,
    setting: u32,
    /// Milliseconds until a pod is ready.
    ready_after: u32,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    DeployGood,
    DeployBroken,
    DeploySlow,
    DeployPast,
    Configure,
    Undo,
    Restart,
    Scale,
    PauseOrResume,
    Annotate,
    DeleteAndCreate,
}

/// The operations, each as often as its weight.
const OPERATIONS: [Operation; 20] = [
    Operation::DeployGood,
    Operation::DeployGood,
    Operation::DeployGood,
    Operation::DeployGood,
    Operation::DeployBroken,
    Operation::DeployBroken,
    Operation::DeploySlow,
    Operation::DeployPast,
    Operation::DeployPast,
    Operation::Configure,
    Operation::Undo,
    Operation::Undo,
    Operation::Undo,
    Operation::Restart,
    Operation::Restart,
    Operation::Scale,
    Operation::PauseOrResume,
    Operation::PauseOrResume,
    Operation::Annotate,
    Operation::DeleteAndCreate,
];

impl<'a> Fleet<'a> {
    /// Prepares `count` Deployments that differ in their settings, without creating them.
    pub fn new(setup: &'a Installation, namespace: &str, count: usize, random: &mut Rng) -> Self {
        let desired = |number: usize| {
            let ready_after = random.u32(0..=2) * 700;
            let template = Template { image: "app-0:good".to_owned(), setting: 0, ready_after };
            DesiredDeployment {
                name: format!("web-{number}"),
                past_templates: vec![template.clone()],
                template,
                replicas: random.u32(1..=3),
                deadline: random.u32(2..=4),
                recreates: random.u32(0..4) == 0,
                ready_after,
                is_paused: false,
            }
        };
        let deployments = (0..count).map(desired).collect();
        Self { setup, namespace: namespace.to_owned(), deployments, images: 0, queue: Vec::new(), log: String::new() }
    }

    /// Creates all Deployments at once.
    pub async fn create(&mut self) -> Result<(), Error> {
        let manifests: Vec<String> = self.deployments.iter().map(DesiredDeployment::manifest).collect();
        self.setup.apply_in(&self.namespace, &manifests.join("---\n")).await?;
        Ok(())
    }

    /// Adds a line to the log.
    pub fn note(&mut self, what: &str) {
        let _ = writeln!(self.log, "{:.3} {what}", jiff::Timestamp::now());
    }

    /// Runs a random operation on a random Deployment.
    pub async fn run_operation(&mut self, random: &mut Rng) -> Result<(), Error> {
        let index = random.usize(..self.deployments.len());
        if self.queue.is_empty() {
            self.queue = OPERATIONS.to_vec();
            random.shuffle(&mut self.queue);
        }
        let operation = match self.queue.pop().ok_or("there are no operations")? {
            // kubectl refuses these while the Deployment is paused.
            Operation::Undo | Operation::Restart if self.deployments[index].is_paused => Operation::PauseOrResume,
            operation => operation,
        };
        if matches!(operation, Operation::DeployGood | Operation::DeployBroken | Operation::DeploySlow) {
            self.images += 1;
        }
        let desired = &mut self.deployments[index];
        let command = desired.change(operation, self.images, random);
        let template = desired.template.clone();
        desired.past_templates.push(template.clone());
        let (name, manifest) = (desired.name.clone(), desired.manifest());
        let description = command.as_ref().map_or_else(|| format!("{template:?}"), |words| words.join(" "));
        self.note(&format!("{operation:?} {name}: {description}"));
        if let Some(command) = &command {
            let arguments = ["--namespace", &self.namespace].into_iter().chain(command.iter().map(String::as_str));
            match self.setup.kubectl(arguments).await {
                Err(error) if REFUSALS.iter().any(|refusal| error.to_string().contains(refusal)) => {}
                result => drop(result?),
            }
        }
        if command.is_none() || matches!(operation, Operation::DeleteAndCreate) {
            self.setup.apply_in(&self.namespace, &manifest).await?;
        }
        Ok(())
    }
}

impl DesiredDeployment {
    /// Changes the desired state. Returns the arguments of kubectl for the operation, or `None` if the manifest has to
    /// be applied.
    fn change(&mut self, operation: Operation, image: u32, random: &mut Rng) -> Option<Vec<String>> {
        let deployment = format!("deployment/{}", self.name);
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        match operation {
            Operation::DeployGood | Operation::DeployBroken | Operation::DeploySlow => {
                let tag = if matches!(operation, Operation::DeployBroken) { "broken" } else { "good" };
                self.template.image = format!("app-{image}:{tag}");
                // A slow rollout fails, and then recovers.
                let is_slow = matches!(operation, Operation::DeploySlow);
                self.template.ready_after = if is_slow { self.deadline * 1000 + 2500 } else { self.ready_after };
                None
            }
            Operation::DeployPast => {
                self.template = self.past_templates[random.usize(..self.past_templates.len())].clone();
                None
            }
            Operation::Configure => {
                self.template.setting += 1;
                None
            }
            Operation::Scale => {
                self.replicas = random.u32(0..=3);
                words(&["scale", &deployment, &format!("--replicas={}", self.replicas)])
            }
            Operation::Undo => words(&["rollout", "undo", &deployment]),
            Operation::Restart => words(&["rollout", "restart", &deployment]),
            Operation::PauseOrResume => {
                self.is_paused = !self.is_paused;
                words(&["rollout", if self.is_paused { "pause" } else { "resume" }, &deployment])
            }
            Operation::Annotate => {
                words(&["annotate", &deployment, "--overwrite", &format!("note={}", random.u32(..))])
            }
            Operation::DeleteAndCreate => {
                self.is_paused = false;
                words(&["delete", &deployment])
            }
        }
    }

    fn manifest(&self) -> String {
        let Self { name, template, replicas, deadline, recreates, .. } = self;
        let Template { image, setting, ready_after } = template;
        let strategy = if *recreates { "Recreate" } else { "RollingUpdate" };
        let annotations = format!("test/ready-after: {ready_after}ms, setting: '{setting}'");
        // More than any of them gets, so that every revision is remembered.
        let spec = format!(
            "replicas: {replicas}\n  progressDeadlineSeconds: {deadline}\n  revisionHistoryLimit: 1000\n  strategy: {{type: {strategy}}}"
        );
        deployment(name, image, "", &annotations).replace("replicas: 1", &spec)
    }
}
