use serde_json::{Value, json};

use crate::client::Port;

const UPSERT: &str = "?upsert=true";
const MERGE: &str = "?upsert=true&merge=true";

async fn incident(port: &Port, query: &str, entity: &Value) {
    let answer = port.write("dora_incident", query, entity).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn existing_entity_is_a_conflict_without_upsert() {
    let port = Port::start().await;
    let entity = json!({"identifier": "one", "properties": {"status": "open"}});
    incident(&port, "", &entity).await;
    for query in ["", "?upsert=false", "?merge=true"] {
        let message = port.write("dora_incident", query, &entity).await.refusal(409, "identifier_taken");
        assert!(message.contains("one"), "{message}");
    }
}

#[tokio::test]
async fn upsert_without_merge_overwrites_the_entity() {
    let port = Port::start().await;
    incident(
        &port,
        UPSERT,
        &json!({
            "identifier": "one", "title": "One",
            "properties": {"status": "open", "priority": "high"}, "relations": {"group": "all_teams"},
        }),
    )
    .await;
    incident(&port, UPSERT, &json!({"identifier": "one", "properties": {"status": "resolved"}})).await;

    let [stored] = port.sim.entities("dora_incident").try_into().unwrap();
    assert_eq!(json!(stored.properties), json!({"status": "resolved"}));
    assert!(stored.relations.is_empty());
    assert_eq!(stored.title, None);
    assert_eq!(stored.writes, 2);
}

#[tokio::test]
async fn merge_keeps_missing_values_and_clears_nulls() {
    let port = Port::start().await;
    incident(
        &port,
        MERGE,
        &json!({
            "identifier": "one", "title": "One",
            "properties": {"status": "resolved", "priority": "high", "resolved_at": "2025-01-01T00:00:00.000Z"},
            "relations": {"group": "all_teams"},
        }),
    )
    .await;
    let before = port.sim.entity("dora_incident", "one").unwrap();
    incident(
        &port,
        MERGE,
        &json!({
            "identifier": "one", "properties": {"status": "open", "resolved_at": null},
        }),
    )
    .await;

    let after = port.sim.entity("dora_incident", "one").unwrap();
    assert_eq!(json!(after.properties), json!({"status": "open", "priority": "high"}));
    assert_eq!(json!(after.relations), json!({"group": "all_teams"}));
    assert_eq!(after.title.as_deref(), Some("One"));
    assert_eq!(after.created_at, before.created_at);
    assert!(after.updated_at > before.updated_at);

    incident(&port, MERGE, &json!({"identifier": "one", "relations": {"group": null}})).await;
    let cleared = port.sim.entity("dora_incident", "one").unwrap();
    assert!(cleared.relations.is_empty());
    assert_eq!(cleared.properties, after.properties);
}

#[tokio::test]
async fn refused_write_changes_nothing() {
    let port = Port::start().await;
    incident(&port, MERGE, &json!({"identifier": "one", "properties": {"status": "open"}})).await;
    let before = port.sim.entities("dora_incident");
    let wrong = json!({"identifier": "one", "properties": {"status": "resolved", "time_to_resolve": "1"}});
    port.write("dora_incident", MERGE, &wrong).await.refusal(422, "invalid_request");
    assert_eq!(port.sim.entities("dora_incident"), before);
}

#[tokio::test]
async fn validation_only_refuses_but_stores_nothing() {
    let port = Port::start().await;
    let query = "?upsert=true&validation_only=true&create_missing_related_entities=true";
    incident(&port, query, &json!({"identifier": "one", "relations": {"group": "new"}})).await;
    assert!(port.sim.entities("dora_incident").is_empty());
    assert_eq!(port.sim.entity("group", "new"), None);
    port.write("dora_incident", query, &json!({"identifier": "one", "properties": {"status": 1}}))
        .await
        .refusal(422, "invalid_request");
}

#[tokio::test]
async fn entity_names_its_last_writer() {
    let port = Port::start().await;
    incident(&port, "?upsert=true&run_id=r_1", &json!({"identifier": "one"})).await;
    let stored = port.sim.entity("dora_incident", "one").unwrap();
    assert_eq!(stored.datasource, "port-sim-tests/1.0");
    assert_eq!(stored.run_id.as_deref(), Some("r_1"));
}

#[tokio::test]
async fn entity_is_read_and_deleted() {
    let port = Port::start().await;
    let identifier = "prod:shop:größe/1";
    incident(&port, UPSERT, &json!({"identifier": identifier, "title": "T", "properties": {"status": "open"}})).await;
    let path = "/v1/blueprints/dora_incident/entities/prod:shop:gr%C3%B6%C3%9Fe%2F1";
    let read = port.get(path).await;
    assert_eq!(read.status, 200);
    let entity = &read.body["entity"];
    assert_eq!(entity["identifier"], identifier);
    assert_eq!(entity["title"], "T");
    assert_eq!(entity["blueprint"], "dora_incident");
    assert_eq!(entity["properties"], json!({"status": "open"}));
    for time in ["createdAt", "updatedAt"] {
        let text = entity[time].as_str().unwrap();
        assert_eq!(text.len(), "2025-01-01T00:00:00.000Z".len(), "{text}");
        text.parse::<jiff::Timestamp>().unwrap();
    }
    assert!(entity["createdBy"].is_string() && entity["updatedBy"].is_string());

    let delete = format!("{path}?delete_dependents=false");
    assert_eq!(port.delete(&delete).await.status, 200);
    port.delete(&delete).await.refusal(404, "not_found");
    let message = port.get(path).await.refusal(404, "not_found");
    assert!(message.contains(identifier), "{message}");
}

#[tokio::test]
async fn entity_without_identifier_gets_one() {
    let port = Port::start().await;
    let answer = port.write("dora_incident", "", &json!({"title": "Nameless"})).await;
    assert_eq!(answer.status, 201);
    let [stored] = port.sim.entities("dora_incident").try_into().unwrap();
    assert_eq!(answer.body["entity"]["identifier"], json!(stored.identifier));
    assert!(!stored.identifier.is_empty());
}

#[tokio::test]
async fn entity_may_have_the_name_of_a_route() {
    let port = Port::start().await;
    for identifier in ["bulk", "search"] {
        incident(&port, UPSERT, &json!({"identifier": identifier})).await;
        let path = format!("/v1/blueprints/dora_incident/entities/{identifier}");
        assert_eq!(port.get(&path).await.body["entity"]["identifier"], identifier);
        assert_eq!(port.delete(&path).await.status, 200);
    }
    port.post("/v1/blueprints/dora_incident/entities/other", &json!({})).await.refusal(404, "not_found");
}
