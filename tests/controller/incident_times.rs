//! When an incident was resolved, if nobody says so: also while the controller was away.

use jiff::Timestamp;

use crate::TestResult;
use crate::fixture::{Installation, SAME_POD, incident, text};
use crate::stage::next_second;

/// When `spec.status` was set, as the API server has noted it.
async fn status_set_at(on: &Installation, namespace: &str, name: &str) -> Timestamp {
    let managed = on.get_incident(namespace, name).await.unwrap().metadata.managed_fields.unwrap();
    let mut entries = managed.into_iter().filter(|entry| entry.subresource.is_none());
    entries.find_map(|entry| entry.fields_v1?.0.pointer("/f:spec/f:status").and(entry.time)).unwrap().0
}

async fn patch(on: &Installation, namespace: &str, name: &str, manager: &str, spec: &str) -> TestResult {
    let (manager, patch) = (format!("--field-manager={manager}"), format!(r#"{{"spec":{spec}}}"#));
    on.kubectl(["--namespace", namespace, "patch", "dinc", name, "--type=merge", &manager, "--patch", &patch]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_that_is_resolved_while_the_controller_is_away_was_resolved_then() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    let namespace = on.namespace("away").await?;
    // By a pipeline that says `open` itself, and by one that leaves it to the default.
    on.apply_in(&namespace, &(incident("said", "status: open") + &incident("unsaid", "") + &incident("reopened", "")))
        .await?;
    for name in ["said", "unsaid", "reopened"] {
        on.incident(&namespace, name, "open").await?;
    }
    patch(&on, &namespace, "reopened", "on-call", r#"{"status":"resolved"}"#).await?;
    on.incident(&namespace, "reopened", "resolved").await?;
    on.condition(&namespace, "dinc/reopened", "Synced", "Delivered").await?;
    controller.process.kill()?;

    next_second().await?;
    for name in ["said", "unsaid"] {
        patch(&on, &namespace, name, "on-call", r#"{"status":"resolved"}"#).await?;
    }
    patch(&on, &namespace, "reopened", "on-call", r#"{"status":"open"}"#).await?;
    let mut set = Vec::new();
    for name in ["said", "unsaid"] {
        set.push(status_set_at(&on, &namespace, name).await);
    }
    next_second().await?;
    // Others write too, and not the status.
    for name in ["said", "unsaid"] {
        patch(&on, &namespace, name, "somebody-else", r#"{"priority":"low"}"#).await?;
    }
    next_second().await?;

    let _controller = on.start_controller(&SAME_POD).await?;
    for (name, set) in ["said", "unsaid"].into_iter().zip(set) {
        let entity = on.incident(&namespace, name, "resolved").await?;
        assert_eq!(text(&entity, "resolved_at"), format!("{set:.3}"), "{name}");
        let created = on.get_incident(&namespace, name).await?.metadata.creation_timestamp.unwrap().0;
        let hours = (set - created).total(jiff::Unit::Second)? / 3600.0;
        let stated = entity.properties["time_to_resolve"].as_f64().unwrap();
        assert!((stated - hours).abs() < 0.0001 && stated > 0.0, "{name}: {stated} instead of {hours}");
    }
    let entity = on.incident(&namespace, "reopened", "open").await?;
    assert!(!entity.properties.contains_key("resolved_at"), "{:?}", entity.properties);
    on.condition(&namespace, "dinc/reopened", "Synced", "Delivered").await?;
    let status = on.get_incident(&namespace, "reopened").await?.status.unwrap();
    assert_eq!((status.resolved_at, status.time_to_resolve), (None, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beginning_can_be_corrected_once_and_counts_from_then() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("corrected").await?;
    on.apply_in(&namespace, &incident("down", "")).await?;
    on.incident(&namespace, "down", "open").await?;
    let began = Timestamp::from_second(Timestamp::now().as_second() - 5400)?;
    patch(on, &namespace, "down", "on-call", &format!(r#"{{"createdAt":"{began}","status":"resolved"}}"#)).await?;
    let entity = on.incident(&namespace, "down", "resolved").await?;
    assert_eq!(text(&entity, "created_at"), format!("{began:.3}"));
    let hours = (status_set_at(on, &namespace, "down").await - began).total(jiff::Unit::Second)? / 3600.0;
    assert!((entity.properties["time_to_resolve"].as_f64().unwrap() - hours).abs() < 0.0001, "{:?}", entity.properties);
    Ok(())
}
