//! Without credentials of Port, everything is recorded. An Event on the lease says why nothing is delivered, and everything is
//! delivered when the credentials exist.

use crate::TestResult;
use crate::fixture::{Installation, deployment, incident};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_delivered_once_credentials_exist() -> TestResult {
    let setup = Installation::exclusive().await?;
    let (controller, id, secret) = setup.start_controller_with_files().await?;
    let namespace = setup.namespace("no-port").await?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    let (status, message) = setup.condition(&namespace, "dinc/down", "Synced", "NoCredentials").await?;
    assert_eq!(status, "False");
    assert!(message.contains("no Port credentials are set"), "{message}");
    setup.event(&namespace, "down", "NoCredentials").await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let records = setup.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let record = format!("ddep/{}", records[0].metadata.name.as_deref().unwrap());
    // Each resource says it, and not only the first one.
    setup.condition(&namespace, &record, "Synced", "NoCredentials").await?;
    controller.waiting("DoraDeployment", 1).await?;
    controller.waiting("DoraIncident", 1).await?;
    assert!(setup.port.requests().is_empty(), "requests without credentials: {:?}", setup.port.requests());
    let (ready, text) = controller.get("/readyz").await?;
    assert_eq!(ready, 200, "{text}");

    let options = port_sim::Options::default();
    std::fs::write(&id, options.client_id)?;
    std::fs::write(&secret, options.client_secret)?;
    setup.deployments(&namespace, &[("web:1", "success")]).await?;
    setup.incident(&namespace, "down", "open").await?;
    for resource in [record.as_str(), "dinc/down"] {
        setup.condition(&namespace, resource, "Synced", "Delivered").await?;
    }
    Ok(())
}
