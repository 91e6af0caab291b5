//! The errors of Port, and responses that are not from Port.

use port_client::{Entity, ErrorKind, MAX_RESPONSE_BYTES, MissingResource, UpsertOptions};
use port_sim::{Effect, Fault};
use serde_json::json;

use super::*;

#[tokio::test]
async fn each_status_is_an_error_with_code_and_trace_id() {
    let (port, client) = start_with_client();
    for (status, kind, temporary) in [
        (400, ErrorKind::Refused, false),
        (403, ErrorKind::Forbidden, false),
        (404, ErrorKind::NotFound, false),
        (408, ErrorKind::TimedOut, true),
        (409, ErrorKind::Conflict, false),
        (413, ErrorKind::TooLarge, false),
        (422, ErrorKind::Refused, false),
        (500, ErrorKind::ServerError, true),
        (502, ErrorKind::ServerError, true),
        (503, ErrorKind::ServerError, true),
        (504, ErrorKind::ServerError, true),
    ] {
        let body = json!({"ok": false, "error": "code_of_port", "message": "message of Port"});
        port.set_fault(Fault::new(Effect::answer(status, body)).path_prefix(BLUEPRINT_PATH).times(1)).unwrap();
        let error = failed(client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await);
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(error.reason(), kind.as_str());
        assert_eq!(error.is_temporary(), temporary, "{status}");
        assert_eq!(error.advice().is_none(), temporary, "{status}: either a retry helps or there is advice");
        let response = error.response().unwrap();
        assert_eq!(response.status, status);
        assert_eq!(response.code.as_deref(), Some("code_of_port"));
        assert_eq!(response.message.as_deref(), Some("message of Port"));
        assert_eq!(error.trace_id(), Some(calls(&port).last().unwrap().trace_id.as_str()));
    }
    assert_eq!(calls(&port).len(), 11, "the client does not retry");
    assert_eq!(token_requests(&port), 1);
}

#[tokio::test]
async fn invalid_entity_is_refused_with_a_reason() {
    let (_port, client) = start_with_client();
    for (entity, word) in [
        (Entity::new("a").with_property("lead_time_hours", "soon"), "lead_time_hours"),
        (Entity::new("a").with_property("unknown_one", 1), "unknown_one"),
        (Entity::new("a").with_property("deployment_time", "yesterday"), "deployment_time"),
        (Entity::new("a").with_relation("unknown_relation", "b"), "unknown_relation"),
        (Entity::new("not an identifier"), "identifier"),
    ] {
        let error = failed(client.upsert("dora_deployment", &entity, UpsertOptions::default()).await);
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert_eq!(error.response().unwrap().status, 422);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn missing_resource_is_named() {
    let (port, client) = start_with_client();
    let blueprint = |identifier: &str| MissingResource::Blueprint { identifier: identifier.to_owned() };
    let entity = |identifier: &str, blueprint: &str| MissingResource::Entity {
        identifier: identifier.to_owned(),
        blueprint: Some(blueprint.to_owned()),
    };
    let (merge, model) = (UpsertOptions::default(), "dora_deployment");
    let unrelated = deployment("a").with_relation("group", "nobody");
    let in_bulk = client.upsert_bulk(model, &[deployment("b"), unrelated.clone()], merge).await.unwrap();
    let cases = [
        (failed(client.get_blueprint("absent").await), blueprint("absent")),
        (failed(client.upsert("absent", &deployment("a"), merge).await), blueprint("absent")),
        (failed(client.upsert_bulk("absent", &[deployment("a")], merge).await), blueprint("absent")),
        (failed(client.upsert(model, &unrelated, merge).await), entity("nobody", "group")),
        (failed(in_bulk[1].clone()), entity("nobody", "group")),
        (failed(client.get_entity(model, "missing-one").await), entity("missing-one", model)),
    ];
    for (error, missing) in cases {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.response().unwrap().code.as_deref(), Some("not_found"));
        assert_eq!(error.missing_resource().as_ref(), Some(&missing), "{error}");
        assert!(error.advice().unwrap().contains(&format!("Create {missing}")), "{:?}", error.advice());
    }
    assert_eq!(port.entities(model).len(), 1);
    assert_eq!(calls(&port).len(), 6, "the client does not retry");

    // Port does not document its messages: the client passes on an unknown message, and names no resource.
    let other_message = json!({"ok": false, "error": "not_found", "message": "there is no such thing"});
    fail(&port, Effect::answer(404, other_message), BLUEPRINT_PATH);
    let error = failed(client.get_blueprint("group").await);
    assert_eq!(error.missing_resource(), None);
    assert!(error.to_string().contains("there is no such thing"), "{error}");
}

#[tokio::test]
async fn page_of_a_proxy_is_not_a_response_of_port() {
    let (port, client) = start_with_client();
    client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await.unwrap();
    for (status, kind) in [
        (200, ErrorKind::UnexpectedResponse),
        (400, ErrorKind::UnexpectedResponse),
        (404, ErrorKind::UnexpectedResponse),
        (422, ErrorKind::UnexpectedResponse),
        (403, ErrorKind::Forbidden),
        (502, ErrorKind::ServerError),
    ] {
        port.clear_faults();
        fail(&port, Effect::html(status), BLUEPRINT_PATH);
        let errors = [
            failed(client.delete_entity("dora_deployment", "a").await),
            failed(client.get_blueprint("dora_deployment").await),
            failed(client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await),
            failed(client.upsert_bulk("dora_deployment", &[deployment("a")], UpsertOptions::default()).await),
        ];
        for error in errors {
            assert_eq!(error.kind(), kind, "{status}: {error}");
            assert!(error.to_string().contains("Not the answer"), "{error}");
        }
    }
    port.clear_faults();
    fail(&port, Effect::html(404), TOKEN_PATH);
    port.revoke_tokens();
    let error = failed(client.get_blueprint("group").await);
    assert_eq!(error.kind(), ErrorKind::UnexpectedResponse, "the credentials are not wrong: {error}");
    assert!(error.advice().unwrap().contains("PORT_BASE_URL"));
}

#[tokio::test]
async fn json_without_required_fields_is_unexpected() {
    let (port, client) = start_with_client();
    for body in [
        json!({}),
        json!([]),
        json!({"ok": true}),
        json!({"ok": false, "blueprint": {"identifier": "group"}}),
        json!({"ok": true, "blueprint": {"identifier": 7}}),
    ] {
        port.clear_faults();
        fail(&port, Effect::answer(200, body.clone()), BLUEPRINT_PATH);
        let error = failed(client.get_blueprint("group").await);
        assert_eq!(error.kind(), ErrorKind::UnexpectedResponse, "{body}: {error}");
        assert!(error.is_temporary());
        assert_eq!(error.trace_id(), Some(calls(&port).last().unwrap().trace_id.as_str()));
    }
}

#[tokio::test]
async fn incomplete_json_is_unexpected() {
    let (port, client) = start_with_client();
    let half = Effect::AnswerText {
        status: 200,
        content_type: "application/json".to_owned(),
        body: r#"{"ok":true,"entity":{"identifier":"a","#.to_owned(),
    };
    fail(&port, half, BLUEPRINT_PATH);
    let error = failed(client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await);
    assert_eq!(error.kind(), ErrorKind::UnexpectedResponse);
    assert!(error.to_string().contains("is incomplete"), "{error}");
}

#[tokio::test]
async fn empty_response_is_unexpected() {
    let (port, client) = start_with_client();
    for (status, kind) in [
        (200, ErrorKind::UnexpectedResponse),
        (201, ErrorKind::UnexpectedResponse),
        (204, ErrorKind::UnexpectedResponse),
        (404, ErrorKind::UnexpectedResponse),
        (422, ErrorKind::UnexpectedResponse),
        (403, ErrorKind::Forbidden),
        (500, ErrorKind::ServerError),
    ] {
        port.clear_faults();
        let empty = Effect::AnswerText { status, content_type: "application/json".to_owned(), body: String::new() };
        fail(&port, empty, BLUEPRINT_PATH);
        let errors = [
            failed(client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await),
            failed(client.upsert_bulk("dora_deployment", &[deployment("a")], UpsertOptions::default()).await),
            failed(client.get_blueprint("group").await),
            failed(client.delete_entity("group", "all_teams").await),
        ];
        for error in errors {
            assert_eq!(error.kind(), kind, "{status}: {error}");
            assert_eq!(error.response().unwrap().status, status);
        }
    }
    assert_eq!(calls(&port).len(), 4 * 7, "the client does not retry");
}

#[tokio::test]
async fn endless_response_is_unexpected() {
    let (port, client) = start_with_client();
    let endless = Effect::AnswerText {
        status: 200,
        content_type: "application/json".to_owned(),
        body: " ".repeat(MAX_RESPONSE_BYTES + 1),
    };
    fail(&port, endless, BLUEPRINT_PATH);
    let error = failed(client.get_blueprint("group").await);
    assert_eq!(error.kind(), ErrorKind::UnexpectedResponse);
    assert!(error.to_string().contains(&MAX_RESPONSE_BYTES.to_string()), "{error}");
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let (port, client) = start_with_client();
    let elsewhere = start();
    for path in [TOKEN_PATH, BLUEPRINT_PATH] {
        port.clear_faults();
        let target = format!("{}/v1/elsewhere?query=1", elsewhere.base_url());
        port.set_fault(Fault::new(Effect::html(307)).header("location", target).path_prefix(path)).unwrap();
        let error = failed(client.get_blueprint("group").await);
        assert_eq!(error.kind(), ErrorKind::UnexpectedResponse);
        assert!(error.to_string().contains("/v1/elsewhere"), "{error}");
        assert!(!error.to_string().contains("query=1"), "{error}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}
