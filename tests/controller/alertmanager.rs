//! A real Alertmanager sends its alerts to the controller.

use std::path::PathBuf;
use std::process::Command;

use cluster::{DEADLINE, Process, Program, ensure_one, wait_for};
use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use port_dora_controller::resources::{DoraIncident, IncidentStatus};
use serde_json::{Value, json};

use crate::fixture::{Controller, Installation, RELEASE, SAME_POD, text};
use crate::{Error, TestResult};

const TOKEN: &str = "a-token-of-the-tests";

/// An Alertmanager whose state survives a restart.
struct Alertmanager {
    program: PathBuf,
    folder: PathBuf,
    address: String,
}

impl Alertmanager {
    /// Prepares the folder, the token and the address.
    fn new(setup: &Installation) -> Result<Self, Error> {
        let folder = setup.file("alertmanager");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("token"), format!("{TOKEN}\n"))?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        Ok(Self { program: ensure_one(Program::Alertmanager)?, folder, address })
    }

    fn token(&self) -> String {
        self.folder.join("token").display().to_string()
    }

    /// Starts the process, with a configuration that sends notifications to `controller` and repeats them after a
    /// second.
    async fn start(&self, setup: &Installation, controller: &Controller) -> Result<Process, Error> {
        let config = json!({
            "route": {
                "receiver": "port", "group_by": ["alertname", "namespace"],
                "group_wait": "100ms", "group_interval": "500ms", "repeat_interval": "1s",
            },
            "receivers": [{"name": "port", "webhook_configs": [{
                "url": controller.url("/alertmanager"),
                "send_resolved": true,
                "http_config": {"authorization": {"credentials_file": self.token()}},
            }]}],
        });
        let file = self.folder.join("config.yml");
        std::fs::write(&file, config.to_string())?;
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", self.folder.join("data").display()))
            .arg(format!("--web.listen-address={}", self.address))
            .arg("--cluster.listen-address=")
            .arg("--log.level=debug");
        let process = Process::start(setup, "alertmanager", command)?;
        wait_for("Alertmanager to be ready", DEADLINE, async || {
            let ready = reqwest::get(format!("http://{}/-/ready", self.address)).await?;
            Ok(ready.status().is_success().then_some(()))
        })
        .await?;
        Ok(process)
    }

    /// Sends an alert, like Prometheus does while the alert fires and once when it ends.
    async fn alert(&self, namespace: &str, starts: Timestamp, ends: Timestamp) -> TestResult {
        let alerts = json!([{
            "labels": {"alertname": "HighLatency", "namespace": namespace, "severity": "high"},
            "annotations": {"summary": "Checkout is slow", "runbook_url": "https://wiki.example.com/latency"},
            "startsAt": starts,
            "endsAt": ends,
            "generatorURL": "http://prometheus.example.com/graph",
        }]);
        let url = format!("http://{}/api/v2/alerts", self.address);
        reqwest::Client::new().post(url).json(&alerts).send().await?.error_for_status()?;
        Ok(())
    }

    /// The number of failed notifications.
    async fn failures(&self) -> Result<f64, Error> {
        let metrics = reqwest::get(format!("http://{}/metrics", self.address)).await?.text().await?;
        let failed = "alertmanager_notification_requests_failed_total{integration=\"webhook\"";
        let failures = metrics.lines().filter(|line| line.starts_with(failed));
        Ok(failures.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

/// Waits until the namespace has an incident, and asserts that it is the only one.
async fn only_incident(setup: &Installation, namespace: &str) -> Result<DoraIncident, Error> {
    let api: Api<DoraIncident> = Api::namespaced(setup.client().await?, namespace);
    let incident = wait_for("the incident of the alert", DEADLINE, async || {
        let mut incidents = api.list(&ListParams::default()).await?.items;
        assert!(incidents.len() <= 1, "{incidents:?}");
        Ok(incidents.pop())
    })
    .await?;
    Ok(incident)
}

/// The number of notifications that the controller received with this status and result.
async fn received(controller: &Controller, status: &str, result: &str) -> Result<u64, Error> {
    let (_, metrics) = controller.get("/metrics").await?;
    let name = format!("port_dora_alerts_received_total{{status=\"{status}\",result=\"{result}\"}} ");
    Ok(metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0))
}

/// Waits until the controller has received another notification with this status and result.
async fn next_notification(controller: &Controller, status: &str, result: &str) -> TestResult {
    let before = received(controller, status, result).await?;
    wait_for(format!("another {status} notification with the result {result}"), DEADLINE, async || {
        Ok((received(controller, status, result).await? > before).then_some(()))
    })
    .await?;
    Ok(())
}

/// The time without fractions of a second.
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn alert_is_one_incident_despite_restarts() -> TestResult {
    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("alerts").await?;
    let alertmanager = Alertmanager::new(&setup)?;
    let token = alertmanager.token();
    // A fixed address, so that Alertmanager finds the controller after a restart.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let environment = [("ALERTMANAGER_TOKEN_FILE", token.as_str()), SAME_POD[0]];
    let mut controller = setup.start_controller_at(&address, &environment).await?;
    let mut process = alertmanager.start(&setup, &controller).await?;

    let hour = std::time::Duration::from_secs(3600);
    let starts = Timestamp::now() - std::time::Duration::from_secs(600);
    alertmanager.alert(&namespace, starts, starts + 2 * hour).await?;
    let opened = only_incident(&setup, &namespace).await?;
    assert_eq!(opened.spec.created_at.as_ref().map(|time| time.0), Some(seconds(starts)));
    let name = opened.metadata.name.clone().unwrap();
    let entity = setup.incident(&namespace, &name, "open").await?;
    assert_eq!(entity.title.as_deref(), Some("Checkout is slow"));
    assert_eq!(text(&entity, "priority"), "high");
    assert_eq!(text(&entity, "incident_url"), "https://wiki.example.com/latency");
    next_notification(&controller, "firing", "unchanged").await?;

    // The edits of a person are kept when the alert ends.
    let edit = r#"{"spec": {"title": "Checkout is down"}}"#;
    setup.kubectl(["--namespace", &namespace, "patch", "dinc", &name, "--type=merge", "--patch", edit]).await?;

    process.kill()?;
    let _process = alertmanager.start(&setup, &controller).await?;
    alertmanager.alert(&namespace, starts, starts + 2 * hour).await?;
    next_notification(&controller, "firing", "unchanged").await?;
    only_incident(&setup, &namespace).await?;

    controller.process.kill()?;
    let before = alertmanager.failures().await?;
    let ends = Timestamp::now();
    alertmanager.alert(&namespace, starts, ends).await?;
    wait_for("a failed notification", DEADLINE, async || Ok((alertmanager.failures().await? > before).then_some(())))
        .await?;
    assert_eq!(only_incident(&setup, &namespace).await?.spec.status, IncidentStatus::Open);
    let controller = setup.start_controller_at(&address, &environment).await?;
    let entity = setup.incident(&namespace, &name, "resolved").await?;
    assert_eq!(text(&entity, "resolved_at"), format!("{:.3}", seconds(ends)));
    assert_eq!(entity.title.as_deref(), Some("Checkout is down"));
    let resolved = only_incident(&setup, &namespace).await?;
    assert_eq!(resolved.spec.resolved_at.map(|time| time.0), Some(seconds(ends)));
    assert!(!controller.process.log()?.contains(TOKEN), "the token is in the log");

    // When the alert fires again, it is another incident.
    let again = ends + std::time::Duration::from_secs(2);
    alertmanager.alert(&namespace, again, again + hour).await?;
    let api: Api<DoraIncident> = Api::namespaced(setup.client().await?, &namespace);
    wait_for("a second incident", DEADLINE, async || {
        Ok((api.list(&ListParams::default()).await?.items.len() == 2).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn alert_of_a_missing_namespace_opens_an_incident() -> TestResult {
    let setup = Installation::exclusive().await?;
    let alertmanager = Alertmanager::new(&setup)?;
    let controller = setup.start_controller(&[("ALERTMANAGER_TOKEN_FILE", &alertmanager.token())]).await?;
    let _process = alertmanager.start(&setup, &controller).await?;
    let now = Timestamp::now();
    alertmanager.alert("gone", now, now + std::time::Duration::from_secs(3600)).await?;
    let incident = only_incident(&setup, RELEASE).await?;
    let annotations = incident.metadata.annotations.unwrap_or_default();
    assert_eq!(annotations["dora.port.io/alert-namespace"], "gone");
    controller.logs("the namespace of the alerts doesn't exist").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_file_there_is_no_receiver() -> TestResult {
    let setup = Installation::shared().await;
    // In this namespace, the controller has no right to hold a lease, so it can't replace the leader of the shared
    // installation.
    let namespace = setup.namespace("no-receiver").await?;
    let controller = setup.start_controller(&[("POD_NAMESPACE", &namespace)]).await?;
    let answer = reqwest::Client::new().post(controller.url("/alertmanager")).json(&Value::Null).send().await?;
    assert_eq!(answer.status().as_u16(), 404);
    Ok(())
}
