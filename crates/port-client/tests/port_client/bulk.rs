//! Bulk writes: each entity has a result, whatever happens to the other entities and to the request.

use port_client::{Entity, Error, ErrorKind, MAX_BODY_BYTES, MAX_BULK_ENTITIES, UpsertOptions};
use port_sim::{Effect, Fault, PortSim};
use serde_json::{Value, json};

use super::*;

const DEPLOYMENT: &str = "dora_deployment";
const BULK_PATH: &str = "/v1/blueprints/dora_deployment/entities/bulk";

fn merge() -> UpsertOptions {
    UpsertOptions::default()
}

/// `e00` to `e19`: no identifier contains another one.
fn twenty() -> Vec<Entity> {
    (0..MAX_BULK_ENTITIES).map(|index| deployment(&format!("e{index:02}"))).collect()
}

/// The number of entities and the status of each bulk request.
fn bulk_requests(port: &PortSim) -> Vec<(usize, Option<u16>)> {
    let requests = calls(port).into_iter().filter(|request| request.path == BULK_PATH);
    requests
        .map(|request| {
            let count = request.body.as_ref().and_then(|body| body["entities"].as_array()).map_or(0, Vec::len);
            (count, request.status)
        })
        .collect()
}

#[tokio::test]
async fn each_entity_has_a_result() {
    let (port, client) = start_with_client();
    client.upsert(DEPLOYMENT, &deployment("b"), merge()).await.unwrap();
    let entities = [deployment("a"), deployment("b"), deployment("c").with_property("lead_time_hours", "soon")];
    let stored = client.upsert_bulk(DEPLOYMENT, &entities[..2], merge()).await.unwrap();
    let created: Vec<_> = stored.iter().map(|result| result.as_ref().unwrap().created).collect();
    assert_eq!(created, [Some(true), Some(false)]);

    let bad_one_first = [entities[2].clone(), entities[0].clone(), deployment("d").with_relation("group", "nobody")];
    let results = client.upsert_bulk(DEPLOYMENT, &bad_one_first, merge()).await.unwrap();
    assert_eq!(calls(&port).last().unwrap().status, Some(207));
    let refused = failed(results[0].clone());
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.to_string().contains("lead_time_hours"), "{refused}");
    assert_eq!(refused.trace_id(), Some(calls(&port).last().unwrap().trace_id.as_str()));
    assert_eq!(results[1].as_ref().unwrap().identifier, "a");
    let no_group = failed(results[2].clone());
    assert_eq!(no_group.kind(), ErrorKind::NotFound);
    assert!(no_group.to_string().contains("nobody"), "{no_group}");
}

#[tokio::test]
async fn entity_without_a_result_can_be_retried() {
    let (port, client) = start_with_client();
    let body = json!({"ok": true, "entities": [{"identifier": "b", "index": 1, "created": true}], "errors": []});
    fail(&port, Effect::answer(200, body), BLUEPRINT_PATH);
    let results = client.upsert_bulk(DEPLOYMENT, &[deployment("a"), deployment("b")], merge()).await.unwrap();
    let missing = failed(results[0].clone());
    assert!(matches!(&missing, Error::MissingResult { identifier, .. } if identifier == "a"), "{missing}");
    assert!(missing.is_temporary());
    assert!(results[1].is_ok());
}

#[tokio::test]
async fn oversized_request_is_not_sent() {
    let (port, client) = start_with_client();
    let many: Vec<_> = (0..=MAX_BULK_ENTITIES).map(|index| deployment(&index.to_string())).collect();
    let error = failed(client.upsert_bulk(DEPLOYMENT, &many, merge()).await);
    assert_eq!(error, Error::TooManyEntities { count: 21 });

    let huge = deployment("a").with_property("deployment_type", "x".repeat(MAX_BODY_BYTES));
    let error = failed(client.upsert(DEPLOYMENT, &huge, merge()).await);
    assert!(matches!(error, Error::BodyTooLarge { bytes } if bytes > MAX_BODY_BYTES), "{error}");
    let results = client.upsert_bulk(DEPLOYMENT, &[huge], merge()).await.unwrap();
    assert_eq!(failed(results[0].clone()).kind(), ErrorKind::TooLarge);

    assert_eq!(client.upsert_bulk(DEPLOYMENT, &[], merge()).await, Ok(vec![]));
    assert_eq!(port.requests().len(), 0);

    client.upsert_bulk(DEPLOYMENT, &many[1..], merge()).await.unwrap();
    assert_eq!(port.entities(DEPLOYMENT).len(), MAX_BULK_ENTITIES);
}

#[tokio::test]
async fn oversized_bulk_write_is_sent_in_halves() {
    let (port, client) = start_with_client();
    // 20 entities of 100 KiB have 2 MiB; Port accepts 1 MiB.
    let large: Vec<_> =
        twenty().into_iter().map(|entity| entity.with_property("deployment_type", "x".repeat(100 * 1024))).collect();
    let results = client.upsert_bulk(DEPLOYMENT, &large, merge()).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let identifiers: Vec<_> = results.iter().map(|result| result.as_ref().unwrap().identifier.as_str()).collect();
    assert_eq!(identifiers, large.iter().map(|entity| entity.identifier.as_str()).collect::<Vec<_>>());
    assert_eq!(bulk_requests(&port), [(10, Some(200)), (10, Some(200))], "the oversized request is not sent");
}

#[tokio::test]
async fn bulk_write_is_halved_after_a_413() {
    let (port, client) = start_with_client();
    port.set_fault(Fault::new(Effect::status(413)).path_prefix(BULK_PATH).times(1)).unwrap();
    let results = client.upsert_bulk(DEPLOYMENT, &twenty(), merge()).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(bulk_requests(&port), [(20, Some(413)), (10, Some(200)), (10, Some(200))]);
}

#[tokio::test]
async fn one_oversized_entity_does_not_affect_others() {
    let (port, client) = start_with_client();
    // The response of a proxy with a limit of its own.
    let page = Effect::html(413);
    port.set_fault(Fault::new(page).path_prefix(BULK_PATH).body_contains("\"e07\"")).unwrap();
    let results = client.upsert_bulk(DEPLOYMENT, &twenty(), merge()).await.unwrap();
    for (index, result) in results.into_iter().enumerate() {
        if index == 7 {
            assert_eq!(failed(result).kind(), ErrorKind::TooLarge);
        } else {
            assert_eq!(result.unwrap().identifier, format!("e{index:02}"));
        }
    }
    assert_eq!(port.entities(DEPLOYMENT).len(), 19);
    let sizes: Vec<_> = bulk_requests(&port).iter().map(|(count, _)| *count).collect();
    assert_eq!(sizes, [20, 10, 5, 5, 2, 3, 1, 2, 10], "in the order of the entities, and each part once");
}

#[tokio::test]
async fn one_invalid_entity_does_not_affect_others() {
    let (port, client) = start_with_client();
    let mut entities = twenty();
    entities[3].identifier = "not an identifier".to_owned();
    let results = client.upsert_bulk(DEPLOYMENT, &entities, merge()).await.unwrap();
    for (index, result) in results.into_iter().enumerate() {
        if index == 3 {
            let error = failed(result);
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains("identifier"), "{error}");
        } else {
            assert!(result.is_ok(), "{index}: {result:?}");
        }
    }
    assert_eq!(port.entities(DEPLOYMENT).len(), 19);
    let requests = bulk_requests(&port);
    assert_eq!(requests[0], (20, Some(422)));
    let sizes: Vec<_> = requests.iter().map(|(count, _)| *count).collect();
    assert_eq!(sizes, [20, 10, 5, 2, 3, 1, 2, 1, 1, 5, 10], "in halves, and each part once");
}

#[tokio::test]
async fn refusal_of_one_entity_does_not_affect_others() {
    let named = "Entity with identifier \"nobody\" of blueprint \"group\" was not found";
    let target = "Blueprint with identifier \"group\" was not found";
    for (status, code, message, kind) in [
        (404, "not_found", named, ErrorKind::NotFound),
        (404, "not_found", target, ErrorKind::NotFound),
        (404, "not_found", "Not found", ErrorKind::NotFound),
        (409, "conflict", "Already exists", ErrorKind::Conflict),
        (400, "invalid_request", "Bad request", ErrorKind::Refused),
    ] {
        let (port, client) = start_with_client();
        let refusal = Effect::answer(status, json!({"ok": false, "error": code, "message": message}));
        port.set_fault(Fault::new(refusal).path_prefix(BULK_PATH).body_contains("\"e07\"")).unwrap();
        let results = client.upsert_bulk(DEPLOYMENT, &twenty(), merge()).await.unwrap();
        for (index, result) in results.into_iter().enumerate() {
            if index == 7 {
                assert_eq!(failed(result).kind(), kind, "{message}");
            } else {
                assert_eq!(result.unwrap().identifier, format!("e{index:02}"), "{message}");
            }
        }
        assert_eq!(port.entities(DEPLOYMENT).len(), 19, "{message}");
    }
}

#[tokio::test]
async fn entities_before_a_broken_connection_are_stored() {
    let (port, client) = start_with_client();
    port.set_fault(Fault::new(Effect::status(413)).path_prefix(BULK_PATH).times(1)).unwrap();
    let broken = Fault::new(Effect::DropBeforeHandling).path_prefix(BULK_PATH).body_contains("\"e10\"");
    port.set_fault(broken).unwrap();
    let results = client.upsert_bulk(DEPLOYMENT, &twenty(), merge()).await.unwrap();
    assert!(results[..10].iter().all(Result::is_ok), "{results:?}");
    for result in &results[10..] {
        assert_eq!(failed(result.clone()).kind(), ErrorKind::Unreachable);
    }
}

#[tokio::test]
async fn missing_blueprint_is_one_error_for_all() {
    let (port, client) = start_with_client();
    let error = failed(client.upsert_bulk("absent", &twenty(), merge()).await);
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(calls(&port).len(), 1);
}

#[tokio::test]
async fn results_come_from_the_lists_not_the_status() {
    let (port, client) = start_with_client();
    let stored = |index: usize| json!({"identifier": format!("e{index:02}"), "index": index, "created": true});
    let refused =
        json!({"identifier": "e01", "index": 1, "statusCode": 422, "error": "invalid_request", "message": "no"});
    for (status, body, expected) in [
        (200, json!({"ok": true, "entities": [stored(0), stored(2)], "errors": [refused]}), "stored refused stored"),
        (
            207,
            json!({"ok": false, "entities": [stored(0), stored(1), stored(2)], "errors": []}),
            "stored stored stored",
        ),
        (207, json!({"ok": false, "entities": [stored(2), stored(0)]}), "stored missing stored"),
        (207, json!({"ok": false, "entities": [], "errors": [refused]}), "missing refused missing"),
        (
            207,
            json!({"ok": false, "entities": [stored(0), stored(20), {"created": true}], "errors": [Value::Null]}),
            "stored missing missing",
        ),
    ] {
        port.clear_faults();
        fail(&port, Effect::answer(status, body.clone()), BULK_PATH);
        let results = client.upsert_bulk(DEPLOYMENT, &twenty()[..3], merge()).await.unwrap();
        let found: Vec<_> = results
            .iter()
            .map(|result| match result {
                Ok(_) => "stored",
                Err(Error::MissingResult { .. }) => "missing",
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Refused);
                    "refused"
                }
            })
            .collect();
        assert_eq!(found.join(" "), expected, "{status} {body}");
    }
}
