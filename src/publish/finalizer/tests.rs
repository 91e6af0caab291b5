//! Which entities are deleted with their resource, and how long a resource waits for Port.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use jiff::Timestamp;
use kube::Client;
use parking_lot::Mutex;
use port_client::{ClientOptions, Credentials, UpsertOptions};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::incidents::AwaitedEntities;
use crate::publish::{Blueprints, Deletions, FINALIZE_TIMEOUT, IdentifierClaims, PortGate, PublishContext};
use crate::records::Records;
use crate::resources::{DeliveryState, DoraIncident, Guarded};
use crate::runtime::{Context, Events, Metrics, WorkQueue};
use crate::settings::{ActiveSettings, FileSettings};

const DELETED: &str = "2026-01-31T12:00:00Z";

fn incident(metadata: &Value, spec: &Value) -> Value {
    json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "metadata": metadata, "spec": spec,
        "status": {"entity": {
            "blueprint": "dora_incident", "identifier": format!("prod:shop:{}", metadata["name"].as_str().unwrap()),
            "digest": "digest",
        }},
    })
}

fn deleted(spec: &Value) -> Value {
    incident(&json!({"name": "down", "namespace": "shop", "deletionTimestamp": DELETED}), spec)
}

fn to_delete(terminating: &Terminating<DoraIncident>) -> Option<&str> {
    terminating.entity_to_delete().map(|entity| entity.identifier.as_str())
}

#[test]
fn only_deleted_resources_are_finalized() {
    let of = |incident: Value| Terminating::of(&serde_json::from_value::<DoraIncident>(incident).unwrap());
    let spec = json!({"deletionPolicy": "Delete"});
    assert!(of(incident(&json!({"name": "down", "namespace": "shop"}), &spec)).is_none());
    assert_eq!(to_delete(&of(deleted(&spec)).unwrap()), Some("prod:shop:down"));
    assert_eq!(to_delete(&of(deleted(&json!({}))).unwrap()), None, "the policy is Retain by default");
}

#[test]
fn undecodable_resources_are_finalized() {
    let of = |incident: Value| {
        let Guarded(incident): Guarded<DoraIncident> = serde_json::from_value(incident).unwrap();
        Terminating::<DoraIncident>::of_undecodable(&incident.unwrap_err()).unwrap()
    };
    let entity = |spec: &Value| to_delete(&of(deleted(spec))).map(str::to_owned);
    assert_eq!(entity(&json!({"deletionPolicy": "Delete", "priority": 1})).as_deref(), Some("prod:shop:down"));
    assert_eq!(entity(&json!({"deletionPolicy": "Retain", "priority": 1})), None);
    let unknown_policy = json!({"deletionPolicy": "Archive"});
    assert_eq!(entity(&unknown_policy).as_deref(), Some("prod:shop:down"), "the finalizer means Delete");
    assert_eq!(entity(&json!(1)).as_deref(), Some("prod:shop:down"));
    let without_status = of(json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "spec": 1,
        "metadata": {"name": "down", "namespace": "shop", "deletionTimestamp": DELETED},
    }));
    assert_eq!(to_delete(&without_status), None);
}

/// An API server with incidents in the namespace `shop`.
#[derive(Default)]
struct ApiServer {
    incidents: Mutex<HashMap<String, Value>>,
    /// When each finalizer was removed.
    removed: Mutex<Vec<Instant>>,
    all_removed: tokio::sync::Notify,
}

#[expect(clippy::unused_async, reason = "handlers of axum are async")]
impl ApiServer {
    fn client(self: Arc<Self>) -> Client {
        let incident = "/apis/dora.port.io/v1alpha1/namespaces/shop/doraincidents/{name}";
        let router = Router::new()
            .route(incident, get(Self::read).patch(Self::remove_finalizer))
            .route(&format!("{incident}/status"), patch(Self::read))
            .route("/apis/events.k8s.io/v1/namespaces/shop/events", post(async |event: Json<Value>| event))
            .with_state(self);
        Client::new(router, "shop")
    }

    async fn read(State(server): State<Arc<Self>>, Path(name): Path<String>) -> (StatusCode, Json<Value>) {
        match server.incidents.lock().get(&name) {
            Some(incident) => (StatusCode::OK, Json(incident.clone())),
            None => (
                StatusCode::NOT_FOUND,
                Json(json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})),
            ),
        }
    }

    async fn remove_finalizer(State(server): State<Arc<Self>>, Path(name): Path<String>) -> Json<Value> {
        let is_left = |incident: &Value| incident["metadata"]["deletionTimestamp"].is_string();
        let removed = {
            let mut incidents = server.incidents.lock();
            // The annotations of an incident that isn't being deleted don't matter here.
            if !incidents.get(&name).is_some_and(is_left) {
                return Json(incidents.get(&name).cloned().unwrap_or_default());
            }
            incidents.remove(&name)
        };
        server.removed.lock().push(Instant::now());
        if !server.incidents.lock().values().any(is_left) {
            server.all_removed.notify_one();
        }
        Json(removed.unwrap_or_default())
    }
}

fn publisher(client: Client, port: &str, metrics: &Arc<Metrics>) -> Publisher<DoraIncident> {
    let options = ClientOptions::new(port.parse().unwrap(), Credentials::new("id", "secret"), "test/1");
    let settings = Arc::new(ActiveSettings::new("prod".to_owned(), FileSettings::default(), false));
    let context = PublishContext {
        claims: IdentifierClaims::new(&settings),
        runtime: Context {
            events: Arc::new(Events::new(client.clone(), "test")),
            client,
            metrics: Arc::clone(metrics),
        },
        port: port::Client::new(options).unwrap(),
        options: UpsertOptions::default(),
        settings,
        records: Arc::new(Records::default()),
        awaited: AwaitedEntities::default(),
        gate: PortGate::new(Arc::clone(metrics)),
        blueprints: Blueprints::default(),
    };
    Publisher::new(Arc::new(context), Arc::new(WorkQueue::default()), Arc::new(Deletions::default()))
}

#[tokio::test(start_paused = true)]
async fn thousand_deletions_end_in_time_while_port_hangs() {
    const COUNT: usize = 1000;
    // Connections are opened, and nothing is ever answered.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, metrics) = (Arc::new(ApiServer::default()), Arc::new(Metrics::default()));
    let port = format!("http://{}", hanging.local_addr().unwrap());
    let publisher = publisher(Arc::clone(&server).client(), &port, &metrics);
    let started = Instant::now();
    for number in 0..COUNT {
        let pending = json!({"name": format!("pending-{number}"), "namespace": "shop", "uid": format!("p{number}")});
        let deleted = json!({
            "name": format!("deleted-{number}"), "namespace": "shop", "uid": format!("d{number}"), "finalizers": [FINALIZER],
            "deletionTimestamp": Timestamp::now(),
        });
        for (metadata, policy) in [(&pending, "Retain"), (&deleted, "Delete")] {
            let stored = incident(metadata, &json!({"deletionPolicy": policy}));
            server.incidents.lock().insert(metadata["name"].as_str().unwrap().to_owned(), stored);
        }
        publisher.observed(
            ResourceKey::of(&serde_json::from_value(pending).unwrap()).unwrap(),
            DeliveryState::New,
            false,
        );
        publisher.deletion_observed(&serde_json::from_value(deleted).unwrap());
    }
    let stop = CancellationToken::new();
    tokio::select! {
        () = publisher.run(&stop) => panic!("it runs until it is stopped"),
        () = server.all_removed.notified() => {}
    }
    let removed = server.removed.lock().clone();
    assert_eq!(removed.len(), COUNT, "each once");
    let longest = removed.iter().map(|at| *at - started).max().unwrap();
    // The last ones are let go one after the other, which takes some requests to the API server.
    assert!(longest <= FINALIZE_TIMEOUT.unsigned_abs() + Duration::from_secs(2), "{longest:?}");
    let metrics = metrics.text().unwrap();
    let count = |sample: &str| metrics.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse::<usize>().ok());
    let failed = count("port_dora_deliveries_failed_total{kind=\"DoraIncident\",reason=\"TimedOut\"}");
    assert!(failed > Some(0), "{metrics}");
    assert!(count("port_dora_entities_orphaned_total{kind=\"DoraIncident\"}") > Some(COUNT - 20), "{metrics}");
}
