//! Clusters that tests have for themselves, one after another: starting one costs as much as most tests.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use cluster::{ClusterOptions, LocalCluster, wait_for};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::fixture::DEADLINE;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Namespaces that Kubernetes makes and keeps.
const LASTING: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Clusters in which nothing runs that a test has left.
static FREE: Mutex<Vec<LocalCluster>> = Mutex::new(Vec::new());

/// A cluster that one test has for itself. It goes back to the pool when it is dropped.
pub struct PooledCluster {
    /// Until it is dropped.
    cluster: Option<Box<LocalCluster>>,
    /// Of the clusters that may run at once.
    permit: Option<OwnedSemaphorePermit>,
}

impl PooledCluster {
    /// Takes a cluster from the pool, or starts one.
    pub async fn take() -> Result<Self, Error> {
        let permit = permits().await.clone().acquire_owned().await?;
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let cluster = match free {
            Some(cluster) => cluster,
            None => LocalCluster::start(ClusterOptions::default()).await?,
        };
        Ok(Self { cluster: Some(Box::new(cluster)), permit: Some(permit) })
    }
}

/// One for each test that runs at once, and a few that are being cleared meanwhile.
async fn permits() -> &'static std::sync::Arc<Semaphore> {
    static PERMITS: OnceCell<std::sync::Arc<Semaphore>> = OnceCell::const_new();
    let make = async || {
        let threads = std::env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok());
        let threads = threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
        std::sync::Arc::new(Semaphore::new(threads + threads / 2))
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
        // Who knows how it is.
        if std::thread::panicking() {
            return;
        }
        let (cluster, permit) = (self.cluster.take().unwrap(), self.permit.take());
        // The test's own runtime ends with the test.
        std::thread::spawn(move || {
            let _permit = permit;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // One that can't be cleared ends here, and the next test starts another.
            if runtime.block_on(clear(&cluster)).is_ok() {
                FREE.lock().unwrap_or_else(PoisonError::into_inner).push(*cluster);
            }
        });
    }
}

/// Deletes all that a test and its installation may have left. No controller runs any more.
async fn clear(cluster: &LocalCluster) -> Result<(), Error> {
    let client = cluster.client().await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let left = async || -> Result<BTreeSet<String>, kube::Error> {
        let all = namespaces.list(&ListParams::default()).await?;
        Ok(all.iter().map(ResourceExt::name_any).filter(|name| !LASTING.contains(&name.as_str())).collect())
    };
    try_join_all(left().await?.iter().map(|name| async {
        let name = name.clone();
        namespaces.delete(&name, &DeleteParams::default()).await.map(drop)
    }))
    .await?;
    for name in LASTING {
        delete_all::<Deployment>(&client, name).await?;
        delete_all::<DoraDeployment>(&client, name).await?;
        delete_all::<DoraIncident>(&client, name).await?;
    }
    // Nobody is left who would take their finalizers away.
    let unfinalized = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    for incident in Api::<DoraIncident>::all(client.clone()).list(&ListParams::default()).await? {
        if !incident.finalizers().is_empty() {
            let of_its_namespace = Api::<DoraIncident>::namespaced(client.clone(), &incident.namespace().unwrap());
            let patched = of_its_namespace.patch(&incident.name_any(), &PatchParams::default(), &unfinalized).await;
            // It may be gone by now.
            patched.map(drop).or_else(|error| if is_not_found(&error) { Ok(()) } else { Err(error) })?;
        }
    }
    wait_for("the namespaces of the test to be gone", DEADLINE, async || {
        let left = left().await?;
        if left.is_empty() { Ok(Some(())) } else { Err(format!("{left:?}"))? }
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
