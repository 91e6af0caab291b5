//! A gate that keeps pods from being scheduled, so that a test decides when a rollout continues.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::local_cluster::LocalCluster;
use crate::wait::{DEADLINE, WaitError, wait_for};
use crate::workload::{is_scheduled, is_unschedulable, probe_pod};

/// The gate of a namespace. It is closed at first: no node matches [`Gate::node_selector`].
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    cluster: &'a LocalCluster,
    namespace: &'a str,
}

impl LocalCluster {
    /// The gate of a namespace.
    #[must_use]
    pub fn gate<'a>(&'a self, namespace: &'a str) -> Gate<'a> {
        Gate { cluster: self, namespace }
    }
}

impl Gate<'_> {
    /// The `nodeSelector` of pods that wait at this gate.
    #[must_use]
    pub fn node_selector(&self) -> Value {
        json!({self.namespace: "open"})
    }

    /// Lets the node accept the waiting pods.
    ///
    /// # Errors
    /// As [`LocalCluster::kubectl`].
    pub async fn open(&self) -> Result<()> {
        self.label_nodes("=open").await
    }

    /// Closes the gate, and waits until the scheduler knows it. Running pods stay.
    ///
    /// # Errors
    /// As [`LocalCluster::kubectl`], or when the scheduler doesn't notice the change within [`DEADLINE`].
    pub async fn close(&self) -> Result<()> {
        self.label_nodes("-").await?;
        // The scheduler sees the nodes through a watch. A new pod shows whether it has seen the change.
        let mut probe = probe_pod();
        probe["spec"]["nodeSelector"] = self.node_selector();
        let probe = serde_json::from_value(probe)
            .map_err(|error| Error::kubernetes("read the probe pod")(kube::Error::SerdeError(error)))?;
        let pods: Api<Pod> = Api::namespaced(self.cluster.client().await?, self.namespace);
        wait_for("the scheduler to see that the gate is closed", DEADLINE, async || {
            let name = pods.create(&PostParams::default(), &probe).await?.name_any();
            let is_held = is_held(&pods, &name).await?;
            pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
            Ok(is_held.then_some(()))
        })
        .await?;
        Ok(())
    }

    async fn label_nodes(&self, value: &str) -> Result<()> {
        self.cluster.kubectl(["label", "nodes", "--all", &format!("{}{value}", self.namespace)]).await?;
        Ok(())
    }
}

/// Waits until the scheduler has handled a pod, and returns whether no node accepts it.
async fn is_held(pods: &Api<Pod>, name: &str) -> Result<bool, WaitError> {
    wait_for(format!("the scheduler to handle pod {name}"), DEADLINE, async || {
        let pod = pods.get(name).await?;
        Ok((is_scheduled(&pod) || is_unschedulable(&pod)).then(|| !is_scheduled(&pod)))
    })
    .await
}
