use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::client::{Port, answer};

const MERGE: &str = "?upsert=true&merge=true";

async fn refused(port: &Port, blueprint: &str, entity: &Value) -> String {
    let answer = port.write(blueprint, MERGE, entity).await;
    answer.refusal(422, "invalid_request")
}

#[tokio::test]
async fn properties_must_match_the_blueprint() {
    let port = Port::start().await;
    port.model(
        "strict",
        &json!({
            "text": {"type": "string"}, "number": {"type": "number"}, "flag": {"type": "boolean"},
            "object": {"type": "object"}, "list": {"type": "array", "items": {"type": "string"}},
            "size": {"type": "string", "enum": ["small", "large"]},
            "time": {"type": "string", "format": "date-time"},
            "link": {"type": "string", "format": "url"},
            "mail": {"type": "string", "format": "email"},
        }),
        &json!([]),
        &json!({}),
    );
    for (name, wrong) in [
        ("text", json!(1)),
        ("number", json!("1")),
        ("flag", json!("true")),
        ("object", json!([])),
        ("list", json!("one")),
        ("list", json!([1])),
        ("size", json!("Small")),
        ("time", json!("yesterday")),
        ("time", json!("2025-01-01")),
        ("time", json!("2025-13-01T00:00:00.000Z")),
        ("time", json!(1_735_689_600)),
        ("link", json!("example")),
        ("mail", json!("nobody")),
        ("unknown", json!("anything")),
        ("unknown", json!(null)),
    ] {
        let entity = json!({"identifier": "one", "properties": {name: wrong}});
        let message = refused(&port, "strict", &entity).await;
        assert!(message.contains(name), "{message}");
    }
    let fits = json!({"identifier": "one", "properties": {
        "text": "", "number": 1.5, "flag": true, "object": {"a": 1}, "list": ["one"], "size": "small",
        "time": "2025-01-01T00:00:00.000Z", "link": "https://example.com", "mail": "a@example.com",
    }});
    assert_eq!(port.write("strict", MERGE, &fits).await.status, 201);
}

#[tokio::test]
async fn resulting_entity_must_have_the_required_fields() {
    let port = Port::start().await;
    port.model(
        "strict",
        &json!({"name": {"type": "string"}, "note": {"type": "string"}}),
        &json!(["name"]),
        &json!({"owner": {"target": "group", "required": true, "many": false}}),
    );
    let owner = json!({"owner": "all_teams"});
    let name = json!({"name": "n"});
    let message = refused(&port, "strict", &json!({"identifier": "one", "relations": owner})).await;
    assert!(message.contains("\"name\""), "{message}");
    let message = refused(&port, "strict", &json!({"identifier": "one", "properties": name})).await;
    assert!(message.contains("\"owner\""), "{message}");

    let whole = json!({"identifier": "one", "properties": name, "relations": owner});
    assert_eq!(port.write("strict", MERGE, &whole).await.status, 201);
    // A merge may omit them, but must not clear them.
    let note = json!({"identifier": "one", "properties": {"note": "x"}});
    assert_eq!(port.write("strict", MERGE, &note).await.status, 201);
    refused(&port, "strict", &json!({"identifier": "one", "properties": {"name": null}})).await;
    refused(&port, "strict", &json!({"identifier": "one", "relations": {"owner": null}})).await;
    // An overwrite must repeat them.
    port.write("strict", "?upsert=true", &note).await.refusal(422, "invalid_request");
}

#[tokio::test]
async fn identifiers_must_match_the_pattern() {
    let port = Port::start().await;
    for good in ["a", "...", "größe", "日本", "a@b_c.d+e:f\\g/h=i-j", &"x".repeat(1_000)] {
        let answer = port.write("dora_deployment", MERGE, &json!({"identifier": good})).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    for bad in ["", ".", "..", "a b", "a#b", "a?b", "a%b", "a\nb", "a,b", "ü😀", &"x".repeat(1_001)] {
        let message = refused(&port, "dora_deployment", &json!({"identifier": bad})).await;
        assert!(message.contains("identifier"), "{message}");
    }
}

#[tokio::test]
async fn other_fields_must_match_the_route() {
    let port = Port::start().await;
    for (part, wrong) in [
        ("title", json!(1)),
        ("title", json!(null)),
        ("icon", json!({})),
        ("team", json!(1)),
        ("properties", json!([])),
        ("relations", json!("group")),
    ] {
        let message = refused(&port, "dora_deployment", &json!({"identifier": "one", part: wrong})).await;
        assert!(message.contains(part), "{message}");
    }
    refused(&port, "dora_deployment", &json!([])).await;
}

#[tokio::test]
async fn missing_blueprint_is_named() {
    let port = Port::start().await;
    let answer = port.write("dora_deploymnet", MERGE, &json!({"identifier": "one"})).await;
    let message = answer.refusal(404, "not_found");
    assert!(message.contains("Blueprint") && message.contains("dora_deploymnet"), "{message}");
    port.get("/v1/blueprints/dora_deploymnet/entities/one").await.refusal(404, "not_found");
}

#[tokio::test]
async fn body_over_one_mebibyte_is_too_large() {
    let port = Port::start().await;
    let entity = |bytes: usize| json!({"identifier": "one", "properties": {"description": "x".repeat(bytes)}});
    let rest = entity(0).to_string().len();
    let largest = entity(1024 * 1024 - rest);
    assert_eq!(port.write("dora_incident", MERGE, &largest).await.status, 201);
    for larger in [1024 * 1024 - rest + 1, 8 * 1024 * 1024] {
        port.write("dora_incident", MERGE, &entity(larger)).await.refusal(413, "payload_too_large");
    }
}

#[tokio::test]
async fn body_without_json_is_refused() {
    let port = Port::start().await;
    let write = || port.request(Method::POST, "/v1/blueprints/dora_deployment/entities?upsert=true");
    let broken = write().header(CONTENT_TYPE, "application/json").body("{\"identifier\":");
    answer(broken).await.refusal(422, "invalid_request");
    answer(write()).await.refusal(422, "invalid_request");
    let form = write().header(CONTENT_TYPE, "application/x-www-form-urlencoded").body("identifier=one");
    answer(form).await.refusal(415, "unsupported_media_type");
    let charset = write().header(CONTENT_TYPE, "application/json; charset=utf-8").body("{\"identifier\":\"one\"}");
    assert_eq!(answer(charset).await.status, 201);
}

#[tokio::test]
async fn invalid_query_is_refused() {
    let port = Port::start().await;
    let answer = port.write("dora_deployment", "?upsert=yes", &json!({"identifier": "one"})).await;
    answer.refusal(422, "invalid_request");
}

#[tokio::test]
async fn unknown_routes_and_methods_are_not_found() {
    let port = Port::start().await;
    for path in ["/v1/nothing", "/v2/blueprints", "/api/v1/auth/access_token"] {
        let message = port.get(path).await.refusal(404, "not_found");
        assert!(message.contains(path), "{message}");
    }
    port.get("/v1/auth/access_token").await.refusal(404, "not_found");
    // Not UTF-8.
    port.get("/v1/blueprints/%FF").await.refusal(404, "not_found");
}

#[tokio::test]
async fn trace_ids_are_unique_and_logged() {
    let port = Port::start().await;
    let seen = [
        port.get("/v1/blueprints").await,
        port.get("/v1/nothing").await,
        port.write("dora_deployment", MERGE, &json!({})).await,
    ]
    .map(|answer| answer.header("x-trace-id").unwrap().to_owned());
    let logged: Vec<_> = port.sim.requests().into_iter().map(|request| request.trace_id).collect();
    assert_eq!(logged, seen);
    assert_ne!(seen[0], seen[1]);
}
