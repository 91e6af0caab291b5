//! The validation rules of `DoraIncident`, evaluated as the API server does, without one.

use kube::CustomResourceExt;
use kube_cel::Validator;
use serde::Deserialize;
use serde_json::{Value, json};

use super::DoraIncident;

/// What the cluster's own API server is held to as well, in tests/controller/incident_rules.rs.
const CASES: &str = include_str!("../../tests/rules/incidents.yaml");

#[derive(Deserialize)]
struct Case {
    before: Option<Value>,
    spec: Value,
    refused: Option<String>,
}

#[test]
fn the_rules_of_an_incident_refuse_what_can_not_be_and_say_what_to_write() {
    let crd = serde_json::to_value(DoraIncident::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let cases: Vec<Case> = serde_saphyr::from_str(CASES).unwrap();
    assert!(cases.iter().any(|case| case.refused.is_some()) && cases.iter().any(|case| case.refused.is_none()));
    for Case { before, spec, refused } in cases {
        let object = |spec: Value| {
            let mut object = json!({"apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "spec": spec});
            // The API server fills in the default before it evaluates the rules.
            object["spec"].as_object_mut().unwrap().entry("status").or_insert("open".into());
            object
        };
        let (new, old) = (object(spec), before.map(object));
        let validated = Validator::new().validate(schema, &new, old.as_ref());
        match (validated, refused) {
            (Ok(()), None) => {}
            (Err(errors), Some(part)) => assert!(errors.to_string().contains(&part), "{old:?} → {new}: {errors}"),
            (Ok(()), Some(part)) => panic!("{old:?} → {new} is not refused with {part:?}"),
            (Err(errors), None) => panic!("{old:?} → {new}: {errors}"),
        }
    }
}
