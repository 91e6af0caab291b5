use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use jiff::SignedDuration;
use parking_lot::Mutex;
use rollout::{Deadline, failure};
use serde_json::{Value, json};

use super::*;

const REPLICA_SET: &str = "f00d";

/// Lists the pods of the ReplicaSet [`REPLICA_SET`] of a template with this hash.
async fn list(client: &Client, hash: &str) -> Result<Option<Vec<PodState>>, kube::Error> {
    let selector = PodSelector { labels: format!("pod-template-hash={hash}"), controller: REPLICA_SET.into() };
    list_pods(client, "shop", &selector).await
}

/// An API server that answers every request with `status` and `body`, and the requests that it received.
fn api_server(status: StatusCode, body: Value) -> (Client, Arc<Mutex<Vec<String>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&requests);
    let answer = move |uri: Uri| async move {
        received.lock().push(uri.to_string());
        (status, body.to_string()).into_response()
    };
    (Client::new(Router::new().fallback(answer), "default"), requests)
}

fn refusal(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code})
}

fn owner(uid: &str, controller: bool) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5f", "uid": uid, "controller": controller})
}

fn pod(metadata: &Value, spec: &Value, status: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "web-5f-abcde", "namespace": "shop", "ownerReferences": [owner(REPLICA_SET, true)]},
        "spec": spec,
        "status": status,
    });
    pod["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    pod
}

fn pod_list(pods: &[Value]) -> Value {
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": pods})
}

fn state(spec: &Value, status: &Value) -> PodState {
    serde_json::from_value::<SlimPod>(pod(&json!({}), spec, status)).unwrap().into_state()
}

#[tokio::test]
async fn one_page_of_labelled_pods_is_requested() {
    let (client, requests) = api_server(StatusCode::OK, pod_list(&[]));
    assert_eq!(list(&client, "7679c567ff").await.unwrap(), Some(vec![]));
    let requests = requests.lock();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    let (path, query) = request.split_once('?').unwrap();
    let mut query: Vec<&str> = query.split('&').filter(|parameter| !parameter.is_empty()).collect();
    query.sort_unstable();
    assert_eq!(path, "/api/v1/namespaces/shop/pods");
    assert_eq!(query, ["labelSelector=pod-template-hash%3D7679c567ff", "limit=100"]);
}

#[tokio::test]
async fn pods_of_others_and_deleted_pods_do_not_count() {
    let owned_by = |owners: Value| pod(&json!({"ownerReferences": owners}), &json!({}), &json!({}));
    let pods = [
        owned_by(json!([owner(REPLICA_SET, true)])),
        owned_by(json!([owner("other", true)])),
        owned_by(json!([owner(REPLICA_SET, false), owner("other", true)])),
        owned_by(json!([])),
        pod(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), &json!({}), &json!({})),
    ];
    let (client, _) = api_server(StatusCode::OK, pod_list(&pods));
    let states = list(&client, "5f").await.unwrap().unwrap();
    assert_eq!(states.len(), 1, "{states:?}");
}

#[tokio::test]
async fn pods_are_unknown_without_the_right_to_list_them() {
    let (client, _) = api_server(StatusCode::FORBIDDEN, refusal(403, "Forbidden"));
    assert_eq!(list(&client, "5f").await.unwrap(), None);
}

#[tokio::test]
async fn failing_api_server_is_not_a_missing_right() {
    for (status, reason) in
        [(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"), (StatusCode::UNAUTHORIZED, "Unauthorized")]
    {
        let (client, _) = api_server(status, refusal(status.as_u16(), reason));
        let error = list(&client, "5f").await.unwrap_err();
        assert!(matches!(&error, kube::Error::Api(answer) if answer.code == status.as_u16()), "{error}");
    }
}

#[test]
fn all_that_explains_a_failure_is_read() {
    let spec = json!({
        "nodeName": "node-1",
        "initContainers": [
            {"name": "proxy", "image": "p", "restartPolicy": "Always", "startupProbe": {"httpGet": {"port": 1}}},
            {"name": "migrate", "image": "m"},
        ],
        "containers": [{"name": "web", "image": "w"}, {"name": "app", "image": "a", "readinessProbe": {"exec": {}}}],
    });
    let status = json!({
        "phase": "Pending",
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status: [app]"},
            {"type": "PodReadyToStartContainers", "status": "True"},
            {"type": "PodScheduled", "status": "True"},
        ],
        "initContainerStatuses": [
            {"name": "proxy", "ready": false, "started": false, "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}},
            {"name": "migrate", "ready": true, "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
        ],
        // Sorted by name, unlike the spec.
        "containerStatuses": [
            {"name": "app", "ready": false, "started": true, "restartCount": 3, "state": {"running": {}},
             "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "m"}}},
            {"name": "web", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}},
        ],
    });
    let container = |name: &str, role, activity| ContainerState {
        name: name.to_owned(),
        role,
        activity,
        last_termination: None,
        restarts: 0,
    };
    let termination = |reason: &str, message: &str, exit_code| Termination {
        reason: reason.to_owned(),
        message: message.to_owned(),
        exit_code,
    };
    let not_found = Explanation { reason: "ErrImagePull".to_owned(), message: "not found".to_owned() };
    let expected = PodState {
        ready: false,
        failed: None,
        unscheduled: None,
        without_sandbox: false,
        readiness_gates: None,
        containers: vec![
            container("proxy", ContainerRole::Sidecar, Activity::Running(Readiness::BehindStartupProbe)),
            container("migrate", ContainerRole::Init, Activity::Terminated(termination("Completed", "", 0))),
            container("web", ContainerRole::Main, Activity::Waiting(not_found)),
            ContainerState {
                last_termination: Some(termination("OOMKilled", "m", 137)),
                restarts: 3,
                ..container("app", ContainerRole::Main, Activity::Running(Readiness::BehindReadinessProbe))
            },
        ],
    };
    assert_eq!(state(&spec, &status), expected);
}

#[test]
fn running_container_waits_only_for_its_own_probes() {
    let readiness = |spec: &Value, status: &Value| {
        let mut spec = json!({"nodeName": "n", "containers": [spec]});
        spec["containers"][0]["name"] = json!("app");
        let mut status = json!({"containerStatuses": [status]});
        status["containerStatuses"][0]["name"] = json!("app");
        status["containerStatuses"][0]["state"] = json!({"running": {}});
        match state(&spec, &status).containers.remove(0).activity {
            Activity::Running(readiness) => readiness,
            other => panic!("{other:?}"),
        }
    };
    let both = json!({"startupProbe": {}, "readinessProbe": {}});
    let cases = [
        (&both, json!({"ready": true, "started": true}), Readiness::Ready),
        (&both, json!({"ready": false, "started": false}), Readiness::BehindStartupProbe),
        (&both, json!({"ready": false, "started": true}), Readiness::BehindReadinessProbe),
        (&json!({}), json!({"ready": false, "started": true}), Readiness::Unready),
        // Its postStart hook has not ended.
        (&json!({"readinessProbe": {}}), json!({"ready": false, "started": false}), Readiness::Unready),
    ];
    for (spec, status, expected) in cases {
        assert_eq!(readiness(spec, &status), expected, "{spec} {status}");
    }
}

#[test]
fn pod_without_a_node_has_the_words_of_the_scheduler() {
    let unscheduled = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available.",
    }]});
    let message = |spec: Value, status: Value| state(&spec, &status).unscheduled.map(|explanation| explanation.message);
    assert_eq!(message(json!({}), unscheduled).as_deref(), Some("0/1 nodes are available."));
    assert_eq!(message(json!({}), json!({"phase": "Pending"})).as_deref(), Some(""), "no scheduler has looked at it");
    assert_eq!(message(json!({"nodeName": "n"}), json!({})), None);
}

#[test]
fn state_of_the_whole_pod_is_read() {
    let evicted =
        state(&json!({"nodeName": "n"}), &json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}));
    assert_eq!(evicted.failed, Some(Explanation { reason: "Evicted".to_owned(), message: "low on memory".to_owned() }));

    let conditions =
        |conditions: Value| state(&json!({"nodeName": "n"}), &json!({"phase": "Running", "conditions": conditions}));
    let gate = conditions(
        json!([{"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady", "message": "gate"}]),
    );
    assert_eq!((gate.ready, gate.readiness_gates.as_deref()), (false, Some("gate")));
    let sandbox = conditions(json!([{"type": "PodReadyToStartContainers", "status": "False"}]));
    assert!(sandbox.without_sandbox && !sandbox.ready);
    let ready = conditions(json!([{"type": "Ready", "status": "True"}]));
    assert!(ready.ready && ready.failed.is_none() && ready.readiness_gates.is_none());
}

#[tokio::test]
async fn response_of_the_api_server_becomes_a_sentence() {
    let spec = json!({"nodeName": "n", "containers": [{"name": "app"}]});
    let waiting = json!({"phase": "Pending", "containerStatuses": [{
        "name": "app", "ready": false, "restartCount": 0, "image": "web:broken", "imageID": "",
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"web:broken\": ErrImagePull:\nnot found"}},
    }]});
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let pods = [&waiting, &ready, &waiting].map(|status| pod(&json!({}), &spec, status));
    let (client, _) = api_server(StatusCode::OK, pod_list(&pods));
    let states = list(&client, "5f").await.unwrap();
    assert_eq!(
        failure(None, Deadline::Own(SignedDuration::from_secs(600)), states.as_deref()),
        "2 of 3 pods can't pull the image of container app: ImagePullBackOff: Back-off pulling image \"web:broken\": \
         ErrImagePull: not found",
    );
}
