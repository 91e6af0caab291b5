//! Connections to the API server that are lost without a sign, and files that can't be read: nothing stops for long.

use std::process::Command;

use cluster::{DEADLINE, wait_for};
use serde_json::json;

use crate::fixture::{Controller, Installation, SAME_POD, deployment, incident};
use crate::lossy_proxy::LossyProxy;
use crate::{Error, TestResult};

/// Short times, so that the test needn't wait for long.
const SHORT_TIMEOUTS: [(&str, &str); 2] = [("API_TIMEOUT_SECONDS", "5"), ("WATCH_SECONDS", "5")];

/// The value of a metric, summed over its labels that contain `labels`.
async fn metric(controller: &Controller, name: &str, labels: &str) -> Result<f64, Error> {
    let (_, text) = controller.get("/metrics").await?;
    let samples = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
    Ok(samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
}

/// Waits until the controller has counted this many requests without an answer.
async fn has_counted(controller: &Controller, method: &str, timeouts: f64) -> TestResult {
    wait_for(format!("{timeouts} {method} requests without an answer in the metrics"), DEADLINE, async || {
        let counted = metric(controller, "port_dora_api_request_timeouts_total{", method).await?;
        if counted >= timeouts { Ok(Some(())) } else { Err(counted)? }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_requests_to_the_api_server_are_sent_again() -> TestResult {
    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("lost-requests").await?;
    let proxy = LossyProxy::start(&setup).await?;
    // The request for the lease is lost, so that no replica leads before it is sent again.
    proxy.lose_next(&["GET ", "/leases/"]);
    let environment = [("KUBECONFIG", proxy.kubeconfig.as_str()), SAME_POD[0], SHORT_TIMEOUTS[0], SHORT_TIMEOUTS[1]];
    let controller = setup.start_controller(&environment).await?;
    proxy.has_lost().await?;
    controller.leads().await?;

    // The recorder loses the request that creates a record.
    proxy.lose_next(&["POST ", &format!("/{namespace}/doradeployments")]);
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    proxy.has_lost().await?;
    setup.delivered(&namespace, "web:1").await?;

    // The publisher loses the request that reads an incident, and the one that writes its status.
    for (name, parts) in [("down", ["GET ", "/doraincidents/down"]), ("slow", ["PATCH ", "/doraincidents/slow/status"])]
    {
        proxy.lose_next(&parts);
        setup.apply_in(&namespace, &incident(name, "priority: high")).await?;
        proxy.has_lost().await?;
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    assert_eq!(proxy.lost(), 4);
    has_counted(&controller, "\"GET\"", 2.0).await?;
    has_counted(&controller, "\"POST\"", 1.0).await?;
    has_counted(&controller, "\"PATCH\"", 1.0).await?;
    assert_eq!(controller.get("/readyz").await?.0, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_watch_is_replaced() -> TestResult {
    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("lost-watch").await?;
    let proxy = LossyProxy::start(&setup).await?;
    let environment = [("KUBECONFIG", proxy.kubeconfig.as_str()), SAME_POD[0], SHORT_TIMEOUTS[0], SHORT_TIMEOUTS[1]];
    let controller = setup.start_controller(&environment).await?;
    controller.leads().await?;
    proxy.lose_open(&["GET ", "/doraincidents?", "watch=true"]).await?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    setup.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    proxy.lose_open(&["GET ", "/deployments?", "watch=true"]).await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    setup.delivered(&namespace, "web:1").await?;

    has_counted(&controller, "\"WATCH\"", 2.0).await?;
    for resource in ["doraincidents", "deployments"] {
        let label = format!("{{resource=\"{resource}\"}}");
        assert!(metric(&controller, "port_dora_watch_errors_total", &label).await? >= 1.0, "{resource}");
        assert!(metric(&controller, "port_dora_watch_relists_total", &label).await?.abs() < 0.5, "{resource} resumes");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_hangs_stops_neither_probes_nor_the_end() -> TestResult {
    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("hanging").await?;
    // Nobody writes into this pipe, so opening it blocks.
    let pipe = setup.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status()?.success());
    let environment = [("PORT_CLIENT_ID", ""), ("PORT_CLIENT_ID_FILE", &pipe.to_string_lossy()), SAME_POD[0]];
    let mut controller = setup.start_controller(&environment).await?;
    controller.leads().await?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    let (_, message) = setup.condition(&namespace, "dinc/down", "Synced", "NoCredentials").await?;
    assert!(message.contains("could not be read within 10 s"), "{message}");
    wait_for("the probe to be answered", DEADLINE, async || {
        Ok((controller.get("/livez").await?.0 == 200).then_some(()))
    })
    .await?;
    let status = controller.process.terminate(DEADLINE).await?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn process_ends_while_the_api_server_is_silent() -> TestResult {
    let setup = Installation::exclusive().await?;
    // It never accepts a connection.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let server = format!("http://{}", silent.local_addr()?);
    let kubeconfig = setup.file("silent.kubeconfig");
    let config = json!({
        "current-context": "silent", "clusters": [{"name": "silent", "cluster": {"server": server}}],
        "contexts": [{"name": "silent", "context": {"cluster": "silent", "user": ""}}],
    });
    std::fs::write(&kubeconfig, config.to_string())?;
    // Without a name of the cluster, the first request is that for the namespace kube-system.
    let environment =
        [("KUBECONFIG", &*kubeconfig.to_string_lossy()), ("CLUSTER_NAME", ""), ("API_TIMEOUT_SECONDS", "1")];
    let mut controller = setup.start_controller_at_once(&environment).await?;
    controller.logs("failed to read the namespace kube-system; retrying").await?;
    let status = controller.process.terminate(DEADLINE).await?;
    assert!(status.success(), "{status}");
    Ok(())
}
