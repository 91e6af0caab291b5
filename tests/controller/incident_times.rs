//! The time when an incident was resolved, if the spec doesn't contain it, also while the controller was down.

use cluster::clock::next_second;
use jiff::Timestamp;

use crate::TestResult;
use crate::fixture::{Installation, SAME_POD, incident, text};

/// When `spec.status` was set, from the managed fields of the incident.
pub async fn status_set_at(setup: &Installation, namespace: &str, name: &str) -> Timestamp {
    let managed = setup.get_incident(namespace, name).await.unwrap().metadata.managed_fields.unwrap();
    let mut entries = managed.into_iter().filter(|entry| entry.subresource.is_none());
    entries.find_map(|entry| entry.fields_v1?.0.pointer("/f:spec/f:status").and(entry.time)).unwrap().0
}

/// Changes the spec of an incident as this field manager.
async fn patch(setup: &Installation, namespace: &str, name: &str, manager: &str, spec: &str) -> TestResult {
    let (manager, patch) = (format!("--field-manager={manager}"), format!(r#"{{"spec":{spec}}}"#));
    setup
        .kubectl(["--namespace", namespace, "patch", "dinc", name, "--type=merge", &manager, "--patch", &patch])
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn resolution_time_is_known_after_a_restart() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let namespace = setup.namespace("downtime").await?;
    // The manifest of one incident contains `status: open`, and the others have the default.
    setup
        .apply_in(
            &namespace,
            &(incident("explicit", "status: open") + &incident("default", "") + &incident("reopened", "")),
        )
        .await?;
    for name in ["explicit", "default", "reopened"] {
        setup.incident(&namespace, name, "open").await?;
    }
    patch(&setup, &namespace, "reopened", "on-call", r#"{"status":"resolved"}"#).await?;
    setup.incident(&namespace, "reopened", "resolved").await?;
    setup.condition(&namespace, "dinc/reopened", "Synced", "Delivered").await?;
    controller.process.kill()?;

    next_second().await?;
    for name in ["explicit", "default"] {
        patch(&setup, &namespace, name, "on-call", r#"{"status":"resolved"}"#).await?;
    }
    patch(&setup, &namespace, "reopened", "on-call", r#"{"status":"open"}"#).await?;
    let mut set = Vec::new();
    for name in ["explicit", "default"] {
        set.push(status_set_at(&setup, &namespace, name).await);
    }
    next_second().await?;
    // Another field manager writes another field.
    for name in ["explicit", "default"] {
        patch(&setup, &namespace, name, "other-manager", r#"{"priority":"low"}"#).await?;
    }
    next_second().await?;

    let _controller = setup.start_controller(&SAME_POD).await?;
    for (name, set) in ["explicit", "default"].into_iter().zip(set) {
        let entity = setup.incident(&namespace, name, "resolved").await?;
        assert_eq!(text(&entity, "resolved_at"), format!("{set:.3}"), "{name}");
        let created = setup.get_incident(&namespace, name).await?.metadata.creation_timestamp.unwrap().0;
        let hours = (set - created).total(jiff::Unit::Second)? / 3600.0;
        let found = entity.properties["time_to_resolve"].as_f64().unwrap();
        assert!((found - hours).abs() < 0.0001 && found > 0.0, "{name}: {found} instead of {hours}");
    }
    let entity = setup.incident(&namespace, "reopened", "open").await?;
    assert!(!entity.properties.contains_key("resolved_at"), "{:?}", entity.properties);
    setup.condition(&namespace, "dinc/reopened", "Synced", "Delivered").await?;
    let status = setup.get_incident(&namespace, "reopened").await?.status.unwrap();
    assert_eq!((status.resolved_at, status.time_to_resolve), (None, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn start_of_an_incident_can_be_corrected() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("corrected").await?;
    setup.apply_in(&namespace, &incident("down", "")).await?;
    setup.incident(&namespace, "down", "open").await?;
    let start = Timestamp::from_second(Timestamp::now().as_second() - 5400)?;
    patch(setup, &namespace, "down", "on-call", &format!(r#"{{"createdAt":"{start}","status":"resolved"}}"#)).await?;
    let entity = setup.incident(&namespace, "down", "resolved").await?;
    assert_eq!(text(&entity, "created_at"), format!("{start:.3}"));
    let hours = (status_set_at(setup, &namespace, "down").await - start).total(jiff::Unit::Second)? / 3600.0;
    assert!((entity.properties["time_to_resolve"].as_f64().unwrap() - hours).abs() < 0.0001, "{:?}", entity.properties);
    Ok(())
}
