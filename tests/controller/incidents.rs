//! An incident is opened, resolved and reopened. `kubectl` shows it, and refuses mistakes.

use jiff::{SignedDuration, Timestamp};

use crate::TestResult;
use crate::fixture::{Installation, text};
use crate::incident_times::status_set_at;

const FIVE_LINES: &str = "
apiVersion: dora.port.io/v1alpha1
kind: DoraIncident
metadata: {name: checkout-down}
spec: {title: Checkout is down, priority: high}
";

#[tokio::test(flavor = "multi_thread")]
async fn incident_is_opened_resolved_and_reopened() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("incident").await?;
    setup.apply_in(&namespace, FIVE_LINES).await?;
    let open = setup.incident(&namespace, "checkout-down", "open").await?;
    let incident = setup.get_incident(&namespace, "checkout-down").await?;
    let created = incident.metadata.creation_timestamp.unwrap().0;
    assert_eq!(open.title.as_deref(), Some("Checkout is down"));
    assert_eq!(text(&open, "created_at"), format!("{created:.3}"));
    assert_eq!(
        (text(&open, "priority"), text(&open, "incident_type")),
        ("high".to_owned(), "Custom incident".to_owned())
    );
    assert_eq!(open.relations["group"], "all_teams");
    assert!(!open.properties.contains_key("resolved_at") && !open.properties.contains_key("time_to_resolve"));

    setup.apply_in(&namespace, &FIVE_LINES.replace("high}", "high, status: resolved}")).await?;
    let resolved = setup.incident(&namespace, "checkout-down", "resolved").await?;
    setup.condition(&namespace, "dinc/checkout-down", "Synced", "Delivered").await?;
    let set = status_set_at(setup, &namespace, "checkout-down").await;
    assert_eq!(text(&resolved, "resolved_at"), format!("{set:.3}"));
    let hours = (set - created).total(jiff::Unit::Second)? / 3600.0;
    assert!((resolved.properties["time_to_resolve"].as_f64().unwrap() - hours).abs() < 0.0001);

    // A later edit by the same person doesn't change the time of the resolution.
    let edited = FIVE_LINES.replace("priority: high}", "priority: low, status: resolved}");
    setup.apply_in(&namespace, &edited).await?;
    setup.condition(&namespace, "dinc/checkout-down", "Synced", "Delivered").await?;
    let after = setup.incident(&namespace, "checkout-down", "resolved").await?;
    assert_eq!(text(&after, "priority"), "low");
    assert_eq!(text(&after, "resolved_at"), text(&resolved, "resolved_at"));

    setup.apply_in(&namespace, FIVE_LINES).await?;
    let reopened = setup.incident(&namespace, "checkout-down", "open").await?;
    assert_eq!(text(&reopened, "created_at"), text(&open, "created_at"));
    assert!(!reopened.properties.contains_key("resolved_at"), "{:?}", reopened.properties);
    assert!(!reopened.properties.contains_key("time_to_resolve"), "{:?}", reopened.properties);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_the_columns_of_incidents() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("columns").await?;
    let now = Timestamp::now();
    // `kubectl` shows the same ages for half an hour.
    let ago =
        |hours: i64, minutes: i64, seconds: i64| now - SignedDuration::from_secs((hours * 60 + minutes) * 60 + seconds);
    let (opened, resolved) = (ago(20, 30, 0), ago(19, 27, 55));
    setup
        .apply_in(
            &namespace,
            &FIVE_LINES.replace(
                "high}",
                &format!("high, status: resolved, createdAt: '{opened}', resolvedAt: '{resolved}'}}"),
            ),
        )
        .await?;
    setup.condition(&namespace, "dinc/checkout-down", "Synced", "Delivered").await?;
    let table = setup.kubectl(["--namespace", &namespace, "get", "doraincidents"]).await?;
    let mut lines = table.lines();
    let columns = ["NAME", "TITLE", "WORKLOAD", "STATUS", "PRIORITY", "OPENED", "TIME-TO-RESOLVE", "SYNCED", "REASON"];
    let headings: Vec<&str> =
        lines.next().unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(headings, columns);
    let cells: Vec<&str> = lines.next().unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(
        cells,
        ["checkout-down", "Checkout is down", "resolved", "high", "20h", "1h 2m 5s", "True", "Delivered"]
    );
    let all = setup.kubectl(["--namespace", &namespace, "get", "dora", "--output", "name"]).await?;
    assert_eq!(all.trim(), "doraincident.dora.port.io/checkout-down");

    let incident = setup.get_incident(&namespace, "checkout-down").await?;
    let status = incident.status.unwrap();
    let entity = status.entity.unwrap();
    assert_eq!(entity.blueprint, "dora_incident");
    let uid: String = incident.metadata.uid.unwrap().chars().take(8).collect();
    assert_eq!(entity.identifier, format!("test:{namespace}:checkout-down:{uid}"));
    assert!(entity.delivered_at.unwrap().0 >= Timestamp::from_second(now.as_second())?);
    assert_eq!(status.observed_generation, incident.metadata.generation);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mistyped_incidents_are_refused_with_advice() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("refused").await?;
    let mistakes = [
        ("status: closed", r#"supported values: "open", "resolved""#),
        ("prioritty: high", r#"unknown field "spec.prioritty""#),
        ("createdAt: yesterday", "must be of type date-time"),
        ("resolvedAt: 2026-01-01T00:00:00Z", "Set spec.status to resolved"),
        (
            "status: resolved, createdAt: 2026-01-02T00:00:00Z, resolvedAt: 2026-01-01T00:00:00Z",
            "spec.resolvedAt must not be earlier than spec.createdAt",
        ),
        ("url: wiki", "spec.url must be a complete http or https URL, such as https://"),
        ("identifier: '..'", "spec.identifier may only contain letters, digits"),
        ("identifier: a b", "spec.identifier may only contain letters, digits"),
        ("title: ''", "spec.title"),
    ];
    for (spec, expected) in mistakes {
        let manifest = format!(
            "{{apiVersion: dora.port.io/v1alpha1, kind: DoraIncident, metadata: {{name: bad}}, spec: {{{spec}}}}}"
        );
        let refused = setup.apply_in(&namespace, &manifest).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{spec}: {refused}");
    }
    // The namespace makes the identifiers unique, since the first incident with an identifier keeps it.
    for (index, start) in ["ünï:1", "a/b\\\\c", "...", ".a", "x=1@y+z_-"].iter().enumerate() {
        let identifier = format!("{start}{namespace}");
        let manifest = format!(
            "{{apiVersion: dora.port.io/v1alpha1, kind: DoraIncident, metadata: {{name: good-{index}}}, spec: {{identifier: \"{identifier}\"}}}}"
        );
        setup.apply_in(&namespace, &manifest).await?;
        setup.condition(&namespace, &format!("dinc/good-{index}"), "Synced", "Delivered").await?;
    }
    Ok(())
}
