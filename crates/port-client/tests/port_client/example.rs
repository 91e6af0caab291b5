//! The example of the library does what it says.

#[allow(dead_code, reason = "its `main` is for those who run it")]
#[path = "../../examples/port_client.rs"]
mod program;

use port_client::{Kind, NewBlueprint, Property};
use port_sim::{Effect, Fault};
use serde_json::json;

use self::program::{Deployment, report};
use super::*;

fn deployment_of_checkout() -> Deployment {
    Deployment { service: "checkout".to_owned(), version: "42".to_owned(), environment: "Production".to_owned() }
}

#[tokio::test]
async fn it_reports_a_deployment() {
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
async fn it_sends_what_the_blueprint_has_in_the_way_that_it_is_written_there() {
    let (port, client) = start_with_client();
    let narrow = NewBlueprint::new("narrow", "Narrow")
        .with_property("environment", Property::string().with_allowed(["production", "staging"]));
    client.create_blueprint(&narrow).await.unwrap();
    report(&client, "narrow", &deployment_of_checkout()).await.unwrap();
    let entity = port.entity("narrow", "checkout-42").unwrap();
    assert_eq!(json!(entity.properties), json!({"environment": "production"}));
}

#[tokio::test]
async fn it_tries_again_while_that_helps_and_not_otherwise() {
    let (port, client) = start_with_client();
    for method in ["GET", "POST"] {
        port.set_fault(Fault::new(Effect::status(503)).method(method).path_prefix(BLUEPRINT_PATH).times(1)).unwrap();
    }
    report(&client, "dora_deployment", &deployment_of_checkout()).await.unwrap();
    assert_eq!(calls(&port).len(), 4, "the blueprint and the entity, both twice");

    let error = failed(report(&client, "absent", &deployment_of_checkout()).await);
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(calls(&port).len(), 5);
}
