//! What becomes of an incident in Port when its resource is deleted, and that this never holds up the deletion for long.

use std::time::Duration;

use cluster::wait_for;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use port_dora_controller::resources::DoraIncident;
use port_sim::{Effect, Fault, Request};
use serde_json::json;

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation, SAME_POD, incident};

const FINALIZER: &str = "dora.port.io/entity";

/// The two minutes that a resource may wait for Port, and what the cluster needs besides.
const FAREWELL: Duration = Duration::from_secs(120);

async fn finalizers(on: &Installation, namespace: &str, name: &str) -> Vec<String> {
    on.get_incident(namespace, name).await.unwrap().metadata.finalizers.unwrap_or_default()
}

/// `kubectl delete` without waiting.
async fn delete(on: &Installation, namespace: &str, name: &str) -> TestResult {
    on.kubectl(["--namespace", namespace, "delete", "dinc", name, "--wait=false"]).await?;
    Ok(())
}

async fn gone(on: &Installation, namespace: &str, name: &str, deadline: Duration) -> TestResult {
    let api: Api<DoraIncident> = Api::namespaced(on.client().await?, namespace);
    wait_for(format!("the incident {name} to be gone"), deadline, async || {
        Ok(api.get_metadata_opt(name).await?.is_none().then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entity_goes_with_its_resource_only_where_that_is_asked_for() -> TestResult {
    let on = &Installation::alone().await?;
    let controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("deletion").await?;
    let identifier = |name: &str| format!("test:{namespace}:{name}");
    let is_in_port = |name: &str| on.port.entity("dora_incident", &identifier(name)).is_some();
    on.apply_in(&namespace, &(incident("stays", "") + &incident("goes", "deletionPolicy: Delete"))).await?;
    on.apply_in(&namespace, &incident("kept", "deletionPolicy: Delete")).await?;
    for name in ["stays", "goes", "kept"] {
        on.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    assert!(finalizers(on, &namespace, "stays").await.is_empty());
    assert_eq!(finalizers(on, &namespace, "goes").await, [FINALIZER]);
    // The finalizer of somebody else stays where it is, and so does the entity when the policy changes.
    on.kubectl([
        "--namespace",
        &namespace,
        "patch",
        "dinc",
        "kept",
        "--type=json",
        "--patch",
        r#"[{"op":"add","path":"/metadata/finalizers/-","value":"example.com/mine"}]"#,
    ])
    .await?;
    on.apply_in(&namespace, &incident("kept", "deletionPolicy: Retain")).await?;
    wait_for("the finalizer to go with the policy", DEADLINE, async || {
        Ok((finalizers(on, &namespace, "kept").await == ["example.com/mine"]).then_some(()))
    })
    .await?;

    delete(on, &namespace, "kept").await?;
    // It is still there and changes, and Port isn't told any more.
    on.kubectl([
        "--namespace",
        &namespace,
        "patch",
        "dinc",
        "kept",
        "--type=merge",
        "--patch",
        r#"{"spec":{"priority":"late"}}"#,
    ])
    .await?;
    delete(on, &namespace, "goes").await?;
    delete(on, &namespace, "stays").await?;
    gone(on, &namespace, "goes", DEADLINE).await?;
    gone(on, &namespace, "stays", DEADLINE).await?;
    assert!(!is_in_port("goes"));
    // What comes later is seen later, and then nothing waits any more.
    on.apply_in(&namespace, &incident("later", "")).await?;
    on.condition(&namespace, "dinc/later", "Synced", "Delivered").await?;
    controller.waiting("DoraIncident", 0).await?;
    assert!(is_in_port("stays"));
    let kept = on.port.entity("dora_incident", &identifier("kept")).unwrap();
    assert!(!kept.properties.contains_key("priority"), "{:?}", kept.properties);
    on.kubectl([
        "--namespace",
        &namespace,
        "patch",
        "dinc",
        "kept",
        "--type=merge",
        "--patch",
        r#"{"metadata":{"finalizers":null}}"#,
    ])
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_made_up_for_and_comes_after_what_is_being_sent() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    let namespace = on.namespace("made-up").await?;
    on.apply_in(&namespace, &(incident("a", "deletionPolicy: Delete") + &incident("b", "deletionPolicy: Delete")))
        .await?;
    for name in ["a", "b"] {
        on.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    controller.process.kill()?;
    delete(&on, &namespace, "a").await?;
    // Port fails a few times first, and had lost the entity of the other one already.
    on.port.set_fault(Fault::new(Effect::status(503)).method("DELETE").times(2))?;
    delete(&on, &namespace, "b").await?;
    let _controller = on.start_controller(&SAME_POD).await?;
    for name in ["a", "b"] {
        gone(&on, &namespace, name, DEADLINE).await?;
        assert!(on.port.entity("dora_incident", &format!("test:{namespace}:{name}")).is_none(), "{name}");
    }

    // One whose upsert takes long and is deleted meanwhile. If that took so long that the controller gave up the upsert, another one.
    for number in 0.. {
        let (name, title) = (format!("slow-{number}"), format!("made-up-slow-{number}"));
        let slow = Fault::new(Effect::HandleOnceCleared).method("POST").body_contains(&title).times(1);
        let slow = on.port.set_fault(slow)?;
        on.apply_in(&namespace, &incident(&name, &format!("deletionPolicy: Delete, title: {title}"))).await?;
        let upsert = || {
            let is_it = |request: &Request| request.body.as_ref().is_some_and(|body| body["title"] == title);
            on.port.requests().into_iter().find(is_it)
        };
        wait_for("the upsert to be under way", DEADLINE, async || Ok(upsert().map(drop))).await?;
        delete(&on, &namespace, &name).await?;
        // What comes later is seen later.
        let later = format!("later-{number}");
        on.apply_in(&namespace, &incident(&later, "")).await?;
        on.condition(&namespace, &format!("dinc/{later}"), "Synced", "Delivered").await?;
        on.port.clear_fault(slow);
        gone(&on, &namespace, &name, DEADLINE).await?;
        let identifier = format!("test:{namespace}:{name}");
        assert!(on.port.entity("dora_incident", &identifier).is_none());
        if let Some(answered) = upsert().and_then(|upsert| upsert.answered_after) {
            let requests = on.port.requests();
            let deletion =
                requests.iter().find(|request| request.method == "DELETE" && request.path.contains(&name)).unwrap();
            assert!(deletion.received_after >= answered, "it comes after what is being sent: {requests:?}");
            break;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_ends_although_port_is_away() -> TestResult {
    let on = Installation::alone().await?;
    let controller = on.start_controller(&SAME_POD).await?;
    let (ending, other) = (on.namespace("ending").await?, on.namespace("other").await?);
    on.apply_in(&ending, &incident("down", "deletionPolicy: Delete")).await?;
    on.apply_in(&other, &incident("down", "deletionPolicy: Delete")).await?;
    on.condition(&ending, "dinc/down", "Synced", "Delivered").await?;
    on.condition(&other, "dinc/down", "Synced", "Delivered").await?;
    on.port.set_reachable(false).await?;
    on.kubectl(["delete", "namespace", &ending, "--wait=false"]).await?;
    delete(&on, &other, "down").await?;
    controller.logs("failed to delete the entity from Port").await?;
    gone(&on, &other, "down", FAREWELL + DEADLINE).await?;
    let log = controller.process.log()?;
    let line = |text: &str| log.lines().position(|line| line.contains(text) && line.contains(&other));
    let waited = line("failed to delete the entity from Port").ok_or("nothing was to wait for Port")?;
    assert!(Some(waited) < line("stays in Port although"), "it waits for Port: {log}");
    let note = on.event(&other, "down", "EntityOrphaned").await?;
    assert!(note.contains(&format!("test:{other}:down")) && note.contains("Delete the entity in Port"), "{note}");
    let namespaces: Api<Namespace> = Api::all(on.client().await?);
    wait_for("the namespace to be gone", FAREWELL + DEADLINE, async || {
        Ok(namespaces.get_opt(&ending).await?.is_none().then_some(()))
    })
    .await?;
    let (_, metrics) = controller.get("/metrics").await?;
    assert!(metrics.contains(r#"port_dora_entities_orphaned_total{kind="DoraIncident"} 2"#), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_that_can_not_be_read_can_be_deleted() -> TestResult {
    let on = Installation::on_own_cluster().await?;
    let controller = on.start_controller(&SAME_POD).await?;
    let namespace = on.namespace("unreadable").await?;
    on.apply_in(&namespace, &incident("odd", "deletionPolicy: Delete")).await?;
    on.condition(&namespace, "dinc/odd", "Synced", "Delivered").await?;
    // Another version of the definition allows what this one can't read.
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/priority",
        "value": {"type": "integer"}}]);
    on.kubectl(["patch", "crd", "doraincidents.dora.port.io", "--type=json", "--patch", &patch.to_string()]).await?;
    wait_for("the other definition to be in force", DEADLINE, async || {
        on.apply_in(&namespace, &incident("odd", "deletionPolicy: Delete, priority: 1")).await?;
        Ok(Some(()))
    })
    .await?;
    controller.logs("failed to read the resource").await?;
    delete(&on, &namespace, "odd").await?;
    gone(&on, &namespace, "odd", DEADLINE).await?;
    assert!(on.port.entity("dora_incident", &format!("test:{namespace}:odd")).is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_nothing_holds_up_a_deletion() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    let namespace = on.namespace("credentials").await?;
    on.apply_in(&namespace, &incident("sent", "deletionPolicy: Delete")).await?;
    on.condition(&namespace, "dinc/sent", "Synced", "Delivered").await?;
    controller.process.kill()?;
    let without = [("PORT_CLIENT_ID", ""), ("PORT_CLIENT_SECRET", ""), SAME_POD[0]];
    let mut controller = on.start_controller(&without).await?;
    on.apply_in(&namespace, &incident("unsent", "deletionPolicy: Delete")).await?;
    on.condition(&namespace, "dinc/unsent", "Synced", "NoCredentials").await?;
    delete(&on, &namespace, "sent").await?;
    delete(&on, &namespace, "unsent").await?;
    gone(&on, &namespace, "sent", DEADLINE).await?;
    gone(&on, &namespace, "unsent", DEADLINE).await?;
    // Not because two minutes are over.
    let note = on.event(&namespace, "sent", "EntityOrphaned").await?;
    assert!(note.contains("no Port credentials are set"), "{note}");
    let log = controller.process.log()?;
    assert!(!log.contains("failed to delete the entity from Port"), "{log}");

    // A dry run promises nothing to begin with.
    controller.process.kill()?;
    let _controller = on.start_controller(&[("DRY_RUN", "true"), SAME_POD[0]]).await?;
    on.apply_in(&namespace, &incident("dry", "deletionPolicy: Delete")).await?;
    on.condition(&namespace, "dinc/dry", "Synced", "DryRun").await?;
    assert!(finalizers(&on, &namespace, "dry").await.is_empty());
    Ok(())
}
