//! An incident is applied, resolved, opened again; `kubectl` shows it, and refuses what can't be.

use jiff::{SignedDuration, Timestamp};

use crate::TestResult;
use crate::fixture::{Installation, text};

const FIVE_LINES: &str = "
apiVersion: dora.port.io/v1alpha1
kind: DoraIncident
metadata: {name: checkout-down}
spec: {title: Checkout is down, priority: high}
";

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_of_five_lines_is_opened_resolved_and_opened_again() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("incident").await?;
    on.apply_in(&namespace, FIVE_LINES).await?;
    let open = on.incident(&namespace, "checkout-down", "open").await?;
    let incident = on.get_incident(&namespace, "checkout-down").await?;
    let created = incident.metadata.creation_timestamp.unwrap().0;
    assert_eq!(open.title.as_deref(), Some("Checkout is down"));
    assert_eq!(text(&open, "created_at"), format!("{created:.3}"));
    assert_eq!(
        (text(&open, "priority"), text(&open, "incident_type")),
        ("high".to_owned(), "Custom incident".to_owned())
    );
    assert_eq!(open.relations["group"], "all_teams");
    assert!(!open.properties.contains_key("resolved_at") && !open.properties.contains_key("time_to_resolve"));

    on.apply_in(&namespace, &FIVE_LINES.replace("high}", "high, status: resolved}")).await?;
    let resolved = on.incident(&namespace, "checkout-down", "resolved").await?;
    on.condition(&namespace, "dinc/checkout-down", "Synced", "Delivered").await?;
    let incident = on.get_incident(&namespace, "checkout-down").await?;
    let set = incident
        .metadata
        .managed_fields
        .unwrap()
        .into_iter()
        .filter(|entry| entry.subresource.is_none())
        .find_map(|entry| entry.fields_v1?.0.pointer("/f:spec/f:status").and(entry.time))
        .unwrap()
        .0;
    assert_eq!(text(&resolved, "resolved_at"), format!("{set:.3}"));
    let hours = (set - created).total(jiff::Unit::Second)? / 3600.0;
    assert!((resolved.properties["time_to_resolve"].as_f64().unwrap() - hours).abs() < 0.0001);

    // A later edit by the same person does not move the resolution.
    let edited = FIVE_LINES.replace("priority: high}", "priority: low, status: resolved}");
    on.apply_in(&namespace, &edited).await?;
    on.condition(&namespace, "dinc/checkout-down", "Synced", "Delivered").await?;
    let after = on.incident(&namespace, "checkout-down", "resolved").await?;
    assert_eq!(text(&after, "priority"), "low");
    assert_eq!(text(&after, "resolved_at"), text(&resolved, "resolved_at"));

    on.apply_in(&namespace, FIVE_LINES).await?;
    let reopened = on.incident(&namespace, "checkout-down", "open").await?;
    assert_eq!(text(&reopened, "created_at"), text(&open, "created_at"));
    assert!(!reopened.properties.contains_key("resolved_at"), "{:?}", reopened.properties);
    assert!(!reopened.properties.contains_key("time_to_resolve"), "{:?}", reopened.properties);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_what_an_engineer_on_call_wants_to_know() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("columns").await?;
    let now = Timestamp::now();
    // What is shown of either stays the same for half an hour.
    let ago =
        |hours: i64, minutes: i64, seconds: i64| now - SignedDuration::from_secs((hours * 60 + minutes) * 60 + seconds);
    let (opened, resolved) = (ago(20, 30, 0), ago(19, 27, 55));
    on.apply_in(
        &namespace,
        &FIVE_LINES
            .replace("high}", &format!("high, status: resolved, createdAt: '{opened}', resolvedAt: '{resolved}'}}")),
    )
    .await?;
    on.condition(&namespace, "dinc/checkout-down", "Synced", "Delivered").await?;
    let table = on.kubectl(["--namespace", &namespace, "get", "doraincidents"]).await?;
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
    let all = on.kubectl(["--namespace", &namespace, "get", "dora", "--output", "name"]).await?;
    assert_eq!(all.trim(), "doraincident.dora.port.io/checkout-down");

    let incident = on.get_incident(&namespace, "checkout-down").await?;
    let status = incident.status.unwrap();
    let entity = status.entity.unwrap();
    assert_eq!(entity.blueprint, "dora_incident");
    assert_eq!(entity.identifier, format!("test:{namespace}:checkout-down"));
    assert!(entity.delivered_at.unwrap().0 >= Timestamp::from_second(now.as_second())?);
    assert_eq!(status.observed_generation, incident.metadata.generation);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_is_refused_with_what_to_write_instead() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("refused").await?;
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
        let refused = on.apply_in(&namespace, &manifest).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{spec}: {refused}");
    }
    for (index, identifier) in ["ünï:1", "a/b\\\\c", "...", ".a", "x=1@y+z_-"].iter().enumerate() {
        let manifest = format!(
            "{{apiVersion: dora.port.io/v1alpha1, kind: DoraIncident, metadata: {{name: good-{index}}}, spec: {{identifier: \"{identifier}\"}}}}"
        );
        on.apply_in(&namespace, &manifest).await?;
        on.condition(&namespace, &format!("dinc/good-{index}"), "Synced", "Delivered").await?;
    }
    Ok(())
}
