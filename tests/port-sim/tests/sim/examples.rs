//! The two requests in the documentation of Port for custom integrations, with exactly the documented bodies.

use port_sim::{Options, PortSim};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::client;

/// Obtains a token and writes one entity, with the steps of the documentation.
async fn deliver(sim: &PortSim, blueprint: &str, entity: &Value) {
    let http = client::http();
    let token: Value = http
        .post(format!("{}/v1/auth/access_token", sim.base_url()))
        .json(&json!({"clientId": "demo-id", "clientSecret": "demo-secret"}))
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap();
    let written = http
        .post(format!("{}/v1/blueprints/{blueprint}/entities?upsert=true", sim.base_url()))
        .bearer_auth(token["accessToken"].as_str().unwrap())
        .json(entity)
        .send()
        .await
        .unwrap();
    assert_eq!(written.status(), StatusCode::CREATED);
    let written: Value = written.json().await.unwrap();
    assert_eq!(written["ok"], true);
    assert_eq!(written["entity"]["identifier"], entity["identifier"]);
}

fn assert_holds(sim: &PortSim, blueprint: &str, sent: &Value) {
    let [stored] = sim.entities(blueprint).try_into().unwrap();
    assert_eq!(json!(stored.identifier), sent["identifier"]);
    assert_eq!(json!(stored.title), sent["title"]);
    assert_eq!(json!(stored.properties), sent["properties"]);
    assert_eq!(json!(stored.relations), sent["relations"]);
}

#[tokio::test]
async fn documented_deployment_is_stored() {
    let sim = PortSim::start(Options::default()).unwrap();
    let deployment = json!({
        "identifier": "some_deployment_1",
        "title": "Some Deployment",
        "properties": {
            "lead_time_hours": 0,
            "deployment_time": "2025-01-01T00:00:00.000Z",
            "deployment_type": "Custom API",
            "environment": "production",
            "status": "success"
        },
        "relations": {"group": "all_teams"}
    });
    deliver(&sim, "dora_deployment", &deployment).await;
    assert_holds(&sim, "dora_deployment", &deployment);
}

#[tokio::test]
async fn documented_incident_is_stored() {
    let sim = PortSim::start(Options::default()).unwrap();
    let incident = json!({
        "identifier": "some_incident_1",
        "title": "Some Incident",
        "properties": {
            "incident_type": "Custom incident",
            "description": "some description",
            "status": "resolved",
            "incident_url": "https://example.com",
            "created_at": "2025-01-01T00:00:00.000Z",
            "resolved_at": "2025-01-01T00:00:00.000Z",
            "priority": "low",
            "time_to_resolve": 0,
            "urgency": "low"
        },
        "relations": {"group": "all_teams"}
    });
    deliver(&sim, "dora_incident", &incident).await;
    assert_holds(&sim, "dora_incident", &incident);
}
