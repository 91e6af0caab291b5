//! The identity of this replica and of its cluster.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ObjectMeta;
use kube::{Api, Client};
use tracing::warn;

use crate::resources::FIELD_MANAGER;
use crate::runtime::Backoff;

/// Name of the lease that the replicas share.
pub const LEASE: &str = FIELD_MANAGER;

/// How many characters of the UID of `kube-system` are the default name of the cluster.
const CLUSTER_CHARACTERS: usize = 8;

/// First and longest delay between requests that fail at the start.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Reads the default name of the cluster: the first characters of the UID of `kube-system`, a namespace that is never deleted.
pub async fn cluster_name(client: &Client) -> String {
    let namespace = retry_until_ok("the namespace kube-system", || async {
        Api::<Namespace>::all(client.clone()).get("kube-system").await
    })
    .await;
    namespace.metadata.uid.unwrap_or_default().chars().take(CLUSTER_CHARACTERS).collect()
}

/// Reads when the controller first started in this cluster: the time when it created its lease.
pub async fn installation_time(client: &Client, namespace: &str) -> Timestamp {
    let lease = retry_until_ok("the lease of the controller", || async {
        Api::<Lease>::namespaced(client.clone(), namespace).get(LEASE).await
    })
    .await;
    lease.metadata.creation_timestamp.map_or_else(Timestamp::now, |time| time.0)
}

/// The lease as the target of Events that concern the controller and no other resource.
pub fn lease_reference(namespace: &str) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(LEASE.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    }
}

/// The default name of this replica.
pub fn default_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "local".to_owned());
    format!("{host}-{}", std::process::id())
}

/// Sends the request `get` until the API server answers it. `resource` names the resource in the log.
async fn retry_until_ok<T, F: Future<Output = Result<T, kube::Error>>>(
    resource: &'static str,
    get: impl Fn() -> F,
) -> T {
    let backoff = Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1);
    loop {
        match get().await {
            Ok(value) => return value,
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "failed to read {resource}; retrying (if this persists, check that the API server is reachable and that the \
                 ClusterRole is that of this version)",
            ),
        }
        tokio::time::sleep(backoff.next_delay(&())).await;
    }
}
