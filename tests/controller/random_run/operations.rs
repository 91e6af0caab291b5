//! Random operations on Deployments, as people and pipelines do them: with kubectl.

use std::fmt::Write as _;

use fastrand::Rng;

use crate::fixture::{Installation, deployment};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What kubectl says when there is nothing to do, which is as good as any other operation.
const REFUSALS: [&str; 2] = ["no rollout history found", "restart has already been triggered within the past second"];

/// The Deployments that are worked on.
pub struct Fleet<'a> {
    on: &'a Installation,
    namespace: String,
    deployments: Vec<Service>,
    /// Number of the newest image.
    images: u32,
    /// The next operations, the last one first: each kind comes as often as it should, and surely.
    deck: Vec<Operation>,
    /// What was done, a line each.
    pub log: String,
}

/// A Deployment as its owner wants it.
struct Service {
    name: String,
    template: Template,
    /// All templates that it ever had.
    former: Vec<Template>,
    replicas: u32,
    deadline: u32,
    recreates: bool,
    ready_after: u32,
    is_paused: bool,
}

/// What makes a ReplicaSet differ from another one.
#[derive(Clone)]
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
    DeployFormer,
    Configure,
    Undo,
    Restart,
    Scale,
    PauseOrResume,
    Annotate,
    DeleteAndCreate,
}

/// The more often it is named, the more often it is done.
const OPERATIONS: [Operation; 20] = [
    Operation::DeployGood,
    Operation::DeployGood,
    Operation::DeployGood,
    Operation::DeployGood,
    Operation::DeployBroken,
    Operation::DeployBroken,
    Operation::DeploySlow,
    Operation::DeployFormer,
    Operation::DeployFormer,
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
    /// So many Deployments that do not exist yet, each a little different.
    pub fn new(on: &'a Installation, namespace: &str, count: usize, random: &mut Rng) -> Self {
        let service = |number: usize| {
            let ready_after = random.u32(0..=2) * 700;
            let template = Template { image: "app-0:good".to_owned(), setting: 0, ready_after };
            Service {
                name: format!("web-{number}"),
                former: vec![template.clone()],
                template,
                replicas: random.u32(1..=3),
                deadline: random.u32(2..=4),
                recreates: random.u32(0..4) == 0,
                ready_after,
                is_paused: false,
            }
        };
        let deployments = (0..count).map(service).collect();
        Self { on, namespace: namespace.to_owned(), deployments, images: 0, deck: Vec::new(), log: String::new() }
    }

    /// Creates them all at once.
    pub async fn create(&mut self) -> Result<(), Error> {
        let manifests: Vec<String> = self.deployments.iter().map(Service::manifest).collect();
        self.on.apply_in(&self.namespace, &manifests.join("---\n")).await?;
        Ok(())
    }

    /// Writes into the log what happens beside the operations.
    pub fn note(&mut self, what: &str) {
        let _ = writeln!(self.log, "{:.3} {what}", jiff::Timestamp::now());
    }

    /// Does a random operation on a random Deployment.
    pub async fn operate(&mut self, random: &mut Rng) -> Result<(), Error> {
        let position = random.usize(..self.deployments.len());
        let service = &mut self.deployments[position];
        if self.deck.is_empty() {
            self.deck = OPERATIONS.to_vec();
            random.shuffle(&mut self.deck);
        }
        let operation = match self.deck.pop().ok_or("there are no operations")? {
            // kubectl refuses these.
            Operation::Undo | Operation::Restart if service.is_paused => Operation::PauseOrResume,
            operation => operation,
        };
        let deployment = format!("deployment/{}", service.name);
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>());
        let command = match operation {
            Operation::DeployGood | Operation::DeployBroken | Operation::DeploySlow => {
                self.images += 1;
                let tag = if matches!(operation, Operation::DeployBroken) { "broken" } else { "good" };
                service.template.image = format!("app-{}:{tag}", self.images);
                let is_slow = matches!(operation, Operation::DeploySlow);
                // It fails, and recovers.
                service.template.ready_after =
                    if is_slow { service.deadline * 1000 + 2500 } else { service.ready_after };
                None
            }
            Operation::DeployFormer => {
                service.template = service.former[random.usize(..service.former.len())].clone();
                None
            }
            Operation::Configure => {
                service.template.setting += 1;
                None
            }
            Operation::Scale => {
                service.replicas = random.u32(0..=3);
                words(&["scale", &deployment, &format!("--replicas={}", service.replicas)])
            }
            Operation::Undo => words(&["rollout", "undo", &deployment]),
            Operation::Restart => words(&["rollout", "restart", &deployment]),
            Operation::PauseOrResume => {
                service.is_paused = !service.is_paused;
                words(&["rollout", if service.is_paused { "pause" } else { "resume" }, &deployment])
            }
            Operation::Annotate => {
                words(&["annotate", &deployment, "--overwrite", &format!("note={}", random.u32(..))])
            }
            Operation::DeleteAndCreate => {
                service.is_paused = false;
                words(&["delete", &deployment])
            }
        };
        let template = service.template.clone();
        let Template { image, setting, ready_after } = &template;
        let applied = || format!("{image} setting {setting}, ready after {ready_after} ms");
        let described = command.as_ref().map_or_else(applied, |words| words.join(" "));
        service.former.push(template);
        let manifest = service.manifest();
        self.note(&format!("{operation:?} {deployment}: {described}"));
        if let Some(command) = &command {
            let arguments = ["--namespace", &self.namespace].into_iter().chain(command.iter().map(String::as_str));
            match self.on.kubectl(arguments).await {
                Err(error) if REFUSALS.iter().any(|refusal| error.to_string().contains(refusal)) => {}
                result => drop(result?),
            }
        }
        if command.is_none() || matches!(operation, Operation::DeleteAndCreate) {
            self.on.apply_in(&self.namespace, &manifest).await?;
        }
        Ok(())
    }
}

impl Service {
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
