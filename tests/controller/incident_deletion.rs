//! The entity of a deleted incident in Port. It never delays the deletion of the resource for long.

use std::time::Duration;

use cluster::{DEADLINE, wait_for};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use port_dora_controller::resources::DoraIncident;
use port_sim::{Effect, Fault, Request};
use serde_json::json;

use crate::fixture::{Controller, Installation, SAME_POD, incident};
use crate::{Error, TestResult};

const FINALIZER: &str = "dora.port.io/entity";

/// The time that the deletion of a resource may wait for Port.
const FINALIZE_TIMEOUT: Duration = Duration::from_secs(120);

/// Number of deliveries that the controller sends at once.
const DELIVERIES_AT_ONCE: usize = 4;

/// Attempts of a test that needs the machine to be fast enough.
const ATTEMPTS: usize = 5;

async fn finalizers(setup: &Installation, namespace: &str, name: &str) -> Vec<String> {
    setup.get_incident(namespace, name).await.unwrap().metadata.finalizers.unwrap_or_default()
}

/// Runs `kubectl delete` without waiting.
pub async fn delete(setup: &Installation, namespace: &str, name: &str) -> TestResult {
    setup.kubectl(["--namespace", namespace, "delete", "dinc", name, "--wait=false"]).await?;
    Ok(())
}

/// Waits until an incident is gone.
pub async fn wait_until_gone(setup: &Installation, namespace: &str, name: &str, deadline: Duration) -> TestResult {
    let api: Api<DoraIncident> = Api::namespaced(setup.client().await?, namespace);
    wait_for(format!("the incident {name} to be gone"), deadline, async || {
        Ok(api.get_metadata_opt(name).await?.is_none().then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn entity_is_deleted_only_with_the_delete_policy() -> TestResult {
    let setup = &Installation::exclusive().await?;
    let controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("deletion").await?;
    let is_in_port = |name: &str| setup.incident_entity(&namespace, name).is_some();
    setup.apply_in(&namespace, &(incident("stays", "") + &incident("goes", "deletionPolicy: Delete"))).await?;
    setup.apply_in(&namespace, &incident("kept", "deletionPolicy: Delete")).await?;
    for name in ["stays", "goes", "kept"] {
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    assert!(finalizers(setup, &namespace, "stays").await.is_empty());
    assert_eq!(finalizers(setup, &namespace, "goes").await, [FINALIZER]);
    // The finalizer of another controller is kept, and the entity is kept when the policy changes.
    let patch = r#"[{"op":"add","path":"/metadata/finalizers/-","value":"example.com/mine"}]"#;
    setup.patch(&namespace, "dinc/kept", "json", patch).await?;
    setup.apply_in(&namespace, &incident("kept", "deletionPolicy: Retain")).await?;
    wait_for("the finalizer to be removed with the policy", DEADLINE, async || {
        Ok((finalizers(setup, &namespace, "kept").await == ["example.com/mine"]).then_some(()))
    })
    .await?;

    delete(setup, &namespace, "kept").await?;
    // The resource still exists and changes, but the entity is not written any more.
    setup.patch(&namespace, "dinc/kept", "merge", r#"{"spec":{"priority":"late"}}"#).await?;
    delete(setup, &namespace, "goes").await?;
    delete(setup, &namespace, "stays").await?;
    wait_until_gone(setup, &namespace, "goes", DEADLINE).await?;
    wait_until_gone(setup, &namespace, "stays", DEADLINE).await?;
    assert!(!is_in_port("goes"));
    // The controller sees this incident after the deletions. When it is delivered, nothing is pending.
    setup.apply_in(&namespace, &incident("later", "")).await?;
    setup.condition(&namespace, "dinc/later", "Synced", "Delivered").await?;
    controller.waiting("DoraIncident", 0).await?;
    assert!(is_in_port("stays"));
    let kept = setup.incident_entity(&namespace, "kept").unwrap();
    assert!(!kept.properties.contains_key("priority"), "{:?}", kept.properties);
    setup.patch(&namespace, "dinc/kept", "merge", r#"{"metadata":{"finalizers":null}}"#).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_deletion_follows_a_pending_upsert() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let namespace = setup.namespace("made-up").await?;
    setup
        .apply_in(&namespace, &(incident("a", "deletionPolicy: Delete") + &incident("b", "deletionPolicy: Delete")))
        .await?;
    for name in ["a", "b"] {
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    controller.process.kill()?;
    delete(&setup, &namespace, "a").await?;
    // Port fails twice before it deletes an entity.
    setup.port.set_fault(Fault::new(Effect::status(503)).method("DELETE").times(2))?;
    delete(&setup, &namespace, "b").await?;
    let _controller = setup.start_controller(&SAME_POD).await?;
    for name in ["a", "b"] {
        wait_until_gone(&setup, &namespace, name, DEADLINE).await?;
        assert!(setup.incident_entity(&namespace, name).is_none(), "{name}");
    }

    // An incident is deleted while its upsert is held. If the upsert timed out by then, this tries again with another
    // incident.
    for number in 0.. {
        let (name, title) = (format!("slow-{number}"), format!("made-up-slow-{number}"));
        let slow = Fault::new(Effect::HandleOnceCleared).method("POST").body_contains(&title).times(1);
        let slow = setup.port.set_fault(slow)?;
        setup.apply_in(&namespace, &incident(&name, &format!("deletionPolicy: Delete, title: {title}"))).await?;
        let upsert = || {
            let is_it = |request: &Request| request.body.as_ref().is_some_and(|body| body["title"] == title);
            setup.port.requests().into_iter().find(is_it)
        };
        wait_for("the upsert to arrive", DEADLINE, async || Ok(upsert().map(drop))).await?;
        delete(&setup, &namespace, &name).await?;
        // The controller sees this incident after the deletion.
        let later = format!("later-{number}");
        setup.apply_in(&namespace, &incident(&later, "")).await?;
        setup.condition(&namespace, &format!("dinc/{later}"), "Synced", "Delivered").await?;
        setup.port.clear_fault(slow);
        wait_until_gone(&setup, &namespace, &name, DEADLINE).await?;
        assert!(setup.incident_entity(&namespace, &name).is_none());
        if let Some(answered) = upsert().and_then(|upsert| upsert.answered_after) {
            let requests = setup.port.requests();
            let deletion =
                requests.iter().find(|request| request.method == "DELETE" && request.path.contains(&name)).unwrap();
            assert!(deletion.received_after >= answered, "the deletion must follow the upsert: {requests:?}");
            break;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_does_not_wait_for_hanging_deliveries() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&[]).await?;
    for attempt in 0..ATTEMPTS {
        if delete_during_deliveries(&setup, &controller, attempt).await? {
            return Ok(());
        }
    }
    Err("a delivery timed out before each deletion".into())
}

/// Deletes an incident while all slots for deliveries wait for Port. Returns whether the deletion ended before any of the deliveries.
async fn delete_during_deliveries(
    setup: &Installation,
    controller: &Controller,
    attempt: usize,
) -> Result<bool, Error> {
    let failures = async || {
        let (_, metrics) = controller.get("/metrics").await?;
        let prefix = r#"port_dora_deliveries_failed_total{kind="DoraIncident","#;
        let counts = metrics.lines().filter(|line| line.starts_with(prefix)).filter_map(|line| line.rsplit(' ').next());
        Ok::<usize, Error>(counts.filter_map(|count| count.parse::<usize>().ok()).sum())
    };
    let namespace = setup.namespace(&format!("slots-{attempt}")).await?;
    setup.apply_in(&namespace, &incident("goes", "deletionPolicy: Delete")).await?;
    setup.condition(&namespace, "dinc/goes", "Synced", "Delivered").await?;
    let before = failures().await?;
    let hanging =
        setup.port.set_fault(Fault::new(Effect::HandleOnceCleared).method("POST").body_contains(&namespace))?;
    for number in 0..DELIVERIES_AT_ONCE {
        let name = format!("held-{number}");
        setup.apply_in(&namespace, &incident(&name, "")).await?;
        let identifier = format!("{namespace}:{name}");
        wait_for(format!("the delivery of {name} to arrive"), DEADLINE, async || {
            let has =
                |request: &Request| request.body.as_ref().is_some_and(|body| body.to_string().contains(&identifier));
            Ok(setup.port.requests().iter().any(has).then_some(()))
        })
        .await?;
    }
    delete(setup, &namespace, "goes").await?;
    wait_until_gone(setup, &namespace, "goes", DEADLINE).await?;
    assert!(setup.port.entity("dora_incident", &format!("test:{namespace}:goes")).is_none());
    let is_first = failures().await? == before;
    setup.port.clear_fault(hanging);
    setup.condition(&namespace, "dinc/held-0", "Synced", "Delivered").await?;
    Ok(is_first)
}

#[tokio::test(flavor = "multi_thread")]
async fn namespace_is_deleted_while_port_is_unreachable() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&SAME_POD).await?;
    let (ending, other) = (setup.namespace("ending").await?, setup.namespace("other").await?);
    setup.apply_in(&ending, &incident("down", "deletionPolicy: Delete")).await?;
    setup.apply_in(&other, &incident("down", "deletionPolicy: Delete")).await?;
    setup.condition(&ending, "dinc/down", "Synced", "Delivered").await?;
    setup.condition(&other, "dinc/down", "Synced", "Delivered").await?;
    setup.port.set_reachable(false).await?;
    setup.kubectl(["delete", "namespace", &ending, "--wait=false"]).await?;
    delete(&setup, &other, "down").await?;
    controller.logs("failed to delete the entity from Port").await?;
    wait_until_gone(&setup, &other, "down", FINALIZE_TIMEOUT + DEADLINE).await?;
    let log = controller.process.log()?;
    let line = |text: &str| log.lines().position(|line| line.contains(text) && line.contains(&other));
    let waited = line("failed to delete the entity from Port").ok_or("the deletion did not wait for Port")?;
    assert!(Some(waited) < line("stays in Port although"), "the deletion must wait for Port: {log}");
    let note = setup.event(&other, "down", "EntityOrphaned").await?;
    assert!(note.contains(&format!("test:{other}:down:")) && note.contains("Delete the entity in Port"), "{note}");
    let namespaces: Api<Namespace> = Api::all(setup.client().await?);
    wait_for("the namespace to be gone", FINALIZE_TIMEOUT + DEADLINE, async || {
        Ok(namespaces.get_opt(&ending).await?.is_none().then_some(()))
    })
    .await?;
    let (_, metrics) = controller.get("/metrics").await?;
    assert!(metrics.contains(r#"port_dora_entities_orphaned_total{kind="DoraIncident"} 2"#), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_incident_can_be_deleted() -> TestResult {
    let setup = Installation::on_own_cluster().await?;
    let _controller = setup.start_controller(&SAME_POD).await?;
    let namespace = setup.namespace("unreadable").await?;
    setup.apply_in(&namespace, &incident("odd", "deletionPolicy: Delete")).await?;
    setup.condition(&namespace, "dinc/odd", "Synced", "Delivered").await?;
    // Another version of the definition allows a type that this controller can't read.
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/priority",
        "value": {"type": "integer"}}]);
    setup.kubectl(["patch", "crd", "doraincidents.dora.port.io", "--type=json", "--patch", &patch.to_string()]).await?;
    wait_for("the other definition to take effect", DEADLINE, async || {
        setup.apply_in(&namespace, &incident("odd", "deletionPolicy: Delete, priority: 1")).await?;
        Ok(Some(()))
    })
    .await?;
    let (_, message) = setup.condition(&namespace, "dinc/odd", "Valid", "Undecodable").await?;
    assert!(message.contains("spec.priority"), "{message}");
    delete(&setup, &namespace, "odd").await?;
    wait_until_gone(&setup, &namespace, "odd", DEADLINE).await?;
    assert!(setup.incident_entity(&namespace, "odd").is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_do_not_block_a_deletion() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let namespace = setup.namespace("credentials").await?;
    setup.apply_in(&namespace, &incident("sent", "deletionPolicy: Delete")).await?;
    setup.condition(&namespace, "dinc/sent", "Synced", "Delivered").await?;
    controller.process.kill()?;
    let without = [("PORT_CLIENT_ID", ""), ("PORT_CLIENT_SECRET", ""), SAME_POD[0]];
    let mut controller = setup.start_controller(&without).await?;
    setup.apply_in(&namespace, &incident("unsent", "deletionPolicy: Delete")).await?;
    setup.condition(&namespace, "dinc/unsent", "Synced", "NoCredentials").await?;
    delete(&setup, &namespace, "sent").await?;
    delete(&setup, &namespace, "unsent").await?;
    wait_until_gone(&setup, &namespace, "sent", DEADLINE).await?;
    wait_until_gone(&setup, &namespace, "unsent", DEADLINE).await?;
    // The reason is not the timeout of two minutes.
    let note = setup.event(&namespace, "sent", "EntityOrphaned").await?;
    assert!(note.contains("no Port credentials are set"), "{note}");
    let log = controller.process.log()?;
    assert!(!log.contains("failed to delete the entity from Port"), "{log}");

    // A dry run adds no finalizer.
    controller.process.kill()?;
    let _controller = setup.start_controller(&[("DRY_RUN", "true"), SAME_POD[0]]).await?;
    setup.apply_in(&namespace, &incident("dry", "deletionPolicy: Delete")).await?;
    setup.condition(&namespace, "dinc/dry", "Synced", "DryRun").await?;
    assert!(finalizers(&setup, &namespace, "dry").await.is_empty());
    Ok(())
}
