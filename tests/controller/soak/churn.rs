//! Namespaces that are created and deleted all the time, some of them twice under the same name.

use std::time::Instant;

use cluster::{DEADLINE, wait_for};
use fastrand::Rng;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use port_dora_controller::resources::DoraDeployment;
use serde_json::json;

use super::comparison::records_in;
use crate::Error;
use crate::fixture::{Installation, deployment, incident};

/// One in this number of namespaces is created again under the same name, and stays empty.
const CREATED_AGAIN: u64 = 3;

/// Namespaces that are created and deleted all the time.
pub struct Churn<'a> {
    setup: &'a Installation,
    random: Rng,
    deleted: u64,
    /// Empty namespaces whose name a deleted one had.
    created_again: Vec<String>,
}

impl<'a> Churn<'a> {
    pub fn new(setup: &'a Installation, random: Rng) -> Self {
        Self { setup, random, deleted: 0, created_again: Vec::new() }
    }

    /// Creates namespaces with rollouts and incidents, and deletes them in the middle of their rollouts, until `end`.
    pub async fn run_until(&mut self, end: Instant) -> Result<(), Error> {
        let client = self.setup.client().await?;
        while Instant::now() < end {
            let namespace = self.setup.namespace("churn").await?;
            let image = ["app:v1", "app:broken"][self.random.usize(..2)];
            let policy = ["Retain", "Delete"][self.random.usize(..2)];
            let manifests = deployment("web", image, "", "")
                + &incident("down", &format!("deletionPolicy: {policy}, workloadRef: {{name: web}}"));
            self.setup.apply_in(&namespace, &manifests).await?;
            if self.random.bool() {
                self.record_exists(&client, &namespace).await?;
            }
            if self.random.bool() {
                self.setup.apply_in(&namespace, &deployment("web", "app:v2", "", "")).await?;
            }
            // Records that go first, as in a namespace whose deletion the API server begins with custom resources.
            let records: Api<DoraDeployment> = Api::namespaced(client.clone(), &namespace);
            records.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
            self.delete(&client, &namespace).await?;
            if self.random.u64(..CREATED_AGAIN) == 0 {
                let again = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
                let again = serde_json::from_value(again)?;
                Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &again).await?;
                self.created_again.push(namespace);
            }
        }
        Ok(())
    }

    async fn record_exists(&self, client: &Client, namespace: &str) -> Result<(), Error> {
        let records: Api<DoraDeployment> = Api::namespaced(client.clone(), namespace);
        wait_for("the first record", DEADLINE, async || {
            let found = records.list(&ListParams::default().limit(1)).await?;
            Ok((!found.items.is_empty()).then_some(()))
        })
        .await?;
        Ok(())
    }

    /// Deletes a namespace, and waits until it is gone.
    async fn delete(&mut self, client: &Client, namespace: &str) -> Result<(), Error> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.delete(namespace, &DeleteParams::default()).await?;
        wait_for(format!("the namespace {namespace} to be gone"), DEADLINE, async || {
            Ok(namespaces.get_metadata_opt(namespace).await?.is_none().then_some(()))
        })
        .await?;
        self.deleted += 1;
        Ok(())
    }

    /// Records in namespaces that should be empty, one line each.
    pub async fn ghosts(&self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for namespace in &self.created_again {
            let records = records_in(self.setup, namespace).await?;
            found
                .extend(records.iter().map(|record| format!("{record} in {namespace} belongs to a deleted namespace")));
        }
        Ok(found)
    }

    pub fn report(&self) -> String {
        format!("{} namespaces deleted, {} created again;", self.deleted, self.created_again.len())
    }
}
