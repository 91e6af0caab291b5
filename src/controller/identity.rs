//! Who this process is, and which cluster it runs in.

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

/// Characters of the UID of `kube-system` that name a cluster without a name of its own.
const CLUSTER_CHARACTERS: usize = 8;

/// Bounds of the first and the longest wait while the API server can't be reached at the start.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// The first characters of the UID of `kube-system`, which lives as long as its cluster.
pub async fn cluster_name(client: &Client) -> String {
    let namespace = until_answered("the namespace kube-system", || async {
        Api::<Namespace>::all(client.clone()).get("kube-system").await
    })
    .await;
    namespace.metadata.uid.unwrap_or_default().chars().take(CLUSTER_CHARACTERS).collect()
}

/// When the controller first started in this cluster: at that moment it created its lease.
pub async fn installation_time(client: &Client, namespace: &str) -> Timestamp {
    let lease = until_answered("the lease of the controller", || async {
        Api::<Lease>::namespaced(client.clone(), namespace).get(LEASE).await
    })
    .await;
    lease.metadata.creation_timestamp.map_or_else(Timestamp::now, |time| time.0)
}

/// A reference to the lease, for Events that concern the controller and no resource in particular.
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

/// The name of this replica where the settings give it none.
pub fn default_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "local".to_owned());
    format!("{host}-{}", std::process::id())
}

async fn until_answered<T, F: Future<Output = Result<T, kube::Error>>>(what: &'static str, get: impl Fn() -> F) -> T {
    let backoff = Backoff::new(RETRY_WAITS.0, RETRY_WAITS.1);
    loop {
        match get().await {
            Ok(answer) => return answer,
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "failed to read {what}; retrying. Check that the API server is reachable and that the ClusterRole is that of this \
                 version",
            ),
        }
        tokio::time::sleep(backoff.next_delay(&())).await;
    }
}
