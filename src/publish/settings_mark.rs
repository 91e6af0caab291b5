//! The annotation of the lease that states with which settings all resources were assessed.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt};
use tracing::warn;

use crate::runtime::Backoff;

/// The annotation with the digest of the settings. Absent while resources are assessed.
const ASSESSED_SETTINGS: &str = "dora.port.io/assessed-settings";

/// Bounds of the first and of the longest delay before a failed request is repeated.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The annotation of the lease of the controller. All requests are repeated until they succeed.
#[derive(Clone, Copy)]
pub struct SettingsMark<'a> {
    /// The client of the API server.
    pub client: &'a Client,
    /// Namespace and name of the lease.
    pub lease: &'a Lease,
}

impl SettingsMark<'_> {
    /// The digest of the settings with which all resources were assessed.
    pub async fn read(self) -> Option<String> {
        let (api, name) = (self.api(), self.lease.name_any());
        let lease = until_ok("read", || api.get(&name)).await;
        lease.annotations().get(ASSESSED_SETTINGS).cloned()
    }

    /// Replaces the digest.
    pub async fn write(self, digest: Option<&str>) {
        let (api, name) = (self.api(), self.lease.name_any());
        let replace = async || {
            let mut lease = api.get(&name).await?;
            if lease.annotations().get(ASSESSED_SETTINGS).map(String::as_str) == digest {
                return Ok(());
            }
            let annotations = lease.annotations_mut();
            match digest {
                Some(digest) => annotations.insert(ASSESSED_SETTINGS.to_owned(), digest.to_owned()),
                None => annotations.remove(ASSESSED_SETTINGS),
            };
            // A replacement fails if the lease was renewed, or taken by another replica, since it was read.
            api.replace(&name, &PostParams::default(), &lease).await.map(drop)
        };
        until_ok("write", replace).await;
    }

    fn api(self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), self.lease.meta().namespace.as_deref().unwrap_or_default())
    }
}

/// Sends a request until it succeeds.
async fn until_ok<T, F: Future<Output = Result<T, kube::Error>>>(verb: &'static str, request: impl Fn() -> F) -> T {
    let backoff = Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1);
    loop {
        match request().await {
            Ok(value) => return value,
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "failed to {verb} the annotations of the lease; retrying (if this persists, check the Role of the controller)",
            ),
        }
        tokio::time::sleep(backoff.next_delay(&())).await;
    }
}
