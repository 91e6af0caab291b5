//! Bulk writes: a result for each entity, whatever happens to the others and to the request as a whole.

use port_client::{Entity, Error, Kind, MAX_BODY_BYTES, MAX_BULK_ENTITIES, UpsertOptions};
use port_sim::{Effect, Fault, PortSim};
use serde_json::{Value, json};

use super::*;

const DEPLOYMENT: &str = "dora_deployment";
const BULK_PATH: &str = "/v1/blueprints/dora_deployment/entities/bulk";

fn merge() -> UpsertOptions {
    UpsertOptions::default()
}

/// `e00` to `e19`: none is part of another.
fn twenty() -> Vec<Entity> {
    (0..MAX_BULK_ENTITIES).map(|index| deployment(&format!("e{index:02}"))).collect()
}

/// How many entities each bulk request had, and how it was answered.
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
async fn a_bulk_write_has_a_result_for_each_entity() {
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
    assert_eq!(refused.kind(), Kind::Refused);
    assert!(refused.to_string().contains("lead_time_hours"), "{refused}");
    assert_eq!(refused.trace_id(), Some(calls(&port).last().unwrap().trace_id.as_str()));
    assert_eq!(results[1].as_ref().unwrap().identifier, "a");
    let no_group = failed(results[2].clone());
    assert_eq!(no_group.kind(), Kind::NotFound);
    assert!(no_group.to_string().contains("nobody"), "{no_group}");
}

#[tokio::test]
async fn an_entity_that_a_bulk_answer_leaves_out_is_written_again_later() {
    let (port, client) = start_with_client();
    let answer = json!({"ok": true, "entities": [{"identifier": "b", "index": 1, "created": true}], "errors": []});
    fail(&port, Effect::answer(200, answer), BLUEPRINT_PATH);
    let results = client.upsert_bulk(DEPLOYMENT, &[deployment("a"), deployment("b")], merge()).await.unwrap();
    let missing = failed(results[0].clone());
    assert!(matches!(&missing, Error::NotAnswered { identifier, .. } if identifier == "a"), "{missing}");
    assert!(missing.is_temporary());
    assert!(results[1].is_ok());
}

#[tokio::test]
async fn what_port_would_refuse_for_its_size_is_not_sent() {
    let (port, client) = start_with_client();
    let many: Vec<_> = (0..=MAX_BULK_ENTITIES).map(|index| deployment(&index.to_string())).collect();
    let error = failed(client.upsert_bulk(DEPLOYMENT, &many, merge()).await);
    assert_eq!(error, Error::TooManyEntities { count: 21 });

    let huge = deployment("a").with_property("deployment_type", "x".repeat(MAX_BODY_BYTES));
    let error = failed(client.upsert(DEPLOYMENT, &huge, merge()).await);
    assert!(matches!(error, Error::BodyTooLarge { bytes } if bytes > MAX_BODY_BYTES), "{error}");
    let results = client.upsert_bulk(DEPLOYMENT, &[huge], merge()).await.unwrap();
    assert_eq!(failed(results[0].clone()).kind(), Kind::TooLarge);

    assert_eq!(client.upsert_bulk(DEPLOYMENT, &[], merge()).await, Ok(vec![]));
    assert_eq!(port.requests().len(), 0);

    client.upsert_bulk(DEPLOYMENT, &many[1..], merge()).await.unwrap();
    assert_eq!(port.entities(DEPLOYMENT).len(), MAX_BULK_ENTITIES);
}

#[tokio::test]
async fn what_is_too_large_together_is_sent_in_halves_that_are_not() {
    let (port, client) = start_with_client();
    // 20 of 100 KiB: two MiB, where Port takes one.
    let large: Vec<_> =
        twenty().into_iter().map(|entity| entity.with_property("deployment_type", "x".repeat(100 * 1024))).collect();
    let results = client.upsert_bulk(DEPLOYMENT, &large, merge()).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let identifiers: Vec<_> = results.iter().map(|result| result.as_ref().unwrap().identifier.as_str()).collect();
    assert_eq!(identifiers, large.iter().map(|entity| entity.identifier.as_str()).collect::<Vec<_>>());
    assert_eq!(bulk_requests(&port), [(10, Some(200)), (10, Some(200))], "what is known to be too large is not sent");
}

#[tokio::test]
async fn a_413_is_answered_with_halves() {
    let (port, client) = start_with_client();
    port.set_fault(Fault::new(Effect::status(413)).path_prefix(BULK_PATH).times(1)).unwrap();
    let results = client.upsert_bulk(DEPLOYMENT, &twenty(), merge()).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(bulk_requests(&port), [(20, Some(413)), (10, Some(200)), (10, Some(200))]);
}

#[tokio::test]
async fn the_one_entity_that_is_too_large_is_found_and_the_others_are_stored() {
    let (port, client) = start_with_client();
    // What a proxy with a limit of its own answers.
    let page = Effect::html(413);
    port.set_fault(Fault::new(page).path_prefix(BULK_PATH).body_contains("\"e07\"")).unwrap();
    let results = client.upsert_bulk(DEPLOYMENT, &twenty(), merge()).await.unwrap();
    for (index, result) in results.into_iter().enumerate() {
        if index == 7 {
            assert_eq!(failed(result).kind(), Kind::TooLarge);
        } else {
            assert_eq!(result.unwrap().identifier, format!("e{index:02}"));
        }
    }
    assert_eq!(port.entities(DEPLOYMENT).len(), 19);
    let sizes: Vec<_> = bulk_requests(&port).iter().map(|(count, _)| *count).collect();
    assert_eq!(sizes, [20, 10, 5, 5, 2, 3, 1, 2, 10], "in the order of the entities, and no part twice");
}

#[tokio::test]
async fn an_entity_that_spoils_the_whole_request_is_found_and_the_others_are_stored() {
    let (port, client) = start_with_client();
    let mut entities = twenty();
    entities[3].identifier = "not an identifier".to_owned();
    let results = client.upsert_bulk(DEPLOYMENT, &entities, merge()).await.unwrap();
    for (index, result) in results.into_iter().enumerate() {
        if index == 3 {
            let error = failed(result);
            assert_eq!(error.kind(), Kind::Refused);
            assert!(error.to_string().contains("identifier"), "{error}");
        } else {
            assert!(result.is_ok(), "{index}: {result:?}");
        }
    }
    assert_eq!(port.entities(DEPLOYMENT).len(), 19);
    let requests = bulk_requests(&port);
    assert_eq!(requests[0], (20, Some(422)));
    assert_eq!(requests.len(), 21);
}

#[tokio::test]
async fn what_was_stored_before_the_connection_broke_counts_as_stored() {
    let (port, client) = start_with_client();
    port.set_fault(Fault::new(Effect::status(413)).path_prefix(BULK_PATH).times(1)).unwrap();
    let broken = Fault::new(Effect::DropBeforeHandling).path_prefix(BULK_PATH).body_contains("\"e10\"");
    port.set_fault(broken).unwrap();
    let results = client.upsert_bulk(DEPLOYMENT, &twenty(), merge()).await.unwrap();
    assert!(results[..10].iter().all(Result::is_ok), "{results:?}");
    for result in &results[10..] {
        assert_eq!(failed(result.clone()).kind(), Kind::Unreachable);
    }
}

#[tokio::test]
async fn a_blueprint_that_does_not_exist_is_one_error_for_all() {
    let (port, client) = start_with_client();
    let error = failed(client.upsert_bulk("absent", &twenty(), merge()).await);
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(calls(&port).len(), 1);
}

#[tokio::test]
async fn the_lists_count_and_not_the_status_of_the_answer() {
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
        (207, json!({"ok": false, "entities": [stored(2), stored(0)]}), "stored unknown stored"),
        (207, json!({"ok": false, "entities": [], "errors": [refused]}), "unknown refused unknown"),
        (
            207,
            json!({"ok": false, "entities": [stored(0), stored(20), {"created": true}], "errors": [Value::Null]}),
            "stored unknown unknown",
        ),
    ] {
        port.clear_faults();
        fail(&port, Effect::answer(status, body.clone()), BULK_PATH);
        let results = client.upsert_bulk(DEPLOYMENT, &twenty()[..3], merge()).await.unwrap();
        let found: Vec<_> = results
            .iter()
            .map(|result| match result {
                Ok(_) => "stored",
                Err(Error::NotAnswered { .. }) => "unknown",
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Refused);
                    "refused"
                }
            })
            .collect();
        assert_eq!(found.join(" "), expected, "{status} {body}");
    }
}
