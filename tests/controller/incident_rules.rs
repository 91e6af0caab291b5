//! The rules of a `DoraIncident` on the real API server, each with its message, and sizes that have no rule.

use cluster::wait_for;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation};

/// What the evaluation without an API server is held to as well, in src/resources/rules.rs.
const CASES: &str = include_str!("../rules/incidents.yaml");

#[derive(Deserialize)]
struct Case {
    before: Option<Value>,
    spec: Value,
    refused: Option<String>,
}

fn manifest(name: &str, spec: &Value) -> String {
    json!({"apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "metadata": {"name": name}, "spec": spec})
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_what_can_not_be_and_says_what_to_write() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("rules").await?;
    let cases: Vec<Case> = serde_saphyr::from_str(CASES)?;
    for (number, Case { before, spec, refused }) in cases.into_iter().enumerate() {
        let name = format!("case-{number}");
        let verb = if let Some(before) = &before {
            on.apply_in(&namespace, &manifest(&name, before)).await?;
            "replace"
        } else {
            "create"
        };
        let arguments = ["--namespace", &namespace, verb, "--filename", "-"];
        let answer =
            wait_for("an answer that is not about the status that the controller writes", DEADLINE, async || {
                let answer = on.kubectl_with_input(arguments, &manifest(&name, &spec)).await;
                let is_conflict = answer.as_ref().is_err_and(|error| error.to_string().contains("has been modified"));
                Ok((!is_conflict).then_some(answer))
            })
            .await?;
        match (answer, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(&part), "{before:?} → {spec}: {error}"),
            (answer, refused) => panic!("{before:?} → {spec}: expected {refused:?}, got {answer:?}"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_bounded() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("sizes").await?;
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
        let refused = on.apply_in(&namespace, &manifest("bad", &spec)).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{spec}: {refused}");
    }
    Ok(())
}
