//! Blueprints: read, compared with the expected fields, and created.

use port_client::{
    BlueprintCreation, BlueprintDifference, ErrorKind, ExpectedFields, MissingResource, NewBlueprint, Property,
    Relation, Sent, UpsertOptions,
};
use port_sim::{Effect, Fault};
use serde_json::json;

use super::*;

const DEPLOYMENT: &str = "dora_deployment";

/// A blueprint with every field that a new blueprint can have.
fn things() -> NewBlueprint {
    NewBlueprint::new("thing", "Thing")
        .with_description("For the test")
        .with_icon("Microservice")
        .with_property("at", Property::date_time().with_title("At").with_description("When it was"))
        .with_property("link", Property::url())
        .with_property("count", Property::number())
        .with_property("status", Property::string().with_allowed_values(["on", "off"]))
        .with_required("status")
        .with_relation("group", Relation::to("group").with_title("Group"))
        .with_relation("former", Relation::to("thing").many())
}

#[tokio::test]
async fn blueprint_is_read() {
    let (_port, client) = start_with_client();
    let blueprint = client.get_blueprint(DEPLOYMENT).await.unwrap();
    assert_eq!(blueprint.identifier, DEPLOYMENT);
    let time = &blueprint.schema.properties["deployment_time"];
    assert_eq!((time.value_type.as_deref(), time.format.as_deref()), (Some("string"), Some("date-time")));
    assert_eq!(blueprint.relations["group"].target, "group");
    assert!(!blueprint.relations["group"].required && !blueprint.relations["group"].many);
}

#[tokio::test]
async fn created_blueprint_is_read_back_unchanged() {
    let (port, client) = start_with_client();
    assert_eq!(client.create_blueprint(&things()).await.unwrap(), BlueprintCreation::Created);
    let request = calls(&port).pop().unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str(), request.status), ("POST", "/v1/blueprints", Some(201)));

    let read = client.get_blueprint("thing").await.unwrap();
    assert_eq!(read.title.as_deref(), Some("Thing"));
    assert_eq!(read.schema, things().schema);
    assert_eq!(read.relations, things().relations);
    assert_eq!(read.differences(&ExpectedFields::from(&things())), []);

    let thing = Entity::new("a").with_property("status", "on").with_relation("group", "all_teams");
    client.upsert("thing", &thing, UpsertOptions::default()).await.unwrap();
}

#[tokio::test]
async fn existing_blueprint_is_not_changed() {
    let (port, client) = start_with_client();
    let before = client.get_blueprint(DEPLOYMENT).await.unwrap();
    let other = NewBlueprint::new(DEPLOYMENT, "Another title").with_property("other", Property::string());
    assert_eq!(client.create_blueprint(&other).await.unwrap(), BlueprintCreation::AlreadyExists);
    assert_eq!(client.get_blueprint(DEPLOYMENT).await.unwrap(), before);
    let sent: Vec<_> = calls(&port).into_iter().map(|request| (request.method, request.status)).collect();
    let expected = [("GET", 200), ("POST", 409), ("GET", 200)];
    assert_eq!(sent, expected.map(|(method, status)| (method.to_owned(), Some(status))));

    let missing = before.differences(&ExpectedFields::from(&other));
    assert!(
        matches!(&missing[..], [BlueprintDifference::MissingProperty { name, .. }] if name == "other"),
        "{missing:?}"
    );
}

#[tokio::test]
async fn creation_without_response_can_be_repeated() {
    let (port, client) = start_with_client();
    port.set_fault(Fault::new(Effect::DropAfterHandling).path_prefix("/v1/blueprints").times(1)).unwrap();
    assert!(failed(client.create_blueprint(&things()).await).is_temporary());
    assert_eq!(client.create_blueprint(&things()).await.unwrap(), BlueprintCreation::AlreadyExists);
}

#[tokio::test]
async fn invalid_blueprint_is_refused_with_a_reason() {
    let (_port, client) = start_with_client();
    let unrelated = things().with_relation("owner", Relation::to("absent"));
    let error = failed(client.create_blueprint(&unrelated).await);
    assert_eq!(error.missing_resource(), Some(MissingResource::Blueprint { identifier: "absent".to_owned() }));

    for wrong in [
        NewBlueprint { title: String::new(), ..things() },
        NewBlueprint { identifier: "a b".to_owned(), ..things() },
        things().with_property("a b", Property::string()),
        things().with_property("untyped", Property::default()),
    ] {
        assert_eq!(failed(client.create_blueprint(&wrong).await).kind(), ErrorKind::Refused, "{wrong:?}");
    }
    assert_eq!(failed(client.get_blueprint("thing").await).kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn differences_of_a_blueprint_in_port_are_found() {
    let (port, client) = start_with_client();
    let published = json!({
        "identifier": "deployment", "title": "Deployment",
        "schema": {
            "properties": {
                "createdAt": {"type": "string", "format": "date-time"},
                "deploymentStatus": {"type": "string", "enum": ["Success", "Failed"]},
                "commit": {"type": "string"}
            },
            "required": ["commit"]
        },
        "relations": {"service": {"target": "group", "required": true, "many": false}}
    });
    port.create_blueprint(&published).unwrap();
    let blueprint = client.get_blueprint("deployment").await.unwrap();
    let expected = ExpectedFields::default()
        .with_property("deploymentStatus", Property::string(), Sent::Always)
        .with_property("leadTime", Property::number(), Sent::Sometimes);
    let differences: Vec<_> = blueprint.differences(&expected).iter().map(ToString::to_string).collect();
    assert_eq!(differences.len(), 3, "{differences:?}");
    for (difference, name) in differences.iter().zip(["leadTime", "commit", "service"]) {
        assert!(difference.contains(name), "{difference}");
    }
    let status = &blueprint.schema.properties["deploymentStatus"];
    assert_eq!(status.conform(&json!("success")), Ok(json!("Success")));
}
