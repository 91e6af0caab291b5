//! Resources, annotations and connections that are wrong on purpose, as far as the API server accepts them.

use std::time::{Duration, Instant};

use cluster::{DEADLINE, wait_for};
use fastrand::Rng;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::population::Population;
use crate::Error;
use crate::fixture::{Installation, deployment};

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Times at and beyond the bounds of the types that hold them.
const TIMES: [&str; 8] = [
    "9999-12-30T22:00:00Z",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
    "2026-01-31T12:00:00+26:00",
    "2199-12-31T23:59:59Z",
    "1970-01-01T00:00:00Z",
    "2026-06-30T23:59:60Z",
    "-000001-01-01T00:00:00Z",
];

/// How many incidents of somebody else are attacked.
const VICTIMS: usize = 5;

/// Names that are no names of objects, and some that are.
const NAMES: [&str; 6] = ["Payments API", "shop/checkout", "web?x", "../../nodes", "web", "none"];

/// Resources that are wrong on purpose, in a namespace of their own.
pub struct Hostile {
    client: Client,
    namespace: String,
    /// Identifiers of entities of incidents of somebody else.
    foreign: Vec<String>,
    /// The HTTP addresses of the replicas.
    addresses: [String; 2],
    /// Connections that send nothing.
    connections: Vec<TcpStream>,
    random: Rng,
    accepted: u64,
    refused: u64,
}

impl Hostile {
    pub async fn new(
        setup: &Installation,
        population: &Population,
        addresses: [String; 2],
        random: Rng,
    ) -> Result<Self, Error> {
        let namespace = setup.namespace("hostile").await?;
        setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
        let client = setup.client().await?;
        let mut foreign = Vec::new();
        for number in (0..population.incidents).filter(|number| Population::is_static(*number)).take(VICTIMS) {
            let api = population.incidents(client.clone(), number);
            let identifier = wait_for("the entity of an incident", DEADLINE, async || {
                let status = api.get(&Population::incident(number)).await?.status;
                Ok(status.and_then(|status| status.entity).map(|entity| entity.identifier))
            });
            foreign.push(identifier.await?);
        }
        let connections = Vec::new();
        Ok(Self { client, namespace, foreign, addresses, connections, random, accepted: 0, refused: 0 })
    }

    /// Makes one attempt after another until `end`.
    pub async fn run_until(&mut self, end: Instant) -> Result<(), Error> {
        let mut number = 0;
        while Instant::now() < end {
            match number % 8 {
                0 | 1 => self.create_incident(number).await?,
                2 => self.create_record(number).await?,
                3 => self.forge_status(number - 3).await?,
                4 => self.annotate().await?,
                5 => self.roll_out(number).await?,
                6 => self.delete_incident(number - 6).await?,
                _ => self.connect().await?,
            }
            number += 1;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Deletes the namespace, and waits until it is gone: nothing in it may block its deletion.
    pub async fn end(&mut self) -> Result<(), Error> {
        self.connections.clear();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        wait_for("the hostile namespace to be gone", DEADLINE, async || {
            Ok(namespaces.get_metadata_opt(&self.namespace).await?.is_none().then_some(()))
        })
        .await?;
        Ok(())
    }

    pub fn report(&self) -> String {
        format!("{} hostile writes accepted, {} refused by the API server;", self.accepted, self.refused)
    }

    fn time(&mut self) -> &'static str {
        TIMES[self.random.usize(..TIMES.len())]
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.random.usize(..NAMES.len())]
    }

    /// The identifier of an entity that belongs to an incident of somebody else.
    fn foreign_identifier(&mut self) -> String {
        self.foreign[self.random.usize(..self.foreign.len())].clone()
    }

    async fn create_incident(&mut self, number: u64) -> Result<(), Error> {
        let mut spec = json!({"deletionPolicy": self.random.choice(["Retain", "Delete"])});
        match self.random.u8(..6) {
            0 => spec["createdAt"] = json!(self.time()),
            1 => (spec["status"], spec["resolvedAt"]) = (json!("resolved"), json!(self.time())),
            2 => spec["workloadRef"] = json!({"name": self.name(), "revision": i64::MAX}),
            3 => spec["identifier"] = json!(self.foreign_identifier()),
            4 => spec["group"] = json!(format!("missing-{}", self.random.u8(..5))),
            _ => spec["properties"] = json!({"nested": nested(40), "text": "x".repeat(100_000), "number": 1e308}),
        }
        let annotations = json!({
            "dora.port.io/entity": self.foreign_identifier(), "dora.port.io/opened-at": self.time(),
            "dora.port.io/workload-uid": "x".repeat(300), "dora.port.io/reopened-at": self.time(),
        });
        let incident = json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "spec": spec,
            "metadata": {
                "name": format!("hostile-{number}"), "annotations": annotations,
                "labels": {"dora.port.io/opened-by": "FailedRollout", "dora.port.io/alert-group": "0"},
            },
        });
        self.create::<DoraIncident>(incident).await
    }

    /// Creates a record that claims to be about a rollout: one of somebody else, or one that doesn't exist.
    async fn create_record(&mut self, number: u64) -> Result<(), Error> {
        let uid = self.dynamic::<Deployment>().get_metadata("web").await?.metadata.uid;
        let uid = uid.unwrap_or_default();
        let revision = self.random.i64(1..5);
        let name =
            [format!("web-{revision}-{}", &uid[..8]), format!("forged-{number}")][self.random.usize(..2)].clone();
        let outcome = self.random.choice(["Succeeded", "Failed", "InProgress", "RolledBack"]);
        let record = json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment", "metadata": {"name": name},
            "spec": {
                "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name(), "uid": uid},
                "revision": {"number": revision, "name": "web-0", "uid": "0"}, "outcome": outcome,
                "startedAt": self.time(), "finishedAt": self.time(), "commitTime": self.time(),
            },
        });
        self.create::<DoraDeployment>(record).await
    }

    /// Writes into the status of an incident that it has the entity of somebody else.
    async fn forge_status(&mut self, number: u64) -> Result<(), Error> {
        let status = json!({
            "openedAt": self.time(), "entity": {
                "blueprint": "dora_incident", "identifier": self.foreign_identifier(), "digest": "",
                "properties": ["status", "x"], "relations": ["group"],
            },
        });
        let api = self.dynamic::<DoraIncident>();
        let patch = Patch::Merge(json!({"status": status}));
        let written = api.patch_status(&format!("hostile-{number}"), &PatchParams::default(), &patch).await;
        self.count(written.map(drop))
    }

    /// Sets annotations that the controller reads, or that only Kubernetes should write.
    async fn annotate(&mut self) -> Result<(), Error> {
        let annotations = match self.random.u8(..4) {
            0 => json!({"dora.port.io/commit-time": self.time()}),
            1 => json!({"dora.port.io/environment": "x".repeat(500), "dora.port.io/ignore": "perhaps"}),
            2 => json!({"deployment.kubernetes.io/revision": self.random.choice(["0", "1", "99", "-3", "x"])}),
            _ => json!({"dora.port.io/group": "a b/c?d"}),
        };
        let api = self.dynamic::<Deployment>();
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let written = api.patch("web", &PatchParams::default(), &patch).await;
        self.count(written.map(drop))
    }

    async fn roll_out(&mut self, number: u64) -> Result<(), Error> {
        let template = json!({"metadata": {
            "annotations": {"number": number.to_string()}, "creationTimestamp": self.time(),
        }});
        let api = self.dynamic::<Deployment>();
        let patch = Patch::Merge(json!({"spec": {"template": template}}));
        let written = api.patch("web", &PatchParams::default(), &patch).await;
        self.count(written.map(drop))
    }

    async fn delete_incident(&mut self, number: u64) -> Result<(), Error> {
        let deleted =
            self.dynamic::<DoraIncident>().delete(&format!("hostile-{number}"), &DeleteParams::default()).await;
        self.count(deleted.map(drop))
    }

    /// Connects to a replica and sends half of a request.
    async fn connect(&mut self) -> Result<(), Error> {
        let address = &self.addresses[self.random.usize(..self.addresses.len())];
        if let Ok(mut connection) = TcpStream::connect(address).await {
            // The replica may close it at any time.
            let _ = connection.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await;
            self.connections.push(connection);
        }
        Ok(())
    }

    fn dynamic<K>(&self) -> Api<DynamicObject>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<K>(&()))
    }

    async fn create<K>(&mut self, object: Value) -> Result<(), Error>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let object: DynamicObject = serde_json::from_value(object)?;
        let created = self.dynamic::<K>().create(&PostParams::default(), &object).await;
        self.count(created.map(drop))
    }

    /// Counts the answer. An error that is not an answer ends the test.
    fn count(&mut self, result: Result<(), kube::Error>) -> Result<(), Error> {
        match result {
            Ok(()) => self.accepted += 1,
            Err(kube::Error::Api(_)) => self.refused += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// An object in an object, this many times.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!("end"), |inner, _| json!({"inner": inner}))
}
