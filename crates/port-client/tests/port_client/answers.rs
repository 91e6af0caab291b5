//! Every row of the table of Port's errors, and answers that are not Port's.

use port_client::{Entity, Kind, MAX_ANSWER_BYTES, Missing, UpsertOptions};
use port_sim::{Effect, Fault};
use serde_json::json;

use super::*;

#[tokio::test]
async fn each_status_is_an_error_of_its_own_with_ports_words_and_trace_id() {
    let (port, client) = start_with_client();
    for (status, kind, temporary) in [
        (400, Kind::Refused, false),
        (403, Kind::Forbidden, false),
        (404, Kind::NotFound, false),
        (408, Kind::TimedOut, true),
        (409, Kind::Conflict, false),
        (413, Kind::TooLarge, false),
        (422, Kind::Refused, false),
        (500, Kind::ServerError, true),
        (502, Kind::ServerError, true),
        (503, Kind::ServerError, true),
        (504, Kind::ServerError, true),
    ] {
        let body = json!({"ok": false, "error": "code_of_port", "message": "words of Port"});
        port.set_fault(Fault::new(Effect::answer(status, body)).path_prefix(BLUEPRINT_PATH).times(1)).unwrap();
        let error = failed(client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await);
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(error.reason(), kind.as_str());
        assert_eq!(error.is_temporary(), temporary, "{status}");
        assert_eq!(error.advice().is_none(), temporary, "{status}: either waiting helps or a person does");
        let answer = error.answer().unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.code.as_deref(), Some("code_of_port"));
        assert_eq!(answer.message.as_deref(), Some("words of Port"));
        assert_eq!(error.trace_id(), Some(calls(&port).last().unwrap().trace_id.as_str()));
    }
    assert_eq!(calls(&port).len(), 11, "nothing is repeated");
    assert_eq!(token_requests(&port), 1);
}

#[tokio::test]
async fn what_does_not_fit_the_blueprint_is_refused_in_ports_words() {
    let (_port, client) = start_with_client();
    for (entity, word) in [
        (Entity::new("a").with_property("lead_time_hours", "soon"), "lead_time_hours"),
        (Entity::new("a").with_property("unknown_one", 1), "unknown_one"),
        (Entity::new("a").with_property("deployment_time", "yesterday"), "deployment_time"),
        (Entity::new("a").with_relation("unknown_relation", "b"), "unknown_relation"),
        (Entity::new("not an identifier"), "identifier"),
    ] {
        let error = failed(client.upsert("dora_deployment", &entity, UpsertOptions::default()).await);
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert_eq!(error.answer().unwrap().status, 422);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let (port, client) = start_with_client();
    let blueprint = |identifier: &str| Missing::Blueprint { identifier: identifier.to_owned() };
    let entity = |identifier: &str, blueprint: &str| Missing::Entity {
        identifier: identifier.to_owned(),
        blueprint: Some(blueprint.to_owned()),
    };
    let (merge, model) = (UpsertOptions::default(), "dora_deployment");
    let lost = deployment("a").with_relation("group", "nobody");
    let in_bulk = client.upsert_bulk(model, &[deployment("b"), lost.clone()], merge).await.unwrap();
    let cases = [
        (failed(client.get_blueprint("absent").await), blueprint("absent")),
        (failed(client.upsert("absent", &deployment("a"), merge).await), blueprint("absent")),
        (failed(client.upsert_bulk("absent", &[deployment("a")], merge).await), blueprint("absent")),
        (failed(client.upsert(model, &lost, merge).await), entity("nobody", "group")),
        (failed(in_bulk[1].clone()), entity("nobody", "group")),
        (failed(client.get_entity(model, "missing-one").await), entity("missing-one", model)),
    ];
    for (error, missing) in cases {
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(error.answer().unwrap().code.as_deref(), Some("not_found"));
        assert_eq!(error.missing().as_ref(), Some(&missing), "{error}");
        assert!(error.advice().unwrap().contains(&format!("Create {missing}")), "{:?}", error.advice());
    }
    assert_eq!(port.entities(model).len(), 1);
    assert_eq!(calls(&port).len(), 6, "nothing is repeated");

    // Port's words are not documented: others are passed on, and nothing is made of them.
    let other_words = json!({"ok": false, "error": "not_found", "message": "there is no such thing"});
    fail(&port, Effect::answer(404, other_words), BLUEPRINT_PATH);
    let error = failed(client.get_blueprint("group").await);
    assert_eq!(error.missing(), None);
    assert!(error.to_string().contains("there is no such thing"), "{error}");
}

#[tokio::test]
async fn a_page_of_somebody_else_is_never_taken_for_ports_word() {
    let (port, client) = start_with_client();
    client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await.unwrap();
    for (status, kind) in [
        (200, Kind::UnexpectedAnswer),
        (400, Kind::UnexpectedAnswer),
        (404, Kind::UnexpectedAnswer),
        (422, Kind::UnexpectedAnswer),
        (403, Kind::Forbidden),
        (502, Kind::ServerError),
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
    assert_eq!(error.kind(), Kind::UnexpectedAnswer, "not wrong credentials: {error}");
    assert!(error.advice().unwrap().contains("PORT_BASE_URL"));
}

#[tokio::test]
async fn json_of_another_shape_is_unexpected() {
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
        assert_eq!(error.kind(), Kind::UnexpectedAnswer, "{body}: {error}");
        assert!(error.is_temporary());
        assert_eq!(error.trace_id(), Some(calls(&port).last().unwrap().trace_id.as_str()));
    }
}

#[tokio::test]
async fn json_that_ends_in_the_middle_is_unexpected() {
    let (port, client) = start_with_client();
    let half = Effect::AnswerText {
        status: 200,
        content_type: "application/json".to_owned(),
        body: r#"{"ok":true,"entity":{"identifier":"a","#.to_owned(),
    };
    fail(&port, half, BLUEPRINT_PATH);
    let error = failed(client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await);
    assert_eq!(error.kind(), Kind::UnexpectedAnswer);
    assert!(error.to_string().contains("ends in the middle"), "{error}");
}

#[tokio::test]
async fn an_empty_answer_is_unexpected_and_no_success() {
    let (port, client) = start_with_client();
    for (status, kind) in [
        (200, Kind::UnexpectedAnswer),
        (201, Kind::UnexpectedAnswer),
        (204, Kind::UnexpectedAnswer),
        (404, Kind::UnexpectedAnswer),
        (422, Kind::UnexpectedAnswer),
        (403, Kind::Forbidden),
        (500, Kind::ServerError),
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
            assert_eq!(error.answer().unwrap().status, status);
        }
    }
    assert_eq!(calls(&port).len(), 4 * 7, "nothing is repeated");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let (port, client) = start_with_client();
    let endless = Effect::AnswerText {
        status: 200,
        content_type: "application/json".to_owned(),
        body: " ".repeat(MAX_ANSWER_BYTES + 1),
    };
    fail(&port, endless, BLUEPRINT_PATH);
    let error = failed(client.get_blueprint("group").await);
    assert_eq!(error.kind(), Kind::UnexpectedAnswer);
    assert!(error.to_string().contains(&MAX_ANSWER_BYTES.to_string()), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token_or_the_secret() {
    let (port, client) = start_with_client();
    let elsewhere = start();
    for path in [TOKEN_PATH, BLUEPRINT_PATH] {
        port.clear_faults();
        let target = format!("{}/v1/elsewhere?query=1", elsewhere.base_url());
        port.set_fault(Fault::new(Effect::html(307)).header("location", target).path_prefix(path)).unwrap();
        let error = failed(client.get_blueprint("group").await);
        assert_eq!(error.kind(), Kind::UnexpectedAnswer);
        assert!(error.to_string().contains("/v1/elsewhere"), "{error}");
        assert!(!error.to_string().contains("query=1"), "{error}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}
