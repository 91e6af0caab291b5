//! Thousands of records and incidents: the controller keeps few bytes of each, and reads few of them.

use cluster::{DEADLINE, wait_for};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use serde_json::{Value, json};

use crate::automatic_incidents::{fail, incident_of};
use crate::fixture::{Controller, Installation};
use crate::test_env::TestEnv;
use crate::{Error, TestResult};

const TOKEN: &str = "a-token-of-the-tests";

/// Hash of the group of [`notification`], as the label of its incidents has it.
const GROUP: &str = "57b043adc9109848";

/// Requests to the API server at the same time, while the objects are created.
const CONCURRENCY: usize = 32;

/// The memory limit of the chart, in bytes.
const MEMORY_LIMIT: u64 = 64 * 1024 * 1024;

/// The record of the only revision of a Deployment that is gone.
fn record(number: usize) -> Result<DoraDeployment, Error> {
    let uid = format!("{number:08x}-0000-4000-8000-000000000000");
    Ok(serde_json::from_value(json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment",
        "metadata": {"name": format!("web-{number}-1-{number:08x}")},
        "spec": {
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("web-{number}"), "uid": uid},
            "revision": {"number": 1, "name": format!("web-{number}-5f"), "uid": uid},
            "outcome": "Succeeded", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z",
        },
    }))?)
}

/// A resolved incident of an alert about one of these Deployments.
fn incident(number: usize, workloads: usize) -> Result<DoraIncident, Error> {
    let second = i64::try_from(number)? * 60;
    let time = |offset| Timestamp::from_second(1_767_312_000 + second + offset).map(|time| time.to_string());
    Ok(serde_json::from_value(json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
        "metadata": {"name": format!("high-latency-{number:05}"), "labels": {"dora.port.io/alert-group": GROUP}},
        "spec": {
            "title": "Checkout is slow", "description": "p99 of checkout is above 2 s. ".repeat(40),
            "status": "resolved", "createdAt": time(0)?, "resolvedAt": time(30)?,
            "workloadRef": {"name": format!("web-{}", number % workloads)},
        },
    }))?)
}

fn notification(namespace: &str, starts: Timestamp, ends: Option<Timestamp>) -> Value {
    let status = if ends.is_some() { "resolved" } else { "firing" };
    json!({
        "version": "4", "receiver": "port", "status": status, "groupKey": "{}:{alertname=\"HighLatency\"}",
        "commonLabels": {"alertname": "HighLatency", "namespace": namespace},
        "alerts": [{"status": status, "startsAt": starts, "endsAt": ends}],
    })
}

async fn send(controller: &Controller, notification: &Value) -> Result<String, Error> {
    let text = wait_for("the notification to be accepted", DEADLINE, async || {
        let request =
            reqwest::Client::new().post(controller.url("/alertmanager")).bearer_auth(TOKEN).json(notification);
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if status.is_success() { Ok(Some(text)) } else { Err(format!("{status}: {text}"))? }
    })
    .await?;
    Ok(text)
}

async fn create(setup: &Installation, namespace: &str, records: usize, incidents: usize) -> TestResult {
    let client = setup.client().await?;
    let deployments: Api<DoraDeployment> = Api::namespaced(client.clone(), namespace);
    let all: Vec<DoraDeployment> = (0..records).map(record).collect::<Result<_, _>>()?;
    stream::iter(&all)
        .map(|record| async { deployments.create(&PostParams::default(), record).await })
        .buffer_unordered(CONCURRENCY)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    let api: Api<DoraIncident> = Api::namespaced(client, namespace);
    let all: Vec<DoraIncident> = (0..incidents).map(|number| incident(number, records)).collect::<Result<_, _>>()?;
    stream::iter(&all)
        .map(|incident| async { api.create(&PostParams::default(), incident).await })
        .buffer_unordered(CONCURRENCY)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    Ok(())
}

/// The peak of the resident memory of a process, in bytes.
fn peak_memory(process: u32) -> Result<u64, Error> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_incidents_fit_into_the_limit() -> TestResult {
    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("load").await?;
    create(&setup, &namespace, 2000, 5000).await?;
    let token = setup.file("token");
    std::fs::write(&token, TOKEN)?;
    let environment = [("ALERTMANAGER_TOKEN_FILE", &*token.to_string_lossy()), ("RUST_LOG", "info")];
    let controller = setup.start_controller(&environment).await?;

    // Notifications of the large group, while the backlog is published.
    let starts = Timestamp::from_second(Timestamp::now().as_second())?;
    assert_eq!(send(&controller, &notification(&namespace, starts, None)).await?, "stored\n");
    assert_eq!(send(&controller, &notification(&namespace, starts, None)).await?, "nothing to change\n");
    assert_eq!(send(&controller, &notification(&namespace, starts, Some(starts))).await?, "stored\n");
    // A late end of an earlier episode, and an end without any incident.
    let (before, after) = (starts - std::time::Duration::from_secs(60), starts + std::time::Duration::from_secs(60));
    assert_eq!(send(&controller, &notification(&namespace, before, Some(before))).await?, "nothing to change\n");
    assert_eq!(send(&controller, &notification(&namespace, after, Some(after))).await?, "nothing to change\n");

    // Automatic incidents are opened meanwhile, and the backlog gets its causes.
    let env = TestEnv::on(&setup, "failed").await?;
    let rows = fail(&env).await?;
    incident_of(&env, &rows[1]).await?;
    wait_for("1000 incidents in Port", DEADLINE, async || {
        let count = setup.entities("dora_incident", &namespace).len();
        if count >= 1000 { Ok(Some(())) } else { Err(format!("{count} are there"))? }
    })
    .await?;
    let api: Api<DoraIncident> = Api::namespaced(setup.client().await?, &namespace);
    let cause = wait_for("the cause of an incident", DEADLINE, async || {
        let incident = api.get("high-latency-00500").await?;
        let cause = incident.status.and_then(|status| status.cause).ok_or("it has none")?;
        Ok(cause.entity.is_some().then_some(cause))
    })
    .await?;
    assert_eq!(cause.workload.name, "web-500");

    let peak = peak_memory(controller.process.id())?;
    assert!(peak < MEMORY_LIMIT, "the peak is {} KiB", peak / 1024);
    Ok(())
}
