//! What Port does not take is explained where a person looks, loses nothing and stops nothing else.

use cluster::wait_for;
use port_sim::{Effect, Fault};
use serde_json::json;

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation, deployment, incident};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_resource_says_why_and_holds_back_no_other() -> TestResult {
    let on = Installation::alone().await?;
    let controller = on.start_controller(&[]).await?;
    // When the blueprints are read for the first time, what was refused by then is sent once more.
    wait_for("the blueprints to be known", DEADLINE, async || {
        let (_, metrics) = controller.get("/metrics").await?;
        let is_known =
            |kind: &str| metrics.contains(&format!("port_dora_blueprint_missing_fields{{blueprint=\"{kind}\"}}"));
        Ok((is_known("dora_deployment") && is_known("dora_incident")).then_some(()))
    })
    .await?;
    let namespace = on.namespace("refused").await?;
    let mut manifests = incident("wrong-type", "properties: {time_to_resolve: soon}");
    manifests.push_str(&incident("unknown-group", "group: no_such_team"));
    for number in 0..10 {
        manifests.push_str(&incident(&format!("good-{number}"), "priority: low"));
    }
    on.apply_in(&namespace, &manifests).await?;
    for number in 0..10 {
        on.incident(&namespace, &format!("good-{number}"), "open").await?;
    }
    let (status, message) = on.condition(&namespace, "dinc/wrong-type", "Synced", "Refused").await?;
    assert_eq!(status, "False");
    assert!(message.contains("time_to_resolve"), "Port's own words: {message}");
    let note = on.event(&namespace, "wrong-type", "Refused").await?;
    assert!(note.contains("time_to_resolve"), "{note}");
    let (_, message) = on.condition(&namespace, "dinc/unknown-group", "Synced", "NotFound").await?;
    assert!(message.contains("no_such_team"), "{message}");
    controller.logs("no_such_team").await?;
    // Writing the refusal into the status is no reason to send the same again.
    let sent = |name: &str| {
        let requests = on.port.requests();
        requests.iter().filter(|request| request.body.as_ref().is_some_and(|body| body["identifier"] == name)).count()
    };
    assert!(sent(&format!("test:{namespace}:wrong-type")) <= 1, "sent alone more than once");

    // What is mended is delivered at once.
    on.apply_in(&namespace, &incident("wrong-type", "properties: {urgency: high}")).await?;
    on.condition(&namespace, "dinc/wrong-type", "Synced", "Delivered").await?;
    on.incident(&namespace, "wrong-type", "open").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_blueprint_is_named_and_other_kinds_go_on() -> TestResult {
    let on = Installation::alone().await?;
    assert!(on.port.remove_blueprint("dora_deployment"));
    let _controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("blueprint").await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let records = on.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let record = records[0].metadata.name.clone().unwrap();
    let (_, message) = on.condition(&namespace, &format!("ddep/{record}"), "Synced", "NotFound").await?;
    assert!(message.contains("dora_deployment"), "{message}");
    on.event(&namespace, &record, "NotFound").await?;
    on.apply_in(&namespace, &incident("down", "priority: high")).await?;
    on.incident(&namespace, "down", "open").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_explained_and_their_correction_delivers_everything() -> TestResult {
    let on = Installation::alone().await?;
    let (mut controller, id, secret) = on.start_controller_with_files().await?;
    std::fs::write(&secret, "hush-hush-wrong")?;
    std::fs::write(&id, port_sim::Options::default().client_id)?;
    let namespace = on.namespace("credentials").await?;
    on.apply_in(&namespace, &incident("down", "priority: high")).await?;
    let (_, message) = on.condition(&namespace, "dinc/down", "Synced", "WrongCredentials").await?;
    assert!(message.contains("does not accept the client ID and client secret"), "{message}");
    let note = on.event(&namespace, "down", "WrongCredentials").await?;
    std::fs::write(&secret, port_sim::Options::default().client_secret)?;
    on.incident(&namespace, "down", "open").await?;
    on.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    assert!(controller.process.exit_status()?.is_none());
    for said in [message, note, controller.process.log()?] {
        assert!(!said.contains("hush-hush"), "the secret was said: {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_port_is_explained_and_everything_arrives_when_it_is_back() -> TestResult {
    let on = Installation::alone().await?;
    let controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("unreachable").await?;
    on.port.set_reachable(false).await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    on.apply_in(&namespace, &incident("down", "priority: high")).await?;
    let (_, message) = on.condition(&namespace, "dinc/down", "Synced", "Unreachable").await?;
    assert!(message.contains("127.0.0.1"), "the host: {message}");
    on.event(&namespace, "down", "Unreachable").await?;
    assert_eq!(controller.get("/readyz").await?.0, 200, "it does not depend on Port");
    on.port.set_reachable(true).await?;
    on.incident(&namespace, "down", "open").await?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;

    // A proxy's error page, a server error, a write that was stored and never answered, and half an answer.
    let faults = [Effect::html(502), Effect::status(500), Effect::DropAfterHandling, Effect::HalfAnswer];
    for (number, effect) in faults.into_iter().enumerate() {
        let fault = on.port.set_fault(Fault::new(effect).method("POST").path_prefix("/v1/blueprints").times(1))?;
        let name = format!("down-{number}");
        on.apply_in(&namespace, &incident(&name, "priority: low")).await?;
        on.incident(&namespace, &name, "open").await?;
        on.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        on.port.clear_fault(fault);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_base_url_is_explained() -> TestResult {
    let on = Installation::alone().await?;
    // Somebody else answers, as the web page of Port does.
    on.port.set_fault(Fault::new(Effect::html(404)))?;
    let _controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("base-url").await?;
    on.apply_in(&namespace, &incident("down", "priority: high")).await?;
    let (_, message) = on.condition(&namespace, "dinc/down", "Synced", "UnexpectedResponse").await?;
    assert!(message.contains("PORT_BASE_URL"), "what to check: {message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_annotation_is_explained_and_costs_only_itself() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("annotation").await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "dora.port.io/commit-time: yesterday", "")).await?;
    let entity = on.deployments(&namespace, &[("web:1", "success")]).await?.remove(0);
    assert!(!entity.properties.contains_key("lead_time_hours"), "never guessed: {:?}", entity.properties);
    let note = on.event(&namespace, "web", "InvalidMetadata").await?;
    let records = on.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let record = format!("ddep/{}", records[0].metadata.name.as_deref().unwrap());
    let (status, message) = on.condition(&namespace, &record, "Valid", "PartiallyInvalid").await?;
    assert_eq!(status, "False");
    for said in [note, message] {
        assert!(said.contains("dora.port.io/commit-time") && said.contains("\"yesterday\""), "{said}");
        assert!(said.contains("write it like 2026-01-31T12:00:00Z"), "{said}");
    }
    // A commit after the deployment is no better.
    on.apply_in(&namespace, &deployment("later", "app:v1", "dora.port.io/commit-time: '2100-01-01T00:00:00Z'", ""))
        .await?;
    let entities = on.deployments(&namespace, &[("web:1", "success"), ("later:1", "success")]).await?;
    assert!(entities.iter().all(|entity| entity.properties.get("lead_time_hours").is_none()), "{}", json!(entities));
    Ok(())
}
