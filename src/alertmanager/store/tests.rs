//! The store with an API server that keeps incidents in memory.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::resources::SlimDoraIncident;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// The incidents by the path of their resource.
type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

async fn handle(State(objects): State<Objects>, method: Method, uri: Uri, body: Bytes) -> Response {
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut objects = objects.lock();
    let path = uri.path().to_owned();
    if !path.contains("/doraincidents") {
        let name = path.rsplit('/').next().unwrap();
        return axum::Json(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
            .into_response();
    }
    if path.ends_with("/doraincidents") && method == Method::GET {
        return axum::Json(json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []})).into_response();
    }
    if method == Method::POST {
        objects.insert(format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap()), sent.clone());
        return axum::Json(sent).into_response();
    }
    let Some(object) = objects.get_mut(&path) else {
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
        return (StatusCode::NOT_FOUND, axum::Json(status)).into_response();
    };
    if method == Method::PATCH {
        object["spec"].as_object_mut().unwrap().extend(sent["spec"].as_object().unwrap().clone());
    }
    axum::Json(object.clone()).into_response()
}

async fn store() -> Result<(IncidentStore, Objects), Box<dyn std::error::Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let objects = Objects::default();
    let router = Router::new().fallback(handle).with_state(Arc::clone(&objects));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = Client::try_from(kube::Config::new(format!("http://{}", listener.local_addr()?).parse()?))?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    let index = Arc::new(AlertIndex::default());
    index.list_finished();
    Ok((IncidentStore::new(client, "own".to_owned(), AlertmanagerSettings::default(), index), objects))
}

fn notification(namespace: &str, is_firing: bool) -> Notification {
    let status = if is_firing { "firing" } else { "resolved" };
    let ends = if is_firing { "0001-01-01T00:00:00Z" } else { "2026-01-01T11:00:00Z" };
    let labels = json!({"alertname": "Slow", "namespace": namespace});
    serde_json::from_value(json!({
        "receiver": "port", "status": status, "groupKey": "{}", "commonLabels": labels,
        "alerts": [{"status": status, "labels": labels, "startsAt": "2026-01-01T10:00:00Z", "endsAt": ends}],
    }))
    .unwrap()
}

/// Namespace and status of each incident.
fn statuses(objects: &Objects) -> Vec<String> {
    let status = |object: &Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        format!("{} {}", text(&object["metadata"]["namespace"]), text(&object["spec"]["status"]))
    };
    objects.lock().values().map(status).collect()
}

#[tokio::test]
async fn other_namespace_cannot_hide_an_alert() -> TestResult {
    let (store, objects) = store().await?;
    let forged = json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
        "metadata": {
            "name": "forged", "namespace": "evil", "labels": {GROUP_LABEL: group_hash(&notification("shop", true))},
        },
        "spec": {"status": "open", "createdAt": "2026-01-01T09:00:00Z"},
    });
    let path = "/apis/dora.port.io/v1alpha1/namespaces/evil/doraincidents/forged";
    objects.lock().insert(path.to_owned(), forged.clone());
    store.index.applied(&serde_json::from_value::<SlimDoraIncident>(forged)?);
    assert_eq!(store.store(&notification("shop", true)).await?, StoreResult::Stored);
    assert_eq!(statuses(&objects), ["evil open", "shop open"]);
    assert_eq!(store.store(&notification("shop", true)).await?, StoreResult::Unchanged);
    Ok(())
}

#[tokio::test]
async fn group_that_moved_is_resolved_everywhere() -> TestResult {
    let (store, objects) = store().await?;
    for namespace in ["shop", "web"] {
        assert_eq!(store.store(&notification(namespace, true)).await?, StoreResult::Stored);
    }
    assert_eq!(statuses(&objects), ["shop open", "web open"]);
    assert_eq!(store.store(&notification("web", false)).await?, StoreResult::Stored);
    assert_eq!(statuses(&objects), ["shop resolved", "web resolved"]);
    Ok(())
}
