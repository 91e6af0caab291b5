//! An installation: a cluster, the stand-in for Port, the chart, and the controller as a process with the chart's rights.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cluster::{ClusterOptions, LocalCluster, Process, wait_for};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use port_sim::{Entity, Options, PortSim};
use serde_json::Value;
use tokio::sync::OnceCell;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long anything may take that takes a moment. Long, for machines that do other things as well.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The name that the tests give to the cluster.
pub const CLUSTER: &str = "test";

/// Namespace and name that the chart is installed under.
pub const RELEASE: &str = "port-dora-controller";

/// The environment of a controller whose container starts again in the same pod: the lease is still its own, so that it leads at once.
pub const SAME_POD: [(&str, &str); 1] = [("POD_NAME", "same-pod")];

/// The folder of the chart.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/port-dora-controller");

enum Cluster {
    Shared(&'static LocalCluster),
    Own(Box<LocalCluster>),
}

/// A cluster with the chart installed, and the stand-in for Port.
pub struct Installation {
    cluster: Cluster,
    pub port: PortSim,
}

impl Deref for Installation {
    type Target = LocalCluster;

    fn deref(&self) -> &LocalCluster {
        match &self.cluster {
            Cluster::Shared(cluster) => cluster,
            Cluster::Own(cluster) => cluster,
        }
    }
}

/// A running controller.
pub struct Controller {
    pub process: Process,
    address: String,
}

impl Installation {
    /// The installation that most tests share, with a controller that runs as long as they do.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<(Installation, std::sync::Mutex<Controller>)> = OnceCell::const_new();
        let start = async || {
            let installation = Self::on(Cluster::Shared(LocalCluster::shared().await)).await?;
            let controller = installation.start_controller(&[]).await?;
            Ok::<_, Error>((installation, std::sync::Mutex::new(controller)))
        };
        match SHARED.get_or_try_init(start).await {
            Ok((installation, _)) => installation,
            Err(error) => panic!("the installation that the tests share can't be made: {error}"),
        }
    }

    /// An installation of a test's own, without a controller, for tests that break something.
    pub async fn alone() -> Result<Self, Error> {
        Self::on(Cluster::Own(Box::new(LocalCluster::start(ClusterOptions::default()).await?))).await
    }

    async fn on(cluster: Cluster) -> Result<Self, Error> {
        let installation = Self { cluster, port: PortSim::start(Options::default())? };
        // The pods of this cluster are simulated: the controller runs beside it, with the rights of the chart's account.
        installation
            .helm([
                "upgrade",
                "--install",
                RELEASE,
                CHART,
                "--namespace",
                RELEASE,
                "--create-namespace",
                "--set",
                "replicaCount=0",
            ])
            .await?;
        installation.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await?;
        Ok(installation)
    }

    /// Starts a controller with the chart's service account and waits until it is ready. `environment` adds to and replaces
    /// the usual one.
    pub async fn start_controller(&self, environment: &[(&str, &str)]) -> Result<Controller, Error> {
        self.ready(self.start_controller_at_once(environment).await?).await
    }

    /// As [`Installation::start_controller`], at an address that stays the same when it is started again.
    pub async fn start_controller_at(&self, address: &str, environment: &[(&str, &str)]) -> Result<Controller, Error> {
        let environment: Vec<_> = environment.iter().copied().chain([("LISTEN_ADDRESS", address)]).collect();
        let controller = self.start_controller_at_once(&environment).await?;
        self.ready(Controller { address: address.to_owned(), ..controller }).await
    }

    async fn ready(&self, mut controller: Controller) -> Result<Controller, Error> {
        wait_for("the controller to be ready", DEADLINE, async || {
            if let Some(status) = controller.process.exit_status()? {
                Err(format!("it has ended with {status}"))?;
            }
            Ok(reqwest::get(controller.url("/readyz")).await?.status().is_success().then_some(()))
        })
        .await?;
        Ok(controller)
    }

    /// As [`Installation::start_controller`], without waiting.
    pub async fn start_controller_at_once(&self, environment: &[(&str, &str)]) -> Result<Controller, Error> {
        let kubeconfig = self.service_account_kubeconfig(RELEASE, RELEASE).await?;
        let address = {
            let free = std::net::TcpListener::bind("127.0.0.1:0")?;
            free.local_addr()?.to_string()
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_port-dora-controller"));
        command
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .env("LISTEN_ADDRESS", &address)
            .env("POD_NAMESPACE", RELEASE)
            .env("POD_NAME", format!("controller-{address}"))
            .env("CLUSTER_NAME", CLUSTER)
            .env("PORT_BASE_URL", self.port.base_url())
            .env("PORT_CLIENT_ID", Options::default().client_id)
            .env("PORT_CLIENT_SECRET", Options::default().client_secret)
            .env("RUST_LOG", "info,port_dora_controller=debug")
            .envs(environment.iter().copied());
        for (name, value) in environment {
            if value.is_empty() {
                command.env_remove(name);
            }
        }
        Ok(Controller { process: Process::start(self, "controller", command)?, address })
    }

    /// Starts a controller that reads its credentials from the two files that are returned with it, which do not exist yet.
    pub async fn start_controller_with_files(&self) -> Result<(Controller, PathBuf, PathBuf), Error> {
        let folder = self.folder().join("credentials");
        std::fs::create_dir_all(&folder)?;
        let (id, secret) = (folder.join("id"), folder.join("secret"));
        let environment = [
            ("PORT_CLIENT_ID", ""),
            ("PORT_CLIENT_SECRET", ""),
            ("PORT_CLIENT_ID_FILE", &id.to_string_lossy()),
            ("PORT_CLIENT_SECRET_FILE", &secret.to_string_lossy()),
        ];
        Ok((self.start_controller(&environment).await?, id, secret))
    }

    /// Starts a controller with this settings file, each time in the same pod (see [`SAME_POD`]), so that it leads at once.
    pub async fn start_controller_with_settings(&self, settings: &str) -> Result<Controller, Error> {
        let file = self.folder().join("settings.yaml");
        std::fs::write(&file, settings)?;
        self.start_controller(&[("CONFIG_FILE", &file.to_string_lossy()), SAME_POD[0]]).await
    }

    /// The entities of `blueprint` that come from `namespace`, in the order in which they were made.
    pub fn entities(&self, blueprint: &str, namespace: &str) -> Vec<Entity> {
        let prefix = format!("{CLUSTER}:{namespace}:");
        let mut entities = self.port.entities(blueprint);
        entities.retain(|entity| entity.identifier.starts_with(&prefix));
        entities.sort_by_key(|entity| entity.sequence);
        entities
    }

    /// Waits until exactly as many deployments as named have arrived from `namespace`, and returns them: for each, name and
    /// revision as `web:1`, and its status.
    pub async fn deployments(&self, namespace: &str, expected: &[(&str, &str)]) -> Result<Vec<Entity>, Error> {
        let entities = wait_for(format!("the deployments {expected:?} in Port"), DEADLINE, async || {
            let entities = self.entities("dora_deployment", namespace);
            let mut found: Vec<(String, String)> = entities
                .iter()
                .map(|entity| {
                    let parts: Vec<&str> = entity.identifier.split(':').collect();
                    (parts[2..4].join(":"), text(entity, "status"))
                })
                .collect();
            found.sort();
            let mut wanted: Vec<(String, String)> =
                expected.iter().map(|(rollout, status)| ((*rollout).to_owned(), (*status).to_owned())).collect();
            wanted.sort();
            if found != wanted {
                Err(format!("{found:?}"))?;
            }
            Ok(Some(entities))
        })
        .await?;
        Ok(entities)
    }

    /// Waits until the incident `name` has arrived with this status, and returns it.
    pub async fn incident(&self, namespace: &str, name: &str, status: &str) -> Result<Entity, Error> {
        let identifier = format!("{CLUSTER}:{namespace}:{name}");
        let entity = wait_for(format!("the incident {identifier} to be {status} in Port"), DEADLINE, async || {
            let entity = self.port.entity("dora_incident", &identifier).ok_or("it is not there")?;
            let found = text(&entity, "status");
            if found != status {
                Err(format!("it is {found}"))?;
            }
            Ok(Some(entity))
        })
        .await?;
        Ok(entity)
    }

    /// Waits until the records of `namespace` have these outcomes, by `name:revision`.
    pub async fn outcomes(&self, namespace: &str, expected: &[(&str, &str)]) -> Result<Vec<DoraDeployment>, Error> {
        let api: Api<DoraDeployment> = Api::namespaced(self.client().await?, namespace);
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(rollout, outcome)| ((*rollout).to_owned(), (*outcome).to_owned())).collect();
        let records = wait_for(format!("the records {expected:?}"), DEADLINE, async || {
            let records = api.list(&ListParams::default()).await?.items;
            let found: BTreeMap<String, String> = records
                .iter()
                .filter_map(|record| {
                    let rollout = record.spec.deployment.as_ref()?;
                    let outcome = record.spec.outcome.as_str().to_owned();
                    Some((format!("{}:{}", rollout.name, rollout.revision), outcome))
                })
                .collect();
            if found != expected {
                Err(format!("{found:?}"))?;
            }
            Ok(Some(records))
        })
        .await?;
        Ok(records)
    }

    /// Waits until the condition `kind` of a resource has this reason, and returns its status and message.
    pub async fn condition(
        &self,
        namespace: &str,
        resource: &str,
        kind: &str,
        reason: &str,
    ) -> Result<(String, String), Error> {
        let found = wait_for(format!("{resource} to have {kind} for the reason {reason}"), DEADLINE, async || {
            let json = self.kubectl(["--namespace", namespace, "get", resource, "--output", "json"]).await?;
            let object: Value = serde_json::from_str(&json)?;
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let condition =
                conditions.iter().find(|condition| condition["type"] == kind).ok_or(format!("{conditions:?}"))?;
            if condition["reason"] != reason || condition["observedGeneration"] != object["metadata"]["generation"] {
                Err(condition.to_string())?;
            }
            let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
            Ok(Some((text("status"), text("message"))))
        })
        .await?;
        Ok(found)
    }

    /// Waits until the record of the only rollout in `namespace` says that it is delivered. What arrived in Port is sent once
    /// more if the controller, or the API server, ends before that.
    pub async fn delivered(&self, namespace: &str, rollout: &str) -> Result<(), Error> {
        let records = self.outcomes(namespace, &[(rollout, "Succeeded")]).await?;
        let name = records[0].metadata.name.clone().unwrap_or_default();
        self.condition(namespace, &format!("ddep/{name}"), "Synced", "Delivered").await?;
        Ok(())
    }

    /// Waits until an Event with this reason is on the resource, and returns its note.
    pub async fn event(&self, namespace: &str, name: &str, reason: &str) -> Result<String, Error> {
        let note = wait_for(format!("an Event {reason} on {name}"), DEADLINE, async || {
            let selector = format!("involvedObject.name={name},reason={reason}");
            let output = ["--output", "jsonpath={.items[*].message}"];
            let arguments = ["--namespace", namespace, "get", "events", "--field-selector", &selector];
            let notes = self.kubectl(arguments.into_iter().chain(output)).await?;
            Ok((!notes.is_empty()).then_some(notes))
        })
        .await?;
        Ok(note)
    }

    /// Waits until the Deployment controller states this reason for Progressing and names the Deployment's current
    /// generation, and returns the Deployment.
    pub async fn progressing(&self, namespace: &str, name: &str, reason: &str) -> Result<Deployment, Error> {
        let api: Api<Deployment> = Api::namespaced(self.client().await?, namespace);
        let deployment = wait_for(format!("Deployment {name} to be {reason}"), DEADLINE, async || {
            let deployment = api.get(name).await?;
            let status = deployment.status.clone().unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let progressing = conditions.iter().find(|condition| condition.type_ == "Progressing");
            let found = progressing.and_then(|condition| condition.reason.clone()).unwrap_or_default();
            if found != reason || status.observed_generation != deployment.metadata.generation {
                Err(format!("it is {found:?}"))?;
            }
            Ok(Some(deployment))
        })
        .await?;
        Ok(deployment)
    }

    /// `kubectl apply` to this namespace.
    pub async fn apply_in(&self, namespace: &str, manifests: &str) -> Result<String, Error> {
        Ok(self.kubectl_with_input(["--namespace", namespace, "apply", "--filename", "-"], manifests).await?)
    }

    /// The incident with this name.
    pub async fn get_incident(&self, namespace: &str, name: &str) -> Result<DoraIncident, Error> {
        let api: Api<DoraIncident> = Api::namespaced(self.client().await?, namespace);
        Ok(api.get(name).await?)
    }
}

impl Controller {
    /// An address of its HTTP server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it answers on `path`.
    pub async fn get(&self, path: &str) -> Result<(u16, String), Error> {
        let answer = reqwest::get(self.url(path)).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Waits until its log contains `text`.
    pub async fn logs(&self, text: &str) -> Result<String, Error> {
        let log = wait_for(format!("{text:?} in the controller's log"), DEADLINE, async || {
            let log = self.process.log()?;
            Ok(log.contains(text).then_some(log))
        })
        .await?;
        Ok(log)
    }
}

/// A property of an entity as text; empty if it has none.
pub fn text(entity: &Entity, property: &str) -> String {
    entity.properties.get(property).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A Deployment of one simulated pod. `template` and `metadata` are annotations, as YAML between braces.
pub fn deployment(name: &str, image: &str, metadata: &str, template: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, annotations: {{{metadata}}}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}, annotations: {{{template}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: app, image: "{image}"}}]
"#
    )
}

/// A `DoraIncident` as a document of YAML. `spec` stands between its braces.
pub fn incident(name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: dora.port.io/v1alpha1, kind: DoraIncident, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n"
    )
}

/// A number from the environment, for tests of which there are longer forms.
pub fn number(variable: &str) -> Result<Option<u64>, Error> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(text.parse().map_err(|error| format!("{variable}={text}: {error}"))?)),
        Err(_) => Ok(None),
    }
}
