//! The recorder with an API server that answers as each test says.

use std::future::IntoFuture;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use futures::FutureExt;
use kube::Client;
use parking_lot::Mutex;
use rollout::{
    History, Metadata, Outcome, RecordedRevision, Source, UnixSeconds, WorkloadKey, WorkloadKind, test_support,
};
use serde_json::{Value, json};

use super::*;
use crate::records::store::tests::revision;
use crate::runtime::{Events, Metrics};
use crate::settings::FileSettings;

/// Answers a request with this method and path, such as `POST /apis/…`.
type Respond = fn(&str) -> (u16, Value);

/// The requests to the API server, without those for Events, and the number of Events by reason.
#[derive(Default)]
struct Requests {
    others: Vec<String>,
    events: Vec<String>,
}

struct TestEnv {
    recorder: RolloutRecorder,
    index: Arc<Index>,
    queue: Arc<WorkQueue<Uid>>,
    metrics: Arc<Metrics>,
    requests: Arc<Mutex<Requests>>,
}

const UID: &str = "01234567-89ab";

const RECORDS: &str = "/apis/dora.port.io/v1alpha1/namespaces/shop/doradeployments";

/// The names of the record of revision 1: the usual one, and that of a repeated number.
const NAMES: [&str; 2] = ["web-1-01234567", "web-1-01234567-00abcdef"];

async fn answer(
    State((respond, requests)): State<(Respond, Arc<Mutex<Requests>>)>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> (StatusCode, String) {
    let body = String::from_utf8_lossy(&body).into_owned();
    if uri.path().contains("/events") {
        let event: Value = serde_json::from_str(&body).unwrap();
        requests.lock().events.push(event["reason"].as_str().unwrap_or_default().to_owned());
        return (StatusCode::CREATED, body);
    }
    let request = format!("{method} {}", uri.path());
    let (code, answer) = respond(&request);
    requests.lock().others.push(request.replace(RECORDS, "…"));
    let answer = if answer.is_null() { body } else { answer.to_string() };
    (StatusCode::from_u16(code).unwrap(), answer)
}

fn status(code: u16, reason: &str, details: &Value) -> (u16, Value) {
    let status = json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code, "details": details, "message": "no"});
    (code, status)
}

fn namespace_terminating(_: &str) -> (u16, Value) {
    status(403, "Forbidden", &json!({"causes": [{"reason": "NamespaceTerminating"}]}))
}

fn created(_: &str) -> (u16, Value) {
    (201, Value::Null)
}

impl TestEnv {
    async fn new(respond: Respond) -> Self {
        let requests = Arc::new(Mutex::new(Requests::default()));
        let router = Router::new().fallback(answer).with_state((respond, Arc::clone(&requests)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        let client = Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap();
        let (queue, metrics) = (Arc::new(WorkQueue::default()), Arc::new(Metrics::default()));
        let index = Arc::new(Index::new(Arc::clone(&queue)));
        let events = Arc::new(Events::new(client.clone(), "test"));
        let recorder = RolloutRecorder::new(
            Context { client, events, metrics: Arc::clone(&metrics) },
            Arc::new(ActiveSettings::new("test".to_owned(), FileSettings::default(), false)),
            Arc::clone(&index),
            Arc::new(Records::default()),
            Arc::clone(&queue),
            RecorderCallbacks { on_written: Box::new(|_| {}), on_reconciled: Box::new(|_, _, _| {}) },
            Lease::default(),
        );
        Self { recorder, index, queue, metrics, requests }
    }

    /// Applies the namespace `shop`, created this many seconds ago.
    fn apply_namespace(&self, age: i64) {
        let created = now().checked_sub(SignedDuration::from_secs(age)).unwrap();
        self.index.namespace_applied("shop".into(), Metadata::default(), Metadata::default(), Some(created));
    }

    /// Applies the Deployment `web` of this UID at revision 1, created a minute ago.
    fn apply_web(&self, uid: &str) {
        self.apply_web_of(uid, SignedDuration::from_mins(1));
    }

    /// As [`TestEnv::apply_web`], created this long ago.
    fn apply_web_of(&self, uid: &str, age: SignedDuration) {
        let created = now().checked_sub(age).ok();
        let replica_set = test_support::replica_set("web-5f", 1, 0);
        let replica_set = Revision { uid: format!("00abcdef-{uid}").into(), created, ..replica_set };
        self.index.revision_applied(WorkloadKind::Deployment, uid.into(), replica_set);
        let web = Workload { uid: uid.into(), created, ..test_support::deployment(1) };
        self.index.workload_applied(web, Source::Watch, now());
    }

    fn delete_web(&self, uid: &str) {
        self.index.workload_deleted(&uid.into(), None, Source::Watch, now());
        self.index.revision_deleted(&format!("00abcdef-{uid}"));
    }

    /// Reconciles all workloads that have changed.
    async fn reconcile(&self) {
        for uid in self.queue.drain() {
            self.recorder.reconcile(uid, &policy()).await;
        }
    }

    fn follow(&self) {
        for uid in self.queue.drain() {
            self.recorder.follow(uid, &policy());
        }
    }

    /// The requests since the last call, without those for Events.
    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().others)
    }

    fn events(&self) -> Vec<String> {
        self.requests.lock().events.clone()
    }

    fn has_metric(&self, line: &str) -> bool {
        self.metrics.text().unwrap().lines().any(|other| other == format!("port_dora_{line}"))
    }
}

fn policy() -> Policy {
    Policy { installed: test_support::time(0), history: History::None, fail_after: SignedDuration::from_mins(15) }
}

fn post() -> String {
    "POST …".to_owned()
}

fn get(name: &str) -> String {
    format!("GET …/{name}")
}

#[tokio::test]
async fn rollouts_of_deleted_namespaces_are_tried_once() {
    let env = TestEnv::new(namespace_terminating).await;
    for number in 0..50 {
        let uid = format!("{number}-{UID}");
        env.apply_namespace(120);
        env.apply_web(&uid);
        env.reconcile().await;
        assert_eq!((env.requests(), env.queue.len()), (vec![post()], 0), "once for the change");
        env.delete_web(&uid);
        env.reconcile().await;
        assert_eq!((env.requests(), env.queue.len()), (vec![post()], 0), "once for the deletion");
        env.index.namespace_deleted("shop");
        env.reconcile().await;
        assert!(env.index.is_empty(), "nothing is left of the namespace");
    }
    assert!(env.requests().is_empty() && env.events().is_empty());
    assert!(env.has_metric("rollouts_dropped_total{reason=\"NamespaceDeleted\"} 100"));
    assert!(env.has_metric("record_writes_retried_total 0"));
}

#[tokio::test]
async fn nothing_is_recorded_in_a_later_namespace() {
    let env = TestEnv::new(created).await;
    env.apply_web(UID);
    env.apply_namespace(5);
    env.reconcile().await;
    env.delete_web(UID);
    env.reconcile().await;
    assert_eq!((env.requests(), env.queue.len()), (vec![], 0));
    env.index.namespace_deleted("shop");
    assert!(env.index.is_empty());

    env.apply_namespace(60);
    env.apply_web(UID);
    env.reconcile().await;
    assert_eq!(env.requests(), [post()]);
}

#[tokio::test]
async fn workload_older_than_its_namespace_is_recorded_later() {
    let env = TestEnv::new(created).await;
    env.apply_namespace(5);
    env.apply_web(UID);
    env.reconcile().await;
    assert_eq!((env.requests(), env.queue.len()), (vec![], 1), "the watch may not have brought its deletion yet");

    // The clocks of two API servers differ.
    let env = TestEnv::new(created).await;
    env.apply_namespace(90);
    env.apply_web_of(UID, SignedDuration::from_secs(100));
    env.reconcile().await;
    assert_eq!(env.requests(), [post()]);
}

#[tokio::test]
async fn standby_forgets_deleted_namespaces() {
    let env = TestEnv::new(created).await;
    env.apply_namespace(120);
    env.apply_web(UID);
    env.delete_web(UID);
    env.follow();
    assert!(env.index.has_past_observations(&UID.into()), "the leader may end before it records the rollout");
    // The same namespace again.
    env.apply_namespace(5);
    env.follow();
    assert!(!env.index.has_past_observations(&UID.into()) && env.queue.is_empty());

    env.apply_namespace(120);
    env.apply_web(UID);
    let until = now().checked_sub(NAMESPACE_WAIT).unwrap();
    env.index.workload_deleted(&UID.into(), None, Source::Watch, until);
    env.index.revision_deleted(&format!("00abcdef-{UID}"));
    env.follow();
    assert!(env.index.has_past_observations(&UID.into()), "the namespace exists");
    env.index.namespace_deleted("shop");
    env.follow();
    assert!(env.index.is_empty() && env.queue.is_empty());
    assert!(env.requests().is_empty());
}

fn foreign_object(request: &str) -> (u16, Value) {
    match request.split_once(' ') {
        Some(("GET", path)) => {
            let name = path.rsplit('/').next();
            (200, json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"outcome": "Succeeded"}}))
        }
        _ => status(409, "AlreadyExists", &Value::Null),
    }
}

#[tokio::test]
async fn taken_names_are_reported_once_and_tried_slowly() {
    let env = TestEnv::new(foreign_object).await;
    env.apply_namespace(120);
    for _ in 0..3 {
        env.apply_web(UID);
        env.queue.add(UID.into());
        env.reconcile().await;
    }
    assert_eq!(env.requests(), [post(), get(NAMES[0]), post(), get(NAMES[1])]);
    assert_eq!(env.events(), ["RecordNameTaken"]);
    assert!(env.has_metric("rollouts_dropped_total{reason=\"NameTaken\"} 1"));
    assert_eq!(env.queue.len(), 1, "it is tried again later");
    let foreign = json!({"metadata": {"namespace": "shop", "name": NAMES[1]}, "spec": {"outcome": "Succeeded"}});
    env.recorder.record_deleted(&serde_json::from_value(foreign).unwrap());
    env.reconcile().await;
    assert_eq!(env.requests().len(), 4, "it is tried when one of the objects is deleted");
}

#[tokio::test]
async fn rollout_whose_name_is_taken_gets_the_other_name() {
    let env = TestEnv::new(|request| {
        static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
        let is_second = request.starts_with("POST") && !TAKEN.swap(false, std::sync::atomic::Ordering::Relaxed);
        if is_second { created(request) } else { foreign_object(request) }
    })
    .await;
    env.apply_namespace(120);
    env.apply_web(UID);
    env.reconcile().await;
    assert_eq!(env.requests(), [post(), get(NAMES[0]), post()]);
    assert_eq!(env.events(), ["RecordNameTaken"]);
    assert!(env.has_metric("rollouts_dropped_total{reason=\"NameTaken\"} 0"));
    env.queue.add(UID.into());
    env.reconcile().await;
    assert!(env.requests().is_empty(), "the rollout is recorded");
}

#[tokio::test]
async fn refused_record_is_reported_once_and_retried() {
    let env = TestEnv::new(|_| status(422, "Invalid", &Value::Null)).await;
    env.apply_namespace(120);
    env.apply_web(UID);
    for _ in 0..3 {
        env.queue.add(UID.into());
        env.reconcile().await;
    }
    assert_eq!(env.requests(), vec![post(); 3]);
    assert_eq!((env.events(), env.queue.len()), (vec!["RecordRefused".to_owned()], 1));
    assert!(env.has_metric("record_writes_retried_total 3"));
}

#[tokio::test]
async fn record_that_comes_and_goes_is_not_tried_at_full_speed() {
    let env = TestEnv::new(|request| match request.split_once(' ') {
        Some(("GET", _)) => status(404, "NotFound", &Value::Null),
        _ => status(409, "AlreadyExists", &Value::Null),
    })
    .await;
    env.apply_namespace(120);
    env.apply_web(UID);
    env.reconcile().await;
    assert_eq!(env.requests(), [post(), get(NAMES[0])]);
    assert!(env.queue.drain().is_empty(), "it isn't ready at once");
    assert_eq!(env.queue.len(), 1, "but later");
    assert!(env.has_metric("record_writes_retried_total 1"));
}

/// The record of a deployment outside Kubernetes that ended at this time and was created in 2020.
fn applied(name: &str, finished: &str) -> Value {
    let metadata = json!({"namespace": "shop", "name": name, "creationTimestamp": "2020-01-01T00:00:00Z"});
    json!({"metadata": metadata, "spec": {"outcome": "Succeeded", "finishedAt": finished}})
}

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

impl TestEnv {
    /// Applies old records with these names, and searches for expired ones.
    async fn expire(&self, names: &[&str]) {
        for name in names {
            self.recorder.record_applied(&serde_json::from_value(applied(name, LONG_AGO)).unwrap());
        }
        self.recorder.expiry.search().await;
    }
}

#[tokio::test]
async fn undelivered_records_expire_with_one_event() {
    let env = TestEnv::new(|request| (200, applied(request.rsplit('/').next().unwrap(), LONG_AGO))).await;
    env.expire(&["a", "b", "c"]).await;
    assert_eq!((env.requests().len(), env.events()), (6, vec!["UndeliveredRecordsExpired".to_owned()]));
    assert!(env.has_metric("records_expired_total{delivered=\"false\"} 3"));
    env.recorder.expiry.search().await;
    assert!(env.requests().is_empty(), "nothing is listed, and nothing is left");
}

#[tokio::test]
async fn record_that_has_changed_does_not_expire() {
    let env = TestEnv::new(|_| (200, applied("a", "2099-01-01T00:00:00Z"))).await;
    env.expire(&["a"]).await;
    assert_eq!((env.requests(), env.events().len()), (vec![get("a")], 0));
    env.recorder.expiry.search().await;
    assert!(env.requests().is_empty(), "it is known now");
}

#[tokio::test]
async fn record_that_cannot_be_deleted_blocks_no_other() {
    let env = TestEnv::new(|request| match request.split_once(' ') {
        Some(("DELETE", path)) if path.ends_with("/a") => status(403, "Forbidden", &Value::Null),
        _ => (200, applied(request.rsplit('/').next().unwrap(), LONG_AGO)),
    })
    .await;
    env.expire(&["a", "b"]).await;
    assert!(env.has_metric("records_expired_total{delivered=\"false\"} 1"));
    assert!(env.has_metric("record_writes_retried_total 1"));
}

#[tokio::test]
async fn undelivered_record_makes_the_oldest_delivered_one_expire() {
    let env = TestEnv::new(created).await;
    let (key, uid) =
        (WorkloadKey { namespace: "shop".into(), kind: WorkloadKind::Deployment, name: "web".into() }, UID.into());
    let max = i64::try_from(env.recorder.expiry.policy.records).unwrap();
    for number in 1..=max + 1 {
        assert!(env.recorder.expiry.requested.notified().now_or_never().is_none(), "{number}");
        let ended = RecordedRevision { finished: UnixSeconds::of(now()), ..revision(number, Outcome::Succeeded) };
        let state = RecordState { is_settled: number <= max, ..RecordState::default() };
        env.recorder.records.set(&uid, &key, ended, state);
        env.recorder.expiry.record_changed(&key, &uid);
    }
    assert!(env.recorder.expiry.requested.notified().now_or_never().is_some());
}
