//! A restored backup keeps what was reported. A tool such as Velero restores name, labels, annotations and spec: the resource has another
//! UID and creation time, other field managers, and no status.

use cluster::clock::next_second;
use cluster::{DEADLINE, wait_for};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Resource, ResourceExt};
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use port_sim::Entity;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::fixture::{Installation, deployment, incident, text};
use crate::{Error, TestResult};

const ENTITY: &str = "dora.port.io/entity";
const OPENED_AT: &str = "dora.port.io/opened-at";
const RESOLVED_AT: &str = "dora.port.io/resolved-at";

/// What a backup keeps of a resource, under this name.
fn backup<K>(resource: &K, name: &str) -> Result<K, Error>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned,
{
    let ObjectMeta { labels, annotations, .. } = resource.meta().clone();
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels, annotations, ..ObjectMeta::default() };
    let mut backup = resource.clone();
    *backup.meta_mut() = metadata;
    let mut json = serde_json::to_value(&backup)?;
    json.as_object_mut().ok_or("not an object")?.remove("status");
    Ok(serde_json::from_value(json)?)
}

/// Deletes a resource, and creates it from its backup in a later second. Returns the resource as it was.
async fn restore<K>(setup: &Installation, namespace: &str, name: &str) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(setup.client().await?, namespace);
    let original = api.get(name).await?;
    api.delete(name, &DeleteParams::default()).await?;
    wait_for(format!("{name} to be gone"), DEADLINE, async || Ok(api.get_opt(name).await?.is_none().then_some(())))
        .await?;
    next_second().await?;
    api.create(&PostParams::default(), &backup(&original, name)?).await?;
    Ok(original)
}

/// Waits until the incidents are delivered, and returns the entities of the namespace.
async fn delivered(setup: &Installation, namespace: &str, names: &[&str]) -> Result<Vec<Entity>, Error> {
    for name in names {
        setup.condition(namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    Ok(setup.entities("dora_incident", namespace))
}

fn times(entity: &Entity) -> (String, String, Option<&Value>) {
    (text(entity, "created_at"), text(entity, "resolved_at"), entity.properties.get("time_to_resolve"))
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_incident_keeps_entity_and_times() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("restored").await?;
    let named = format!("identifier: {namespace}-named");
    setup.apply_in(&namespace, &(incident("over", "") + &incident("lasting", "deletionPolicy: Retain"))).await?;
    setup.apply_in(&namespace, &incident("named", &named)).await?;
    delivered(setup, &namespace, &["over", "lasting", "named"]).await?;
    next_second().await?;
    for name in ["over", "named"] {
        setup.patch(&namespace, &format!("dinc/{name}"), "merge", r#"{"spec":{"status":"resolved"}}"#).await?;
    }
    let before = delivered(setup, &namespace, &["over", "lasting", "named"]).await?;
    let named_before = setup.port.entity("dora_incident", &format!("{namespace}-named")).ok_or("it is missing")?;
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(!text(&before[0], "resolved_at").is_empty() || !text(&before[1], "resolved_at").is_empty());

    for name in ["over", "lasting", "named"] {
        let original: DoraIncident = restore(setup, &namespace, name).await?;
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        let restored = setup.get_incident(&namespace, name).await?;
        assert_ne!(restored.uid(), original.uid());
        let (before, after) = (original.status.unwrap(), restored.status.unwrap());
        assert_eq!((after.opened_at, after.resolved_at), (before.opened_at, before.resolved_at), "{name}");
    }
    let after = setup.entities("dora_incident", &namespace);
    assert_eq!(after.len(), before.len(), "no second entity: {after:?}");
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&after.identifier, times(after)), (&before.identifier, times(before)));
    }
    let named_after = setup.port.entity("dora_incident", &named_before.identifier).unwrap();
    assert_eq!(times(&named_after), times(&named_before));

    // It can be opened again, and then be resolved at another time.
    setup.patch(&namespace, "dinc/over", "merge", r#"{"spec":{"status":"open"}}"#).await?;
    let reopened = setup.incident(&namespace, "over", "open").await?;
    assert!(!reopened.properties.contains_key("resolved_at"), "{:?}", reopened.properties);
    let annotations = setup.get_incident(&namespace, "over").await?.metadata.annotations.unwrap();
    assert!(!annotations.contains_key(RESOLVED_AT) && annotations.contains_key(OPENED_AT), "{annotations:?}");
    next_second().await?;
    setup.patch(&namespace, "dinc/over", "merge", r#"{"spec":{"status":"resolved"}}"#).await?;
    let resolved = setup.incident(&namespace, "over", "resolved").await?;
    let first = after.iter().find(|entity| entity.identifier == resolved.identifier).unwrap();
    assert!(text(&resolved, "resolved_at") > text(first, "resolved_at"), "{resolved:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_of_the_same_name_is_a_new_entity() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("repeated").await?;
    let manifest = incident("down", "title: The first");
    setup.apply_in(&namespace, &manifest).await?;
    delivered(setup, &namespace, &["down"]).await?;
    setup.kubectl(["--namespace", &namespace, "delete", "dinc", "down"]).await?;
    setup.apply_in(&namespace, &manifest.replace("first", "second")).await?;
    let entities = delivered(setup, &namespace, &["down"]).await?;
    let titles: Vec<_> = entities.iter().filter_map(|entity| entity.title.as_deref()).collect();
    assert_eq!(titles, ["The first", "The second"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_of_an_incident_is_another_one() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("copied").await?;
    setup.apply_in(&namespace, &incident("original", "title: Checkout is down")).await?;
    delivered(setup, &namespace, &["original"]).await?;
    next_second().await?;
    let api: Api<DoraIncident> = Api::namespaced(setup.client().await?, &namespace);
    let created = api.create(&PostParams::default(), &backup(&api.get("original").await?, "copy")?).await?;
    let entities = delivered(setup, &namespace, &["copy"]).await?;
    assert_eq!(entities.len(), 2, "{entities:?}");
    assert_eq!(text(&entities[1], "created_at"), format!("{:.3}", created.creation_timestamp().unwrap().0));
    let note = setup.event(&namespace, "copy", "AnnotationReplaced").await?;
    assert!(note.contains(OPENED_AT) && note.contains("does not name this incident"), "{note}");
    let copy = api.get("copy").await?;
    assert_eq!(copy.annotations().get(ENTITY), Some(&entities[1].identifier));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_keeps_the_entities_of_incidents() -> TestResult {
    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("upgraded").await?;
    // The state that an earlier version has left.
    setup.apply_in(&namespace, &incident("down", "")).await?;
    let identifier = format!("test:{namespace}:down");
    let entity = json!({"blueprint": "dora_incident", "identifier": identifier, "digest": "0123456789abcdef"});
    let patch = json!({"status": {"openedAt": "2026-01-31T12:00:00Z", "entity": entity}}).to_string();
    setup
        .kubectl([
            "--namespace",
            &namespace,
            "patch",
            "dinc",
            "down",
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .await?;
    let _controller = setup.start_controller(&[]).await?;
    let entities = delivered(&setup, &namespace, &["down"]).await?;
    let all: Vec<_> = setup.port.entities("dora_incident").into_iter().map(|entity| entity.identifier).collect();
    assert_eq!((all, entities.len()), (vec![identifier.clone()], 1));
    // An incident that is delivered gets the annotations too.
    let is_annotated = async || {
        let annotations = setup.get_incident(&namespace, "down").await?.metadata.annotations.unwrap_or_default();
        Ok((annotations.get(ENTITY) == Some(&identifier)).then_some(()))
    };
    wait_for("the annotation", DEADLINE, is_annotated).await?;
    setup.kubectl(["--namespace", &namespace, "annotate", "dinc", "down", &format!("{ENTITY}-")]).await?;
    wait_for("the annotation again", DEADLINE, is_annotated).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_records_keep_their_entities() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("records").await?;
    let outside = "---\n{apiVersion: dora.port.io/v1alpha1, kind: DoraDeployment, metadata: {name: lambda}, \
                   spec: {outcome: Succeeded, finishedAt: '2026-01-31T12:00:00Z'}}\n";
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    setup.delivered(&namespace, "web:1").await?;
    setup.apply_in(&namespace, outside).await?;
    setup.condition(&namespace, "ddep/lambda", "Synced", "Delivered").await?;
    let record = setup.outcomes(&namespace, &[("web:1", "Succeeded")]).await?[0].name_any();
    let before = setup.entities("dora_deployment", &namespace);
    assert_eq!(before.len(), 2, "{before:?}");
    setup.kubectl(["--namespace", &namespace, "delete", "deployment", "web"]).await?;
    for name in [record.as_str(), "lambda"] {
        let _: DoraDeployment = restore(setup, &namespace, name).await?;
        setup.condition(&namespace, &format!("ddep/{name}"), "Synced", "Delivered").await?;
    }
    let after = setup.entities("dora_deployment", &namespace);
    let of = |entities: &[Entity]| -> Vec<_> {
        entities.iter().map(|entity| (entity.identifier.clone(), entity.properties.clone())).collect()
    };
    assert_eq!(of(&after), of(&before));
    Ok(())
}
