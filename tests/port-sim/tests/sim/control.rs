use port_sim::{Entity, Options, PortSim, Request};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Port, answer, http};

async fn control(port: &Port, method: Method, path: &str, body: Option<Value>) -> Answer {
    // Without a token: the control API needs none.
    let request = port.http.request(method, format!("{}/control/{path}", port.sim.base_url()));
    answer(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

#[tokio::test]
async fn control_api_returns_entities_and_requests() {
    let port = Port::start().await;
    let entity = json!({"identifier": "one", "title": "One", "properties": {"status": "success"}});
    port.write("dora_deployment", "?upsert=true", &entity).await;

    let entities = control(&port, Method::GET, "entities", None).await.body["entities"].clone();
    let entities: Vec<Entity> = serde_json::from_value(entities).unwrap();
    let identifiers: Vec<_> = entities.iter().map(|entity| entity.identifier.as_str()).collect();
    assert_eq!(identifiers, ["all_teams", "one"]);
    let some = control(&port, Method::GET, "entities?blueprint=dora_deployment", None).await;
    let some: Vec<Entity> = serde_json::from_value(some.body["entities"].clone()).unwrap();
    assert_eq!(some, port.sim.entities("dora_deployment"));

    let requests = control(&port, Method::GET, "requests", None).await.body["requests"].clone();
    let [request]: [Request; 1] = serde_json::from_value::<Vec<_>>(requests).unwrap().try_into().unwrap();
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/v1/blueprints/dora_deployment/entities");
    assert_eq!(request.query.as_deref(), Some("upsert=true"));
    assert_eq!(request.user_agent.as_deref(), Some("port-sim-tests/1.0"));
    assert_eq!(request.body.as_deref(), Some(&entity));
    assert_eq!(request.body_bytes, entity.to_string().len());
    assert_eq!(request.status, Some(201));
    assert!(request.answered_after.unwrap() >= request.received_after);
    let after = format!("requests?after={}", request.id);
    assert_eq!(control(&port, Method::GET, &after, None).await.body["requests"], json!([]));

    control(&port, Method::DELETE, "requests", None).await;
    assert!(port.sim.requests().is_empty());
    control(&port, Method::DELETE, "entities?blueprint=dora_deployment", None).await;
    assert!(port.sim.entities("dora_deployment").is_empty());
    assert!(port.sim.entity("group", "all_teams").is_some());
}

#[tokio::test]
async fn control_api_sets_and_clears_faults() {
    let port = Port::start().await;
    let fault = json!({
        "name": "outage", "method": "GET", "pathPrefix": "/v1/blueprints", "times": 5, "delaySeconds": 0.01,
        "headers": {"retry-after": "1"}, "effect": {"kind": "answer", "status": 502},
    });
    let set = control(&port, Method::POST, "faults", Some(fault)).await;
    assert_eq!(set.status, 200, "{set:?}");
    let answer = port.get("/v1/blueprints").await;
    answer.refusal(502, "internal_error");
    assert_eq!(answer.header("retry-after"), Some("1"));

    let faults = control(&port, Method::GET, "faults", None).await.body["faults"].clone();
    assert_eq!(faults[0]["id"], set.body["id"]);
    assert_eq!(faults[0]["met"], 1);
    assert_eq!(faults[0]["fault"]["times"], 4);
    let one = format!("faults/{}", set.body["id"]);
    assert_eq!(control(&port, Method::DELETE, &one, None).await.status, 200);
    assert_eq!(port.get("/v1/blueprints").await.status, 200);
    control(&port, Method::DELETE, &one, None).await.refusal(422, "invalid_request");

    let drop = json!({"effect": {"kind": "dropBeforeHandling"}});
    control(&port, Method::POST, "faults", Some(drop)).await;
    port.request(Method::GET, "/v1/blueprints").send().await.unwrap_err();
    control(&port, Method::DELETE, "faults", None).await;
    assert_eq!(port.get("/v1/blueprints").await.status, 200);

    for wrong in [
        json!({"effect": {"kind": "explode"}}),
        json!({"effect": {"kind": "handle"}, "pathRegex": "("}),
        json!({"effect": {"kind": "handle"}, "delaySeconds": -1}),
        json!({"effect": {"kind": "handle"}, "pathprefix": "/"}),
    ] {
        control(&port, Method::POST, "faults", Some(wrong)).await.refusal(422, "invalid_request");
    }
}

#[tokio::test]
async fn control_api_changes_the_other_settings() {
    let port = Port::start().await;
    control(&port, Method::POST, "revoke-tokens", None).await;
    port.get("/v1/blueprints").await.refusal(401, "unauthorized");

    let new = json!({"clientId": "new-id", "clientSecret": "new-secret"});
    control(&port, Method::PUT, "credentials", Some(new.clone())).await;
    let token = port.post("/v1/auth/access_token", &new).await;
    let port = Port { token: token.body["accessToken"].as_str().unwrap().to_owned(), ..port };

    let limits = json!({"blueprints": {"requests": 0, "burst": 0}, "retryAfter": true, "reset": "seconds"});
    assert_eq!(control(&port, Method::PUT, "rate-limits", Some(limits)).await.status, 200);
    let refused = port.get("/v1/blueprints").await;
    refused.refusal(429, "too_many_requests");
    assert!(refused.header("retry-after").is_some());
    control(&port, Method::PUT, "rate-limits", Some(json!({"enforced": false}))).await;

    let model = json!({"identifier": "thing", "title": "Thing", "schema": {"properties": {}}});
    assert_eq!(control(&port, Method::POST, "blueprints", Some(model)).await.status, 200);
    assert_eq!(port.get("/v1/blueprints/thing").await.status, 200);
    assert_eq!(control(&port, Method::DELETE, "blueprints/thing", None).await.status, 200);
    port.get("/v1/blueprints/thing").await.refusal(404, "not_found");
    control(&port, Method::DELETE, "blueprints/thing", None).await.refusal(404, "not_found");
}

#[tokio::test]
async fn request_log_keeps_only_the_newest_requests() {
    let port = Port::start_with(Options { request_log_capacity: 2, ..Options::default() }).await;
    for path in ["/v1/a", "/v1/b", "/v1/c"] {
        port.get(path).await;
    }
    let paths: Vec<_> = port.sim.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/v1/b", "/v1/c"]);
}

#[tokio::test]
async fn address_is_free_after_a_stop() {
    let first = PortSim::start(Options::default()).unwrap();
    let (address, url) = (first.address(), first.base_url());
    assert_eq!(url, format!("http://{address}"));
    assert!(http().get(&url).send().await.is_ok());
    first.stop().await;
    assert!(http().get(&url).send().await.unwrap_err().is_connect());

    let again = PortSim::start(Options { listen: address, ..Options::default() }).unwrap();
    assert!(http().get(&url).send().await.is_ok());
    let taken = PortSim::start(Options { listen: address, ..Options::default() });
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(again);
    assert!(http().get(&url).send().await.unwrap_err().is_connect());
}
