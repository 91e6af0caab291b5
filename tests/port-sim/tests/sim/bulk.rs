use serde_json::{Value, json};

use crate::client::Port;

const MERGE: &str = "?upsert=true&merge=true";

fn numbered(count: usize) -> Value {
    (0..count).map(|number| json!({"identifier": format!("d-{number}"), "properties": {"status": "success"}})).collect()
}

#[tokio::test]
async fn bulk_answer_names_created_and_updated_entities() {
    let port = Port::start().await;
    let first = port.write_bulk("dora_deployment", MERGE, &numbered(19)).await;
    assert_eq!(first.status, 200);
    let second = port.write_bulk("dora_deployment", MERGE, &numbered(20)).await;
    assert_eq!(second.status, 200);
    assert_eq!(second.body["ok"], true);
    assert_eq!(second.body["errors"], json!([]));
    for (index, entity) in second.body["entities"].as_array().unwrap().iter().enumerate() {
        let created = index == 19;
        assert_eq!(*entity, json!({"identifier": format!("d-{index}"), "index": index, "created": created}));
    }
    assert_eq!(port.sim.entities("dora_deployment").len(), 20);
}

#[tokio::test]
async fn invalid_entity_in_a_bulk_fails_alone() {
    let port = Port::start().await;
    let answer = port
        .write_bulk(
            "dora_deployment",
            MERGE,
            &json!([
                {"identifier": "bad-type", "properties": {"lead_time_hours": "2"}},
                {"identifier": "good", "properties": {"lead_time_hours": 2}},
                {"identifier": "no-group", "relations": {"group": "nobody"}},
            ]),
        )
        .await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.body["entities"], json!([{"identifier": "good", "index": 1, "created": true}]));
    let [bad_type, no_group] = answer.body["errors"].as_array().unwrap().as_slice() else {
        panic!("{answer:?}");
    };
    assert_eq!(
        (&bad_type["index"], &bad_type["identifier"], &bad_type["statusCode"], &bad_type["error"]),
        (&json!(0), &json!("bad-type"), &json!(422), &json!("invalid_request"))
    );
    assert!(bad_type["message"].as_str().unwrap().contains("lead_time_hours"));
    assert_eq!(
        (&no_group["index"], &no_group["identifier"], &no_group["statusCode"], &no_group["error"]),
        (&json!(2), &json!("no-group"), &json!(404), &json!("not_found"))
    );
    assert!(no_group["message"].as_str().unwrap().contains("nobody"));
    let stored: Vec<_> = port.sim.entities("dora_deployment").into_iter().map(|one| one.identifier).collect();
    assert_eq!(stored, ["good"]);
}

#[tokio::test]
async fn existing_entity_in_a_bulk_is_a_conflict() {
    let port = Port::start().await;
    port.write_bulk("dora_deployment", "", &numbered(1)).await;
    let answer = port.write_bulk("dora_deployment", "", &numbered(2)).await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.body["errors"][0]["statusCode"], 409);
    assert_eq!(answer.body["entities"][0]["identifier"], "d-1");
}

#[tokio::test]
async fn empty_and_oversized_bulks_are_refused() {
    let port = Port::start().await;
    for count in [0, 21] {
        port.write_bulk("dora_deployment", MERGE, &numbered(count)).await.refusal(422, "invalid_request");
    }
    assert!(port.sim.entities("dora_deployment").is_empty());
}

#[tokio::test]
async fn invalid_body_refuses_the_whole_bulk() {
    let port = Port::start().await;
    let mut entities = numbered(3);
    entities[1]["identifier"] = json!("not allowed: #");
    let message = port.write_bulk("dora_deployment", MERGE, &entities).await.refusal(422, "invalid_request");
    assert!(message.contains("/entities/1/identifier"), "{message}");
    assert!(port.sim.entities("dora_deployment").is_empty());
}

#[tokio::test]
async fn missing_blueprint_refuses_the_whole_bulk() {
    let port = Port::start().await;
    let message = port.write_bulk("nothing", MERGE, &numbered(1)).await.refusal(404, "not_found");
    assert!(message.contains("nothing"), "{message}");
}

#[tokio::test]
async fn thousands_of_entities_are_stored() {
    let port = Port::start().await;
    for start in (0..5_000).step_by(20) {
        let entities: Value = (start..start + 20)
            .map(|number| json!({"identifier": format!("d-{number}"), "relations": {"group": "all_teams"}}))
            .collect();
        let answer = port.write_bulk("dora_deployment", MERGE, &entities).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(port.sim.entities("dora_deployment").len(), 5_000);
    assert_eq!(port.sim.requests().len(), 250);
}
