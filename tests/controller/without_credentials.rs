//! Without Port: everything is recorded, the condition says why nothing is delivered, and all of it is once it can be.

use crate::TestResult;
use crate::fixture::{Installation, deployment};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_recorded_without_credentials_and_delivered_once_they_are_there() -> TestResult {
    let on = Installation::alone().await?;
    let (controller, id, secret) = on.start_controller_with_files().await?;
    let namespace = on.namespace("no-port").await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    on.apply_in(
        &namespace,
        "{apiVersion: dora.port.io/v1alpha1, kind: DoraIncident, metadata: {name: down}, spec: {priority: high}}",
    )
    .await?;
    let records = on.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let record = format!("ddep/{}", records[0].metadata.name.as_deref().unwrap());
    for resource in [record.as_str(), "dinc/down"] {
        let (status, message) = on.condition(&namespace, resource, "Synced", "NoCredentials").await?;
        assert_eq!(status, "False");
        assert!(message.contains("no Port credentials are set"), "{message}");
    }
    on.event(&namespace, "down", "NoCredentials").await?;
    assert!(on.port.requests().is_empty(), "something was sent: {:?}", on.port.requests());
    let (ready, text) = controller.get("/readyz").await?;
    assert_eq!(ready, 200, "{text}");
    controller.waiting("DoraIncident", 1).await?;

    let options = port_sim::Options::default();
    std::fs::write(&id, options.client_id)?;
    std::fs::write(&secret, options.client_secret)?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;
    on.incident(&namespace, "down", "open").await?;
    for resource in [record.as_str(), "dinc/down"] {
        on.condition(&namespace, resource, "Synced", "Delivered").await?;
    }
    Ok(())
}
