//! Resources that the controller can't use or can't even read. They neither end it nor block other resources.

use std::collections::BTreeSet;

use cluster::{DEADLINE, wait_for};
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{Controller, Installation, deployment, incident, text};

const INCIDENTS: &str = "doraincidents.dora.port.io";

const REFUSED: &str = "port_dora_resources_refused_total{kind=\"DoraIncident\",reason=\"Undecodable\"}";

/// Removes the rules of all times from a schema.
fn without_time_rules(schema: &mut Value) {
    if schema["format"] == "date-time" {
        schema.as_object_mut().unwrap().remove("x-kubernetes-validations");
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(without_time_rules),
        Value::Array(items) => items.iter_mut().for_each(without_time_rules),
        _ => {}
    }
}

/// The definition of incidents, as `kubectl replace` takes it.
async fn definition(setup: &Installation) -> Result<Value, crate::Error> {
    let mut definition: Value =
        serde_json::from_str(&setup.kubectl(["get", "crd", INCIDENTS, "--output=json"]).await?)?;
    definition["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    Ok(definition)
}

async fn replace(setup: &Installation, definition: &Value) -> TestResult {
    setup.kubectl_with_input(["replace", "--filename", "-"], &definition.to_string()).await?;
    Ok(())
}

/// An incident whose properties are nested this deeply.
fn deep_incident(name: &str, depth: usize) -> String {
    incident(name, &format!("properties: {{deep: {}1{}}}", r#"{"a": "#.repeat(depth), "}".repeat(depth)))
}

/// The value of a metric.
async fn metric(controller: &Controller, name: &str) -> Result<String, crate::Error> {
    let (_, metrics) = controller.get("/metrics").await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)).ok_or(format!("{name} is missing"))?;
    Ok(value.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn time_in_the_year_9999_stops_nothing() -> TestResult {
    let setup = Installation::on_own_cluster().await?;
    let namespace = setup.namespace("times").await?;
    let hostile = incident("hostile", "createdAt: '9999-12-30T22:00:00Z'");
    let refused = setup.apply_in(&namespace, &hostile).await.unwrap_err().to_string();
    assert!(refused.contains("spec.createdAt"), "{refused}");
    assert!(
        refused.contains("must be an RFC 3339 time in the years 1970 to 2199, such as 2026-01-31T12:00:00Z"),
        "{refused}"
    );

    // Resources from before the rule.
    let current = definition(&setup).await?;
    let mut old = current.clone();
    without_time_rules(&mut old);
    replace(&setup, &old).await?;
    wait_for("the API server to forget the rule", DEADLINE, async || {
        setup.apply_in(&namespace, &hostile).await?;
        Ok(Some(()))
    })
    .await?;
    let times = ["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "2026-01-31T12:00:00+99:99", "2026-01-31t12:00:00z"];
    for (number, time) in times.iter().enumerate() {
        let spec = format!("status: resolved, createdAt: '{time}', resolvedAt: '{time}'");
        setup.apply_in(&namespace, &incident(&format!("hostile-{number}"), &spec)).await?;
    }
    replace(&setup, &current).await?;

    let mut controller = setup.start_controller(&[]).await?;
    setup.apply_in(&namespace, &incident("healthy", "priority: high")).await?;
    setup.incident(&namespace, "healthy", "open").await?;
    let created = setup.get_incident(&namespace, "healthy").await?;
    for name in ["hostile", "hostile-0", "hostile-1", "hostile-2"] {
        let (_, message) = setup.condition(&namespace, &format!("dinc/{name}"), "Valid", "PartiallyInvalid").await?;
        assert!(message.contains("spec.createdAt is not an RFC 3339 time in the years 1970 to 2199"), "{message}");
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    let entities = setup.entities("dora_incident", &namespace);
    let opened: BTreeSet<_> = entities.iter().map(|entity| text(entity, "created_at")[..10].to_owned()).collect();
    let today = created.metadata.creation_timestamp.unwrap().0.to_string()[..10].to_owned();
    assert!(opened.contains("2026-01-31") && opened.contains(&today), "{opened:?}");
    assert!(opened.iter().all(|day| day.as_str() >= "2026" && day.as_str() < "2200"), "{opened:?}");
    assert!(controller.process.exit_status()?.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_resource_is_reported_once() -> TestResult {
    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("unreadable").await?;
    setup
        .kubectl_with_input(["--namespace", &namespace, "create", "--filename", "-"], &deep_incident("deep", 500))
        .await?;
    let controller = setup.start_controller(&[]).await?;
    setup.condition(&namespace, "dinc/deep", "Synced", "Undecodable").await?;
    let (status, message) = setup.condition(&namespace, "dinc/deep", "Valid", "Undecodable").await?;
    assert_eq!(status, "False");
    assert!(message.contains("spec.properties.deep.a.a") && message.contains("Correct the resource"), "{message}");
    setup.event(&namespace, "deep", "Undecodable").await?;
    let version = async || {
        setup
            .kubectl(["--namespace", &namespace, "get", "dinc/deep", "--output=jsonpath={.metadata.resourceVersion}"])
            .await
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
    assert_eq!(metric(&controller, "port_dora_resources_pending{kind=\"DoraIncident\"}").await?, "0");

    setup
        .kubectl_with_input(["--namespace", &namespace, "replace", "--filename", "-"], &deep_incident("deep", 1))
        .await?;
    setup.condition(&namespace, "dinc/deep", "Synced", "Delivered").await?;
    let conditions = setup.get_incident(&namespace, "deep").await?.status.unwrap().conditions;
    assert!(conditions.iter().all(|condition| condition.type_ != "Valid"), "{conditions:?}");

    setup
        .kubectl_with_input(["--namespace", &namespace, "replace", "--filename", "-"], &deep_incident("deep", 500))
        .await?;
    setup.condition(&namespace, "dinc/deep", "Valid", "Undecodable").await?;
    setup.kubectl(["--namespace", &namespace, "delete", "dinc/deep", "--timeout=60s"]).await?;
    assert_eq!(metric(&controller, REFUSED).await?, "2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_times_of_a_workload_block_nothing() -> TestResult {
    let setup = Installation::exclusive().await?;
    let _controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("workload").await?;
    let annotation = "dora.port.io/commit-time: '-000001-06-01T00:00:00Z'";
    setup.apply_in(&namespace, &deployment("hostile", "app:v1", annotation, "")).await?;
    let hostile = setup.progressing(&namespace, "hostile", "NewReplicaSetAvailable").await?;
    let mut conditions = json!(hostile.status.unwrap().conditions.unwrap());
    for condition in conditions.as_array_mut().unwrap() {
        condition["lastUpdateTime"] = "9999-12-31T23:59:59Z".into();
        condition["lastTransitionTime"] = "9999-12-30T22:00:00Z".into();
    }
    let patch = json!({"status": {"conditions": conditions}}).to_string();
    let arguments = [
        "--namespace",
        &namespace,
        "patch",
        "deploy/hostile",
        "--subresource=status",
        "--type=merge",
        "--patch",
        &patch,
    ];
    setup.kubectl(arguments).await?;
    let template =
        json!({"spec": {"template": {"metadata": {"creationTimestamp": "9999-12-31T23:59:59Z"}}}}).to_string();
    setup.patch(&namespace, "deploy/hostile", "merge", &template).await?;

    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let records = wait_for("the records of both Deployments", DEADLINE, async || {
        let records = setup.outcomes(&namespace, &[("hostile:1", "Succeeded"), ("web:1", "Succeeded")]).await?;
        Ok(Some(records))
    })
    .await?;
    for record in records {
        assert_eq!(record.spec.commit_time, None);
        let is_hostile = record.spec.workload.is_some_and(|workload| workload.name == "hostile");
        assert_eq!(record.spec.warnings.len(), usize::from(is_hostile), "{:?}", record.spec.warnings);
    }
    Ok(())
}
