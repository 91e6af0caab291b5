//! The load: rollouts that start on a schedule, with the times of their completion and of their arrival in Port.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster::{LocalCluster, NotYet, wait_for};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use port_sim::{PortSim, Request};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::controller::CLUSTER_NAME;
use crate::machine::Processors;
use crate::observer::{Completion, Observer};
use crate::statistics::{Spread, spread};
use crate::workload::{Target, change_template};

/// The blueprint of the entities.
pub const BLUEPRINT: &str = "dora_deployment";

/// The interval between reads of a small object from the API server.
const READ_INTERVAL: Duration = Duration::from_millis(100);

/// The results of the load.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Number of started rollouts.
    pub rollouts: usize,
    /// Number of rollouts whose entity has arrived.
    pub arrived: usize,
    /// The actual number of rollouts per second.
    pub rate: f64,
    /// From the change of the template to the completed status, in milliseconds: the time of the cluster.
    pub rollout_milliseconds: Spread,
    /// From the completed status to the entity, in milliseconds: the time of the controller.
    pub delivery_milliseconds: Spread,
    /// Small reads from the API server during the load, in milliseconds: they show how busy the cluster was.
    pub read_milliseconds: Spread,
    /// The busy part of the processors of this machine during the load, from 0 to 1.
    pub processors_busy: f64,
    /// Identifiers of entities that never arrived.
    pub missing: Vec<String>,
}

/// Starts a rollout of each of `targets`, `rate` per second, and waits until all entities have arrived.
///
/// # Errors
/// When a Deployment can't be changed, or a rollout isn't complete in time. An entity that doesn't arrive in time is
/// not an error, but part of the result.
pub async fn measure(
    cluster: &LocalCluster,
    client: &Client,
    observer: &Observer,
    port: &PortSim,
    targets: &[Target],
    rate: f64,
    deadline: Duration,
) -> Result<Latency> {
    let processors = Processors::current()?;
    let mut reads = Vec::new();
    let all_complete = async {
        let starts = start_on_schedule(client, targets, rate).await?;
        wait_for(format!("{} rollouts to be complete", targets.len()), deadline, async || {
            cluster.check()?;
            let complete = observer.complete(2);
            if complete < targets.len() {
                Err(format!("{complete} of {} are", targets.len()))?;
            }
            Ok(Some(()))
        })
        .await?;
        anyhow::Ok(starts)
    };
    let starts = tokio::select! {
        starts = all_complete => starts?,
        result = read_repeatedly(client, &mut reads) => return Err(result),
    };
    let processors_busy = processors.busy_since()?;
    let completions: Vec<Completion> = targets
        .iter()
        .map(|target| {
            let completion = observer.second_completion(&target.name);
            completion.with_context(|| format!("another Deployment than {} was rolled out", target.name))
        })
        .collect::<Result<_>>()?;
    let (delivery, missing) = deliveries(port, targets, &completions, deadline).await;
    let rollout =
        starts.iter().zip(&completions).map(|(started, completion)| milliseconds(*started, completion.seen)).collect();
    Ok(Latency {
        rollouts: targets.len(),
        arrived: delivery.len(),
        rate: real_rate(&starts),
        rollout_milliseconds: spread(rollout),
        delivery_milliseconds: spread(delivery),
        read_milliseconds: spread(reads),
        processors_busy,
        missing,
    })
}

/// Waits until the entities of all completions have arrived or the deadline has passed. Returns the times from the
/// completed status to the entity in milliseconds, and the identifiers of missing entities.
async fn deliveries(
    port: &PortSim,
    targets: &[Target],
    completions: &[Completion],
    deadline: Duration,
) -> (Vec<f64>, Vec<String>) {
    let identifiers: Vec<_> =
        targets.iter().zip(completions).map(|(target, completion)| identifier(target, completion)).collect();
    // After the deadline, the missing entities are part of the result.
    let _ = wait_for("all entities to arrive", deadline, async || {
        let missing = identifiers.iter().filter(|identifier| port.entity(BLUEPRINT, identifier).is_none()).count();
        if missing > 0 {
            Err(format!("{missing} are missing"))?;
        }
        Ok::<_, NotYet>(Some(()))
    })
    .await;
    let arrivals = arrivals(&port.requests(), port.started_at());
    let (mut times, mut missing) = (Vec::new(), Vec::new());
    for (identifier, completion) in identifiers.into_iter().zip(completions) {
        match arrivals.get(&identifier).filter(|_| port.entity(BLUEPRINT, &identifier).is_some()) {
            Some(arrived) => times.push(milliseconds(completion.seen, *arrived)),
            None => missing.push(identifier),
        }
    }
    (times, missing)
}

/// Starts rollouts on schedule, without waiting for answers to earlier requests. Returns the times of the requests.
async fn start_on_schedule(client: &Client, targets: &[Target], rate: f64) -> Result<Vec<Instant>> {
    let start = tokio::time::Instant::now();
    let mut requests = JoinSet::new();
    let mut starts = Vec::with_capacity(targets.len());
    let interval = Duration::from_secs_f64(1.0 / rate);
    for (target, number) in targets.iter().zip(0..) {
        tokio::time::sleep_until(start + interval * number).await;
        starts.push(Instant::now());
        let (client, target) = (client.clone(), target.clone());
        requests.spawn(async move { change_template(&client, &target).await });
    }
    while let Some(result) = requests.join_next().await {
        result??;
    }
    Ok(starts)
}

/// Reads a small object ten times per second, and adds the time of each read. Returns only with an error.
async fn read_repeatedly(client: &Client, milliseconds_taken: &mut Vec<f64>) -> anyhow::Error {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut interval = tokio::time::interval(READ_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let asked = Instant::now();
        if let Err(error) = namespaces.get("kube-system").await {
            return anyhow::Error::from(error).context("failed to read from the API server");
        }
        milliseconds_taken.push(milliseconds(asked, Instant::now()));
    }
}

/// The actual number of starts per second.
fn real_rate(starts: &[Instant]) -> f64 {
    match (starts, starts.len()) {
        ([first, .., last], count) => {
            #[expect(clippy::cast_precision_loss, reason = "a number of rollouts is small")]
            let intervals = (count - 1) as f64;
            intervals / (*last - *first).as_secs_f64()
        }
        _ => 0.0,
    }
}

/// The identifier of the entity of a rollout.
fn identifier(target: &Target, completion: &Completion) -> String {
    let Target { namespace, name } = target;
    let uid: String = completion.uid.chars().take(8).collect();
    format!("{CLUSTER_NAME}:{namespace}:{name}:{}:{uid}", completion.revision)
}

/// When each entity was first stored: the time of the first successful answer to a request with this entity.
fn arrivals(requests: &[Request], zero: Instant) -> HashMap<String, Instant> {
    let mut arrivals = HashMap::new();
    for request in requests {
        let stored = request.status.is_some_and(|status| (200..300).contains(&status));
        let (true, Some(answered), Some(body)) = (stored, request.answered_after, &request.body) else { continue };
        for identifier in identifiers_in(body) {
            arrivals.entry(identifier.to_owned()).or_insert(zero + answered);
        }
    }
    arrivals
}

/// The identifiers in the body of a single or a bulk write.
fn identifiers_in(body: &Value) -> impl Iterator<Item = &str> {
    let several = body["entities"].as_array().into_iter().flatten();
    std::iter::once(body).chain(several).filter_map(|entity| entity["identifier"].as_str())
}

/// The time between two instants in milliseconds. It is negative if the watch of the bench was slower than the
/// controller.
pub fn milliseconds(from: Instant, to: Instant) -> f64 {
    let forward = to.saturating_duration_since(from).as_secs_f64();
    let backward = from.saturating_duration_since(to).as_secs_f64();
    (forward - backward) * 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn single_and_bulk_writes_name_their_entities() {
        let single = json!({"identifier": "a", "properties": {}});
        let bulk = json!({"entities": [{"identifier": "b"}, {"identifier": "c"}]});
        assert_eq!(identifiers_in(&single).collect::<Vec<_>>(), ["a"]);
        assert_eq!(identifiers_in(&bulk).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(identifiers_in(&json!({"clientId": "x"})).count(), 0);
    }

    #[test]
    fn late_watch_shows_as_a_negative_time() {
        let now = Instant::now();
        assert!((milliseconds(now, now + Duration::from_millis(20)) - 20.0).abs() < 0.001);
        assert!((milliseconds(now + Duration::from_millis(20), now) + 20.0).abs() < 0.001);
    }
}
