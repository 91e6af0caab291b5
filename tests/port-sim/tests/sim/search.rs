use serde_json::{Value, json};

use crate::client::{Answer, Port, answer};

async fn start() -> Port {
    let port = Port::start().await;
    for (identifier, title, status, hours) in [
        ("prod:shop:cart:1", "Cart 1", "success", 1.0),
        ("prod:shop:cart:2", "Cart 2", "failed", 2.5),
        ("test:shop:cart:1", "Cart in test", "success", 30.0),
    ] {
        let entity = json!({
            "identifier": identifier, "title": title,
            "properties": {"status": status, "lead_time_hours": hours, "deployment_time": "2025-01-01T00:00:00.000Z"},
            "relations": {"group": "all_teams"},
        });
        assert_eq!(port.write("dora_deployment", "", &entity).await.status, 201);
    }
    port
}

const SEARCH: &str = "/v1/blueprints/dora_deployment/entities/search";

fn identifiers(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let entities = answer.body["entities"].as_array().unwrap();
    entities.iter().map(|entity| entity["identifier"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn operators_select_entities() {
    let port = start().await;
    let (first, second, third) = ("prod:shop:cart:1", "prod:shop:cart:2", "test:shop:cart:1");
    for (property, operator, value, expected) in [
        ("$identifier", "=", json!(second), vec![second]),
        ("$identifier", "!=", json!(second), vec![first, third]),
        ("$identifier", "in", json!([third, first]), vec![first, third]),
        ("$identifier", "notIn", json!([third, first]), vec![second]),
        ("$identifier", "beginsWith", json!("prod:"), vec![first, second]),
        ("$identifier", "doesNotBeginsWith", json!("prod:"), vec![third]),
        ("$identifier", "endsWith", json!(":1"), vec![first, third]),
        ("$identifier", "doesNotEndsWith", json!(":1"), vec![second]),
        ("$title", "contains", json!("test"), vec![third]),
        ("$title", "doesNotContains", json!("test"), vec![first, second]),
        ("$title", "containsAny", json!(["test", "2"]), vec![second, third]),
        ("$blueprint", "=", json!("dora_deployment"), vec![first, second, third]),
        ("$blueprint", "=", json!("group"), vec![]),
        ("$datasource", "contains", json!("port-sim-tests"), vec![first, second, third]),
        ("$datasource", "contains", json!("another"), vec![]),
        ("status", "=", json!("failed"), vec![second]),
        ("lead_time_hours", ">", json!(2.5), vec![third]),
        ("lead_time_hours", ">=", json!(2.5), vec![second, third]),
        ("lead_time_hours", "<", json!(2.5), vec![first]),
        ("lead_time_hours", "<=", json!(1), vec![first]),
        ("deployment_time", "<", json!("2025-01-01T01:00:00+01:00"), vec![]),
        ("deployment_time", ">=", json!("2025-01-01T01:00:00+01:00"), vec![first, second, third]),
        ("environment", "isEmpty", Value::Null, vec![first, second, third]),
        ("status", "isNotEmpty", Value::Null, vec![first, second, third]),
        ("environment", "=", Value::Null, vec![first, second, third]),
    ] {
        let rule = json!({"property": property, "operator": operator, "value": value});
        let query = json!({"query": {"combinator": "and", "rules": [rule]}});
        let found = port.post(SEARCH, &query).await;
        assert_eq!(identifiers(&found), expected, "{property} {operator} {value}");
    }
}

#[tokio::test]
async fn combinators_can_be_nested() {
    let port = start().await;
    let rule = |property: &str, operator: &str, value: &str| json!({"property": property, "operator": operator, "value": value});
    let query = json!({"query": {"combinator": "and", "rules": [
        rule("status", "=", "success"),
        {"combinator": "or", "rules": [rule("$title", "=", "Cart 1"), rule("$title", "=", "Cart 2")]},
        {"relation": "group", "operator": "=", "value": "all_teams"},
    ]}});
    assert_eq!(identifiers(&port.post(SEARCH, &query).await), ["prod:shop:cart:1"]);
}

#[tokio::test]
async fn long_results_have_several_pages() {
    let port = start().await;
    let first = port.post(SEARCH, &json!({"limit": 2})).await;
    assert_eq!(identifiers(&first), ["prod:shop:cart:1", "prod:shop:cart:2"]);
    let next = first.body["next"].as_str().unwrap();
    let second = port.post(SEARCH, &json!({"limit": 2, "from": next})).await;
    assert_eq!(identifiers(&second), ["test:shop:cart:1"]);
    assert_eq!(second.body.get("next"), None);
    port.post(SEARCH, &json!({"from": "nowhere"})).await.refusal(422, "invalid_request");
}

#[tokio::test]
async fn fields_can_be_included_or_excluded() {
    let port = start().await;
    let only = json!({"limit": 1, "include": ["identifier", "properties.status"]});
    assert_eq!(
        port.post(SEARCH, &only).await.body["entities"],
        json!([{"identifier": "prod:shop:cart:1", "properties": {"status": "success"}}])
    );
    let without = port.post(SEARCH, &json!({"limit": 1, "exclude": ["properties", "relations"]})).await;
    let entity = without.body["entities"][0].as_object().unwrap();
    assert!(entity.contains_key("title"));
    assert!(!entity.contains_key("properties") && !entity.contains_key("relations"));
}

#[tokio::test]
async fn search_covers_all_blueprints() {
    let port = start().await;
    let query = json!({"combinator": "or", "rules": [
        {"property": "$blueprint", "operator": "=", "value": "group"},
        {"property": "$identifier", "operator": "=", "value": "prod:shop:cart:2"},
    ]});
    let found = port.post("/v1/entities/search", &query).await;
    assert_eq!(identifiers(&found), ["all_teams", "prod:shop:cart:2"]);
    assert_eq!(found.body["matchingBlueprints"], json!(["dora_deployment", "group"]));
}

#[tokio::test]
async fn unsupported_searches_are_refused() {
    let port = start().await;
    for query in [
        json!({"query": {"combinator": "xor", "rules": []}}),
        json!({"query": {"combinator": "and"}}),
        json!({"query": {"combinator": "and", "rules": [{"property": "$title"}]}}),
        json!({"query": {"combinator": "and", "rules": [
            {"operator": "relatedTo", "blueprint": "group", "value": "all_teams"},
        ]}}),
        json!({"limit": 0}),
        json!({"limit": 1_001}),
        json!({"more": 1}),
    ] {
        port.post(SEARCH, &query).await.refusal(422, "invalid_request");
    }
    port.post("/v1/blueprints/nothing/entities/search", &json!({})).await.refusal(404, "not_found");
    let without_token = port.http.post(format!("{}{SEARCH}", port.sim.base_url()));
    answer(without_token.json(&json!({}))).await.refusal(401, "unauthorized");
}
