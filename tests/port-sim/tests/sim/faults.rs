use std::time::{Duration, Instant};

use port_sim::{Effect, Fault};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::client::{self, Port};

const ENTITIES: &str = "/v1/blueprints/dora_deployment/entities";

fn write(port: &Port, identifier: &str) -> RequestBuilder {
    port.request(Method::POST, &format!("{ENTITIES}?upsert=true")).json(&json!({"identifier": identifier}))
}

fn is_stored(port: &Port, identifier: &str) -> bool {
    port.sim.entity("dora_deployment", identifier).is_some()
}

#[tokio::test]
async fn fault_applies_to_its_number_of_requests() {
    let port = Port::start().await;
    port.sim.set_fault(Fault::new(Effect::status(503)).name("outage").times(2)).unwrap();
    for _ in 0..2 {
        let answer = port.get("/v1/blueprints").await;
        answer.refusal(503, "internal_error");
        assert!(answer.header("x-trace-id").is_some());
    }
    assert_eq!(port.get("/v1/blueprints").await.status, 200);
    let faults: Vec<_> = port.sim.requests().into_iter().map(|one| (one.status, one.fault)).collect();
    let outage = Some("outage".to_owned());
    assert_eq!(faults, [(Some(503), outage.clone()), (Some(503), outage), (Some(200), None)]);
    assert_eq!(port.sim.faults()[0].met, 2);
}

#[tokio::test]
async fn fault_applies_only_to_matching_requests() {
    let port = Port::start().await;
    let unavailable = || Fault::new(Effect::status(500));
    for (fault, hit, missed) in [
        (unavailable().method("post"), (ENTITIES, "POST"), ("/v1/blueprints", "GET")),
        (unavailable().path_prefix(ENTITIES), (ENTITIES, "GET"), ("/v1/blueprints", "GET")),
        (unavailable().path_regex("/entities/b$"), ("/v1/blueprints/group/entities/b", "GET"), (ENTITIES, "GET")),
    ] {
        let id = port.sim.set_fault(fault).unwrap();
        let ask = async |(path, method): (&str, &str)| {
            let request = port.request(Method::from_bytes(method.as_bytes()).unwrap(), path);
            request.send().await.unwrap().status().as_u16()
        };
        assert_eq!(ask(hit).await, 500);
        assert_ne!(ask(missed).await, 500);
        assert!(port.sim.clear_fault(id));
        assert_ne!(ask(hit).await, 500);
    }
    port.sim.set_fault(unavailable().body_contains("poison")).unwrap();
    assert_eq!(write(&port, "poison").send().await.unwrap().status(), 500);
    assert_eq!(write(&port, "food").send().await.unwrap().status(), 201);
    port.sim.clear_faults();
    assert_eq!(write(&port, "poison").send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn first_of_several_faults_applies() {
    let port = Port::start().await;
    port.sim.set_fault(Fault::new(Effect::status(500)).times(1)).unwrap();
    port.sim.set_fault(Fault::new(Effect::status(403)).times(1)).unwrap();
    port.get("/v1/blueprints").await.refusal(500, "internal_error");
    port.get("/v1/blueprints").await.refusal(403, "forbidden");
    assert_eq!(port.get("/v1/blueprints").await.status, 200);
}

#[tokio::test]
async fn fault_answers_with_its_body_and_headers() {
    let port = Port::start().await;
    let body = json!({"ok": false, "error": "too_many_requests", "message": "slowly"});
    port.sim
        .set_fault(
            Fault::new(Effect::answer(429, body.clone())).header("Retry-After", "7").header("x-ratelimit-reset", "11"),
        )
        .unwrap();
    let answer = port.get("/v1/blueprints").await;
    assert_eq!((answer.status.as_u16(), &answer.body), (429, &body));
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert_eq!(answer.header("x-ratelimit-reset"), Some("11"));
}

#[tokio::test]
async fn fault_answers_with_html() {
    let port = Port::start().await;
    port.sim.set_fault(Fault::new(Effect::html(200))).unwrap();
    let response = write(&port, "one").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/html");
    response.json::<serde_json::Value>().await.unwrap_err();
    assert!(!is_stored(&port, "one"));
}

#[tokio::test]
async fn connection_dropped_before_handling_stores_nothing() {
    let port = Port::start().await;
    port.sim.set_fault(Fault::new(Effect::DropBeforeHandling).times(1)).unwrap();
    let error = write(&port, "one").send().await.unwrap_err();
    assert!(error.is_request(), "{error:?}");
    assert!(!is_stored(&port, "one"));
    let [request] = port.sim.requests().try_into().unwrap();
    assert_eq!(request.status, None);
    assert_eq!(request.fault.as_deref(), Some("dropBeforeHandling"));
    assert_eq!(write(&port, "one").send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn connection_dropped_after_handling_stores_the_write() {
    let port = Port::start().await;
    port.sim.set_fault(Fault::new(Effect::DropAfterHandling).times(1)).unwrap();
    write(&port, "one").send().await.unwrap_err();
    assert!(is_stored(&port, "one"));
    let [request] = port.sim.requests().try_into().unwrap();
    assert_eq!(request.status, None);
}

#[tokio::test]
async fn half_an_answer_ends_the_connection() {
    let port = Port::start().await;
    port.sim.set_fault(Fault::new(Effect::HalfAnswer).times(1)).unwrap();
    let mut response = write(&port, "one").send().await.unwrap();
    assert_eq!(response.status(), 201);
    let announced = response.content_length().unwrap();
    let mut arrived = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => arrived += u64::try_from(chunk.len()).unwrap(),
            Ok(None) => panic!("the answer ended without an error"),
            Err(error) => break error,
        }
    };
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    assert_eq!(arrived, announced / 2);
    assert!(is_stored(&port, "one"));
}

#[tokio::test]
async fn delayed_request_is_answered_after_the_delay() {
    let port = Port::start().await;
    let delay = Duration::from_millis(200);
    port.sim.set_fault(Fault::delayed(delay)).unwrap();
    let before = Instant::now();
    assert_eq!(write(&port, "one").send().await.unwrap().status(), 201);
    assert!(before.elapsed() >= delay);
    let [request] = port.sim.requests().try_into().unwrap();
    assert!(request.answered_after.unwrap() >= request.received_after + delay);
    assert!(is_stored(&port, "one"));
}

#[tokio::test]
async fn unanswered_request_is_in_the_log() {
    let port = Port::start().await;
    port.sim.set_fault(Fault::delayed(Duration::from_hours(1)).name("late")).unwrap();
    let waiting = tokio::spawn(write(&port, "one").send());
    let deadline = Instant::now() + Duration::from_mins(4);
    let request = loop {
        if let Some(request) = port.sim.requests().pop().filter(|request| request.fault.is_some()) {
            break request;
        }
        assert!(Instant::now() < deadline, "the request never arrived");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((request.status, request.answered_after), (None, None));
    assert_eq!(request.fault.as_deref(), Some("late"));
    assert!(!is_stored(&port, "one"));
    waiting.abort();
}

#[tokio::test]
async fn invalid_fault_is_refused() {
    let port = Port::start().await;
    for (wrong, named) in [
        (Fault::new(Effect::Handle).path_regex("("), "path_regex"),
        (Fault::new(Effect::Handle).method("NOT A METHOD"), "method"),
        (Fault::new(Effect::status(99)), "99"),
    ] {
        let error = port.sim.set_fault(wrong).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    assert!(port.sim.faults().is_empty());
}

#[tokio::test]
async fn entities_survive_a_time_without_connections() {
    let port = Port::start().await;
    assert_eq!(write(&port, "one").send().await.unwrap().status(), 201);
    port.sim.set_reachable(false).await.unwrap();
    // Another client, since the first one may reuse its connection.
    let other = client::http().get(port.sim.base_url());
    let error = other.send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    write(&port, "two").send().await.unwrap_err();
    port.sim.set_reachable(true).await.unwrap();
    assert_eq!(write(&port, "two").send().await.unwrap().status(), 201);
    assert!(is_stored(&port, "one") && is_stored(&port, "two"));
}
