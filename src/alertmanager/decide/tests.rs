use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::alertmanager::manifest::{
    GROUP_ANNOTATION, GROUP_LABEL, NAMESPACE_ANNOTATION, TargetNamespace, WORKLOAD_ANNOTATION, new_incident,
};
use crate::settings::AlertFields;

const NOW: &str = "2026-01-02T00:00:00Z";

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn alert(starts: &str, ends: Option<&str>) -> Value {
    json!({
        "status": if ends.is_some() { "resolved" } else { "firing" },
        "labels": {"alertname": "HighLatency", "severity": "critical", "deployment": "web"},
        "annotations": {"summary": "Checkout is slow"},
        "startsAt": starts,
        "endsAt": ends.unwrap_or("0001-01-01T00:00:00Z"),
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
        "fingerprint": "c0ffee",
    })
}

fn notification(alerts: &[Value]) -> Notification {
    let fires = alerts.iter().any(|alert| alert["status"] == "firing");
    serde_json::from_value(json!({
        "version": "4",
        "receiver": "port",
        "status": if fires { "firing" } else { "resolved" },
        "groupKey": "{}:{alertname=\"HighLatency\"}",
        "truncatedAlerts": 0,
        "groupLabels": {"alertname": "HighLatency"},
        "commonLabels": {"alertname": "HighLatency", "severity": "critical", "deployment": "web"},
        "commonAnnotations": {"summary": "Checkout is slow"},
        "externalURL": "http://alertmanager:9093",
        "alerts": alerts,
    }))
    .unwrap()
}

fn created(notification: &Notification, alert_namespace: Option<&str>) -> DoraIncident {
    let Decision::Create { started } = decide(notification, &[], at(NOW)) else { panic!() };
    let target = TargetNamespace { namespace: "shop".to_owned(), alert_namespace: alert_namespace.map(str::to_owned) };
    new_incident(notification, started, &AlertFields::default(), &target)
}

fn members(incidents: &[DoraIncident]) -> Vec<GroupIncident> {
    incidents.iter().filter_map(|incident| GroupIncident::of(incident, at(NOW))).collect()
}

/// Applies the decision to `incidents`, which stand for the cluster.
fn apply(notification: &Notification, incidents: &mut Vec<DoraIncident>) {
    match decide(notification, &members(incidents), at(NOW)) {
        Decision::Create { started: _ } => {
            let incident = created(notification, None);
            assert!(incidents.iter().all(|other| other.metadata.name != incident.metadata.name), "created twice");
            incidents.push(incident);
        }
        Decision::Resolve(resolutions) => {
            for (resolved, time) in resolutions {
                let incident = incidents.iter_mut().find(|it| it.name_any() == *resolved.key.name).unwrap();
                incident.spec.status = IncidentStatus::Resolved;
                incident.spec.resolved_at = Some(Time(time));
            }
        }
        Decision::Ignore(_) => {}
    }
}

#[test]
fn incident_has_the_fields_of_its_alert() {
    let alerts = [alert("2026-01-01T10:00:05.7Z", None), alert("2026-01-01T10:00:00.2Z", None)];
    let incident = created(&notification(&alerts), None);
    let name = incident.name_any();
    assert!(name.starts_with("high-latency-") && name.ends_with("-20260101100000"), "{name}");
    assert_eq!(incident.labels()[GROUP_LABEL].len(), 16);
    assert_eq!(incident.annotations()[GROUP_ANNOTATION], "{}:{alertname=\"HighLatency\"}");
    assert_eq!(
        serde_json::to_value(&incident.spec).unwrap(),
        json!({
            "title": "Checkout is slow",
            "status": "open",
            "url": "http://prometheus:9090/graph?g0.expr=up",
            "priority": "critical",
            "createdAt": "2026-01-01T10:00:00Z",
            "workloadRef": {"kind": "Deployment", "name": "web"},
        })
    );
}

#[test]
fn long_values_are_cut_and_invalid_urls_skipped() {
    let mut sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    sent.common_annotations.insert("summary".to_owned(), "ü".repeat(600));
    for address in
        ["wiki", "http://", "https://a b", "https://a/%zz", "ftp://a", &format!("https://a/{}", "b".repeat(2000))]
    {
        sent.common_annotations.insert("runbook_url".to_owned(), address.to_owned());
        let spec = created(&sent, None).spec;
        assert_eq!(spec.url.as_deref(), Some("http://prometheus:9090/graph?g0.expr=up"), "{address}");
        assert_eq!(spec.title, Some("ü".repeat(500)));
    }
    sent.common_annotations.insert("runbook_url".to_owned(), "https://wiki/slow%20web".to_owned());
    assert_eq!(created(&sent, None).spec.url.as_deref(), Some("https://wiki/slow%20web"));
}

#[test]
fn incident_names_are_valid_labels() {
    for title in ["", "--", "Ünïcode", "KubePodCrashLooping", &"x".repeat(300), "a/b c"] {
        let mut sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
        sent.common_labels.insert("alertname".to_owned(), title.to_owned());
        let name = created(&sent, None).name_any();
        assert!(name.len() <= 63 && name.starts_with(|char: char| char.is_ascii_alphanumeric()), "{name}");
        assert!(name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-'), "{name}");
    }
}

#[test]
fn incident_outside_its_namespace_names_no_workload() {
    let incident = created(&notification(&[alert("2026-01-01T10:00:00Z", None)]), Some("gone"));
    assert_eq!(incident.annotations()[NAMESPACE_ANNOTATION], "gone");
    assert_eq!((incident.namespace().as_deref(), &incident.spec.workload_ref), (Some("shop"), &None));
}

#[test]
fn impossible_workload_name_is_kept_as_text() {
    for name in ["Payments API", "shop/checkout", "web?x", "..", &"x".repeat(300)] {
        let mut sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
        sent.common_labels.insert("deployment".to_owned(), name.to_owned());
        sent.alerts[0].labels.remove("deployment");
        let incident = created(&sent, None);
        assert_eq!(incident.spec.workload_ref, None, "{name}");
        assert_eq!(incident.annotations()[WORKLOAD_ANNOTATION], name);
        // The next usable value counts.
        sent.alerts[0].labels.insert("deployment".to_owned(), "web".to_owned());
        let incident = created(&sent, None);
        assert_eq!(incident.spec.workload_ref.as_ref().map(|it| it.name.as_str()), Some("web"));
        assert!(!incident.annotations().contains_key(WORKLOAD_ANNOTATION));
    }
}

#[test]
fn annotations_have_a_maximum_length() {
    let sent = Notification { group_key: "ü".repeat(400_000), ..notification(&[alert("2026-01-01T10:00:00Z", None)]) };
    assert_eq!(created(&sent, None).annotations()[GROUP_ANNOTATION].chars().count(), 4096);
}

#[test]
fn unusable_start_is_the_time_of_the_receipt() {
    let usable = "2026-01-01T10:00:00Z";
    for start in
        ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-30T22:00:00Z", "2199-01-01T00:00:00Z", "soon"]
    {
        let sent = notification(&[alert(start, None)]);
        assert_eq!((sent.started(at(NOW)), sent.states_start(at(NOW))), (Some(at(NOW)), false), "{start}");
        let incident = created(&sent, None);
        assert_eq!(incident.spec.created_at, Some(Time(at(NOW))), "{start}");
        // The group goes on: it has one incident, which ends.
        let mut incidents = vec![incident];
        apply(&sent, &mut incidents);
        apply(&notification(&[alert(start, Some("9999-12-31T23:59:59Z"))]), &mut incidents);
        assert_eq!((incidents.len(), incidents[0].spec.status), (1, IncidentStatus::Resolved), "{start}");
        let sent = notification(&[alert(start, None), alert(usable, None)]);
        assert_eq!((sent.started(at(NOW)), sent.states_start(at(NOW))), (Some(at(usable)), true), "{start}");
    }
}

#[test]
fn unreadable_incident_stops_nothing() {
    let sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    let key = ResourceKey { namespace: "shop".into(), name: "old".into() };
    let unreadable = GroupIncident { key, uid: None, resource_version: None, state: GroupIncidentState::Unreadable };
    let incidents = std::slice::from_ref(&unreadable);
    assert_eq!(decide(&sent, incidents, at(NOW)), Decision::Ignore(IgnoreReason::AlreadyOpen));
    let over = notification(&[alert("2026-01-01T10:00:00Z", Some("2026-01-01T10:30:00Z"))]);
    assert_eq!(decide(&over, incidents, at(NOW)), Decision::Ignore(IgnoreReason::NoOpenIncident));
    let other = GroupIncident::of(&created(&sent, None), at(NOW)).unwrap();
    let Decision::Resolve(resolutions) = decide(&over, &[unreadable, other.clone()], at(NOW)) else { panic!() };
    assert_eq!(resolutions, [(other, at("2026-01-01T10:30:00Z"))]);
}

#[test]
fn future_resolution_covers_only_its_own_episode() {
    let first = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    let mut incident = created(&first, None);
    incident.spec.status = IncidentStatus::Resolved;
    incident.spec.resolved_at = Some(Time(at("2199-01-01T00:00:00Z")));
    incident.metadata.creation_timestamp = Some(Time(at("2026-01-01T10:00:05Z")));
    let incidents = members(&[incident]);
    assert_eq!(decide(&first, &incidents, at(NOW)), Decision::Ignore(IgnoreReason::AlreadyResolved));
    let second = notification(&[alert("2026-01-01T11:00:00Z", None)]);
    assert_eq!(decide(&second, &incidents, at(NOW)), Decision::Create { started: at("2026-01-01T11:00:00Z") });
}

#[test]
fn labels_of_each_alert_name_a_namespace() {
    let mut sent = notification(&[alert("2026-01-01T10:00:00Z", None), alert("2026-01-01T10:00:00Z", None)]);
    assert!(sent.label_values("namespace").is_empty());
    sent.group_labels.insert("namespace".to_owned(), "a".to_owned());
    sent.alerts[1].labels.insert("namespace".to_owned(), "b".to_owned());
    assert_eq!(sent.label_values("namespace"), ["a", "b"].into());
}

#[test]
fn early_end_is_looked_for() {
    let over = notification(&[alert("2026-01-01T10:00:00Z", Some("2026-01-01T10:30:00Z"))]);
    let resolved = |time: &str| {
        let mut incident = created(&notification(&[alert("2026-01-01T09:00:00Z", None)]), None);
        incident.spec.status = IncidentStatus::Resolved;
        incident.spec.resolved_at = Some(Time(at(time)));
        members(&[incident])
    };
    assert!(may_be_early(&over, &[], at(NOW)));
    assert!(may_be_early(&over, &resolved("2026-01-01T09:59:59Z"), at(NOW)), "that was an earlier episode");
    assert!(!may_be_early(&over, &resolved("2026-01-01T10:00:00Z"), at(NOW)), "a person has resolved this episode");
}

#[test]
fn each_episode_has_one_incident() {
    let mut incidents = Vec::new();
    let first = notification(&[alert("2026-01-01T10:00:00.3Z", None)]);
    apply(&first, &mut incidents);
    // One alert of the group has ended, another one fires.
    apply(
        &notification(&[
            alert("2026-01-01T10:00:00.3Z", Some("2026-01-01T10:20:00Z")),
            alert("2026-01-01T10:10:00Z", None),
        ]),
        &mut incidents,
    );
    assert_eq!((incidents.len(), incidents[0].spec.status), (1, IncidentStatus::Open));
    let over = notification(&[alert("2026-01-01T10:10:00Z", Some("2026-01-01T10:30:00.9Z"))]);
    apply(&over, &mut incidents);
    assert_eq!(incidents[0].spec.resolved_at, Some(Time(at("2026-01-01T10:30:00Z"))));
    apply(&first, &mut incidents);
    assert_eq!(
        (incidents.len(), incidents[0].spec.status),
        (1, IncidentStatus::Resolved),
        "a repeated notification that is late"
    );

    apply(&notification(&[alert("2026-01-01T11:00:00Z", None)]), &mut incidents);
    apply(&over, &mut incidents);
    assert_eq!(
        (incidents.len(), incidents[1].spec.status),
        (2, IncidentStatus::Open),
        "the end of the first episode is late"
    );
}

#[test]
fn incident_resolved_by_a_person_stays_resolved() {
    let sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    let mut incident = created(&sent, None);
    incident.spec.status = IncidentStatus::Resolved;
    assert_eq!(decide(&sent, &members(&[incident]), at(NOW)), Decision::Ignore(IgnoreReason::AlreadyResolved));
}

#[test]
fn resolution_without_an_incident_is_ignored() {
    let over = notification(&[alert("2026-01-01T10:00:00Z", Some("2026-01-01T10:30:00Z"))]);
    assert_eq!(decide(&over, &[], at(NOW)), Decision::Ignore(IgnoreReason::NoOpenIncident));
}

#[test]
fn unknown_or_future_end_is_now() {
    let sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    for end in ["2026-02-01T10:00:00Z", "0001-01-01T00:00:00Z"] {
        let mut incidents = vec![created(&sent, None)];
        apply(&notification(&[alert("2026-01-01T10:00:00Z", Some(end))]), &mut incidents);
        assert_eq!(incidents[0].spec.resolved_at, Some(Time(at(NOW))), "{end}");
    }
}

#[test]
fn group_hash_is_stable_and_differs_by_receiver() {
    let one = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    let other = Notification { receiver: "other".to_owned(), ..one.clone() };
    // The label of existing incidents has this value.
    assert_eq!(group_hash(&one), "57b043adc9109848");
    assert_ne!(group_hash(&one), group_hash(&other));
}

proptest! {
    /// Alertmanager sends the end only after a beginning was accepted. All else can arrive in any order, and repeatedly.
    #[test]
    fn one_episode_has_one_incident_in_any_order(order in prop::collection::vec(0_usize..4, 0..12)) {
        let (start, second, end) = ("2026-01-01T10:00:00.4Z", "2026-01-01T10:05:00.5Z", "2026-01-01T10:30:00.6Z");
        let sent = [
            notification(&[alert(start, None)]),
            notification(&[alert(start, None), alert(second, None)]),
            notification(&[alert(start, Some("2026-01-01T10:20:00Z")), alert(second, None)]),
            notification(&[alert(second, Some(end))]),
        ];
        let mut incidents = Vec::new();
        apply(&sent[0], &mut incidents);
        for index in order {
            apply(&sent[index], &mut incidents);
        }
        apply(&sent[3], &mut incidents);
        prop_assert_eq!(incidents.len(), 1);
        prop_assert_eq!(incidents[0].spec.created_at.clone(), Some(Time(at("2026-01-01T10:00:00Z"))));
        prop_assert_eq!(incidents[0].spec.resolved_at.clone(), Some(Time(at("2026-01-01T10:30:00Z"))));
    }
}
