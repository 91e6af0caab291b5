//! A pool of clusters, each used by one test at a time. Starting a cluster takes as long as most tests.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::available_parallelism;

use cluster::{ClusterOptions, DEADLINE, LocalCluster, wait_for};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// The namespaces that Kubernetes creates.
const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Clusters that are clean and not in use.
static FREE: Mutex<Vec<LocalCluster>> = Mutex::new(Vec::new());

/// A cluster that one test uses. It returns to the pool when it is dropped.
pub struct PooledCluster {
    /// `None` after the drop.
    cluster: Option<Box<LocalCluster>>,
    /// One of the clusters that may run at once.
    permit: Option<OwnedSemaphorePermit>,
}

impl PooledCluster {
    /// Takes a cluster from the pool, or starts one.
    pub async fn take() -> Result<Self, Error> {
        let permit = permits().await.clone().acquire_owned().await?;
        let free = FREE.lock().pop();
        let cluster = match free {
            Some(cluster) => cluster,
            None => LocalCluster::start(ClusterOptions::default()).await?,
        };
        Ok(Self { cluster: Some(Box::new(cluster)), permit: Some(permit) })
    }
}

/// A permit for each test that runs at once, and some for clusters that are being cleaned.
async fn permits() -> &'static Arc<Semaphore> {
    static PERMITS: OnceCell<Arc<Semaphore>> = OnceCell::const_new();
    let make = async || {
        let threads = std::env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok());
        let threads = threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
        Arc::new(Semaphore::new(threads + threads / 2))
    };
    PERMITS.get_or_init(make).await
}

impl Deref for PooledCluster {
    type Target = LocalCluster;

    fn deref(&self) -> &LocalCluster {
        self.cluster.as_deref().unwrap()
    }
}

impl Drop for PooledCluster {
    fn drop(&mut self) {
        // The state of the cluster is unknown.
        if std::thread::panicking() {
            return;
        }
        let (cluster, permit) = (self.cluster.take().unwrap(), self.permit.take());
        // In a thread with its own runtime, since the runtime of the test ends.
        std::thread::spawn(move || {
            let _permit = permit;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // A cluster that can't be cleaned ends here, and the next test starts another one.
            if runtime.block_on(clean(&cluster)).is_ok() {
                FREE.lock().push(*cluster);
            }
        });
    }
}

/// Deletes everything that a test and its installation may have left. No controller is running any more.
async fn clean(cluster: &LocalCluster) -> Result<(), Error> {
    let client = cluster.client().await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let remaining = async || -> Result<BTreeSet<String>, kube::Error> {
        let all = namespaces.list(&ListParams::default()).await?;
        Ok(all.iter().map(ResourceExt::name_any).filter(|name| !SYSTEM_NAMESPACES.contains(&name.as_str())).collect())
    };
    try_join_all(remaining().await?.iter().map(|name| async {
        let name = name.clone();
        namespaces.delete(&name, &DeleteParams::default()).await.map(drop)
    }))
    .await?;
    for name in SYSTEM_NAMESPACES {
        delete_all::<Deployment>(&client, name).await?;
        delete_all::<DoraDeployment>(&client, name).await?;
        delete_all::<DoraIncident>(&client, name).await?;
    }
    // No controller is running that would remove the finalizers.
    let unfinalized = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    for incident in Api::<DoraIncident>::all(client.clone()).list(&ListParams::default()).await? {
        if !incident.finalizers().is_empty() {
            let api = Api::<DoraIncident>::namespaced(client.clone(), &incident.namespace().unwrap());
            let patched = api.patch(&incident.name_any(), &PatchParams::default(), &unfinalized).await;
            // It may be gone in the meantime.
            patched.map(drop).or_else(|error| if is_not_found(&error) { Ok(()) } else { Err(error) })?;
        }
    }
    wait_for("the namespaces of the test to be gone", DEADLINE, async || {
        let remaining = remaining().await?;
        if remaining.is_empty() { Ok(Some(())) } else { Err(format!("{remaining:?}"))? }
    })
    .await?;
    Ok(())
}

/// Deletes all resources of a kind in a namespace.
async fn delete_all<K>(client: &Client, namespace: &str) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    Ok(())
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
