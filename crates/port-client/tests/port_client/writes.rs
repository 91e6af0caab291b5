//! Writing, reading and deleting entities, and reading blueprints.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use port_client::{Client, ClientOptions, Entity, ErrorKind, Route, StatusClass, UpsertOptions};
use port_sim::{Effect, Fault};
use serde_json::Value;

use super::*;

const DEPLOYMENT: &str = "dora_deployment";

fn merge() -> UpsertOptions {
    UpsertOptions::default()
}

#[tokio::test]
async fn upsert_changes_only_the_given_fields() {
    let (port, client) = start_with_client();
    let stored = client.upsert(DEPLOYMENT, &deployment("a").with_title("A"), merge()).await.unwrap();
    assert_eq!(stored.identifier, "a");
    let request = &calls(&port)[0];
    assert_eq!(stored.trace_id.as_ref(), Some(&request.trace_id));
    assert_eq!(request.query.as_deref(), Some("upsert=true&merge=true"));
    assert_eq!(request.user_agent.as_deref(), Some(USER_AGENT));

    let change = Entity::new("a").with_property("status", "failed");
    client.upsert(DEPLOYMENT, &change, merge()).await.unwrap();
    let entity = port.entity(DEPLOYMENT, "a").unwrap();
    assert_eq!(entity.title.as_deref(), Some("A"));
    assert_eq!(entity.properties["status"], "failed");
    assert_eq!(entity.properties["environment"], "production");
    assert_eq!(entity.relations["group"], "all_teams");
    assert_eq!(entity.datasource, USER_AGENT);
}

#[tokio::test]
async fn null_clears_a_property_and_a_relation() {
    let (port, client) = start_with_client();
    client.upsert(DEPLOYMENT, &deployment("a"), merge()).await.unwrap();
    let cleared = Entity::new("a").with_property("status", Value::Null).with_relation("group", Value::Null);
    client.upsert(DEPLOYMENT, &cleared, merge()).await.unwrap();
    let entity = port.entity(DEPLOYMENT, "a").unwrap();
    assert!(!entity.properties.contains_key("status"), "{entity:?}");
    assert!(!entity.relations.contains_key("group"), "{entity:?}");
    assert_eq!(entity.properties["environment"], "production");
}

#[tokio::test]
async fn options_of_a_write_are_sent() {
    let (port, client) = start_with_client();
    client.upsert(DEPLOYMENT, &deployment("a"), merge()).await.unwrap();

    let overwrite = UpsertOptions { merge: false, ..merge() };
    client.upsert(DEPLOYMENT, &Entity::new("a").with_property("status", "failed"), overwrite).await.unwrap();
    let entity = port.entity(DEPLOYMENT, "a").unwrap();
    assert!(!entity.properties.contains_key("environment"), "{entity:?}");

    let check = UpsertOptions { validation_only: true, ..merge() };
    client.upsert(DEPLOYMENT, &deployment("checked"), check).await.unwrap();
    assert_eq!(port.entity(DEPLOYMENT, "checked"), None);

    let create = UpsertOptions { create_missing_related_entities: true, ..merge() };
    client.upsert(DEPLOYMENT, &deployment("b").with_relation("group", "new-team"), create).await.unwrap();
    assert!(port.entity("group", "new-team").is_some());
}

#[tokio::test]
async fn unusual_identifiers_are_encoded() {
    let (port, client) = start_with_client();
    for identifier in ["c1:ns/app:3:0a1b2c3d", "größe:日本", "a\\b", "a+b=c@d", "...", "..a"] {
        client.upsert(DEPLOYMENT, &deployment(identifier), merge()).await.unwrap();
        assert!(port.entity(DEPLOYMENT, identifier).is_some(), "{identifier}");
        let entity = client.get_entity(DEPLOYMENT, identifier).await.unwrap();
        assert_eq!(entity.identifier, identifier);
        assert_eq!(entity.relations["group"], "all_teams");
        assert!(entity.other.contains_key("createdAt"));
        client.delete_entity(DEPLOYMENT, identifier).await.unwrap();
        assert!(port.entity(DEPLOYMENT, identifier).is_none(), "{identifier}");
        client.delete_entity(DEPLOYMENT, identifier).await.expect("deleting a missing entity succeeds");
    }
    assert!(calls(&port).iter().any(|request| request.path.ends_with("/c1%3Ans%2Fapp%3A3%3A0a1b2c3d")));
}

#[tokio::test]
async fn identifiers_that_change_the_route_are_rejected() {
    let (port, client) = start_with_client();
    for identifier in ["", ".", ".."] {
        let errors = [
            failed(client.get_blueprint(identifier).await),
            failed(client.get_entity(DEPLOYMENT, identifier).await),
            failed(client.delete_entity(DEPLOYMENT, identifier).await),
            failed(client.upsert(identifier, &deployment("a"), merge()).await),
            failed(client.upsert_bulk(identifier, &[deployment("a")], merge()).await),
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Refused), "{errors:?}");
    }
    assert_eq!(port.requests().len(), 0);
    // A slash in the identifier does not lead to another route: the blueprint does not exist.
    let error = failed(client.get_blueprint("dora_deployment/entities").await);
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn each_request_is_observed() {
    let port = start();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&requests);
    let observer = move |route: Route, status: StatusClass, duration: Duration| {
        log.lock().push((route, status, duration));
    };
    let client = Client::new(ClientOptions { observer: Some(Arc::new(observer)), ..options(&port) }).unwrap();

    client.upsert(DEPLOYMENT, &deployment("a"), merge()).await.unwrap();
    failed(client.get_blueprint("absent").await);
    port.set_fault(Fault::new(Effect::status(500)).path_prefix(BLUEPRINT_PATH).times(1)).unwrap();
    failed(client.upsert_bulk(DEPLOYMENT, &[deployment("a")], merge()).await);
    fail(&port, Effect::HalfAnswer, BLUEPRINT_PATH);
    failed(client.get_entity(DEPLOYMENT, "a").await);

    let requests: Vec<_> = requests.lock().iter().map(|(route, status, _)| (*route, *status)).collect();
    assert_eq!(
        requests,
        [
            (Route::Token, StatusClass::Success),
            (Route::Upsert, StatusClass::Success),
            (Route::GetBlueprint, StatusClass::ClientError),
            (Route::UpsertBulk, StatusClass::ServerError),
            (Route::GetEntity, StatusClass::NoResponse),
        ]
    );
}
