//! The validation of the custom resources by the real API server: rules with their messages, and limits of sizes.

use cluster::{DEADLINE, wait_for};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::Installation;

/// The cases that src/resources/rules.rs checks without an API server as well.
const INCIDENTS: &str = include_str!("../rules/incidents.yaml");
const DEPLOYMENTS: &str = include_str!("../rules/deployments.yaml");

#[derive(Deserialize)]
struct Case {
    before: Option<Value>,
    spec: Value,
    refused: Option<String>,
}

fn resource(kind: &str, name: &str, spec: &Value) -> String {
    json!({"apiVersion": "dora.port.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}).to_string()
}

fn manifest(name: &str, spec: &Value) -> String {
    resource("DoraIncident", name, spec)
}

/// Creates or updates resources of `kind` as the cases say.
async fn check(namespace: &str, kind: &str, cases: &str) -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace(namespace).await?;
    let cases: Vec<Case> = serde_saphyr::from_str(cases)?;
    for (number, Case { before, spec, refused }) in cases.into_iter().enumerate() {
        let name = format!("case-{number}");
        let verb = if let Some(before) = &before {
            setup.apply_in(&namespace, &resource(kind, &name, before)).await?;
            "replace"
        } else {
            "create"
        };
        let arguments = ["--namespace", &namespace, verb, "--filename", "-"];
        let answer = wait_for("an answer without a conflict with the controller", DEADLINE, async || {
            let answer = setup.kubectl_with_input(arguments, &resource(kind, &name, &spec)).await;
            let is_conflict = answer.as_ref().is_err_and(|error| error.to_string().contains("has been modified"));
            Ok((!is_conflict).then_some(answer))
        })
        .await?;
        match (answer, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(message)) => {
                assert!(error.to_string().contains(&message), "{before:?} → {spec}: {error}");
            }
            (answer, refused) => panic!("{before:?} → {spec}: expected {refused:?}, got {answer:?}"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_incidents_are_refused_with_advice() -> TestResult {
    check("incident-rules", "DoraIncident", INCIDENTS).await
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_deployments_are_refused_with_advice() -> TestResult {
    check("deployment-rules", "DoraDeployment", DEPLOYMENTS).await
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_incidents_are_refused() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("sizes").await?;
    let long = |characters: usize| "a".repeat(characters);
    let many: Value = (0..65).map(|number| (format!("p{number}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    let mistakes = [
        (json!({"title": long(501)}), "spec.title"),
        (json!({"description": long(16385)}), "spec.description"),
        (json!({"type": long(254)}), "spec.type"),
        (json!({"priority": long(254)}), "spec.priority"),
        (json!({"urgency": ""}), "spec.urgency"),
        (json!({"group": long(1001)}), "spec.group"),
        (json!({"url": format!("https://example.com/{}", long(2000))}), "spec.url"),
        (json!({"identifier": long(1001)}), "spec.identifier"),
        (json!({"properties": many}), "spec.properties"),
        (json!({"relations": many}), "spec.relations"),
        (json!({"workloadRef": {"name": ""}}), "spec.workloadRef.name"),
        (json!({"workloadRef": {"name": "web", "revision": 0}}), "spec.workloadRef.revision"),
        (json!({"deletionPolicy": "Keep"}), r#"supported values: "Retain", "Delete""#),
    ];
    for (spec, expected) in mistakes {
        let refused = setup.apply_in(&namespace, &manifest("bad", &spec)).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{spec}: {refused}");
    }
    Ok(())
}
