//! The records and incidents that exist for the whole run.

use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::PostParams;
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use serde_json::json;

use crate::Error;
use crate::fixture::Installation;

/// The namespaces of the population.
const NAMESPACES: u64 = 5;

/// Requests to the API server at once.
const CONCURRENT: usize = 16;

/// The records and incidents that exist for the whole run.
#[derive(Debug)]
pub struct Population {
    pub namespaces: Vec<String>,
    pub incidents: u64,
}

impl Population {
    /// Creates records of deployments outside Kubernetes, and incidents, in some namespaces.
    pub async fn create(setup: &Installation, records: u64, incidents: u64) -> Result<Self, Error> {
        let mut namespaces = Vec::new();
        for _ in 0..NAMESPACES {
            namespaces.push(setup.namespace("soak").await?);
        }
        let population = Self { namespaces, incidents };
        let client = setup.client().await?;
        let begin = Timestamp::now() - SignedDuration::from_hours(1);
        let create_records = stream::iter(0..records).map(|number| {
            let api = Api::<DoraDeployment>::namespaced(client.clone(), population.namespace(number));
            let finished = begin + SignedDuration::from_secs(i64::try_from(number).unwrap_or_default());
            let record = json!({
                "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment",
                "metadata": {"name": format!("batch-{number}")},
                "spec": {"title": format!("Batch {number}"), "outcome": "Succeeded", "finishedAt": finished},
            });
            async move { Ok::<_, Error>(api.create(&PostParams::default(), &serde_json::from_value(record)?).await?) }
        });
        create_records.buffer_unordered(CONCURRENT).try_for_each(async |_| Ok(())).await?;
        let create_incidents = stream::iter(0..incidents).map(|number| {
            let api = population.incidents(client.clone(), number);
            let incident = json!({
                "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
                "metadata": {"name": Self::incident(number)}, "spec": {"title": format!("Incident {number}")},
            });
            async move { Ok::<_, Error>(api.create(&PostParams::default(), &serde_json::from_value(incident)?).await?) }
        });
        create_incidents.buffer_unordered(CONCURRENT).try_for_each(async |_| Ok(())).await?;
        Ok(population)
    }

    /// The namespace of the resource with this number.
    pub fn namespace(&self, number: u64) -> &str {
        &self.namespaces[usize::try_from(number % NAMESPACES).unwrap_or_default()]
    }

    /// The API for the incident with this number.
    pub fn incidents(&self, client: kube::Client, number: u64) -> Api<DoraIncident> {
        Api::namespaced(client, self.namespace(number))
    }

    /// Whether nobody changes the incident with this number: what somebody else does to its entity stays visible.
    pub fn is_static(number: u64) -> bool {
        number.is_multiple_of(4)
    }

    /// The name of the incident with this number.
    pub fn incident(number: u64) -> String {
        format!("down-{number}")
    }
}
