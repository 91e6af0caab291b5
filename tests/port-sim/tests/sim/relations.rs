use serde_json::{Value, json};

use crate::client::Port;

const MERGE: &str = "?upsert=true&merge=true";

/// A stand-in with a blueprint `app`, which relates to one `group` as `owner` and to many as `users`.
async fn start() -> Port {
    let port = Port::start().await;
    port.model(
        "app",
        &json!({}),
        &json!([]),
        &json!({
            "owner": {"target": "group", "required": false, "many": false},
            "users": {"target": "group", "required": false, "many": true},
        }),
    );
    for (identifier, title) in [("checkout", "Checkout"), ("search", "Search"), ("ops", "Operations")] {
        let group = json!({"identifier": identifier, "title": title});
        assert_eq!(port.write("group", "", &group).await.status, 201);
    }
    port
}

async fn related(port: &Port, relations: Value) -> Value {
    let answer = port.write("app", MERGE, &json!({"identifier": "one", "relations": relations})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    json!(port.sim.entity("app", "one").unwrap().relations)
}

fn title_is(title: &str) -> Value {
    json!({"combinator": "and", "rules": [{"property": "$title", "operator": "=", "value": title}]})
}

#[tokio::test]
async fn relations_to_one_and_many_are_set_and_cleared() {
    let port = start().await;
    let both = json!({"owner": "checkout", "users": ["search", "ops"]});
    assert_eq!(related(&port, both.clone()).await, both);
    assert_eq!(related(&port, json!({"users": []})).await, json!({"owner": "checkout", "users": []}));
    assert_eq!(related(&port, json!({"owner": null, "users": null})).await, json!({}));
}

#[tokio::test]
async fn query_is_replaced_by_the_found_entity() {
    let port = start().await;
    let one = json!({"owner": title_is("Checkout")});
    assert_eq!(related(&port, one).await, json!({"owner": "checkout"}));
    let many = json!({"users": {"combinator": "or", "rules": [
        title_is("Search"),
        {"property": "$identifier", "operator": "in", "value": ["ops"]},
    ]}});
    assert_eq!(related(&port, many).await, json!({"owner": "checkout", "users": ["search", "ops"]}));
}

#[tokio::test]
async fn query_without_a_unique_result_is_refused() {
    let port = start().await;
    let write = |query: Value| json!({"identifier": "one", "relations": {"owner": query}});
    let message = port.write("app", MERGE, &write(title_is("Nobody"))).await.refusal(404, "not_found");
    assert!(message.contains("Nobody") && message.contains("group"), "{message}");
    let several = json!({"combinator": "and", "rules": [{"property": "$title", "operator": "contains", "value": "e"}]});
    port.write("app", MERGE, &write(several)).await.refusal(422, "invalid_request");
    let unknown =
        json!({"combinator": "and", "rules": [{"property": "$title", "operator": "resembles", "value": "e"}]});
    port.write("app", MERGE, &write(unknown)).await.refusal(422, "invalid_request");
}

#[tokio::test]
async fn missing_related_entity_is_named_or_created() {
    let port = start().await;
    for relations in [json!({"owner": "payments"}), json!({"users": ["ops", "payments"]})] {
        let entity = json!({"identifier": "one", "relations": relations});
        let answer = port.write("app", MERGE, &entity).await;
        let message = answer.refusal(404, "not_found");
        assert!(message.contains("payments") && message.contains("group"), "{message}");
        assert_eq!(answer.body["details"]["withValue"], "payments");
    }
    assert!(port.sim.entities("app").is_empty());

    let query = "?upsert=true&create_missing_related_entities=true";
    let entity = json!({"identifier": "one", "relations": {"users": ["payments", "billing"]}});
    assert_eq!(port.write("app", query, &entity).await.status, 201);
    for created in ["payments", "billing"] {
        assert!(port.sim.entity("group", created).is_some());
    }
}

#[tokio::test]
async fn missing_target_blueprint_is_not_found() {
    let port = start().await;
    assert!(port.sim.remove_blueprint("group"));
    let entity = json!({"identifier": "one", "relations": {"owner": "checkout"}});
    let message = port.write("app", MERGE, &entity).await.refusal(404, "not_found");
    assert!(message.contains("Blueprint") && message.contains("group"), "{message}");
}

#[tokio::test]
async fn relations_must_match_the_blueprint() {
    let port = start().await;
    for (name, wrong) in [
        ("team", json!("checkout")),
        ("team", json!(null)),
        ("owner", json!(["checkout"])),
        ("users", json!("checkout")),
        ("owner", json!(1)),
        ("owner", json!("not allowed")),
        ("owner", json!("")),
        ("users", json!([1])),
        ("owner", json!({"combinator": "and"})),
    ] {
        let entity = json!({"identifier": "one", "relations": {name: wrong}});
        let message = port.write("app", MERGE, &entity).await.refusal(422, "invalid_request");
        assert!(message.contains(name), "{message}");
    }
}

#[tokio::test]
async fn deletion_clears_relations_or_deletes_dependents() {
    let port = start().await;
    related(&port, json!({"owner": "ops", "users": ["ops", "search"]})).await;
    let path = "/v1/blueprints/group/entities";
    assert_eq!(port.delete(&format!("{path}/ops?delete_dependents=false")).await.status, 200);
    let left = port.sim.entity("app", "one").unwrap();
    assert_eq!(json!(left.relations), json!({"users": ["search"]}));
    assert_eq!(port.delete(&format!("{path}/search?delete_dependents=true")).await.status, 200);
    assert!(port.sim.entities("app").is_empty());
    assert!(port.sim.entity("group", "checkout").is_some());
}

#[tokio::test]
async fn required_entity_is_not_deleted() {
    let port = start().await;
    port.model(
        "service",
        &json!({}),
        &json!([]),
        &json!({
            "owner": {"target": "group", "required": true, "many": false},
        }),
    );
    let service = json!({"identifier": "s", "relations": {"owner": "ops"}});
    assert_eq!(port.write("service", "", &service).await.status, 201);
    let path = "/v1/blueprints/group/entities/ops";
    let message = port.delete(path).await.refusal(409, "has_dependents");
    assert!(message.contains("\"s\""), "{message}");
    assert!(port.sim.entity("group", "ops").is_some());
}
