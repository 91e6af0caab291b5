//! An installation: a cluster, the stand-in for Port, the chart, and the controller as a process with the chart's rights.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cluster::{ClusterOptions, LocalCluster, Process, wait_for};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use port_sim::{Entity, Options, PortSim};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::objects::rollout_of;
use crate::pool::PooledCluster;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long anything may take that takes a moment. Long, for machines that do other things as well: it asserts nothing.
pub const DEADLINE: Duration = Duration::from_secs(240);

/// The name that the tests give to the cluster.
pub const CLUSTER: &str = "test";

/// Namespace and name that the chart is installed under.
pub const RELEASE: &str = "port-dora-controller";

/// The environment of a controller whose container starts again in the same pod: the lease is still its own, so that it leads at once.
pub const SAME_POD: [(&str, &str); 1] = [("POD_NAME", "same-pod")];

/// The environment of a controller whose lease expires in time for a test that waits for that.
pub const SHORT_LEASE: (&str, &str) = ("LEASE_SECONDS", "15");

/// The folder of the chart.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/port-dora-controller");

enum Cluster {
    Shared(&'static LocalCluster),
    Pooled(PooledCluster),
    Own(Box<LocalCluster>),
}

/// A cluster with the chart installed, and the stand-in for Port.
pub struct Installation {
    cluster: Cluster,
    pub port: PortSim,
    /// For the files of this test.
    folder: tempfile::TempDir,
}

impl Deref for Installation {
    type Target = LocalCluster;

    fn deref(&self) -> &LocalCluster {
        match &self.cluster {
            Cluster::Shared(cluster) => cluster,
            Cluster::Pooled(cluster) => cluster,
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

    /// An installation that a test has for itself, without a controller. Its cluster serves another test afterwards.
    pub async fn alone() -> Result<Self, Error> {
        Self::on(Cluster::Pooled(PooledCluster::take().await?)).await
    }

    /// As [`Installation::alone`], for tests that change the cluster itself: it ends with the test.
    pub async fn on_own_cluster() -> Result<Self, Error> {
        Self::on(Cluster::Own(Box::new(LocalCluster::start(ClusterOptions::default()).await?))).await
    }

    async fn on(cluster: Cluster) -> Result<Self, Error> {
        let installation = Self { cluster, port: PortSim::start(Options::default())?, folder: tempfile::tempdir()? };
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
        installation.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=240s"]).await?;
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
            // So long that no leader loses it on a machine that does other things as well: it would send some of it twice.
            .env("LEASE_SECONDS", "600")
            .env("RUST_LOG", "info,port_dora_controller=debug,port_client=debug")
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
        let (id, secret) = (self.file("id"), self.file("secret"));
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
        let file = self.file("settings.yaml");
        std::fs::write(&file, settings)?;
        self.start_controller(&[("CONFIG_FILE", &file.to_string_lossy()), SAME_POD[0]]).await
    }

    /// A path for a file or folder of this test.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
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
                    let (workload, revision) = rollout_of(record)?;
                    let outcome = record.spec.outcome.as_str().to_owned();
                    Some((format!("{}:{}", workload.name, revision.number), outcome))
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

    /// Waits until the condition `kind` of a resource such as `dinc/down` has this reason, and returns its status and message.
    pub async fn condition(
        &self,
        namespace: &str,
        resource: &str,
        kind: &str,
        reason: &str,
    ) -> Result<(String, String), Error> {
        self.condition_that(namespace, resource, kind, reason, |_| true).await
    }

    /// As [`Installation::condition`], with a message that fulfils a condition.
    pub async fn condition_that(
        &self,
        namespace: &str,
        resource: &str,
        kind: &str,
        reason: &str,
        fulfils: impl Fn(&str) -> bool,
    ) -> Result<(String, String), Error> {
        let (plural, name) = resource.split_once('/').ok_or("the resource is to be named KIND/NAME")?;
        let api = self.resources(namespace, plural).await?;
        let found = wait_for(format!("{resource} to have {kind} for the reason {reason}"), DEADLINE, async || {
            let object = api.get(name).await?;
            let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let condition =
                conditions.iter().find(|condition| condition["type"] == kind).ok_or(format!("{conditions:?}"))?;
            let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
            let is_current = condition["observedGeneration"].as_i64() == object.metadata.generation;
            if condition["reason"] != reason || !is_current || !fulfils(&text("message")) {
                Err(condition.to_string())?;
            }
            Ok(Some((text("status"), text("message"))))
        })
        .await?;
        Ok(found)
    }

    /// Our own resources by their short names, and what else tests look at, as they are.
    async fn resources(&self, namespace: &str, short_name: &str) -> Result<Api<DynamicObject>, Error> {
        let resource = match short_name {
            "ddep" => ApiResource::erase::<DoraDeployment>(&()),
            "dinc" => ApiResource::erase::<DoraIncident>(&()),
            other => return Err(format!("no test has looked at {other} so far: name its type here").into()),
        };
        Ok(Api::namespaced_with(self.client().await?, namespace, &resource))
    }

    /// Waits until the record of the only rollout in `namespace` says that it is delivered. What arrived in Port is sent once
    /// more if the controller, or the API server, ends before that.
    pub async fn delivered(&self, namespace: &str, rollout: &str) -> Result<(), Error> {
        let records = self.outcomes(namespace, &[(rollout, "Succeeded")]).await?;
        let name = records[0].metadata.name.clone().unwrap_or_default();
        self.condition(namespace, &format!("ddep/{name}"), "Synced", "Delivered").await?;
        Ok(())
    }

    /// Waits until an Event with this reason is on the resource, and returns its notes.
    pub async fn event(&self, namespace: &str, name: &str, reason: &str) -> Result<String, Error> {
        self.event_that(namespace, name, reason, |_| true).await
    }

    /// As [`Installation::event`], with notes that fulfil a condition.
    pub async fn event_that(
        &self,
        namespace: &str,
        name: &str,
        reason: &str,
        fulfils: impl Fn(&str) -> bool,
    ) -> Result<String, Error> {
        let api: Api<Event> = Api::namespaced(self.client().await?, namespace);
        let selected = ListParams::default().fields(&format!("involvedObject.name={name},reason={reason}"));
        let notes = wait_for(format!("an Event {reason} on {name}"), DEADLINE, async || {
            let notes: Vec<String> = api.list(&selected).await?.into_iter().filter_map(|event| event.message).collect();
            let notes = Some(notes.join(" ")).filter(|_| !notes.is_empty()).ok_or("there is none")?;
            if fulfils(&notes) { Ok(Some(notes)) } else { Err(notes)? }
        })
        .await?;
        Ok(notes)
    }

    /// Whether the service account `account` of `namespace` may do something with a resource, by its plural and its group such as
    /// `deployments.apps` and `doraincidents.dora.port.io/status`; in all namespaces if `place` is empty.
    pub async fn may(
        &self,
        (namespace, account): (&str, &str),
        verb: &str,
        resource: &str,
        place: &str,
    ) -> Result<bool, Error> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
        let review = json!({"spec": {
            "user": format!("system:serviceaccount:{namespace}:{account}"),
            "groups": groups,
            "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": place,
            },
        }});
        let api: Api<SubjectAccessReview> = Api::all(self.client().await?);
        let answer = api.create(&PostParams::default(), &serde_json::from_value(review)?).await?;
        Ok(answer.status.ok_or("the review has no answer")?.allowed)
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

    /// Waits until so many resources of a kind wait to be delivered, as `/readyz` says.
    pub async fn waiting(&self, kind: &str, count: usize) -> Result<(), Error> {
        let line = format!("{kind} waiting to be delivered: {count}\n");
        wait_for(format!("{line:?} in /readyz"), DEADLINE, async || {
            let (_, ready) = self.get("/readyz").await?;
            if format!("{ready}\n").contains(&line) { Ok(Some(())) } else { Err(ready)? }
        })
        .await?;
        Ok(())
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
