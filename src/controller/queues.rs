//! The work queues, and what probes and metrics show of them.

use std::sync::Arc;
use std::time::Duration;

use rollout::Uid;

use crate::incidents::automatic::IncidentIndex;
use crate::publish::Deletions;
use crate::resources::ResourceKey;
use crate::runtime::{
    FROZEN_AFTER, FrozenFn, FrozenPart, PendingFn, PendingResources, WatchActivity, WorkQueue, frozen_worker,
};

/// The work queues, by the part that works on them.
#[derive(Clone, Default)]
pub struct Queues {
    pub changed: Arc<WorkQueue<Uid>>,
    pub deployments: Arc<WorkQueue<ResourceKey>>,
    pub incidents: Arc<WorkQueue<ResourceKey>>,
    pub deployment_deletions: Arc<Deletions>,
    pub incident_deletions: Arc<Deletions>,
    /// Has the queue of the automatic incidents.
    pub incident_index: Arc<IncidentIndex>,
}

impl Queues {
    /// How many resources wait to be delivered, for `/readyz` and `/metrics`.
    pub fn pending(&self) -> PendingFn {
        let waiting = |kind, queue: &WorkQueue<ResourceKey>, deletions: &Deletions| PendingResources {
            kind,
            count: queue.len().saturating_add(deletions.len()),
            oldest: queue.oldest().max(deletions.oldest()).unwrap_or_default(),
        };
        let Self { deployments, incidents, deployment_deletions, incident_deletions, .. } = self.clone();
        Arc::new(move || {
            vec![
                waiting("DoraDeployment", &deployments, &deployment_deletions),
                waiting("DoraIncident", &incidents, &incident_deletions),
            ]
        })
    }

    /// The parts that make no progress: workers that have been busy with one key for too long, and watches on which the API server has
    /// sent nothing for [`FROZEN_AFTER`] longer than a watch lasts.
    pub fn frozen(&self, watch_seconds: u16, activity: &Arc<WatchActivity>) -> FrozenFn {
        let (queues, activity) = (self.clone(), Arc::clone(activity));
        let max_age = FROZEN_AFTER.saturating_add(Duration::from_secs(watch_seconds.into()));
        Arc::new(move || {
            let resource = |key: &ResourceKey| format!("{}/{}", key.namespace, key.name);
            let workload = |uid: &Uid| format!("the workload with the UID {uid}");
            let Self { changed, deployments, incidents, deployment_deletions, incident_deletions, incident_index } =
                &queues;
            let workers = [
                frozen_worker(changed.longest_in_process(), "recorder", "the recorder of rollouts", workload),
                frozen_worker(
                    incident_index.queue().longest_in_process(),
                    "automatic_incidents",
                    "the controller of automatic incidents",
                    workload,
                ),
                frozen_worker(
                    deployments.longest_in_process(),
                    "deployment_publisher",
                    "the publisher of DoraDeployment",
                    resource,
                ),
                frozen_worker(
                    incidents.longest_in_process(),
                    "incident_publisher",
                    "the publisher of DoraIncident",
                    resource,
                ),
                frozen_worker(
                    deployment_deletions.longest_in_process(),
                    "deletions",
                    "the deletion of entities of DoraDeployment",
                    resource,
                ),
                frozen_worker(
                    incident_deletions.longest_in_process(),
                    "deletions",
                    "the deletion of entities of DoraIncident",
                    resource,
                ),
            ];
            let silent = activity.ages().into_iter().filter(|(_, age)| *age >= max_age);
            let watches = silent.map(|(resource, age)| FrozenPart {
                part: "watch",
                text: format!("the API server has sent nothing on the watch on {resource} for {} s", age.as_secs()),
            });
            workers.into_iter().flatten().chain(watches).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn frozen_worker_and_silent_watch_are_named() {
        let (queues, activity, stop) =
            (Queues::default(), Arc::new(WatchActivity::default()), CancellationToken::new());
        let frozen = queues.frozen(290, &activity);
        activity.start("namespaces");
        queues.incidents.add(ResourceKey { namespace: "shop".into(), name: "down".into() });
        let work = queues.incidents.run(20, 4, &stop, async |_| std::future::pending().await);
        let parts_after = async |seconds| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            frozen().into_iter().map(|frozen| frozen.text).collect::<Vec<_>>()
        };
        let publisher = "the publisher of DoraIncident has worked on shop/down for";
        let checks = async {
            assert_eq!(parts_after(299).await, Vec::<String>::new());
            assert_eq!(parts_after(13).await, [format!("{publisher} 312 s")]);
            let watch = "the API server has sent nothing on the watch on namespaces for 612 s".to_owned();
            assert_eq!(parts_after(300).await, [format!("{publisher} 612 s"), watch]);
        };
        tokio::select! {
            () = work => unreachable!(),
            () = checks => {}
        }
    }
}
