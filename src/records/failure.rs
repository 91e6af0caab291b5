//! The reason of a failed rollout, for `spec.failure` of its record.

use jiff::SignedDuration;
use kube::Client;
use rollout::{Change, Deadline, Outcome, PodState, Policy, Revision, Workload, failure};
use tracing::debug;

use crate::workloads::{Snapshot, pods_of};

/// Why the rollout failed; `None` if `change` does not record a failure.
///
/// The pods are listed once, for a rollout of the present revision only: those of an earlier revision are gone, and the
/// condition `ReplicaFailure` is not about them.
pub(super) async fn failure_reason(
    client: &Client,
    snapshot: &Snapshot,
    policy: &Policy,
    change: &Change<'_>,
) -> Option<String> {
    if change.record.outcome != Outcome::Failed {
        return None;
    }
    let workload = snapshot.row()?;
    let deadline = match workload.progress_deadline {
        Some(seconds) => Deadline::Own(SignedDuration::from_secs(seconds.into())),
        None => Deadline::Timeout(policy.fail_after),
    };
    let is_present = workload.revision == Some(change.record.revision);
    let Some(replica_set) = change.revision.filter(|_| is_present) else {
        return Some(failure(None, deadline, None));
    };
    let pods = list_pods(client, workload, replica_set).await;
    Some(failure(workload.conditions.replica_failure.as_deref(), deadline, pods.as_deref()))
}

async fn list_pods(client: &Client, workload: &Workload, replica_set: &Revision) -> Option<Vec<PodState>> {
    // The Deployment controller names a ReplicaSet after its Deployment and the hash of the pod template.
    let hash =
        replica_set.name.strip_prefix(&*workload.name).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    pods_of(client, &workload.namespace, hash, &replica_set.uid)
        .await
        .inspect_err(|error| {
            debug!(
                namespace = %workload.namespace,
                kind = %workload.kind,
                workload = %workload.name,
                error = error as &dyn std::error::Error,
                "failed to list the pods of a failed rollout; recording a reason without them",
            );
        })
        .ok()
        .flatten()
}
