//! An installation: a cluster, the stand-in for Port, the chart, and the controller as a process with the rights of the
//! chart.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use cluster::{ClusterOptions, DEADLINE, LocalCluster, Process, wait_for};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use parking_lot::Mutex;
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use port_sim::{Entity, Options, PortSim};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::Error;
use crate::objects::rollout_of;
use crate::pool::PooledCluster;

/// The name of the cluster in the settings of the controller.
pub const CLUSTER: &str = "test";

/// The namespace and the release name of the chart.
pub const RELEASE: &str = "port-dora-controller";

/// The environment of a controller whose container restarts in the same pod. It still holds the lease, so it leads at
/// once.
pub const SAME_POD: [(&str, &str); 1] = [("POD_NAME", "same-pod")];

/// The environment of a controller with a short lease, for tests that wait until it expires.
pub const SHORT_LEASE: (&str, &str) = ("LEASE_SECONDS", "15");

/// The folder of the chart.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/port-dora-controller");

/// The message that a controller logs when it becomes the leader.
const LEADS: &str = "this replica leads";

/// How the cluster of an installation is shared between tests.
enum Cluster {
    Shared(&'static LocalCluster),
    Pooled(PooledCluster),
    Own(Box<LocalCluster>),
}

/// A cluster with the chart installed, and the stand-in for Port.
pub struct Installation {
    cluster: Cluster,
    pub port: PortSim,
    /// The folder for the files of the test.
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
    /// The installation that most tests share, with a controller that runs until the tests end.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<(Installation, Mutex<Controller>)> = OnceCell::const_new();
        let start = async || {
            let installation = Self::on(Cluster::Shared(LocalCluster::shared().await)).await?;
            let controller = installation.start_controller(&[]).await?;
            Ok::<_, Error>((installation, Mutex::new(controller)))
        };
        match SHARED.get_or_try_init(start).await {
            Ok((installation, _)) => installation,
            Err(error) => panic!("failed to create the shared installation: {error}"),
        }
    }

    /// An installation for one test, without a controller. Another test reuses its cluster afterwards.
    pub async fn exclusive() -> Result<Self, Error> {
        Self::on(Cluster::Pooled(PooledCluster::take().await?)).await
    }

    /// As [`Installation::exclusive`], for tests that change the cluster itself: the cluster ends with the test.
    pub async fn on_own_cluster() -> Result<Self, Error> {
        Self::on(Cluster::Own(Box::new(LocalCluster::start(ClusterOptions::default()).await?))).await
    }

    /// Installs the chart in a cluster.
    async fn on(cluster: Cluster) -> Result<Self, Error> {
        let installation = Self { cluster, port: PortSim::start(Options::default())?, folder: tempfile::tempdir()? };
        // The pods of this cluster are simulated, so the controller runs beside it, with the service account of the
        // chart.
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

    /// Starts a controller with the service account of the chart, and waits until it is ready. `environment` adds
    /// variables to the default environment, or replaces them. An empty value removes a variable.
    pub async fn start_controller(&self, environment: &[(&str, &str)]) -> Result<Controller, Error> {
        self.ready(self.start_controller_at_once(environment).await?).await
    }

    /// As [`Installation::start_controller`], with a fixed address, so that it stays the same after a restart.
    pub async fn start_controller_at(&self, address: &str, environment: &[(&str, &str)]) -> Result<Controller, Error> {
        let environment: Vec<_> = environment.iter().copied().chain([("LISTEN_ADDRESS", address)]).collect();
        let controller = self.start_controller_at_once(&environment).await?;
        self.ready(Controller { address: address.to_owned(), ..controller }).await
    }

    /// Waits until a controller is ready.
    async fn ready(&self, mut controller: Controller) -> Result<Controller, Error> {
        wait_for("the controller to be ready", DEADLINE, async || {
            if let Some(status) = controller.process.exit_status()? {
                Err(format!("the controller ended: {status}"))?;
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
            // A long lease, so that no leader loses it on a busy machine. Otherwise some entities would be sent twice.
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

    /// Starts a controller that reads client ID and client secret from two files. The files, which don't exist yet, are
    /// returned as well.
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

    /// Starts a controller with this settings file, always in the same pod (see [`SAME_POD`]), so that it leads at
    /// once.
    pub async fn start_controller_with_settings(&self, settings: &str) -> Result<Controller, Error> {
        let file = self.file("settings.yaml");
        std::fs::write(&file, settings)?;
        self.start_controller(&[("CONFIG_FILE", &file.to_string_lossy()), SAME_POD[0]]).await
    }

    /// The path of a file or folder of the test.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The entities of `blueprint` from `namespace`, in the order of their creation.
    pub fn entities(&self, blueprint: &str, namespace: &str) -> Vec<Entity> {
        let prefix = format!("{CLUSTER}:{namespace}:");
        let mut entities = self.port.entities(blueprint);
        entities.retain(|entity| entity.identifier.starts_with(&prefix));
        entities.sort_by_key(|entity| entity.sequence);
        entities
    }

    /// Waits until Port has exactly the `expected` deployments of `namespace`, and returns them. Each is given as name
    /// and revision, such as `web:1`, and its status.
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

    /// The entity of the incident `name`, or of the newest one if there were several incidents of this name.
    pub fn incident_entity(&self, namespace: &str, name: &str) -> Option<Entity> {
        let prefix = format!("{CLUSTER}:{namespace}:{name}:");
        let entities = self.port.entities("dora_incident").into_iter();
        entities.filter(|entity| entity.identifier.starts_with(&prefix)).max_by_key(|entity| entity.sequence)
    }

    /// Waits until Port has the incident `name` with this status, and returns it.
    pub async fn incident(&self, namespace: &str, name: &str, status: &str) -> Result<Entity, Error> {
        let entity =
            wait_for(format!("the incident {namespace}/{name} to be {status} in Port"), DEADLINE, async || {
                let entity = self.incident_entity(namespace, name).ok_or("it is missing")?;
                let found = text(&entity, "status");
                if found != status {
                    Err(format!("it is {found}"))?;
                }
                Ok(Some(entity))
            })
            .await?;
        Ok(entity)
    }

    /// Waits until the records of `namespace` have exactly these outcomes, by `name:revision`.
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

    /// Waits until the condition `kind` of a resource such as `dinc/down` has this reason, and returns its status and
    /// message.
    pub async fn condition(
        &self,
        namespace: &str,
        resource: &str,
        kind: &str,
        reason: &str,
    ) -> Result<(String, String), Error> {
        self.condition_that(namespace, resource, kind, reason, |_| true).await
    }

    /// As [`Installation::condition`], and waits until the message fulfils a condition.
    pub async fn condition_that(
        &self,
        namespace: &str,
        resource: &str,
        kind: &str,
        reason: &str,
        fulfils: impl Fn(&str) -> bool,
    ) -> Result<(String, String), Error> {
        let (plural, name) = resource.split_once('/').ok_or("the resource must be KIND/NAME")?;
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

    /// The API of a custom resource, by its short name.
    async fn resources(&self, namespace: &str, short_name: &str) -> Result<Api<DynamicObject>, Error> {
        let resource = match short_name {
            "ddep" => ApiResource::erase::<DoraDeployment>(&()),
            "dinc" => ApiResource::erase::<DoraIncident>(&()),
            other => return Err(format!("unknown short name {other}: add its type here").into()),
        };
        Ok(Api::namespaced_with(self.client().await?, namespace, &resource))
    }

    /// Waits until the record of the only rollout in `namespace` has the condition Synced=True. If the controller or
    /// the API server ends before that, the controller sends the entity again.
    pub async fn delivered(&self, namespace: &str, rollout: &str) -> Result<(), Error> {
        let records = self.outcomes(namespace, &[(rollout, "Succeeded")]).await?;
        let name = records[0].metadata.name.clone().unwrap_or_default();
        self.condition(namespace, &format!("ddep/{name}"), "Synced", "Delivered").await?;
        Ok(())
    }

    /// Waits until the resource has an Event with this reason, and returns its note.
    pub async fn event(&self, namespace: &str, name: &str, reason: &str) -> Result<String, Error> {
        self.event_that(namespace, name, reason, |_| true).await
    }

    /// As [`Installation::event`], and waits until the note fulfils a condition.
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
            let notes = Some(notes.join(" ")).filter(|_| !notes.is_empty()).ok_or("there is no Event")?;
            if fulfils(&notes) { Ok(Some(notes)) } else { Err(notes)? }
        })
        .await?;
        Ok(notes)
    }

    /// Whether a service account may use `verb` on a resource in the namespace `target`, or in all namespaces if
    /// `target` is empty. The resource is given as `plural.group/subresource`, such as `deployments.apps`.
    pub async fn can(&self, account: (&str, &str), verb: &str, resource: &str, target: &str) -> Result<bool, Error> {
        self.can_named(account, verb, (resource, ""), target).await
    }

    /// As [`Installation::can`], for the resource with this name.
    pub async fn can_named(
        &self,
        (namespace, account): (&str, &str),
        verb: &str,
        (resource, name): (&str, &str),
        target: &str,
    ) -> Result<bool, Error> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
        let review = json!({"spec": {
            "user": format!("system:serviceaccount:{namespace}:{account}"),
            "groups": groups,
            "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": target,
                "name": name,
            },
        }});
        let api: Api<SubjectAccessReview> = Api::all(self.client().await?);
        let answer = api.create(&PostParams::default(), &serde_json::from_value(review)?).await?;
        Ok(answer.status.ok_or("the review has no status")?.allowed)
    }

    /// Waits until the condition Progressing of a Deployment has this reason and its generation is observed, and
    /// returns the Deployment.
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

    /// Runs `kubectl apply` in this namespace.
    pub async fn apply_in(&self, namespace: &str, manifests: &str) -> Result<String, Error> {
        Ok(self.kubectl_with_input(["--namespace", namespace, "apply", "--filename", "-"], manifests).await?)
    }

    /// Runs `kubectl patch` on a resource such as `dinc/down`. `kind` is `merge` or `json`.
    pub async fn patch(&self, namespace: &str, resource: &str, kind: &str, patch: &str) -> Result<String, Error> {
        let kind = format!("--type={kind}");
        Ok(self.kubectl(["--namespace", namespace, "patch", resource, &kind, "--patch", patch]).await?)
    }

    /// The incident with this name.
    pub async fn get_incident(&self, namespace: &str, name: &str) -> Result<DoraIncident, Error> {
        let api: Api<DoraIncident> = Api::namespaced(self.client().await?, namespace);
        Ok(api.get(name).await?)
    }
}

impl Controller {
    /// The URL of a path of its HTTP server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The status and the body of the answer on `path`.
    pub async fn get(&self, path: &str) -> Result<(u16, String), Error> {
        let answer = reqwest::get(self.url(path)).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Waits until `/readyz` lists this number of pending resources of a kind.
    pub async fn waiting(&self, kind: &str, count: usize) -> Result<(), Error> {
        let line = format!("{kind} waiting to be delivered: {count}\n");
        wait_for(format!("{line:?} in /readyz"), DEADLINE, async || {
            let (_, ready) = self.get("/readyz").await?;
            if format!("{ready}\n").contains(&line) { Ok(Some(())) } else { Err(ready)? }
        })
        .await?;
        Ok(())
    }

    /// Waits until its metrics have this line.
    pub async fn shows(&self, line: &str) -> Result<(), Error> {
        let name = line.split_once(['{', ' ']).map_or(line, |(name, _)| name);
        wait_for(format!("{line:?} in /metrics"), DEADLINE, async || {
            let (_, metrics) = self.get("/metrics").await?;
            let found: Vec<_> = metrics.lines().filter(|found| found.starts_with(name)).collect();
            if found.contains(&line) { Ok(Some(())) } else { Err(format!("{found:?}"))? }
        })
        .await?;
        Ok(())
    }

    /// The current value of a counter, whose name includes its labels.
    pub async fn counter(&self, name: &str) -> Result<u64, Error> {
        let (_, metrics) = self.get("/metrics").await?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.ok_or(format!("{name} is not in the metrics"))?.parse()?)
    }

    /// Waits until it is the leader.
    pub async fn leads(&self) -> Result<(), Error> {
        self.logs(LEADS).await.map(drop)
    }

    /// Whether it has become the leader.
    pub fn is_leading(&self) -> Result<bool, Error> {
        Ok(self.process.log()?.contains(LEADS))
    }

    /// Waits until its log contains `text`, and returns the log.
    pub async fn logs(&self, text: &str) -> Result<String, Error> {
        let log = wait_for(format!("{text:?} in the log of the controller"), DEADLINE, async || {
            let log = self.process.log()?;
            Ok(log.contains(text).then_some(log))
        })
        .await?;
        Ok(log)
    }
}

/// The number of requests that read or wrote single custom resources so far, without their creation. `resource` is the plural.
pub async fn api_requests(setup: &Installation, resource: &str) -> Result<u64, Error> {
    let metrics = setup.kubectl(["get", "--raw", "/metrics"]).await?;
    let of_resource = format!("resource=\"{resource}\"");
    let verbs = ["GET", "PUT", "PATCH", "APPLY"].map(|verb| format!("verb=\"{verb}\""));
    let lines =
        metrics.lines().filter(|line| line.starts_with("apiserver_request_total{") && line.contains(&of_resource));
    let counted = lines.filter(|line| verbs.iter().any(|verb| line.contains(verb)));
    let counts: Result<Vec<u64>, _> = counted.filter_map(|line| line.rsplit(' ').next()).map(str::parse).collect();
    Ok(counts?.iter().sum())
}

/// The reason of the condition Synced of a record; empty if there is none.
pub fn synced_reason(record: &DoraDeployment) -> &str {
    let conditions = record.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().find(|condition| condition.type_ == "Synced").map_or("", |synced| &synced.reason)
}

/// A property of an entity as text; empty if it is missing.
pub fn text(entity: &Entity, property: &str) -> String {
    entity.properties.get(property).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The manifest of a Deployment with one pod. `metadata` and `template` are the annotations of the Deployment and of
/// its pod template, as YAML without braces.
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

/// The manifest of a `DoraIncident`, as a YAML document. `spec` is YAML without braces.
pub fn incident(name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: dora.port.io/v1alpha1, kind: DoraIncident, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n"
    )
}

/// A number from an environment variable, for tests that have a long form.
pub fn number(variable: &str) -> Result<Option<u64>, Error> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(text.parse().map_err(|error| format!("{variable}={text}: {error}"))?)),
        Err(_) => Ok(None),
    }
}
