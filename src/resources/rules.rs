//! Evaluates the validation rules of `DoraIncident` without an API server.

use kube::CustomResourceExt;
use kube_cel::Validator;
use serde::Deserialize;
use serde_json::{Value, json};

use super::DoraIncident;

/// tests/controller/incident_rules.rs runs the same cases against a real API server.
const CASES: &str = include_str!("../../tests/rules/incidents.yaml");

#[derive(Deserialize)]
struct Case {
    before: Option<Value>,
    spec: Value,
    refused: Option<String>,
}

#[test]
fn invalid_incidents_are_refused_with_a_message() {
    let crd = serde_json::to_value(DoraIncident::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let cases: Vec<Case> = serde_saphyr::from_str(CASES).unwrap();
    assert!(cases.iter().any(|case| case.refused.is_some()) && cases.iter().any(|case| case.refused.is_none()));
    for Case { before, spec, refused } in cases {
        let object = |spec: Value| {
            let mut object = json!({"apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "spec": spec});
            // The API server sets the default before it evaluates the rules.
            object["spec"].as_object_mut().unwrap().entry("status").or_insert("open".into());
            object
        };
        let (new, old) = (object(spec), before.map(object));
        let validated = Validator::new().validate(schema, &new, old.as_ref());
        match (validated, refused) {
            (Ok(()), None) => {}
            (Err(errors), Some(message)) => {
                assert!(errors.to_string().contains(&message), "{old:?} → {new}: {errors}");
            }
            (Ok(()), Some(message)) => panic!("{old:?} → {new} is not refused with {message:?}"),
            (Err(errors), None) => panic!("{old:?} → {new}: {errors}"),
        }
    }
}
