//! Blueprints: read, compared with what is expected of them, and created.

use port_client::{
    BlueprintCreation, BlueprintDifference, Kind, Missing, NewBlueprint, Property, Relation, UpsertOptions,
};
use port_sim::{Effect, Fault};
use serde_json::json;

use super::*;

const DEPLOYMENT: &str = "dora_deployment";

/// A blueprint with everything that one can say of it here.
fn things() -> NewBlueprint {
    NewBlueprint::new("thing", "Thing")
        .with_description("For the test")
        .with_icon("Microservice")
        .with_property("at", Property::date_time().with_title("At").with_description("When it was"))
        .with_property("link", Property::url())
        .with_property("count", Property::number())
        .with_property("status", Property::string().with_allowed(["on", "off"]))
        .with_required("status")
        .with_relation("group", Relation::to("group").with_title("Group"))
        .with_relation("former", Relation::to("thing").many())
}

#[tokio::test]
async fn a_blueprint_tells_what_an_entity_may_have() {
    let (_port, client) = start_with_client();
    let blueprint = client.get_blueprint(DEPLOYMENT).await.unwrap();
    assert_eq!(blueprint.identifier, DEPLOYMENT);
    let time = &blueprint.schema.properties["deployment_time"];
    assert_eq!((time.value_type.as_deref(), time.format.as_deref()), (Some("string"), Some("date-time")));
    assert_eq!(blueprint.relations["group"].target, "group");
    assert!(!blueprint.relations["group"].required && !blueprint.relations["group"].many);
}

#[tokio::test]
async fn one_that_is_created_is_read_as_it_was_meant() {
    let (port, client) = start_with_client();
    assert_eq!(client.create_blueprint(&things()).await.unwrap(), BlueprintCreation::Created);
    let request = calls(&port).pop().unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str(), request.status), ("POST", "/v1/blueprints", Some(201)));

    let read = client.get_blueprint("thing").await.unwrap();
    assert_eq!(read.title.as_deref(), Some("Thing"));
    assert_eq!(read.schema, things().schema);
    assert_eq!(read.relations, things().relations);
    assert_eq!(read.differences(&things()), []);

    let thing = Entity::new("a").with_property("status", "on").with_relation("group", "all_teams");
    client.upsert("thing", &thing, UpsertOptions::default()).await.unwrap();
}

#[tokio::test]
async fn one_that_exists_is_never_changed() {
    let (port, client) = start_with_client();
    let before = client.get_blueprint(DEPLOYMENT).await.unwrap();
    let other = NewBlueprint::new(DEPLOYMENT, "Another title").with_property("other", Property::string());
    assert_eq!(client.create_blueprint(&other).await.unwrap(), BlueprintCreation::ExistsAlready);
    assert_eq!(client.get_blueprint(DEPLOYMENT).await.unwrap(), before);
    let sent: Vec<_> = calls(&port).into_iter().map(|request| (request.method, request.status)).collect();
    let expected = [("GET", 200), ("POST", 409), ("GET", 200)];
    assert_eq!(sent, expected.map(|(method, status)| (method.to_owned(), Some(status))));

    let missing = before.differences(&other);
    assert!(matches!(&missing[..], [BlueprintDifference::NoProperty { name, .. }] if name == "other"), "{missing:?}");
}

#[tokio::test]
async fn one_whose_creation_was_not_answered_exists_already_the_next_time() {
    let (port, client) = start_with_client();
    port.set_fault(Fault::new(Effect::DropAfterHandling).path_prefix("/v1/blueprints").times(1)).unwrap();
    assert!(failed(client.create_blueprint(&things()).await).is_temporary());
    assert_eq!(client.create_blueprint(&things()).await.unwrap(), BlueprintCreation::ExistsAlready);
}

#[tokio::test]
async fn one_that_port_does_not_accept_is_an_error_that_says_why() {
    let (_port, client) = start_with_client();
    let lost = things().with_relation("owner", Relation::to("absent"));
    let error = failed(client.create_blueprint(&lost).await);
    assert_eq!(error.missing(), Some(Missing::Blueprint { identifier: "absent".to_owned() }));

    for wrong in [
        NewBlueprint { title: String::new(), ..things() },
        NewBlueprint { identifier: "a b".to_owned(), ..things() },
        things().with_property("a b", Property::string()),
        things().with_property("untyped", Property::default()),
    ] {
        assert_eq!(failed(client.create_blueprint(&wrong).await).kind(), Kind::Refused, "{wrong:?}");
    }
    assert_eq!(failed(client.get_blueprint("thing").await).kind(), Kind::NotFound);
}

#[tokio::test]
async fn the_published_model_differs_in_what_its_gaps_say() {
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
    let sent = NewBlueprint::new("deployment", "Deployment")
        .with_property("deploymentStatus", Property::string())
        .with_property("leadTime", Property::number());
    let differences: Vec<_> = blueprint.differences(&sent).iter().map(ToString::to_string).collect();
    assert_eq!(differences.len(), 3, "{differences:?}");
    for (difference, name) in differences.iter().zip(["leadTime", "commit", "service"]) {
        assert!(difference.contains(name), "{difference}");
    }
    let status = &blueprint.schema.properties["deploymentStatus"];
    assert_eq!(status.fitting(&json!("success")), Some(json!("Success")));
}
