//! What the demo does, step by step.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use cluster::{ClusterOptions, LocalCluster, Process, wait_for};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use port_sim::{Options, PortSim};
use tokio::sync::oneshot;

use crate::screen::Screen;
use crate::shell::Shell;
use crate::{controller, report};

/// Namespace, release and Deployment of the controller, and its lease.
const CONTROLLER: &str = "port-dora-controller";

/// Client ID and secret of the stand-in for Port.
const CREDENTIALS: (&str, &str) = ("demo-id", "demo-secret");

/// Ends when the app is rolled out, and fails when its rollout does.
const ROLLOUT_STATUS: &str = "kubectl -n shop rollout status deployment/web --timeout=60s";

/// The entities of the app and its incidents begin so: `<cluster>:<namespace>:`.
const ENTITIES: &str = "demo:shop:";

/// The incident of examples/incident.yaml.
const BY_HAND: &str = "checkout-down";

/// How the name of the incident begins that the controller opens for the third revision; the rest is of its UID.
const BY_ITSELF: &str = "web-3-";

/// How long Port may take to know something, and the controller to start and to end.
const SOON: Duration = Duration::from_mins(1);

/// How often it is looked whether everything still runs while a person looks at the page.
const LOOK: Duration = Duration::from_secs(1);

/// What the demo waits for before it takes everything down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Until {
    /// Nothing.
    Shown,
    /// The key Enter.
    Enter,
    /// Ctrl-C.
    Interrupted,
}

/// Everything that takes part.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    screen: &'a Screen,
    shell: Shell<'a>,
    // Dropped from the first to the last, should the demo fail: the controller ends before what it talks to.
    controller: Option<Process>,
    port: PortSim,
    cluster: LocalCluster,
}

impl<'a> Stage<'a> {
    /// Starts the cluster and the stand-in for Port.
    pub(crate) async fn set_up(screen: &'a Screen) -> Result<Self> {
        screen.step("Start a Kubernetes cluster: the real control plane, without root; its pods are simulated")?;
        let begun = Instant::now();
        let cluster = LocalCluster::start(ClusterOptions::default()).await?;
        screen.line(format!("Ready after {:.1} s.", begun.elapsed().as_secs_f64()))?;
        let shell = Shell::new(screen, &cluster)?;
        shell.run("kubectl version").await?;

        screen.step("Start a stand-in for Port, which answers as Port's API does")?;
        let (client_id, client_secret) = CREDENTIALS;
        let port = PortSim::start(Options {
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            ..Options::default()
        })?;
        screen.line(format!("What it holds: {}/ (a page that refreshes itself)", port.base_url()))?;
        Ok(Self { screen, shell, controller: None, port, cluster })
    }

    /// Where the logs are; they stay when everything else has ended.
    pub(crate) fn logs(&self) -> PathBuf {
        self.cluster.folder().join("logs")
    }

    /// From the installation to a resolved incident.
    pub(crate) async fn play(&mut self) -> Result<()> {
        self.install().await?;
        self.roll_out().await?;
        self.release().await?;
        self.break_it().await?;
        self.mend_it().await?;
        self.look().await
    }

    async fn install(&mut self) -> Result<()> {
        self.screen.step("Install the controller with Helm")?;
        let (client_id, client_secret) = CREDENTIALS;
        self.shell
            .run(&format!(
                "helm upgrade --install {CONTROLLER} charts/{CONTROLLER} \\\n    \
                 --namespace {CONTROLLER} --create-namespace --wait --hide-notes \\\n    \
                 --set port.baseUrl={url},port.clientId={client_id},port.clientSecret={client_secret} \\\n    \
                 --set clusterName=demo,replicaCount=0",
                url = self.port.base_url(),
            ))
            .await?;
        self.screen.line(
            "Pods are simulated here, so one of the controller would do nothing: hence replicaCount=0. The controller runs\n\
             as a process beside the cluster, made from the Deployment that the chart installed: with its environment,\n\
             settings and credentials, and with the token and so the rights of the chart's ServiceAccount, and no others.",
        )?;
        let running = controller::start(&self.cluster, CONTROLLER, CONTROLLER).await?;
        self.controller = Some(running);
        let leases: Api<Lease> = Api::namespaced(self.cluster.client().await?, CONTROLLER);
        wait(&mut self.controller, "the controller to hold its lease", async || {
            let lease = leases.get(CONTROLLER).await?;
            let holder = lease.spec.and_then(|spec| spec.holder_identity);
            if holder.as_deref() == Some(controller::REPLICA) { Ok(Some(())) } else { Err(format!("{holder:?}"))? }
        })
        .await?;
        self.shell.run(&format!("kubectl -n {CONTROLLER} get lease")).await
    }

    async fn roll_out(&mut self) -> Result<()> {
        self.screen.step("Roll out an app; an annotation says when its commit was made")?;
        self.shell.run("kubectl create namespace shop").await?;
        self.apply_version(None, 90).await?;
        self.rollout_status().await?;
        self.port_has_deployment(1, "success").await
    }

    async fn release(&mut self) -> Result<()> {
        self.screen.step("Release its next version")?;
        self.apply_version(Some("1.1"), 40).await?;
        self.rollout_status().await?;
        self.port_has_deployment(2, "success").await
    }

    async fn break_it(&mut self) -> Result<()> {
        self.screen.step("Release a version whose image can't be pulled, and open an incident")?;
        self.apply_version(Some("broken"), 12).await?;
        self.shell.run("cat examples/incident.yaml").await?;
        self.shell.run("kubectl -n shop apply -f examples/incident.yaml").await?;
        self.port_has_incident(BY_HAND, "open").await?;
        self.screen
            .line("Kubernetes calls a rollout failed when it makes no progress for 10 minutes. Make it 8 seconds:")?;
        self.shell.run("kubectl -n shop patch deployment/web -p '{\"spec\":{\"progressDeadlineSeconds\":8}}'").await?;
        self.shell.run_to_failure(ROLLOUT_STATUS).await?;
        self.port_has_deployment(3, "failed").await?;
        self.screen.line("A rollout that fails in production opens an incident by itself:")?;
        self.port_has_incident(BY_ITSELF, "open").await
    }

    async fn mend_it(&mut self) -> Result<()> {
        self.screen.step("Roll back, which resolves the one incident, and resolve the other")?;
        self.shell.run("kubectl -n shop rollout undo deployment/web").await?;
        self.rollout_status().await?;
        self.port_has_deployment(4, "success").await?;
        self.port_has_incident(BY_ITSELF, "resolved").await?;
        self.shell
            .run("kubectl -n shop patch dinc checkout-down --type=merge -p '{\"spec\":{\"status\":\"resolved\"}}'")
            .await?;
        self.port_has_incident(BY_HAND, "resolved").await
    }

    async fn look(&mut self) -> Result<()> {
        self.screen.step("Scale the app, which is no deployment, and see what was recorded and delivered")?;
        self.shell.run("kubectl -n shop scale deployment/web --replicas=3").await?;
        self.rollout_status().await?;
        self.shell.run("kubectl -n shop get ddep,dinc").await
    }

    /// Applies the example with another tag than its own. Image and commit go in one request, as a pipeline should do
    /// it: an annotation that came before the image would be kept with the version before.
    async fn apply_version(&self, tag: Option<&str>, committed_minutes_ago: i64) -> Result<()> {
        let committed = Timestamp::now() - SignedDuration::from_mins(committed_minutes_ago);
        let annotate = format!(
            "kubectl annotate --local -f examples/deployment.yaml -o yaml --overwrite \\\n    \
             dora.port.io/commit-time={}",
            committed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        );
        let set_image =
            tag.map(|tag| format!("kubectl set image --local -f - -o yaml web=registry.example.com/web:{tag}"));
        let apply = "kubectl -n shop apply --server-side -f -".to_owned();
        let pipeline: Vec<String> = [Some(annotate), set_image, Some(apply)].into_iter().flatten().collect();
        self.shell.run(&pipeline.join(" |\n  ")).await
    }

    async fn rollout_status(&self) -> Result<()> {
        self.shell.run(ROLLOUT_STATUS).await
    }

    /// The two tables, and where to look on.
    pub(crate) fn show_result(&self, took: Duration) -> Result<()> {
        let received = |blueprint| {
            let mut entities = self.port.entities(blueprint);
            entities.retain(|entity| entity.identifier.starts_with(ENTITIES));
            entities
        };
        self.screen.line("\nWhat Port received from the namespace shop:")?;
        self.screen.line(report::deployments(&received("dora_deployment")))?;
        self.screen.line(report::incidents(&received("dora_incident")))?;
        self.screen.line(format!("All of it took {:.0} s. The page: {}/", took.as_secs_f64(), self.port.base_url()))
    }

    /// Lets a person look around.
    pub(crate) async fn linger(&mut self, until: Until) -> Result<()> {
        match until {
            Until::Shown => {
                self.screen.line("It ends with the demo; `make demo KEEP=1` keeps everything running until Ctrl-C.")
            }
            Until::Enter => {
                self.screen.line("Press Enter to end everything (`make demo KEEP=1` keeps it until Ctrl-C).")?;
                let entered = enter();
                tokio::select! {
                    _ = entered => Ok(()),
                    error = self.failure() => Err(error),
                }
            }
            Until::Interrupted => {
                self.screen.line(format!(
                    "Everything keeps running until Ctrl-C. Try more of it in another terminal:\n\
                     export KUBECONFIG='{}'\n\
                     export KUBECACHEDIR='{}'\n\
                     export PATH='{}':\"$PATH\"",
                    self.cluster.kubeconfig().display(),
                    self.cluster.folder().join("kubectl").display(),
                    self.cluster.binaries().folder().display(),
                ))?;
                if let Some(controller) = &self.controller {
                    self.screen.line(format!("The controller's log: {}", controller.log_path().display()))?;
                }
                Err(self.failure().await)
            }
        }
    }

    /// Ends everything in the order in which a cluster's node would.
    pub(crate) async fn take_down(self) -> Result<()> {
        let Self { screen, shell: _, controller, port, cluster } = self;
        if let Some(mut controller) = controller {
            controller.terminate(SOON).await?;
        }
        port.stop().await;
        cluster.stop().await?;
        screen.line("Everything that the demo started has ended.")
    }

    /// Returns only when something ends that should run.
    async fn failure(&mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.cluster.check().map_err(anyhow::Error::from).and_then(|()| self.check()) {
                return error;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the controller runs.
    fn check(&mut self) -> Result<()> {
        match &mut self.controller {
            None => Ok(()),
            Some(controller) => match controller.exit_status()? {
                None => Ok(()),
                Some(status) => Err(ended(controller, status)),
            },
        }
    }

    async fn port_has_deployment(&mut self, revision: i64, status: &str) -> Result<()> {
        // Identifiers are <cluster>:<namespace>:<name>:<revision>:<UID>.
        let prefix = format!("{ENTITIES}web:{revision}:");
        self.port_has("dora_deployment", &prefix, status).await
    }

    async fn port_has_incident(&mut self, name: &str, status: &str) -> Result<()> {
        self.port_has("dora_incident", &format!("{ENTITIES}{name}"), status).await
    }

    async fn port_has(&mut self, blueprint: &str, prefix: &str, status: &str) -> Result<()> {
        let (port, screen) = (&self.port, self.screen);
        let look = || {
            let mut entities = port.entities(blueprint).into_iter();
            entities.find(|entity| entity.identifier.starts_with(prefix))
        };
        let what = format!("Port to have {blueprint} {prefix} with status {status}");
        let entity = wait(&mut self.controller, &what, async || match look() {
            Some(entity) if entity.properties.get("status").is_some_and(|value| value == status) => Ok(Some(entity)),
            Some(entity) => Err(format!("status {:?}", entity.properties.get("status")))?,
            None => Err("it isn't there".into()),
        })
        .await?;
        screen.line(report::line(&entity))
    }
}

/// Waits for a condition, but not for a controller that has ended.
async fn wait<T>(
    controller: &mut Option<Process>,
    what: &str,
    mut check: impl AsyncFnMut() -> Result<Option<T>, cluster::NotYet>,
) -> Result<T> {
    wait_for(what, SOON, async || {
        if let Some(controller) = controller.as_mut()
            && let Some(status) = controller.exit_status()?
        {
            return Ok(Some(Err(ended(controller, status))));
        }
        Ok(check().await?.map(Ok))
    })
    .await?
}

fn ended(controller: &Process, status: ExitStatus) -> anyhow::Error {
    let said = controller.log().unwrap_or_else(|error| error.to_string());
    let last = said.lines().last().unwrap_or("nothing");
    anyhow!("the controller has ended ({status}); it said last: {last}")
}

/// Comes when Enter is pressed, or the standard input ends. In a thread that nothing waits for: a read of a terminal
/// can't be given up, and would keep the runtime from ending.
fn enter() -> oneshot::Receiver<()> {
    let (pressed, is_pressed) = oneshot::channel();
    std::thread::spawn(move || {
        // An error is an input that has ended.
        let _ = io::stdin().read_line(&mut String::new());
        let _ = pressed.send(());
    });
    is_pressed
}
