use serde_json::{Value, json};

use crate::client::Port;

#[tokio::test]
async fn dora_blueprints_have_the_documented_fields() {
    let port = Port::start().await;
    let deployment = port.get("/v1/blueprints/dora_deployment").await;
    assert_eq!(deployment.status, 200);
    let blueprint = &deployment.body["blueprint"];
    assert_eq!(blueprint["identifier"], "dora_deployment");
    let properties = &blueprint["schema"]["properties"];
    assert_eq!(properties["lead_time_hours"]["type"], "number");
    assert_eq!(properties["deployment_time"]["format"], "date-time");
    assert_eq!(properties["status"]["type"], "string");
    assert_eq!(properties["status"].get("enum"), None);
    assert_eq!(blueprint["relations"]["group"]["target"], "group");
    assert_eq!(blueprint["relations"]["group"]["required"], false);
    assert!(blueprint["createdAt"].is_string());

    let incident = port.get("/v1/blueprints/dora_incident").await;
    let properties = &incident.body["blueprint"]["schema"]["properties"];
    assert_eq!(properties["time_to_resolve"]["type"], "number");
    assert_eq!(properties["resolved_at"]["format"], "date-time");
    assert_eq!(properties["incident_url"]["format"], "url");
    assert!(port.sim.entity("group", "all_teams").is_some());
}

#[tokio::test]
async fn all_blueprints_are_listed() {
    let port = Port::start().await;
    let list = port.get("/v1/blueprints").await;
    let identifiers: Vec<_> =
        list.body["blueprints"].as_array().unwrap().iter().map(|blueprint| &blueprint["identifier"]).collect();
    assert_eq!(identifiers, ["dora_deployment", "dora_incident", "group"]);
}

fn service() -> Value {
    json!({
        "identifier": "service", "title": "Service", "icon": "Microservice",
        "schema": {
            "properties": {"tier": {"type": "string", "title": "Tier", "enum": ["1", "2"], "enumColors": {"1": "red"}}},
            "required": ["tier"],
        },
        "relations": {"group": {"title": "Group", "target": "group", "required": false, "many": true}},
        "mirrorProperties": {},
    })
}

#[tokio::test]
async fn new_blueprint_is_stored_unchanged() {
    let port = Port::start().await;
    let created = port.post("/v1/blueprints", &service()).await;
    assert_eq!(created.status, 201);
    let read = port.get("/v1/blueprints/service").await.body["blueprint"].clone();
    assert_eq!(created.body["blueprint"], read);
    for (name, given) in service().as_object().unwrap() {
        assert_eq!(&read[name], given);
    }
    port.post("/v1/blueprints", &service()).await.refusal(409, "identifier_taken");
    port.write("service", "", &json!({"identifier": "s", "properties": {"tier": "3"}}))
        .await
        .refusal(422, "invalid_request");
}

#[tokio::test]
async fn invalid_blueprints_are_refused() {
    let port = Port::start().await;
    for (pointer, wrong) in [
        ("/identifier", json!("a b")),
        ("/title", json!("")),
        ("/schema/properties/tier/type", json!("text")),
        ("/schema/properties/tier/format", json!("date")),
        ("/schema/properties/tier/enum", json!("1")),
        ("/schema/required", json!("tier")),
        ("/relations/group/many", json!("yes")),
        ("/relations", json!({"group": {"target": "group"}})),
        ("/relations", json!({"a b": {"target": "group", "required": false, "many": false}})),
    ] {
        let mut body = service();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = wrong;
        port.post("/v1/blueprints", &body).await.refusal(422, "invalid_request");
    }
    let mut dangling = service();
    dangling["relations"]["group"]["target"] = json!("nobody");
    let message = port.post("/v1/blueprints", &dangling).await.refusal(404, "not_found");
    assert!(message.contains("nobody"), "{message}");
}

#[tokio::test]
async fn removed_blueprint_is_gone_with_its_entities() {
    let port = Port::start().await;
    let deployment = port.get("/v1/blueprints/dora_deployment").await.body["blueprint"].clone();
    let entity = json!({"identifier": "one"});
    assert_eq!(port.write("dora_deployment", "", &entity).await.status, 201);
    assert!(port.sim.remove_blueprint("dora_deployment"));
    assert!(!port.sim.remove_blueprint("dora_deployment"));
    port.get("/v1/blueprints/dora_deployment").await.refusal(404, "not_found");
    port.sim.create_blueprint(&deployment).unwrap();
    assert!(port.sim.entities("dora_deployment").is_empty());
    assert_eq!(port.write("dora_deployment", "", &entity).await.status, 201);
}

#[tokio::test]
async fn replaced_blueprint_removes_undefined_properties() {
    let port = Port::start().await;
    let whole = json!({"a": {"type": "string"}, "b": {"type": "string"}});
    port.model("thing", &whole, &json!([]), &json!({}));
    let entity = json!({"identifier": "one", "properties": {"a": "1", "b": "2"}});
    assert_eq!(port.write("thing", "", &entity).await.status, 201);
    port.model("thing", &json!({"a": {"type": "string"}}), &json!([]), &json!({}));
    let left = port.sim.entity("thing", "one").unwrap();
    assert_eq!(json!(left.properties), json!({"a": "1"}));

    let error = port.sim.create_blueprint(&json!({"identifier": "thing"})).unwrap_err();
    assert!(error.to_string().contains("title"), "{error}");
}
