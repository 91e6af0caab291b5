//! Evaluates the validation rules of the custom resources without an API server.

use kube::CustomResourceExt;
use kube_cel::Validator;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{DoraDeployment, DoraIncident};

/// tests/controller/rules.rs runs the same cases against a real API server.
const INCIDENTS: &str = include_str!("../../tests/rules/incidents.yaml");
const DEPLOYMENTS: &str = include_str!("../../tests/rules/deployments.yaml");

/// The error of kube_cel for a text that is not a time in a field with this format.
const UNREADABLE: &str = "rule evaluation error: No such overload";

#[derive(Deserialize)]
struct Case {
    before: Option<Value>,
    spec: Value,
    refused: Option<String>,
}

/// Checks the cases for the kind `R`. `defaults` are the defaults of the spec, which the API server sets before it evaluates the rules.
fn check<R: CustomResourceExt>(cases: &str, defaults: &Value) {
    let crd = serde_json::to_value(R::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let cases: Vec<Case> = serde_saphyr::from_str(cases).unwrap();
    assert!(cases.iter().any(|case| case.refused.is_some()) && cases.iter().any(|case| case.refused.is_none()));
    for Case { before, spec, refused } in cases {
        let object = |spec: Value| {
            let mut with_defaults = defaults.clone();
            // For the rules of the API server, a field that is null is absent. kube_cel evaluates the rules of that field.
            let fields = spec.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null());
            with_defaults.as_object_mut().unwrap().extend(fields);
            json!({"apiVersion": R::api_resource().api_version, "kind": R::api_resource().kind, "spec": with_defaults})
        };
        let (new, old) = (object(spec), before.map(object));
        let validated = Validator::new().validate(schema, &new, old.as_ref());
        match (validated, refused) {
            (Ok(()), None) => {}
            (Err(errors), Some(message)) => {
                let errors = errors.to_string();
                // kube_cel doesn't add the message of a rule that it can't evaluate, such as one with an impossible time.
                assert!(errors.contains(&message) || errors.contains(UNREADABLE), "{old:?} → {new}: {errors}");
            }
            (Ok(()), Some(message)) => panic!("{old:?} → {new} is not refused with {message:?}"),
            (Err(errors), None) => panic!("{old:?} → {new}: {errors}"),
        }
    }
}

#[test]
fn invalid_incidents_are_refused_with_a_message() {
    check::<DoraIncident>(INCIDENTS, &json!({"status": "open"}));
}

#[test]
fn invalid_deployments_are_refused_with_a_message() {
    check::<DoraDeployment>(DEPLOYMENTS, &json!({}));
}
