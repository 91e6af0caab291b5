//! A real Alertmanager sends its alerts to the controller.

use std::path::PathBuf;
use std::process::Command;

use cluster::{Process, Program, ensure_one, wait_for};
use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use port_dora_controller::resources::{DoraIncident, IncidentStatus};
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{Controller, DEADLINE, Installation, SAME_POD, text};

type Error = Box<dyn std::error::Error + Send + Sync>;

const TOKEN: &str = "a-token-of-the-tests";

/// An Alertmanager whose state outlives its process.
struct Alertmanager {
    program: PathBuf,
    folder: PathBuf,
    address: String,
}

impl Alertmanager {
    /// Sends its notifications to `controller`, each repeated after a second.
    fn new(on: &Installation) -> Result<Self, Error> {
        let folder = on.file("alertmanager");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("token"), format!("{TOKEN}\n"))?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        Ok(Self { program: ensure_one(Program::Alertmanager)?, folder, address })
    }

    fn token(&self) -> String {
        self.folder.join("token").display().to_string()
    }

    /// Its configuration is written anew: a controller that was started again has another address.
    async fn start(&self, on: &Installation, controller: &Controller) -> Result<Process, Error> {
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
        let process = Process::start(on, "alertmanager", command)?;
        wait_for("Alertmanager to be ready", DEADLINE, async || {
            let ready = reqwest::get(format!("http://{}/-/ready", self.address)).await?;
            Ok(ready.status().is_success().then_some(()))
        })
        .await?;
        Ok(process)
    }

    /// What Prometheus sends as long as the alert fires, and once when it is over.
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

    /// How many notifications it could not send.
    async fn failures(&self) -> Result<f64, Error> {
        let metrics = reqwest::get(format!("http://{}/metrics", self.address)).await?.text().await?;
        let failed = "alertmanager_notification_requests_failed_total{integration=\"webhook\"";
        let failures = metrics.lines().filter(|line| line.starts_with(failed));
        Ok(failures.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

async fn only_incident(on: &Installation, namespace: &str) -> Result<DoraIncident, Error> {
    let api: Api<DoraIncident> = Api::namespaced(on.client().await?, namespace);
    let incident = wait_for("the incident of the alert", DEADLINE, async || {
        let mut incidents = api.list(&ListParams::default()).await?.items;
        assert!(incidents.len() <= 1, "{incidents:?}");
        Ok(incidents.pop())
    })
    .await?;
    Ok(incident)
}

/// How many notifications the controller answered like this.
async fn received(controller: &Controller, status: &str, result: &str) -> Result<u64, Error> {
    let (_, metrics) = controller.get("/metrics").await?;
    let name = format!("port_dora_alerts_received_total{{status=\"{status}\",result=\"{result}\"}} ");
    Ok(metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0))
}

/// Waits until it answered like this more often than until now.
async fn one_more(controller: &Controller, status: &str, result: &str) -> TestResult {
    let before = received(controller, status, result).await?;
    wait_for(format!("another notification {status} that is {result}"), DEADLINE, async || {
        Ok((received(controller, status, result).await? > before).then_some(()))
    })
    .await?;
    Ok(())
}

fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_one_incident_whatever_is_started_again() -> TestResult {
    let on = Installation::alone().await?;
    let namespace = on.namespace("alerts").await?;
    let alertmanager = Alertmanager::new(&on)?;
    let token = alertmanager.token();
    // The address stays the same, so that Alertmanager finds the controller again.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let environment = [("ALERTMANAGER_TOKEN_FILE", token.as_str()), SAME_POD[0]];
    let mut controller = on.start_controller_at(&address, &environment).await?;
    let mut process = alertmanager.start(&on, &controller).await?;

    let hour = std::time::Duration::from_secs(3600);
    let starts = Timestamp::now() - std::time::Duration::from_secs(600);
    alertmanager.alert(&namespace, starts, starts + 2 * hour).await?;
    let opened = only_incident(&on, &namespace).await?;
    assert_eq!(opened.spec.created_at.as_ref().map(|time| time.0), Some(seconds(starts)));
    let name = opened.metadata.name.clone().unwrap();
    let entity = on.incident(&namespace, &name, "open").await?;
    assert_eq!(entity.title.as_deref(), Some("Checkout is slow"));
    assert_eq!(text(&entity, "priority"), "high");
    assert_eq!(text(&entity, "incident_url"), "https://wiki.example.com/latency");
    one_more(&controller, "firing", "unchanged").await?;

    // What a person writes stays, also when the alert ends.
    let edit = r#"{"spec": {"title": "Checkout is down"}}"#;
    on.kubectl(["--namespace", &namespace, "patch", "dinc", &name, "--type=merge", "--patch", edit]).await?;

    process.kill()?;
    let _process = alertmanager.start(&on, &controller).await?;
    alertmanager.alert(&namespace, starts, starts + 2 * hour).await?;
    one_more(&controller, "firing", "unchanged").await?;
    only_incident(&on, &namespace).await?;

    controller.process.kill()?;
    let before = alertmanager.failures().await?;
    let ends = Timestamp::now();
    alertmanager.alert(&namespace, starts, ends).await?;
    wait_for("Alertmanager to fail", DEADLINE, async || Ok((alertmanager.failures().await? > before).then_some(())))
        .await?;
    assert_eq!(only_incident(&on, &namespace).await?.spec.status, IncidentStatus::Open);
    let controller = on.start_controller_at(&address, &environment).await?;
    let entity = on.incident(&namespace, &name, "resolved").await?;
    assert_eq!(text(&entity, "resolved_at"), format!("{:.3}", seconds(ends)));
    assert_eq!(entity.title.as_deref(), Some("Checkout is down"));
    let resolved = only_incident(&on, &namespace).await?;
    assert_eq!(resolved.spec.resolved_at.map(|time| time.0), Some(seconds(ends)));
    assert!(!controller.process.log()?.contains(TOKEN), "the token is in the log");

    // The next episode is another incident.
    let again = ends + std::time::Duration::from_secs(2);
    alertmanager.alert(&namespace, again, again + hour).await?;
    let api: Api<DoraIncident> = Api::namespaced(on.client().await?, &namespace);
    wait_for("a second incident", DEADLINE, async || {
        Ok((api.list(&ListParams::default()).await?.items.len() == 2).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_a_namespace_that_does_not_exist_is_an_incident_in_the_controllers_own() -> TestResult {
    let on = Installation::alone().await?;
    let alertmanager = Alertmanager::new(&on)?;
    let controller = on.start_controller(&[("ALERTMANAGER_TOKEN_FILE", &alertmanager.token())]).await?;
    let _process = alertmanager.start(&on, &controller).await?;
    let now = Timestamp::now();
    alertmanager.alert("gone", now, now + std::time::Duration::from_secs(3600)).await?;
    let incident = only_incident(&on, crate::fixture::RELEASE).await?;
    let annotations = incident.metadata.annotations.unwrap_or_default();
    assert_eq!(annotations["dora.port.io/alert-namespace"], "gone");
    controller.logs("the namespace of the alerts doesn't exist").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_file_there_is_no_receiver() -> TestResult {
    let on = Installation::shared().await;
    // Its lease would be in another namespace, where it may have none: so it can't lead in place of the one that all tests share.
    let namespace = on.namespace("no-receiver").await?;
    let controller = on.start_controller(&[("POD_NAMESPACE", &namespace)]).await?;
    let answer = reqwest::Client::new().post(controller.url("/alertmanager")).json(&Value::Null).send().await?;
    assert_eq!(answer.status().as_u16(), 404);
    Ok(())
}
