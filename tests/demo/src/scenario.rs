//! The steps of the demo.

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

/// The name of the namespace, the release, the Deployment and the lease of the controller.
const CONTROLLER: &str = "port-dora-controller";

/// The client ID and the client secret of the stand-in for Port.
const CREDENTIALS: (&str, &str) = ("demo-id", "demo-secret");

/// Waits until the rollout of the app is complete, and fails if the rollout fails.
const ROLLOUT_STATUS: &str = "kubectl -n shop rollout status deployment/web --timeout=60s";

/// The prefix of the identifiers of the app and its incidents: `<cluster>:<namespace>:`.
const PREFIX: &str = "demo:shop:";

/// The name of the incident in examples/incident.yaml.
const MANUAL_INCIDENT: &str = "checkout-down";

/// The prefix of the name of the incident that the controller opens for the third revision. The rest depends on the
/// UID.
const AUTOMATIC_INCIDENT: &str = "web-3-";

/// The deadline for entities to arrive, and for the controller to start and to stop.
const DEADLINE: Duration = Duration::from_mins(1);

/// The interval of checks that everything is still running.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// When the demo stops the cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StopWhen {
    /// After the last step.
    Finished,
    /// When the user presses Enter.
    EnterPressed,
    /// When the user presses Ctrl-C.
    Interrupted,
}

/// The cluster, the controller and the stand-in for Port.
#[derive(Debug)]
pub(crate) struct Scenario<'a> {
    screen: &'a Screen,
    shell: Shell<'a>,
    // Fields are dropped in this order, so the controller ends before Port and the cluster.
    controller: Option<Process>,
    port: PortSim,
    cluster: LocalCluster,
}

impl<'a> Scenario<'a> {
    /// Starts the cluster and the stand-in for Port.
    pub(crate) async fn start(screen: &'a Screen) -> Result<Self> {
        screen.step("Start a Kubernetes cluster: the control plane is real, the pods are simulated")?;
        let start = Instant::now();
        let cluster = LocalCluster::start(ClusterOptions::default()).await?;
        screen.line(format!("The cluster is ready after {:.1} s.", start.elapsed().as_secs_f64()))?;
        let shell = Shell::new(screen, &cluster)?;
        shell.run("kubectl version").await?;

        screen.step("Start a stand-in for Port, which has the same API")?;
        let (client_id, client_secret) = CREDENTIALS;
        let port = PortSim::start(Options {
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            ..Options::default()
        })?;
        screen.line(format!("Open {}/ in a browser to see the entities that it receives.", port.base_url()))?;
        Ok(Self { screen, shell, controller: None, port, cluster })
    }

    /// The folder of the logs. It is kept after the demo.
    pub(crate) fn logs(&self) -> PathBuf {
        self.cluster.folder().join("logs")
    }

    /// Runs the steps from the installation to the resolved incidents.
    pub(crate) async fn run(&mut self) -> Result<()> {
        self.install().await?;
        self.roll_out().await?;
        self.release().await?;
        self.release_broken_version().await?;
        self.roll_back().await?;
        self.list_records().await
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
            "The pods of this cluster are simulated, so a pod of the controller would do nothing: therefore replicaCount=0.\n\
             The controller runs as a process beside the cluster, with the environment, the settings and the credentials\n\
             of the installed Deployment, and only with the rights of its ServiceAccount.",
        )?;
        let running = controller::start(&self.cluster, CONTROLLER, CONTROLLER).await?;
        self.controller = Some(running);
        let leases: Api<Lease> = Api::namespaced(self.cluster.client().await?, CONTROLLER);
        wait(&mut self.controller, "the controller to become the leader", async || {
            let lease = leases.get(CONTROLLER).await?;
            let holder = lease.spec.and_then(|spec| spec.holder_identity);
            if holder.as_deref() == Some(controller::REPLICA) { Ok(Some(())) } else { Err(format!("{holder:?}"))? }
        })
        .await?;
        self.shell.run(&format!("kubectl -n {CONTROLLER} get lease")).await
    }

    async fn roll_out(&mut self) -> Result<()> {
        self.screen.step("Deploy an app, with the time of its commit in an annotation")?;
        self.shell.run("kubectl create namespace shop").await?;
        self.apply_version(None, 90).await?;
        self.rollout_status().await?;
        self.port_has_deployment(1, "success").await
    }

    async fn release(&mut self) -> Result<()> {
        self.screen.step("Release the next version")?;
        self.apply_version(Some("1.1"), 40).await?;
        self.rollout_status().await?;
        self.port_has_deployment(2, "success").await
    }

    async fn release_broken_version(&mut self) -> Result<()> {
        self.screen.step("Release a version whose image does not exist, and open an incident")?;
        self.apply_version(Some("broken"), 12).await?;
        self.shell.run("cat examples/incident.yaml").await?;
        self.shell.run("kubectl -n shop apply -f examples/incident.yaml").await?;
        self.port_has_incident(MANUAL_INCIDENT, "open").await?;
        self.screen.line(
            "By default, a rollout fails after 10 minutes without progress. For the demo, this is set to 8 seconds:",
        )?;
        self.shell.run("kubectl -n shop patch deployment/web -p '{\"spec\":{\"progressDeadlineSeconds\":8}}'").await?;
        self.shell.run_to_failure(ROLLOUT_STATUS).await?;
        self.port_has_deployment(3, "failed").await?;
        self.screen.line("The controller opens an incident for a rollout that fails in production:")?;
        self.port_has_incident(AUTOMATIC_INCIDENT, "open").await
    }

    async fn roll_back(&mut self) -> Result<()> {
        self.screen.step("Roll back, which resolves the incident of the rollout, and resolve the other incident")?;
        self.shell.run("kubectl -n shop rollout undo deployment/web").await?;
        self.rollout_status().await?;
        self.port_has_deployment(4, "success").await?;
        self.port_has_incident(AUTOMATIC_INCIDENT, "resolved").await?;
        self.shell
            .run("kubectl -n shop patch dinc checkout-down --type=merge -p '{\"spec\":{\"status\":\"resolved\"}}'")
            .await?;
        self.port_has_incident(MANUAL_INCIDENT, "resolved").await
    }

    async fn list_records(&mut self) -> Result<()> {
        self.screen.step("Scale the app, which is not a deployment, and list all records")?;
        self.shell.run("kubectl -n shop scale deployment/web --replicas=3").await?;
        self.rollout_status().await?;
        self.shell.run("kubectl -n shop get ddep,dinc").await
    }

    /// Applies the example, with another tag if one is given. Image and commit are changed in one request, as a
    /// pipeline should do: an annotation that is set before the image belongs to the version before.
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

    /// Shows the two tables, and the address of the page.
    pub(crate) fn show_result(&self, took: Duration) -> Result<()> {
        let received = |blueprint| {
            let mut entities = self.port.entities(blueprint);
            entities.retain(|entity| entity.identifier.starts_with(PREFIX));
            entities
        };
        self.screen.line("\nPort has received these deployments and incidents from the namespace shop:")?;
        self.screen.line(report::deployments(&received("dora_deployment")))?;
        self.screen.line(report::incidents(&received("dora_incident")))?;
        self.screen.line(format!("The demo took {:.0} s. Entities: {}/", took.as_secs_f64(), self.port.base_url()))
    }

    /// Keeps everything running until the user stops the demo.
    pub(crate) async fn wait_for_user(&mut self, stop_when: StopWhen) -> Result<()> {
        match stop_when {
            StopWhen::Finished => self.screen.line("Run `make demo KEEP=1` to keep everything running until Ctrl-C."),
            StopWhen::EnterPressed => {
                self.screen.line("Press Enter to stop. `make demo KEEP=1` keeps everything running until Ctrl-C.")?;
                let enter = enter_pressed();
                tokio::select! {
                    _ = enter => Ok(()),
                    error = self.failure() => Err(error),
                }
            }
            StopWhen::Interrupted => {
                self.screen.line(format!(
                    "Everything keeps running until Ctrl-C. To use the cluster in another terminal, run:\n\
                     export KUBECONFIG='{}'\n\
                     export KUBECACHEDIR='{}'\n\
                     export PATH='{}':\"$PATH\"",
                    self.cluster.kubeconfig().display(),
                    self.cluster.folder().join("kubectl").display(),
                    self.cluster.binaries().folder().display(),
                ))?;
                if let Some(controller) = &self.controller {
                    self.screen.line(format!("Log of the controller: {}", controller.log_path().display()))?;
                }
                Err(self.failure().await)
            }
        }
    }

    /// Stops the controller, the stand-in for Port and the cluster.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self { screen, shell: _, controller, port, cluster } = self;
        if let Some(mut controller) = controller {
            controller.terminate(DEADLINE).await?;
        }
        port.stop().await;
        cluster.stop().await?;
        screen.line("The cluster, the controller and the stand-in for Port are stopped.")
    }

    /// Returns only when the controller or a component of the cluster ends.
    async fn failure(&mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.cluster.check().map_err(anyhow::Error::from).and_then(|()| self.check()) {
                return error;
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Checks that the controller is running.
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
        let prefix = format!("{PREFIX}web:{revision}:");
        self.port_has("dora_deployment", &prefix, status).await
    }

    async fn port_has_incident(&mut self, name: &str, status: &str) -> Result<()> {
        self.port_has("dora_incident", &format!("{PREFIX}{name}"), status).await
    }

    async fn port_has(&mut self, blueprint: &str, prefix: &str, status: &str) -> Result<()> {
        let (port, screen) = (&self.port, self.screen);
        let find = || {
            let mut entities = port.entities(blueprint).into_iter();
            entities.find(|entity| entity.identifier.starts_with(prefix))
        };
        let what = format!("Port to have {blueprint} {prefix} with status {status}");
        let entity = wait(&mut self.controller, &what, async || match find() {
            Some(entity) if entity.properties.get("status").is_some_and(|value| value == status) => Ok(Some(entity)),
            Some(entity) => Err(format!("status {:?}", entity.properties.get("status")))?,
            None => Err("it is missing".into()),
        })
        .await?;
        screen.line(report::line(&entity))
    }
}

/// Waits for a condition, and fails at once if the controller has ended.
async fn wait<T>(
    controller: &mut Option<Process>,
    what: &str,
    mut check: impl AsyncFnMut() -> Result<Option<T>, cluster::NotYet>,
) -> Result<T> {
    wait_for(what, DEADLINE, async || {
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
    let log = controller.log().unwrap_or_else(|error| error.to_string());
    let last = log.lines().last().unwrap_or("the log is empty");
    anyhow!("the controller has ended ({status}); the last line of its log: {last}")
}

/// Receives a message when Enter is pressed or the standard input ends. The read is in a thread of its own, since a
/// read of a terminal can't be cancelled and would block the end of the runtime.
fn enter_pressed() -> oneshot::Receiver<()> {
    let (pressed, is_pressed) = oneshot::channel();
    std::thread::spawn(move || {
        // An error means that the standard input is closed.
        let _ = io::stdin().read_line(&mut String::new());
        let _ = pressed.send(());
    });
    is_pressed
}
