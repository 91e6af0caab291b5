use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::settings::AlertmanagerSettings;

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

fn decided(notification: &Notification, known: &[DoraIncident]) -> Decision {
    let place = TargetNamespace { namespace: "shop".to_owned(), missed: None };
    decide(notification, known, &AlertmanagerSettings::default().fields, &place, at(NOW))
}

/// Does what is decided to the incidents that stand for the cluster.
fn take(notification: &Notification, incidents: &mut Vec<DoraIncident>) {
    match decided(notification, incidents) {
        Decision::Create(incident) => {
            assert!(incidents.iter().all(|known| known.metadata.name != incident.metadata.name), "made twice");
            incidents.push(*incident);
        }
        Decision::Resolve(over) => {
            for (over, time) in over {
                let known = incidents.iter_mut().find(|known| known.metadata.name == over.metadata.name).unwrap();
                known.spec.status = IncidentStatus::Resolved;
                known.spec.resolved_at = Some(Time(time));
            }
        }
        Decision::Nothing(_) => {}
    }
}

fn created(notification: &Notification) -> DoraIncident {
    match decided(notification, &[]) {
        Decision::Create(incident) => *incident,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_alert_that_fires_makes_an_incident_of_what_it_says() {
    let alerts = [alert("2026-01-01T10:00:05.7Z", None), alert("2026-01-01T10:00:00.2Z", None)];
    let incident = created(&notification(&alerts));
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
fn values_are_clipped_and_addresses_that_are_none_passed_over() {
    let mut sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    sent.common_annotations.insert("summary".to_owned(), "ü".repeat(600));
    for address in
        ["wiki", "http://", "https://a b", "https://a/%zz", "ftp://a", &format!("https://a/{}", "b".repeat(2000))]
    {
        sent.common_annotations.insert("runbook_url".to_owned(), address.to_owned());
        let spec = created(&sent).spec;
        assert_eq!(spec.url.as_deref(), Some("http://prometheus:9090/graph?g0.expr=up"), "{address}");
        assert_eq!(spec.title, Some("ü".repeat(500)));
    }
    sent.common_annotations.insert("runbook_url".to_owned(), "https://wiki/slow%20web".to_owned());
    assert_eq!(created(&sent).spec.url.as_deref(), Some("https://wiki/slow%20web"));
}

#[test]
fn names_are_valid_whatever_the_alert_is_called() {
    for title in ["", "--", "Ünïcode", "KubePodCrashLooping", &"x".repeat(300), "a/b c"] {
        let mut sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
        sent.common_labels.insert("alertname".to_owned(), title.to_owned());
        let name = created(&sent).name_any();
        assert!(name.len() <= 63 && name.starts_with(|char: char| char.is_ascii_alphanumeric()), "{name}");
        assert!(name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-'), "{name}");
    }
}

#[test]
fn outside_of_its_namespace_an_incident_names_the_namespace_and_no_deployment() {
    let place = TargetNamespace { namespace: "own".to_owned(), missed: Some("gone".to_owned()) };
    let sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    let Decision::Create(incident) = decide(&sent, &[], &AlertFields::default(), &place, at(NOW)) else { panic!() };
    assert_eq!(incident.annotations()[NAMESPACE_ANNOTATION], "gone");
    assert_eq!((incident.namespace().as_deref(), &incident.spec.workload_ref), (Some("own"), &None));
}

#[test]
fn an_episode_is_one_incident_and_the_next_one_another() {
    let mut incidents = Vec::new();
    let first = notification(&[alert("2026-01-01T10:00:00.3Z", None)]);
    take(&first, &mut incidents);
    // One alert of the group is over, another one fires.
    take(
        &notification(&[
            alert("2026-01-01T10:00:00.3Z", Some("2026-01-01T10:20:00Z")),
            alert("2026-01-01T10:10:00Z", None),
        ]),
        &mut incidents,
    );
    assert_eq!((incidents.len(), incidents[0].spec.status), (1, IncidentStatus::Open));
    let over = notification(&[alert("2026-01-01T10:10:00Z", Some("2026-01-01T10:30:00.9Z"))]);
    take(&over, &mut incidents);
    assert_eq!(incidents[0].spec.resolved_at, Some(Time(at("2026-01-01T10:30:00Z"))));
    take(&first, &mut incidents);
    assert_eq!((incidents.len(), incidents[0].spec.status), (1, IncidentStatus::Resolved), "a late repeat");

    take(&notification(&[alert("2026-01-01T11:00:00Z", None)]), &mut incidents);
    take(&over, &mut incidents);
    assert_eq!(
        (incidents.len(), incidents[1].spec.status),
        (2, IncidentStatus::Open),
        "a late end of the first episode"
    );
}

#[test]
fn what_a_person_resolved_stays_resolved_while_the_alert_fires() {
    let sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    let mut incident = created(&sent);
    incident.spec.status = IncidentStatus::Resolved;
    assert!(matches!(decided(&sent, &[incident]), Decision::Nothing(_)));
}

#[test]
fn an_end_without_an_incident_makes_nothing() {
    let over = notification(&[alert("2026-01-01T10:00:00Z", Some("2026-01-01T10:30:00Z"))]);
    assert!(matches!(decided(&over, &[]), Decision::Nothing(_)));
}

#[test]
fn an_end_in_the_future_or_without_a_time_is_now() {
    let sent = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    for end in ["2026-02-01T10:00:00Z", "0001-01-01T00:00:00Z"] {
        let mut incidents = vec![created(&sent)];
        take(&notification(&[alert("2026-01-01T10:00:00Z", Some(end))]), &mut incidents);
        assert_eq!(incidents[0].spec.resolved_at, Some(Time(at(NOW))), "{end}");
    }
}

#[test]
fn two_receivers_are_two_groups() {
    let one = notification(&[alert("2026-01-01T10:00:00Z", None)]);
    let other = Notification { receiver: "other".to_owned(), ..one.clone() };
    assert_ne!(group_hash(&one), group_hash(&other));
}

proptest! {
    /// Alertmanager only sends an end after a beginning was accepted; everything else may come in any order, and again.
    #[test]
    fn notifications_of_an_episode_lead_to_one_incident_in_any_order(order in prop::collection::vec(0_usize..4, 0..12)) {
        let (start, second, end) = ("2026-01-01T10:00:00.4Z", "2026-01-01T10:05:00.5Z", "2026-01-01T10:30:00.6Z");
        let sent = [
            notification(&[alert(start, None)]),
            notification(&[alert(start, None), alert(second, None)]),
            notification(&[alert(start, Some("2026-01-01T10:20:00Z")), alert(second, None)]),
            notification(&[alert(second, Some(end))]),
        ];
        let mut incidents = Vec::new();
        take(&sent[0], &mut incidents);
        for index in order {
            take(&sent[index], &mut incidents);
        }
        take(&sent[3], &mut incidents);
        prop_assert_eq!(incidents.len(), 1);
        prop_assert_eq!(incidents[0].spec.created_at.clone(), Some(Time(at("2026-01-01T10:00:00Z"))));
        prop_assert_eq!(incidents[0].spec.resolved_at.clone(), Some(Time(at("2026-01-01T10:30:00Z"))));
    }
}
