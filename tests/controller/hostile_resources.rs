//! Resources that the controller can't use or can't even read. They neither end it nor block other resources.

use std::collections::BTreeSet;

use cluster::{DEADLINE, wait_for};
use serde_json::{Value, json};

use crate::fixture::{Controller, Installation, deployment, incident, text};
use crate::{Error, TestResult};

const INCIDENTS: &str = "doraincidents.dora.port.io";

const REFUSED: &str = "port_dora_resources_refused_total{kind=\"DoraIncident\",reason=\"Undecodable\"}";

/// Removes the rules of all times from a schema.
fn remove_time_rules(schema: &mut Value) {
    if schema["format"] == "date-time" {
        schema.as_object_mut().unwrap().remove("x-kubernetes-validations");
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(remove_time_rules),
        Value::Array(items) => items.iter_mut().for_each(remove_time_rules),
        _ => {}
    }
}

/// The definition of incidents, as `kubectl replace` takes it.
async fn definition(setup: &Installation) -> Result<Value, Error> {
    let json = setup.kubectl(["get", "crd", INCIDENTS, "--output=json"]).await?;
    let mut definition: Value = serde_json::from_str(&json)?;
    definition["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    Ok(definition)
}

/// An incident whose properties are nested this deeply.
fn deep_incident(depth: usize) -> String {
    incident("deep", &format!("properties: {{deep: {}1{}}}", r#"{"a": "#.repeat(depth), "}".repeat(depth)))
}

/// Waits until the conditions of the incident `deep` say that the controller can't read it, and returns the message. No
/// type of this crate can read it either.
async fn unreadable(setup: &Installation, namespace: &str) -> Result<String, Error> {
    let field = |kind: &str, field: &str| format!("{{.status.conditions[?(@.type==\"{kind}\")].{field}}}");
    let fields = [field("Synced", "reason"), field("Valid", "reason"), field("Valid", "message")].join("|");
    let output = format!("--output=jsonpath={fields}");
    let message = wait_for("the report that the controller can't read the incident", DEADLINE, async || {
        let found = setup.kubectl(["--namespace", namespace, "get", "dinc/deep", &output]).await?;
        let message = found.strip_prefix("Undecodable|Undecodable|").ok_or_else(|| found.clone())?;
        Ok(Some(message.to_owned()))
    })
    .await?;
    Ok(message)
}

/// The value of a metric.
async fn metric(controller: &Controller, name: &str) -> Result<String, Error> {
    let (_, metrics) = controller.get("/metrics").await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)).ok_or(format!("{name} is missing"))?;
    Ok(value.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn time_in_the_year_9999_stops_nothing() -> TestResult {
    let setup = Installation::on_own_cluster().await?;
    let namespace = setup.namespace("times").await?;
    let hostile = incident("hostile", "status: resolved, createdAt: '9999-12-30T22:00:00Z'");
    let refused = setup.apply_in(&namespace, &hostile).await.unwrap_err().to_string();
    assert!(
        refused.contains("spec.createdAt: Invalid value: \"9999-12-30T22:00:00Z\": must be an RFC 3339"),
        "{refused}"
    );

    // Resources from before the rule.
    let current = definition(&setup).await?;
    let mut old = current.clone();
    remove_time_rules(&mut old);
    setup.kubectl_with_input(["replace", "--filename", "-"], &old.to_string()).await?;
    wait_for("the API server to forget the rule", DEADLINE, async || {
        setup.apply_in(&namespace, &hostile).await?;
        Ok(Some(()))
    })
    .await?;
    let times = ["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "2026-01-31T12:00:00+99:99", "2026-01-31t12:00:00z"];
    for (number, time) in times.iter().enumerate() {
        let spec = format!("createdAt: '{time}'");
        setup.apply_in(&namespace, &incident(&format!("hostile-{number}"), &spec)).await?;
    }
    setup.kubectl_with_input(["replace", "--filename", "-"], &current.to_string()).await?;

    let mut controller = setup.start_controller(&[]).await?;
    setup.apply_in(&namespace, &incident("healthy", "priority: high")).await?;
    setup.incident(&namespace, "healthy", "open").await?;
    for name in ["hostile", "hostile-0", "hostile-1"] {
        let (_, message) = setup.condition(&namespace, &format!("dinc/{name}"), "Valid", "PartiallyInvalid").await?;
        assert!(message.contains("spec.createdAt is not an RFC 3339 time in the years 1970 to 2199"), "{message}");
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    // The rules of the API server can't read these times, so it refuses each update of the resource.
    for name in ["hostile-2", "hostile-3"] {
        let note = setup.event(&namespace, name, "UpdateRefused").await?;
        assert!(note.contains("spec.createdAt"), "{note}");
    }
    assert_eq!(metric(&controller, &REFUSED.replace("Undecodable", "UpdateRefused")).await?, "2");
    controller.waiting("DoraIncident", 0).await?;
    let created = setup.get_incident(&namespace, "healthy").await?.metadata.creation_timestamp.unwrap();
    let day = |time: &str| time.chars().take(10).collect::<String>();
    let entities = setup.entities("dora_incident", &namespace);
    let opened: BTreeSet<String> = entities.iter().map(|entity| day(&text(entity, "created_at"))).collect();
    assert_eq!(opened, [day(&created.0.to_string())].into(), "an impossible time counts as absent");
    assert!(controller.process.exit_status()?.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_resource_is_reported_once() -> TestResult {
    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("unreadable").await?;
    let in_namespace = ["--namespace", &namespace];
    let write = async |verb: &str, depth: usize| {
        let arguments = in_namespace.into_iter().chain([verb, "--filename", "-"]);
        setup.kubectl_with_input(arguments, &deep_incident(depth)).await
    };
    write("create", 500).await?;
    let controller = setup.start_controller(&[]).await?;
    let message = unreadable(&setup, &namespace).await?;
    assert!(message.contains("spec.properties.deep.a.a") && message.contains("Correct the resource"), "{message}");
    setup.event(&namespace, "deep", "Undecodable").await?;
    let version = async || {
        let get = ["get", "dinc/deep", "--output=jsonpath={.metadata.resourceVersion}"];
        setup.kubectl(in_namespace.into_iter().chain(get)).await
    };
    let reported = version().await?;

    // Other incidents go on, and the controller leaves this one alone.
    for name in ["first", "second"] {
        setup.apply_in(&namespace, &incident(name, "priority: high")).await?;
        setup.incident(&namespace, name, "open").await?;
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    assert_eq!(version().await?, reported);
    assert_eq!(metric(&controller, REFUSED).await?, "1");
    controller.waiting("DoraIncident", 0).await?;

    write("replace", 1).await?;
    setup.condition(&namespace, "dinc/deep", "Synced", "Delivered").await?;
    let conditions = setup.get_incident(&namespace, "deep").await?.status.unwrap().conditions;
    assert!(conditions.iter().all(|condition| condition.reason != "Undecodable"), "{conditions:?}");

    write("replace", 500).await?;
    unreadable(&setup, &namespace).await?;
    setup.kubectl(in_namespace.into_iter().chain(["delete", "dinc/deep", "--timeout=60s"])).await?;
    assert_eq!(metric(&controller, REFUSED).await?, "2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_times_of_a_workload_block_nothing() -> TestResult {
    let setup = Installation::exclusive().await?;
    let _controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("workload").await?;
    let annotation = "dora.port.io/commit-time: '-000001-06-01T00:00:00Z'";
    let manifest = deployment("hostile", "app:v1", annotation, "")
        .replace("metadata: {labels", "metadata: {creationTimestamp: '9999-12-31T23:59:59Z', labels");
    setup.apply_in(&namespace, &manifest).await?;
    let hostile = ["deploy/hostile", "--for=condition=Available", "--timeout=120s"];
    setup.kubectl(["--namespace", &namespace, "wait"].into_iter().chain(hostile)).await?;
    let hostile = setup.kubectl(["--namespace", &namespace, "get", "deploy/hostile", "--output=json"]).await?;
    let mut conditions = serde_json::from_str::<Value>(&hostile)?["status"]["conditions"].take();
    for condition in conditions.as_array_mut().ok_or("there are no conditions")? {
        condition["lastUpdateTime"] = "9999-12-31T23:59:59Z".into();
        condition["lastTransitionTime"] = "9999-12-30T22:00:00Z".into();
    }
    let patch = json!({"status": {"conditions": conditions}}).to_string();
    let patch = ["patch", "deploy/hostile", "--subresource=status", "--type=merge", "--patch", &patch];
    setup.kubectl(["--namespace", &namespace].into_iter().chain(patch)).await?;

    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let records = setup.outcomes(&namespace, &[("hostile:1", "Succeeded"), ("web:1", "Succeeded")]).await?;
    for record in records {
        assert_eq!(record.spec.commit_time, None);
        let is_hostile = record.spec.workload.is_some_and(|workload| workload.name == "hostile");
        assert_eq!(record.spec.warnings.len(), usize::from(is_hostile), "{:?}", record.spec.warnings);
    }
    Ok(())
}
