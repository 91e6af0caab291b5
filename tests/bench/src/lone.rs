//! Single records: the time from the write of a record to its request to Port.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster::{NotYet, wait_for};
use kube::Client;
use port_sim::PortSim;

use crate::controller::CLUSTER_NAME;
use crate::history::Records;
use crate::load::{BLUEPRINT, milliseconds};
use crate::statistics::{Spread, spread};

/// Writes this number of records in `namespace`, each after the one before has arrived. Returns the times from the
/// answer of the API server to the request to Port, in milliseconds.
///
/// # Errors
/// When the API server refuses one, or one doesn't arrive in time.
pub async fn measure(
    client: &Client,
    namespace: &str,
    port: &PortSim,
    records: usize,
    deadline: Duration,
) -> Result<Spread> {
    let all = Records::new(client, namespace);
    let mut taken = Vec::with_capacity(records);
    for number in 0..records {
        let identifier = format!("{CLUSTER_NAME}:{namespace}:{}", all.create(number).await?);
        let answered = Instant::now();
        wait_for("the single record to arrive", deadline, async || {
            Ok::<_, NotYet>(port.entity(BLUEPRINT, &identifier).is_some().then_some(()))
        })
        .await?;
        let requests = port.requests();
        let request = requests
            .iter()
            .rev()
            .find(|request| request.body.as_ref().is_some_and(|body| body["identifier"] == identifier.as_str()))
            .context("a single record arrived in a bulk request")?;
        taken.push(milliseconds(answered, port.started_at() + request.received_after));
    }
    Ok(spread(taken))
}
