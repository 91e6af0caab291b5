use std::time::Duration;

use port_sim::Options;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::client::{Answer, Port, answer};

const TOKEN: &str = "/v1/auth/access_token";
const BLUEPRINT: &str = "/v1/blueprints/dora_deployment";

fn good() -> Value {
    json!({"clientId": "demo-id", "clientSecret": "demo-secret"})
}

/// Requests a token.
async fn request_token(port: &Port, credentials: &Value) -> Answer {
    let url = format!("{}{TOKEN}", port.sim.base_url());
    answer(port.http.post(url).json(credentials)).await
}

async fn with_header(port: &Port, header: Option<&str>) -> Answer {
    let mut request = port.http.get(format!("{}{BLUEPRINT}", port.sim.base_url()));
    if let Some(header) = header {
        request = request.header(AUTHORIZATION, header);
    }
    answer(request).await
}

#[tokio::test]
async fn token_has_the_documented_fields() {
    let port = Port::start().await;
    let token = request_token(&port, &good()).await;
    assert_eq!(token.status, 200);
    assert_eq!(token.body["ok"], true);
    assert_eq!(token.body["tokenType"], "Bearer");
    let left = token.body["expiresIn"].as_u64().unwrap();
    assert!((10_000..=10_800).contains(&left), "{left}");
}

#[tokio::test]
async fn repeated_request_returns_the_same_token() {
    let port = Port::start_with(Options { token_lifetime: Duration::from_hours(1), ..Options::default() }).await;
    let again = request_token(&port, &good()).await;
    assert_eq!(again.body["accessToken"], port.token);
    // Some time has passed, and the lifetime is given in whole seconds.
    assert!(again.body["expiresIn"].as_u64().unwrap() < 60 * 60);
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let port = Port::start().await;
    for wrong in [
        json!({"clientId": "demo-id", "clientSecret": "another"}),
        json!({"clientId": "another", "clientSecret": "demo-secret"}),
    ] {
        let message = request_token(&port, &wrong).await.refusal(401, "unauthorized");
        assert!(!message.contains("demo-secret"), "{message}");
    }
}

#[tokio::test]
async fn invalid_token_request_is_refused() {
    let port = Port::start().await;
    for (body, complaint) in [
        (json!({"clientId": "demo-id"}), "clientSecret"),
        (json!({"clientId": 1, "clientSecret": "x"}), "clientId"),
        (json!({"clientId": "demo-id", "clientSecret": "demo-secret", "more": 1}), "more"),
    ] {
        let message = request_token(&port, &body).await.refusal(422, "invalid_request");
        assert!(message.contains(complaint), "{message}");
    }
}

#[tokio::test]
async fn other_routes_require_the_token() {
    let port = Port::start().await;
    for header in [None, Some("Bearer wrong"), Some("Basic ZGVtbw=="), Some("Bearer"), Some(port.token.as_str())] {
        with_header(&port, header).await.refusal(401, "unauthorized");
    }
    let entity = json!({"identifier": "unseen"});
    let url = format!("{}{BLUEPRINT}/entities?upsert=true", port.sim.base_url());
    answer(port.http.post(url).json(&entity)).await.refusal(401, "unauthorized");
    assert!(port.sim.entities("dora_deployment").is_empty());

    assert_eq!(port.get(BLUEPRINT).await.status, 200);
}

#[tokio::test]
async fn expired_token_is_refused_and_replaced() {
    let port = Port::start_with(Options { token_lifetime: Duration::ZERO, ..Options::default() }).await;
    let message = port.get(BLUEPRINT).await.refusal(401, "unauthorized");
    assert!(message.contains("expired"), "{message}");
    assert_ne!(request_token(&port, &good()).await.body["accessToken"], port.token);
}

#[tokio::test]
async fn revoked_token_is_refused_and_replaced() {
    let port = Port::start().await;
    port.sim.revoke_tokens();
    port.get(BLUEPRINT).await.refusal(401, "unauthorized");
    let token = request_token(&port, &good()).await.body["accessToken"].clone();
    assert_ne!(token, port.token);
    let header = format!("Bearer {}", token.as_str().unwrap());
    assert_eq!(with_header(&port, Some(&header)).await.status, 200);
}

#[tokio::test]
async fn new_credentials_revoke_the_old_token() {
    let port = Port::start().await;
    port.sim.set_credentials("new-id", "new-secret");
    port.get(BLUEPRINT).await.refusal(401, "unauthorized");
    request_token(&port, &good()).await.refusal(401, "unauthorized");
    let new = json!({"clientId": "new-id", "clientSecret": "new-secret"});
    assert_eq!(request_token(&port, &new).await.status, 200);
}
