use kube::Config;
use rollout::{Outcome, RevisionId};
use serde_json::{Value, json};

use super::*;
use crate::resources::SlimDoraDeployment;
use crate::settings::FileSettings;

/// A client of an API server that doesn't respond.
fn unreachable() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap()
}

struct Cluster {
    client: Client,
    settings: ActiveSettings,
    records: Records,
    awaited: AwaitedEntities,
}

impl Cluster {
    fn new() -> Self {
        Self {
            client: unreachable(),
            settings: ActiveSettings::new("test".to_owned(), FileSettings::default(), false),
            records: Records::default(),
            awaited: AwaitedEntities::default(),
        }
    }

    /// Stores the record of revision 1 of the Deployment `web`, which ended at 10:00. `entity` is its entity in Port.
    fn record(&self, entity: Option<&str>) {
        let record: SlimDoraDeployment = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment",
            "metadata": {"namespace": "shop", "name": "web-1-01234567", "generation": 1},
            "spec": {
                "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "0123456789"},
                "revision": {"number": 1, "name": "web-5f", "uid": "00abcdef-0000"},
                "outcome": "Succeeded", "finishedAt": "2026-01-31T10:00:00Z",
            },
            "status": {"entity": entity.map(|entity| json!({
                "identifier": entity, "deliveredAt": "2026-01-31T10:00:01Z",
            }))},
        }))
        .unwrap();
        self.records.apply(&record, crate::records::RecordState::of(&record, &self.settings));
    }

    /// Looks up the cause of the incident `shop/down`, which began at 11:00, at 12:00.
    async fn look_up(&self, spec: &Value, status: &Value) -> Lookup<DoraIncident> {
        let time = |text: &str| text.parse().unwrap();
        let incident: DoraIncident = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {"name": "down", "namespace": "shop", "creationTimestamp": "2026-01-31T11:00:00Z"},
            "spec": spec, "status": status,
        }))
        .unwrap();
        let context = CauseContext {
            client: &self.client,
            settings: &self.settings,
            records: &self.records,
            awaited: &self.awaited,
            publishing_since: time("2026-01-31T09:00:00Z"),
            now: time("2026-01-31T12:00:00Z"),
        };
        look_up_cause(incident, time("2026-01-31T11:00:00Z"), &context).await
    }
}

fn record_key() -> ResourceKey {
    ResourceKey { namespace: "shop".into(), name: "web-1-01234567".into() }
}

fn cause(resource: &DoraIncident) -> Option<&IncidentCause> {
    resource.status.as_ref()?.cause.as_ref()
}

#[tokio::test]
async fn impossible_name_is_explained_without_a_request() {
    let cluster = Cluster::new();
    for name in ["Payments API", "shop/checkout", "web?x", "../web", "%2e%2e"] {
        let Lookup { warnings, error, is_repeated, .. } =
            cluster.look_up(&json!({"workloadRef": {"name": name}}), &json!({})).await;
        assert!(error.is_none() && !is_repeated, "{name}: {error:?}");
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("can't be the name of a Deployment"), "{warnings:?}");
    }
}

#[tokio::test]
async fn failed_lookup_is_repeated_and_changes_no_cause() {
    let cluster = Cluster::new();
    let Lookup { resource, warnings, error, is_repeated } =
        cluster.look_up(&json!({"workloadRef": {"name": "web"}}), &json!({})).await;
    assert!(error.is_some() && is_repeated && warnings.is_empty(), "{error:?} {warnings:?}");
    assert_eq!(cause(&resource), None);

    // The record says that Port has the entity, and can't be read.
    cluster.record(Some("test:shop:web:1:01234567"));
    let known = json!({
        "openedAt": "2026-01-31T11:00:00Z", "observedCause": "before",
        "cause": {
            "certainty": "Stated", "workload": {"kind": "Deployment", "name": "web"}, "revision": 7, "record": "old",
            "entity": "test:shop:web:7:00000000",
        },
    });
    for (status, expected) in [(&json!({}), "web-1-01234567"), (&known, "old")] {
        let Lookup { resource, error, is_repeated, .. } =
            cluster.look_up(&json!({"workloadRef": {"name": "web"}}), status).await;
        assert!(error.is_some() && is_repeated);
        assert_eq!(cause(&resource).map(|cause| cause.record.as_str()), Some(expected));
        assert_eq!(resource.status.unwrap().observed_cause, None, "the answer is not final");
    }
}

#[tokio::test]
async fn undelivered_cause_is_awaited_and_not_polled() {
    let cluster = Cluster::new();
    cluster.record(None);
    let spec = json!({"workloadRef": {"name": "web"}});
    let Lookup { resource, error, is_repeated, .. } = cluster.look_up(&spec, &json!({})).await;
    assert!(error.is_none() && !is_repeated, "{error:?}");
    assert_eq!(
        cause(&resource).map(|cause| (cause.record.as_str(), cause.entity.clone())),
        Some(("web-1-01234567", None))
    );
    assert_eq!(resource.status.as_ref().unwrap().observed_cause, None, "a restarted controller looks it up again");
    assert_eq!(cluster.awaited.take(&record_key()).len(), 1, "the delivery of the record looks the incident up again");

    // With the identifier, nothing is left to read.
    let mut status = json!(resource.status);
    status["cause"]["entity"] = "test:shop:web:1:01234567".into();
    cluster.record(Some("test:shop:web:1:01234567"));
    let Lookup { resource, error, is_repeated, .. } = cluster.look_up(&spec, &status).await;
    assert!(error.is_none() && !is_repeated, "{error:?}");
    assert_ne!(resource.status.unwrap().observed_cause, None);
    assert_eq!(cluster.awaited.take(&record_key()), []);
}

#[tokio::test]
async fn only_relevant_records_are_candidates() {
    let revision = |finished: i64, outcome| rollout::RecordedRevision {
        revision: 1,
        id: RevisionId::new("00abcdef-0000", "web-5f"),
        repeated: false,
        outcome,
        change: None,
        started: None,
        finished: UnixSeconds::of(Timestamp::from_second(finished).unwrap()),
        paused_at: None,
        paused_seconds: 0,
    };
    let key = |name: &str| rollout::WorkloadKey {
        namespace: "shop".into(),
        kind: rollout::WorkloadKind::Deployment,
        name: name.into(),
    };
    let opened = Timestamp::from_second(10_000).unwrap();
    let suspect_within = jiff::SignedDuration::from_secs(100);
    let unstated = CauseQuery { stated: None, opened, suspect_within };
    for (finished, outcome, expected) in [
        (9_900, Outcome::Failed, true),
        (10_000, Outcome::Succeeded, true),
        (9_899, Outcome::Succeeded, false),
        (10_001, Outcome::Succeeded, false),
        (1, Outcome::InProgress, true),
    ] {
        assert_eq!(unstated.concerns(&key("web"), &revision(finished, outcome)), expected, "{finished} {outcome:?}");
    }
    let web = AffectedWorkload { name: "web".to_owned(), ..AffectedWorkload::default() };
    let stated = CauseQuery { stated: Some(&web), ..unstated };
    assert!(stated.concerns(&key("web"), &revision(1, Outcome::Succeeded)));
    assert!(!stated.concerns(&key("api"), &revision(10_000, Outcome::Succeeded)));
}
