//! Changed settings: resources are assessed again, slowly, and only those whose entity is different now are sent and written.

use std::collections::BTreeMap;

use cluster::{DEADLINE, wait_for};
use futures::StreamExt;
use kube::Api;
use kube::api::{ListParams, PostParams};
use port_dora_controller::resources::DoraDeployment;
use serde_json::json;

use crate::fixture::{Controller, Installation, SAME_POD, api_requests, incident, synced_reason, text};
use crate::{Error, TestResult};

/// Number of records.
const RECORDS: usize = 200;

/// Logged when all resources have been assessed.
const ASSESSED: &str = "all resources are up to date with the settings";

/// Creates records of deployments outside Kubernetes, each with an environment of its own.
async fn create(api: &Api<DoraDeployment>) -> TestResult {
    let create = async |number: usize| {
        let record = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment", "metadata": {"name": format!("lambda-{number}")},
            "spec": {"outcome": "Succeeded", "finishedAt": "2026-01-31T12:00:00Z", "environment": format!("cell-{number}")},
        }))?;
        api.create(&PostParams::default(), &record).await?;
        Ok::<_, Error>(())
    };
    let created: Vec<_> = futures::stream::iter((0..RECORDS).map(create)).buffer_unordered(16).collect().await;
    created.into_iter().collect()
}

/// The versions of all records, once all of them are delivered and fulfil a condition.
async fn versions(
    api: &Api<DoraDeployment>,
    fulfils: impl Fn(&DoraDeployment) -> bool,
) -> Result<BTreeMap<String, String>, Error> {
    let records = wait_for("all records to be delivered", DEADLINE, async || {
        let records = api.list(&ListParams::default()).await?.items;
        let delivered = records.iter().filter(|record| synced_reason(record) == "Delivered" && fulfils(record)).count();
        if delivered == RECORDS { Ok(Some(records)) } else { Err(format!("{delivered} are"))? }
    })
    .await?;
    let metadata = records.into_iter().map(|record| record.metadata);
    Ok(metadata
        .map(|metadata| (metadata.name.unwrap_or_default(), metadata.resource_version.unwrap_or_default()))
        .collect())
}

/// Applies an incident and waits until it is delivered: what the controller does at its start has begun.
async fn witness(setup: &Installation, namespace: &str, name: &str) -> TestResult {
    setup.apply_in(namespace, &incident(name, "priority: high")).await?;
    setup.incident(namespace, name, "open").await?;
    Ok(())
}

async fn restart(setup: &Installation, mut controller: Controller, settings: &str) -> Result<Controller, Error> {
    controller.process.terminate(DEADLINE).await?;
    setup.start_controller_with_settings(settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_default_writes_only_what_it_concerns() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller_with_settings("").await?;
    let namespace = setup.namespace("settings").await?;
    let api: Api<DoraDeployment> = Api::namespaced(setup.client().await?, &namespace);
    create(&api).await?;
    let delivered = versions(&api, |_| true).await?;
    setup.port.clear_requests();

    // The records have environments of their own.
    let read = api_requests(&setup, "doradeployments").await?;
    let controller = restart(&setup, controller, "defaults: {environment: moon}").await?;
    controller.logs(ASSESSED).await?;
    assert_eq!(versions(&api, |_| true).await?, delivered, "no status is written");
    assert!(api_requests(&setup, "doradeployments").await? - read >= 200, "each record is assessed");
    let writes = |setup: &Installation| {
        setup.port.requests().iter().filter(|request| request.path.contains("/entities")).count()
    };
    assert_eq!(writes(&setup), 0, "nothing is sent");

    // The lease remembers it.
    let read = api_requests(&setup, "doradeployments").await?;
    let controller = restart(&setup, controller, "defaults: {environment: moon}").await?;
    witness(&setup, &namespace, "down").await?;
    assert_eq!(api_requests(&setup, "doradeployments").await?, read, "nothing is read after a restart");

    // Another status concerns all of them.
    let controller = restart(&setup, controller, "statuses: {Succeeded: done}\ndefaults: {environment: moon}").await?;
    controller.logs(ASSESSED).await?;
    let sent = versions(&api, |record| {
        delivered.get(record.metadata.name.as_deref().unwrap_or_default()) != record.metadata.resource_version.as_ref()
    })
    .await?;
    let entities = setup.entities("dora_deployment", &namespace);
    assert_eq!(
        entities.iter().filter(|entity| text(entity, "status") == "done" && entity.writes == 2).count(),
        RECORDS
    );

    // And so does the way back, although the records were written with these settings before.
    let controller = restart(&setup, controller, "defaults: {environment: moon}").await?;
    controller.logs(ASSESSED).await?;
    versions(&api, |record| {
        sent.get(record.metadata.name.as_deref().unwrap_or_default()) != record.metadata.resource_version.as_ref()
    })
    .await?;
    let entities = setup.entities("dora_deployment", &namespace);
    assert_eq!(
        entities.iter().filter(|entity| text(entity, "status") == "success" && entity.writes == 3).count(),
        RECORDS
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_logs_each_version_once() -> TestResult {
    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("dry").await?;
    let dry_run = |settings: &str| {
        let file = setup.file("dry.yaml");
        std::fs::write(&file, settings).map(|()| file.to_string_lossy().into_owned())
    };
    let file = dry_run("")?;
    let environment = [SAME_POD[0], ("DRY_RUN", "true"), ("CONFIG_FILE", &file)];
    let mut controller = setup.start_controller(&environment).await?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    setup.condition(&namespace, "dinc/down", "Synced", "DryRun").await?;
    let lines = |log: &str| log.lines().filter(|line| line.contains("the entity is not sent")).count();
    assert_eq!(lines(&controller.process.log()?), 1);
    setup.apply_in(&namespace, &incident("down", "priority: low")).await?;
    setup.condition(&namespace, "dinc/down", "Synced", "DryRun").await?;
    assert_eq!(lines(&controller.process.log()?), 2, "the entity has changed");
    controller.process.terminate(DEADLINE).await?;

    // Assessed again, and still the same.
    dry_run("defaults: {environment: moon}")?;
    let mut controller = setup.start_controller(&environment).await?;
    let log = controller.logs(ASSESSED).await?;
    assert_eq!(lines(&log), 0, "{log}");
    setup.apply_in(&namespace, &incident("up", "priority: low")).await?;
    setup.condition(&namespace, "dinc/up", "Synced", "DryRun").await?;
    let log = controller.process.log()?;
    assert_eq!(lines(&log), 1, "{log}");
    controller.process.terminate(DEADLINE).await?;
    assert!(setup.port.requests().iter().all(|request| !request.path.contains("/entities")), "nothing is sent");
    Ok(())
}
