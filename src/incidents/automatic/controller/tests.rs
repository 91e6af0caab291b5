//! The controller with an API server that only knows how to answer writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use kube::Client;
use rollout::{Availability, Conditions, PodCounts, ProgressReason, Progressing, Source, UnixSeconds};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::runtime::{Events, Metrics, WorkQueue};
use crate::settings::{FileSettings, IncidentSettings};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// An API server without any object. It answers the creation of an incident with this status.
#[derive(Clone)]
struct ApiServer {
    answer: Arc<Value>,
    /// The incident that it has under each name.
    incident: Arc<Mutex<Option<Value>>>,
    events: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    creations: Arc<AtomicUsize>,
}

async fn handle(State(server): State<ApiServer>, request: Request) -> Response {
    let is_event = request.uri().path().ends_with("/events");
    if is_event {
        server.events.fetch_add(1, Ordering::SeqCst);
    } else {
        server.requests.fetch_add(1, Ordering::SeqCst);
    }
    let status = if request.method() == Method::POST && !is_event {
        server.creations.fetch_add(1, Ordering::SeqCst);
        (*server.answer).clone()
    } else if let Some(incident) = server.incident.lock().clone().filter(|_| !is_event) {
        let mut named = incident;
        named["metadata"]["name"] = request.uri().path().rsplit('/').next().into();
        named
    } else {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
    };
    let code = status["code"].as_u64().and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    (code.unwrap_or(StatusCode::OK), axum::Json(status)).into_response()
}

/// A controller for the Deployment `web`, which has been unavailable for an hour, and its API server.
async fn unavailable(
    answer: Value,
    incidents: IncidentSettings,
) -> Result<(AutoIncidentController, ApiServer), Box<dyn std::error::Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = ApiServer {
        answer: Arc::new(answer),
        incident: Arc::default(),
        events: Arc::default(),
        requests: Arc::default(),
        creations: Arc::default(),
    };
    let router = Router::new().fallback(handle).with_state(server.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = Client::try_from(kube::Config::new(format!("http://{}", listener.local_addr()?).parse()?))?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    let events = Arc::new(Events::new(client.clone(), "test"));
    let context = Context { client, events, metrics: Arc::new(Metrics::default()) };
    let index = Index::new(Arc::new(WorkQueue::default()));
    let hour_ago = Timestamp::from_second(now().as_second() - 3600)?;
    let complete = Progressing { reason: ProgressReason::Complete, replica_set: None, updated: None };
    let lost = Availability { is_available: false, since: UnixSeconds::of(hour_ago).ok_or("out of range")? };
    let web = Workload {
        uid: uid(),
        namespace: "shop".into(),
        name: "web".into(),
        revision: Some(1),
        counts: PodCounts { desired: 1, total: 1, updated: 1, available: 0 },
        conditions: Conditions { progressing: Some(complete), available: Some(lost), replica_failure: None },
        selected: true,
        ..Workload::default()
    };
    index.workload_applied(web, Source::Watch, Timestamp::now());
    let file = FileSettings { incidents, ..FileSettings::default() };
    let settings = Arc::new(ActiveSettings::new("test".to_owned(), file, false));
    let controller = AutoIncidentController::new(context, Arc::new(index), Arc::default(), Arc::default(), settings);
    Ok((controller, server))
}

fn uid() -> Uid {
    "uid".into()
}

impl AutoIncidentController {
    async fn reconcile_once(&self) {
        self.reconcile_and_requeue(uid(), Timestamp::UNIX_EPOCH).await;
    }

    fn metric(&self, sample: &str) -> bool {
        self.context.metrics.text().unwrap().lines().any(|line| line == sample)
    }
}

fn failure(code: u16, reason: &str, details: &Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "the test refuses it", "reason": reason,
        "code": code, "details": details,
    })
}

#[tokio::test]
async fn incident_of_a_gone_namespace_is_not_retried() -> TestResult {
    let terminating = json!({"causes": [{"reason": "NamespaceTerminating"}]});
    for answer in [
        failure(403, "Forbidden", &terminating),
        failure(404, "NotFound", &json!({"kind": "namespaces", "name": "shop"})),
    ] {
        let (controller, server) = unavailable(answer, IncidentSettings::default()).await?;
        controller.reconcile_once().await;
        assert_eq!(server.creations.load(Ordering::SeqCst), 1);
        assert!(controller.incidents.queue().is_empty(), "it is finished");
        assert!(controller.metric("port_dora_incident_writes_dropped_total{reason=\"NamespaceGone\"} 1"));
        assert!(controller.metric("port_dora_incident_writes_retried_total{reason=\"Failed\"} 0"));
    }
    Ok(())
}

#[tokio::test]
async fn refused_incident_is_retried_slowly() -> TestResult {
    let (controller, server) = unavailable(failure(422, "Invalid", &json!({})), IncidentSettings::default()).await?;
    controller.reconcile_once().await;
    let requests = server.requests.load(Ordering::SeqCst);
    for _ in 0..50 {
        // Each change of the workload asks for another reconciliation.
        controller.reconcile_once().await;
    }
    assert_eq!((server.creations.load(Ordering::SeqCst), server.requests.load(Ordering::SeqCst)), (1, requests));
    assert_eq!(controller.incidents.queue().len(), 1, "it is retried later");
    assert!(controller.metric("port_dora_incident_writes_retried_total{reason=\"Refused\"} 1"));
    assert_eq!(controller.writer.reported_loss(&uid()), None, "the loss has no incident yet");
    Ok(())
}

#[tokio::test]
async fn temporary_error_is_retried() -> TestResult {
    let answer = failure(500, "InternalError", &json!({}));
    let (controller, server) = unavailable(answer, IncidentSettings::default()).await?;
    controller.reconcile_once().await;
    controller.reconcile_once().await;
    assert_eq!((server.creations.load(Ordering::SeqCst), controller.incidents.queue().len()), (2, 1));
    assert!(controller.metric("port_dora_incident_writes_retried_total{reason=\"Failed\"} 2"));
    Ok(())
}

#[tokio::test]
async fn switched_off_incidents_send_no_request() -> TestResult {
    let off = IncidentSettings { open: [].into(), ..IncidentSettings::default() };
    let (controller, server) = unavailable(Value::Null, off).await?;
    controller.reconcile_once().await;
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
    assert!(controller.incidents.queue().is_empty());
    Ok(())
}

#[tokio::test]
async fn decision_from_a_late_watch_is_made_again() -> TestResult {
    let answer = failure(422, "Invalid", &json!({}));
    let (controller, server) = unavailable(answer, IncidentSettings::default()).await?;
    // The watch has not brought the deletion of the last incident yet, so the first decision is to open it again.
    let resolved = Timestamp::from_second(now().as_second() - 3700)?;
    let deleted = serde_json::from_value(json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
        "metadata": {
            "name": "deleted", "namespace": "shop", "labels": {"dora.port.io/opened-by": "LostAvailability"},
            "annotations": {"dora.port.io/workload-uid": "uid"},
        },
        "spec": {"workloadRef": {"name": "web"}, "status": "resolved", "createdAt": resolved, "resolvedAt": resolved},
    }))?;
    controller.incidents.applied(&deleted, now());
    controller.reconcile_once().await;
    assert_eq!((server.creations.load(Ordering::SeqCst), controller.incidents.queue().len()), (0, 1));
    controller.incidents.deleted(&ResourceKey { namespace: "shop".into(), name: "deleted".into() });
    controller.reconcile_once().await;
    assert_eq!(server.creations.load(Ordering::SeqCst), 1);
    Ok(())
}

fn existing(name: &str, uid: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
        "metadata": {
            "name": name, "namespace": "shop", "labels": {"dora.port.io/opened-by": "LostAvailability"},
            "annotations": {"dora.port.io/workload-uid": uid},
        },
        "spec": spec,
    })
}

#[tokio::test]
async fn incident_whose_name_is_in_use_is_reported_once() -> TestResult {
    let answer = failure(409, "AlreadyExists", &json!({}));
    for spec in [json!({"workloadRef": {"name": "other"}}), json!({"status": "unknown"})] {
        let (controller, server) = unavailable(answer.clone(), IncidentSettings::default()).await?;
        *server.incident.lock() = Some(existing("web-unavailable", "another-uid", &spec));
        for _ in 0..2 {
            controller.refused.lock().values_mut().for_each(|until| *until = Instant::now());
            controller.reconcile_once().await;
        }
        assert_eq!((server.creations.load(Ordering::SeqCst), server.events.load(Ordering::SeqCst)), (2, 1));
        assert!(controller.metric("port_dora_incident_writes_dropped_total{reason=\"NameTaken\"} 1"));
        assert_eq!(controller.writer.reported_loss(&uid()), None, "the loss has no incident");
        assert_eq!(controller.incidents.queue().len(), 1, "it is retried later");
    }
    Ok(())
}

#[tokio::test]
async fn loss_is_not_ignored_for_an_assumed_end() -> TestResult {
    let answer = failure(422, "Invalid", &json!({}));
    let (controller, server) = unavailable(answer, IncidentSettings::default()).await?;
    let ended = Timestamp::from_second(now().as_second() - 7200)?;
    // After a restart without Port, the watch doesn't state when the incident ended.
    let mut incident = existing("earlier", "uid", &json!({"workloadRef": {"name": "web"}, "status": "resolved"}));
    controller.incidents.applied(&serde_json::from_value(incident.clone())?, now());
    incident["metadata"]["managedFields"] =
        json!([{"manager": "kubectl", "operation": "Update", "time": ended, "fieldsV1": {"f:spec": {"f:status": {}}}}]);
    *server.incident.lock() = Some(incident);
    controller.reconcile_once().await;
    assert_eq!(server.requests.load(Ordering::SeqCst), 1, "it is read");
    *server.incident.lock() = None;
    controller.reconcile_once().await;
    assert_eq!(server.creations.load(Ordering::SeqCst), 1);
    Ok(())
}

#[tokio::test]
async fn rounds_are_forgotten_when_nothing_is_left() -> TestResult {
    let gone = failure(404, "NotFound", &json!({"kind": "namespaces", "name": "shop"}));
    let (controller, _server) = unavailable(gone, IncidentSettings::default()).await?;
    controller.rounds.next_delay(&uid());
    controller.reconcile_once().await;
    assert!(!controller.rounds.is_failing(&uid()), "the namespace is gone");
    let deleted = Uid::from("deleted");
    controller.rounds.next_delay(&deleted);
    controller.reconcile_and_requeue(Arc::clone(&deleted), Timestamp::UNIX_EPOCH).await;
    assert!(!controller.rounds.is_failing(&deleted), "the workload is gone");
    Ok(())
}
