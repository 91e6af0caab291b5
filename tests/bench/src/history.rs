//! Existing records: `DoraDeployment` resources of deleted Deployments.

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::json;

/// Number of concurrent requests to the API server.
const CREATIONS_IN_FLIGHT: usize = 32;

/// Number of records of each Deployment.
const REVISIONS: usize = 10;

/// The records of a namespace.
pub struct Records {
    api: Api<DynamicObject>,
    kind: ApiResource,
}

impl Records {
    /// The records of `namespace`.
    pub fn new(client: &Client, namespace: &str) -> Self {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("dora.port.io", "v1alpha1", "DoraDeployment"));
        Self { api: Api::namespaced_with(client.clone(), namespace, &kind), kind }
    }

    /// Creates the record with this number, like the controller but without a status. Returns the end of its identifier
    /// in Port, after the name of the cluster and the namespace.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create(&self, number: usize) -> Result<String> {
        let name = format!("checkout-{:05}", number / REVISIONS);
        let revision = number % REVISIONS + 1;
        let uid = format!("{:08x}-0000-4000-8000-000000000000", number / REVISIONS);
        let short_uid = &uid[..8];
        let record = DynamicObject::new(&format!("{name}-{revision}-{short_uid}"), &self.kind).data(json!({"spec": {
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid},
            "revision": {
                "number": revision,
                "name": format!("{name}-7679c567ff"),
                "uid": format!("{number:08x}-0000-4000-8000-000000000001"),
            },
            "outcome": "Succeeded",
            "startedAt": "2026-01-31T12:00:00Z",
            "finishedAt": "2026-01-31T12:00:30Z",
            "environment": "production",
            "group": "all_teams",
            "deploymentType": "rollout",
        }}));
        self.api
            .create(&PostParams::default(), &record)
            .await
            .with_context(|| format!("failed to create the record of {name}"))?;
        Ok(format!("{name}:{revision}:{short_uid}"))
    }
}

/// Creates this number of records in `namespace`.
///
/// # Errors
/// When the API server refuses one.
pub async fn create(client: &Client, namespace: &str, records: usize) -> Result<()> {
    let all = Records::new(client, namespace);
    stream::iter(0..records)
        .map(|number| all.create(number))
        .buffer_unordered(CREATIONS_IN_FLIGHT)
        .try_for_each(async |_| anyhow::Ok(()))
        .await
}
