//! Invalid input is explained on the resource that it concerns. Nothing is lost, and no other resource is blocked.

use cluster::{DEADLINE, wait_for};
use port_sim::{Effect, Fault};
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{Installation, deployment, incident};

#[tokio::test(flavor = "multi_thread")]
async fn refused_resource_says_why_and_blocks_no_other() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&[]).await?;
    // Wait for the first read of the blueprints, since refused resources are sent again after it.
    wait_for("the blueprints to be read", DEADLINE, async || {
        let (_, metrics) = controller.get("/metrics").await?;
        let is_known =
            |kind: &str| metrics.contains(&format!("port_dora_blueprint_missing_fields{{blueprint=\"{kind}\"}}"));
        Ok((is_known("dora_deployment") && is_known("dora_incident")).then_some(()))
    })
    .await?;
    let namespace = setup.namespace("refused").await?;
    let mut manifests = incident("wrong-query", "relations: {group: {combinator: nor, rules: []}}");
    manifests.push_str(&incident("unknown-group", "group: no_such_team"));
    for number in 0..10 {
        manifests.push_str(&incident(&format!("good-{number}"), "priority: low"));
    }
    setup.apply_in(&namespace, &manifests).await?;
    for number in 0..10 {
        setup.incident(&namespace, &format!("good-{number}"), "open").await?;
    }
    let (status, message) = setup.condition(&namespace, "dinc/wrong-query", "Synced", "Refused").await?;
    assert_eq!(status, "False");
    assert!(message.contains("combinator"), "the message of Port: {message}");
    let note = setup.event(&namespace, "wrong-query", "Refused").await?;
    assert!(note.contains("combinator"), "{note}");
    let (_, message) = setup.condition(&namespace, "dinc/unknown-group", "Synced", "NotFound").await?;
    assert!(message.contains("no_such_team"), "{message}");
    controller.logs("no_such_team").await?;
    // The write of the refusal to the status doesn't cause another request.
    let prefix = format!("test:{namespace}:wrong-query:");
    let is_sent = |body: &Value| body["identifier"].as_str().is_some_and(|identifier| identifier.starts_with(&prefix));
    let requests = setup.port.requests();
    let sent = requests.iter().filter(|request| request.body.as_ref().is_some_and(|body| is_sent(body))).count();
    assert!(sent <= 1, "the refused incident was sent more than once");

    // A corrected incident is delivered at once.
    setup.apply_in(&namespace, &incident("wrong-query", "properties: {urgency: high}")).await?;
    setup.condition(&namespace, "dinc/wrong-query", "Synced", "Delivered").await?;
    setup.incident(&namespace, "wrong-query", "open").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_blueprint_is_named_and_blocks_no_other() -> TestResult {
    let setup = Installation::exclusive().await?;
    assert!(setup.port.remove_blueprint("dora_deployment"));
    let _controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("blueprint").await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let records = setup.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let record = records[0].metadata.name.clone().unwrap();
    let (_, message) = setup.condition(&namespace, &format!("ddep/{record}"), "Synced", "NotFound").await?;
    assert!(message.contains("dora_deployment"), "{message}");
    setup.event(&namespace, &record, "NotFound").await?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    setup.incident(&namespace, "down", "open").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn corrected_credentials_deliver_everything() -> TestResult {
    let setup = Installation::exclusive().await?;
    let (mut controller, id, secret) = setup.start_controller_with_files().await?;
    std::fs::write(&secret, "hush-hush-wrong")?;
    std::fs::write(&id, port_sim::Options::default().client_id)?;
    let namespace = setup.namespace("credentials").await?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    let (_, message) = setup.condition(&namespace, "dinc/down", "Synced", "WrongCredentials").await?;
    assert!(message.contains("does not accept the client ID and client secret"), "{message}");
    let note = setup.event(&namespace, "down", "WrongCredentials").await?;
    std::fs::write(&secret, port_sim::Options::default().client_secret)?;
    setup.incident(&namespace, "down", "open").await?;
    setup.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    assert!(controller.process.exit_status()?.is_none());
    for text in [message, note, controller.process.log()?] {
        assert!(!text.contains("hush-hush"), "the secret was shown: {text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_after_an_outage_of_port() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("unreachable").await?;
    setup.port.set_reachable(false).await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    let (_, message) = setup.condition(&namespace, "dinc/down", "Synced", "Unreachable").await?;
    assert!(message.contains("127.0.0.1"), "the message names the host: {message}");
    setup.event(&namespace, "down", "Unreachable").await?;
    assert_eq!(controller.get("/readyz").await?.0, 200, "readiness does not depend on Port");
    setup.port.set_reachable(true).await?;
    setup.incident(&namespace, "down", "open").await?;
    setup.deployments(&namespace, &[("web:1", "success")]).await?;

    // The error page of a proxy, a server error, a write that is stored but not answered, and half an answer.
    let faults = [Effect::html(502), Effect::status(500), Effect::DropAfterHandling, Effect::HalfAnswer];
    for (number, effect) in faults.into_iter().enumerate() {
        let fault = setup.port.set_fault(Fault::new(effect).method("POST").path_prefix("/v1/blueprints").times(1))?;
        let name = format!("down-{number}");
        setup.apply_in(&namespace, &incident(&name, "priority: low")).await?;
        setup.incident(&namespace, &name, "open").await?;
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        setup.port.clear_fault(fault);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_base_url_is_explained() -> TestResult {
    let setup = Installation::exclusive().await?;
    // Another server answers, such as the web page of Port.
    setup.port.set_fault(Fault::new(Effect::html(404)))?;
    let _controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("base-url").await?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    let (_, message) = setup.condition(&namespace, "dinc/down", "Synced", "UnexpectedResponse").await?;
    assert!(message.contains("PORT_BASE_URL"), "the message names the setting to check: {message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_annotation_is_explained_and_omitted() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("annotation").await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "dora.port.io/commit-time: yesterday", "")).await?;
    let entity = setup.deployments(&namespace, &[("web:1", "success")]).await?.remove(0);
    assert!(!entity.properties.contains_key("lead_time_hours"), "unknown values are omitted: {:?}", entity.properties);
    let note = setup.event(&namespace, "web", "InvalidMetadata").await?;
    let records = setup.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let record = format!("ddep/{}", records[0].metadata.name.as_deref().unwrap());
    let (status, message) = setup.condition(&namespace, &record, "Valid", "PartiallyInvalid").await?;
    assert_eq!(status, "False");
    for text in [note, message] {
        assert!(text.contains("dora.port.io/commit-time") && text.contains("\"yesterday\""), "{text}");
        assert!(text.contains("write it like 2026-01-31T12:00:00Z"), "{text}");
    }
    // A commit time after the deployment is omitted as well.
    setup
        .apply_in(&namespace, &deployment("later", "app:v1", "dora.port.io/commit-time: '2100-01-01T00:00:00Z'", ""))
        .await?;
    let entities = setup.deployments(&namespace, &[("web:1", "success"), ("later:1", "success")]).await?;
    assert!(entities.iter().all(|entity| entity.properties.get("lead_time_hours").is_none()), "{}", json!(entities));
    Ok(())
}
