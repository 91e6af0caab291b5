//! Tenants are separate: nobody can overwrite, hide or delete what the controller reports of another namespace.

use cluster::{DEADLINE, wait_for};
use kube::ResourceExt;
use port_dora_controller::resources::DoraDeployment;
use port_sim::Entity;
use serde_json::json;

use crate::fixture::{Controller, Installation, SAME_POD, deployment, incident};
use crate::incident_deletion::{delete, wait_until_gone};
use crate::test_env::TestEnv;
use crate::web::Web;
use crate::{Error, TestResult};

/// Waits until the entity of incidents with this identifier has this title.
async fn titled(setup: &Installation, identifier: &str, title: &str) -> TestResult {
    wait_for(format!("{identifier} to be {title} in Port"), DEADLINE, async || {
        let entity = setup.port.entity("dora_incident", identifier).ok_or("it is missing")?;
        if entity.title.as_deref() == Some(title) { Ok(Some(())) } else { Err(format!("{:?}", entity.title))? }
    })
    .await?;
    Ok(())
}

/// Waits until an incident is refused because its identifier belongs to `owner`.
async fn taken(setup: &Installation, namespace: &str, name: &str, owner: &str) -> TestResult {
    let resource = format!("dinc/{name}");
    for kind in ["Valid", "Synced"] {
        let (status, message) = setup.condition(namespace, &resource, kind, "IdentifierTaken").await?;
        assert!(status == "False" && message.contains(owner), "{kind}: {message}");
    }
    Ok(())
}

async fn refused(controller: &Controller, reason: &str) -> Result<Option<String>, Error> {
    let (_, metrics) = controller.get("/metrics").await?;
    let name = format!("port_dora_resources_refused_total{{kind=\"DoraIncident\",reason=\"{reason}\"}} ");
    Ok(metrics.lines().find_map(|line| Some(line.strip_prefix(&name)?.to_owned())))
}

#[tokio::test(flavor = "multi_thread")]
async fn first_owner_of_an_identifier_keeps_its_entity() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let (first, second) = (setup.namespace("first").await?, setup.namespace("second").await?);
    let spec = |title: &str| format!("identifier: payroll-1, title: {title}, deletionPolicy: Delete");
    setup.apply_in(&first, &incident("down", &spec("First"))).await?;
    setup.condition(&first, "dinc/down", "Synced", "Delivered").await?;
    let owner = format!("DoraIncident {first}/down");
    setup.apply_in(&second, &incident("down", &spec("Second"))).await?;
    taken(&setup, &second, "down", &owner).await?;
    let note = setup.event(&second, "down", "IdentifierTaken").await?;
    assert_eq!(note.matches(&owner).count(), 1, "one Event: {note}");
    assert_eq!(refused(&controller, "IdentifierTaken").await?.as_deref(), Some("1"));

    // Neither a change of the second, nor its deletion, nor a restart changes the entity of the first.
    setup.apply_in(&second, &incident("down", &spec("Changed"))).await?;
    taken(&setup, &second, "down", &owner).await?;
    delete(&setup, &second, "down").await?;
    wait_until_gone(&setup, &second, "down", DEADLINE).await?;
    controller.process.kill()?;
    setup.apply_in(&second, &incident("next", &spec("Next"))).await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    taken(&setup, &second, "next", &owner).await?;
    let entity = setup.port.entity("dora_incident", "payroll-1").ok_or("the entity is gone")?;
    assert_eq!((entity.title.as_deref(), entity.writes), (Some("First"), 1));

    // The next one gets the identifier when the first is gone, also if that happened while the controller was away.
    controller.process.kill()?;
    setup.apply_in(&second, &incident("last", &spec("Last"))).await?;
    setup.patch(&first, "dinc/down", "merge", r#"{"metadata":{"finalizers":null}}"#).await?;
    delete(&setup, &first, "down").await?;
    wait_until_gone(&setup, &first, "down", DEADLINE).await?;
    let _controller = setup.start_controller(&SAME_POD).await?;
    titled(&setup, "payroll-1", "Next").await?;
    setup.condition(&second, "dinc/next", "Synced", "Delivered").await?;
    assert!(setup.get_incident(&second, "next").await?.status.unwrap().conditions.iter().all(|it| it.type_ != "Valid"));
    taken(&setup, &second, "last", &format!("DoraIncident {second}/next")).await?;
    delete(&setup, &second, "next").await?;
    titled(&setup, "payroll-1", "Last").await?;
    setup.condition(&second, "dinc/last", "Synced", "Delivered").await?;
    Ok(())
}

/// A `DoraDeployment` outside Kubernetes, as a YAML document. `spec` is YAML without braces.
fn record(name: &str, spec: &str) -> String {
    let spec = format!("outcome: Failed, finishedAt: 2026-01-31T12:00:00Z, {spec}");
    format!(
        "---\n{{apiVersion: dora.port.io/v1alpha1, kind: DoraDeployment, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_of_other_namespaces_are_refused() -> TestResult {
    let setup = Installation::shared().await;
    let (tenant, other) = (setup.namespace("tenant").await?, setup.namespace("other").await?);
    setup.apply_in(&tenant, &(deployment("web", "app:v1", "", "") + &incident("down", ""))).await?;
    setup.delivered(&tenant, "web:1").await?;
    setup.condition(&tenant, "dinc/down", "Synced", "Delivered").await?;
    let deployed = setup.deployments(&tenant, &[("web:1", "success")]).await?.remove(0);
    let opened = setup.incident(&tenant, "down", "open").await?;
    let identifier = |entity: &Entity| format!("identifier: '{}'", entity.identifier);
    let manifests = record("forged", &identifier(&deployed))
        + &record("own", &format!("identifier: 'test:{other}:payroll'"))
        + &incident("forged", &format!("{}, status: resolved, deletionPolicy: Delete", identifier(&opened)));
    setup.apply_in(&other, &manifests).await?;
    for resource in ["ddep/forged", "dinc/forged"] {
        let (status, message) = setup.condition(&other, resource, "Valid", "ForeignIdentifier").await?;
        assert!(status == "False" && message.contains(&format!("test:{tenant}:")), "{message}");
        setup.condition(&other, resource, "Synced", "ForeignIdentifier").await?;
    }
    setup.event(&other, "forged", "ForeignIdentifier").await?;
    setup.condition(&other, "ddep/own", "Synced", "Delivered").await?;
    delete(setup, &other, "forged").await?;
    wait_until_gone(setup, &other, "forged", DEADLINE).await?;
    assert_eq!(setup.port.entity("dora_deployment", &deployed.identifier), Some(deployed));
    assert_eq!(setup.port.entity("dora_incident", &opened.identifier), Some(opened));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_status_deletes_no_entity_of_others() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&SAME_POD).await?;
    let (tenant, other) = (setup.namespace("tenant").await?, setup.namespace("other").await?);
    setup.apply_in(&tenant, &incident("down", "")).await?;
    setup.condition(&tenant, "dinc/down", "Synced", "Delivered").await?;
    let entity = setup.incident(&tenant, "down", "open").await?;
    let forged = [("identifier", "dora_incident", entity.identifier.as_str()), ("blueprint", "group", "all_teams")];
    for (name, blueprint, identifier) in forged {
        setup.apply_in(&other, &incident(name, "deletionPolicy: Delete")).await?;
        setup.condition(&other, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        let patch = json!({"status": {"entity": {"blueprint": blueprint, "identifier": identifier}}}).to_string();
        setup
            .kubectl([
                "--namespace",
                &other,
                "patch",
                "dinc",
                name,
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch,
            ])
            .await?;
        delete(&setup, &other, name).await?;
        wait_until_gone(&setup, &other, name, DEADLINE).await?;
        let note = setup.event(&other, name, "ForeignIdentifier").await?;
        assert!(note.contains(identifier) && note.contains("is not deleted"), "{note}");
        assert!(setup.port.entity(blueprint, identifier).is_some(), "{blueprint} {identifier}");
    }
    assert_eq!(refused(&controller, "ForeignIdentifier").await?.as_deref(), Some("2"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_records_hold_back_no_resolution() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let env = TestEnv::on(&setup, "forged").await?;
    env.apply_failing(&Web { image: "app:broken", ..Web::default() }).await?;
    let rows = env.table(&["web:1 Initial Failed failed"]).await?;
    let original = &rows[0].record;
    let name = original.name_any();
    setup.incident(&env.namespace, &name, "open").await?;
    // Records of other namespaces name the same workload.
    for number in 0..9 {
        let namespace = setup.namespace(&format!("forger-{number}")).await?;
        let copy = DoraDeployment::new(&name, original.spec.clone());
        setup.apply_in(&namespace, &serde_json::to_string(&copy)?).await?;
        setup.condition(&namespace, &format!("ddep/{name}"), "Synced", "Delivered").await?;
        let entities = setup.entities("dora_deployment", &namespace);
        assert_eq!(entities.len(), 1, "the forged record has an entity of its own namespace: {entities:?}");
    }
    // After a restart, only records and incidents tell which workload it was.
    controller.process.kill()?;
    env.kubectl("delete deployment web").await?;
    let _controller = setup.start_controller(&SAME_POD).await?;
    setup.incident(&env.namespace, &name, "resolved").await?;
    let after = env.table(&["web:1 Initial Failed failed"]).await?;
    assert_eq!(after[0].entity, rows[0].entity, "the entity is unchanged");
    Ok(())
}
