//! The example of the crate.

#[allow(dead_code, reason = "the tests do not call its `main`")]
#[path = "../../examples/port_client.rs"]
mod port_client_example;

use port_client::{ErrorKind, NewBlueprint, Property};
use port_sim::{Effect, Fault};
use serde_json::json;

use self::port_client_example::{Deployment, report};
use super::*;

fn deployment_of_checkout() -> Deployment {
    Deployment { service: "checkout".to_owned(), version: "42".to_owned(), environment: "Production".to_owned() }
}

#[tokio::test]
async fn example_reports_a_deployment() {
    let (port, client) = start_with_client();
    let stored = report(&client, "dora_deployment", &deployment_of_checkout()).await.unwrap();
    let entity = port.entity("dora_deployment", &stored.identifier).unwrap();
    assert_eq!(entity.identifier, "checkout-42");
    assert_eq!(entity.title.as_deref(), Some("checkout 42"));
    assert_eq!(entity.properties["environment"], "Production");
    assert_eq!(entity.properties["status"], "success");
    assert!(entity.properties["deployment_time"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn example_conforms_to_the_blueprint() {
    let (port, client) = start_with_client();
    let narrow = NewBlueprint::new("narrow", "Narrow")
        .with_property("environment", Property::string().with_allowed_values(["production", "staging"]));
    client.create_blueprint(&narrow).await.unwrap();
    report(&client, "narrow", &deployment_of_checkout()).await.unwrap();
    let entity = port.entity("narrow", "checkout-42").unwrap();
    assert_eq!(json!(entity.properties), json!({"environment": "production"}));
}

#[tokio::test]
async fn example_retries_only_temporary_errors() {
    let (port, client) = start_with_client();
    for method in ["GET", "POST"] {
        port.set_fault(Fault::new(Effect::status(503)).method(method).path_prefix(BLUEPRINT_PATH).times(1)).unwrap();
    }
    report(&client, "dora_deployment", &deployment_of_checkout()).await.unwrap();
    assert_eq!(calls(&port).len(), 4, "the blueprint and the entity, twice each");

    let error = failed(report(&client, "absent", &deployment_of_checkout()).await);
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(calls(&port).len(), 5);
}
